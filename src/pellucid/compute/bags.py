"""Nets that answer for a bag of instances by attending to some of them, and their training. They know no model.

Ilse et al., Attention-based deep multiple instance learning, ICML 2018 (one branch); Zhang et al.,
Attention-challenging multiple instance learning, ECCV 2024 (several branches, of whose highest attentions some are
masked while learning).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

_MASKED = -1e9


@dataclass(frozen=True, eq=False)
class Bagged:
    """What was made of one bag.

    logits:    the bag's answer
    branches:  the answer of each branch from its own attention alone; the bag's answer again where there is one branch
    attention: how much each branch attends to each instance; each row sums to 1
    instances: what each instance became before it was attended to
    """

    logits: Float[Tensor, "classes"]
    branches: Float[Tensor, "branch classes"]
    attention: Float[Tensor, "branch instance"]
    instances: Float[Tensor, "instance dim"]


class AttentionBags(nn.Module):
    """Gated attention over the instances of a bag; the bag is the attended mean, its answer linear in that.

    branches:  how many attentions; the bag is attended to by their mean. 1 is ABMIL, 5 is ACMIL
    top:       while learning, of how many highest attentions of each branch some are masked
    mask_drop: which share of those, rounded down; both 0 mask nothing
    """

    def __init__(
        self, features: int, classes: int, *, hidden: int = 64, gate: int = 32, branches: int = 5, top: int = 10,
        mask_drop: float = 0.6,
    ) -> None:  # fmt: skip
        super().__init__()
        self.features, self.classes, self.top, self.mask_drop = features, classes, top, mask_drop
        self.reduce = nn.Sequential(nn.Linear(features, hidden), nn.ReLU())
        self.content, self.gate = nn.Linear(hidden, gate), nn.Linear(hidden, gate)
        self.attend = nn.Linear(gate, branches)
        self.heads = nn.ModuleList(nn.Linear(hidden, classes) for _ in range(branches if branches > 1 else 0))
        self.head = nn.Linear(hidden, classes)

    def forward(self, features: Float[Tensor, "instance features"]) -> Float[Tensor, "classes"]:
        """The bag's logits."""
        return self.look(features).logits

    def look(
        self, features: Float[Tensor, "instance features"], masking: torch.Generator | None = None
    ) -> Bagged:  # fmt: skip
        """The answer and how it came about.

        masking: while learning, the chance by which high attentions are masked; None masks nothing
        """
        instances = self.reduce(features)
        links = self.attend(torch.tanh(self.content(instances)) * torch.sigmoid(self.gate(instances))).T
        if masking is not None:
            links = masked(links, self.top, self.mask_drop, masking)
        attention = links.softmax(dim=1)
        logits = self.head(attention.mean(dim=0) @ instances)
        each = attention @ instances
        branches = [head(one) for head, one in zip(self.heads, each, strict=True)] if len(self.heads) else [logits]
        return Bagged(logits, torch.stack(branches), attention, instances)

    def contributions(self, found: Bagged) -> Float[Tensor, "instance classes"]:
        """What each instance adds to each logit of the bag, with sign: they sum to the logits less the head's bias."""
        return found.attention.mean(dim=0)[:, None] * (found.instances @ self.head.weight.T)


def masked(
    links: Float[Tensor, "branch instance"], top: int, drop: float, generator: torch.Generator
) -> Float[Tensor, "branch instance"]:
    """Of each branch's `top` highest links the share `drop`, rounded down and drawn by chance, brought to nothing.

    A bag of fewer than `top` instances has as many highest links as it has instances; one always stays.
    """
    count = min(top, links.shape[1])
    number = min(math.floor(count * drop + 1e-9), links.shape[1] - 1)
    if number < 1:
        return links
    highest = links.detach().topk(count, dim=1).indices
    drawn = torch.rand(highest.shape, generator=generator).argsort(dim=1)[:, :number].to(highest.device)
    return links.scatter(1, highest.gather(1, drawn), _MASKED)


def overlap(attention: Float[Tensor, "branch instance"]) -> Float[Tensor, ""]:
    """Mean cosine of the attentions of each two branches, 0 (they look at different instances) to 1; 0 for one."""
    pairs = list(combinations(range(len(attention)), 2))
    if not pairs:
        return attention.new_zeros(())
    one, other = (attention[[pair[side] for pair in pairs]] for side in (0, 1))
    return functional.cosine_similarity(one, other, dim=1).mean()


def bag_loss(found: Bagged, label: Int64[Tensor, ""]) -> Float[Tensor, ""]:
    """Cross entropy of the bag; with several branches, also the mean of theirs and how far they overlap."""
    whole = functional.cross_entropy(found.logits[None], label[None])
    if len(found.attention) == 1:
        return whole
    each = functional.cross_entropy(found.branches, label.expand(len(found.branches)))
    return whole + each + overlap(found.attention)
