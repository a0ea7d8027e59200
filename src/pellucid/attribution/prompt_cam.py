"""Prompt-CAM: prompts of the classes, learned into a frozen transformer, attend to what tells their class from others.

Chowdhury et al. 2025.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from pellucid import hooks
from pellucid.attribution.asked import classes_of
from pellucid.attribution.attention import FUSE, chosen_heads
from pellucid.attribution.fitted import Explainer, Lesson, explainer_of, same_build
from pellucid.engine import Evidence
from pellucid.engine.blocks import TokenBlocks, block_by_block, takes_more_tokens, token_blocks
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.hooks import Attended
from pellucid.registry import Fitting, Learning, method
from pellucid.subject import VisionModel
from pellucid.values import Fitted

_NAME = "prompt_cam"
_DROPPED = 0.1  # share of the channels that the head goes without while it learns
VARIANTS = ("deep", "shallow")


class PromptNet(nn.Module):
    """A prompt per class, and one score that all of them are read by.

    variant: `deep` gives each block prompts of its own, and only the last block's belong to classes; `shallow` puts the
             classes' before the first block and lets them go through all
    width, depth: of the model's tokens and blocks; classes: how many; general: prompts of each block but the last
    patch:   pixels across a patch, by which the prompts are drawn at the start
    """

    def __init__(self, variant: str, width: int, depth: int, classes: int, general: int, patch: int) -> None:
        super().__init__()
        self.variant, self.depth = variant, depth
        bound = (6 / (3 * patch**2 + width)) ** 0.5
        earlier = depth - 1 if variant == "deep" else 0
        self.own = nn.Parameter(torch.empty(classes, width).uniform_(-bound, bound))
        self.general = nn.Parameter(torch.empty(earlier, general, width).uniform_(-bound, bound))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 1)

    def entering(self, number: int, carried: Tensor | None, batch: int) -> Float[Tensor, "batch prompt channel"]:
        """The prompts that enter a block; `carried` are those that came out of the one before."""
        if self.variant == "shallow" and number:
            assert carried is not None
            return carried
        new = self.own if self.variant == "shallow" or number == self.depth - 1 else self.general[number]
        return new.expand(batch, -1, -1)

    def scores(
        self, prompts: Float[Tensor, "batch classes channel"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch classes"]:
        """One score per class; with a generator some channels are left out."""
        read = self.norm(prompts)
        if generator is not None:
            kept = torch.rand(read.shape, generator=generator).to(read) >= _DROPPED
            read = read * kept / (1 - _DROPPED)
        return self.head(read)[..., 0]


@dataclass(frozen=True)
class Prompted:
    """What the class prompts made of pictures.

    scores: of the classes, as logits
    rows:   what each class's prompt attends to among the patches, by each head of the last block
    """

    scores: Float[Tensor, "batch classes"]
    rows: Float[Tensor, "batch head classes patch"]

    @property
    def probabilities(self) -> Float[Tensor, "batch classes"]:
        return self.scores.softmax(dim=-1)


def prompted(
    model: VisionModel, inputs: Float[Tensor, "batch channel height width"], blocks: TokenBlocks, net: PromptNet, *,
    blurred: tuple[Sequence[int], Bool[Tensor, "batch head"]] | None = None,
    generator: torch.Generator | None = None,
) -> Prompted:  # fmt: skip
    """The model's blocks run on prompts and tokens together.

    blurred:   the class of each picture, and in which heads its prompt attends to everything alike
    generator: leaves out channels, for learning

    Raises MethodUnavailable where the last block does not have one attention among all its tokens.
    """
    seen: list[Attended] = []
    carried: list[Tensor] = []

    def evened(probabilities: Tensor) -> Tensor:
        if blurred is None:
            return probabilities
        classes, heads = blurred
        changed = probabilities.clone()
        rows = torch.arange(len(changed), device=changed.device)
        asked = torch.tensor(list(classes), device=changed.device)
        even = torch.full_like(changed[rows, :, asked], 1 / changed.shape[-1])
        changed[rows, :, asked] = torch.where(heads.to(changed.device)[..., None], even, changed[rows, :, asked])
        return changed

    def step(number: int, block: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
        prompts = net.entering(number, carried[-1] if carried else None, len(tokens)).to(tokens.dtype)
        together = torch.cat([prompts, tokens], dim=1)
        if number < len(blocks) - 1:
            made = block(together)
        else:
            with hooks.captured_attention(seen.append, reweighed=evened):
                made = block(together)
        carried.append(made[:, : prompts.shape[1]])
        return made[:, prompts.shape[1] :]

    block_by_block(model, inputs, blocks, step)
    classes = len(net.own)
    if len(seen) != 1 or seen[0].probabilities.ndim != 4:
        raise MethodUnavailable(_NAME, f"its last block holds {len(seen)} attentions; one among all tokens is needed.")
    first = classes + blocks.grid.prefix
    count = blocks.grid.patches
    rows = seen[0].probabilities[:, :, :classes, first : first + count].detach().float()
    return Prompted(net.scores(carried[-1].float(), generator), rows)


def _shape(
    model: VisionModel, size: tuple[int, int], *, variant: str = "deep", general: int | None = None
) -> dict[str, Any]:
    if variant not in VARIANTS:
        raise RequestError(f"variant={variant!r}; expected one of {', '.join(VARIANTS)}.")
    blocks = token_blocks(model, size, _NAME)
    takes_more_tokens(model, size, blocks, _NAME)
    classes = len(model.labels)
    return {
        "variant": variant, "width": blocks.width, "depth": len(blocks), "classes": classes,
        "general": classes if general is None else general, "patch": max(1, round(size[0] / blocks.grid.rows)),
    }  # fmt: skip


def _loss(net: PromptNet, lesson: Lesson) -> Tensor:
    """The prompts have to name the class that the model itself names."""
    blocks = token_blocks(lesson.model, lesson.evidence.size, _NAME)
    generator = lesson.generator if net.training else None
    found = prompted(lesson.model, lesson.inputs, blocks, net, generator=generator)
    return functional.cross_entropy(found.scores, lesson.outputs.argmax(dim=1))


@method(
    _NAME, needs=[Fitted], paper="Chowdhury et al. 2025", cost=1,
    fitting=Fitting(_shape, PromptNet, _loss, Learning(updates=600, learning_rate=1e-2)),
)  # fmt: skip
def prompt_cam(
    evidence: Evidence, *, explainer: Explainer | str | Path | None = None, heads: Sequence[int] | None = None,
    fuse: str = "mean",
) -> Float[Tensor, "batch h w"]:  # fmt: skip
    """What tells a class from the others, as a prompt for it attends that has learned to recognise it.

    explainer: what was fitted, or its file; None is the one that came with the model
    heads:     which of the last block's heads, counted from 0; None is all
    fuse:      how these heads become one: `mean`, `max` or `min`
    returns:   parts of one, which other prompts and the class token share

    Raises MethodUnavailable for a model that takes no further tokens, and for targets that are no classes.
    """
    asked = classes_of(evidence, _NAME)
    found, blocks = asked_prompts(evidence, explainer)
    rows = found.rows[torch.arange(len(asked)), :, asked]
    if heads is not None:
        rows = rows[:, chosen_heads(heads, rows.shape[1], _NAME)]
    return blocks.on_grid(FUSE[fuse](rows))


def asked_prompts(evidence: Evidence, explainer: Explainer | str | Path | None = None) -> tuple[Prompted, TokenBlocks]:
    """What the prompts of an explainer make of the pictures, and where the patches lie. Counts one forward.

    Notes in how many pictures the prompts name the class that the model names.
    """
    blocks, net = _read(evidence, explainer)
    with torch.no_grad():
        found = prompted(evidence.model, evidence.inputs, blocks, net)
    evidence.passes.add(forwards=1)
    same = int((found.scores.argmax(dim=1) == evidence.output().argmax(dim=1)).sum())
    evidence.note(
        f"Prompts answer with a head of their own; they name the class of {evidence.model.name} in {same} of "
        f"{len(evidence)} pictures."
    )
    return found, blocks


@dataclass(frozen=True)
class Ranking:
    """The heads of the last block by how much a class's prompt needs them, in one picture.

    blurred: in the order in which they were blurred: what is needed least comes first
    left:    the class's probability after each; whole: before any
    maps:    what each head attends to, by the number of the head
    """

    blurred: tuple[int, ...]
    left: tuple[float, ...]
    whole: float
    maps: Float[Tensor, "head h w"]

    def needed(self, share: float) -> tuple[int, ...]:
        """The heads, most needed first, that were left when the probability first fell below a share of the whole."""
        kept = next((at for at, chance in enumerate(self.left) if chance < share * self.whole), len(self.left))
        return self.blurred[kept:][::-1]


def ranked_heads(evidence: Evidence, label: int, explainer: Explainer | str | Path | None = None) -> Ranking:
    """Blurs one head after the other for a class's prompt, each time the one without which most probability is left.

    evidence: of one picture. A blurred head attends to everything alike. Costs half the square of the heads.
    """
    blocks, net = _read(evidence, explainer)

    def asked(heads: Bool[Tensor, "way head"] | None) -> Prompted:
        count = 1 if heads is None else len(heads)
        inputs = evidence.inputs[:1].expand(count, -1, -1, -1)
        evidence.passes.add(forwards=count)
        with torch.no_grad():
            return prompted(evidence.model, inputs, blocks, net,
                            blurred=None if heads is None else ([label] * count, heads))  # fmt: skip

    plain = asked(None)
    count = plain.rows.shape[1]
    even = torch.zeros(count, dtype=torch.bool)
    blurred, left = list[int](), list[float]()
    while len(blurred) < count:
        waiting = [head for head in range(count) if head not in blurred]
        ways = even.expand(len(waiting), -1).clone()
        ways[torch.arange(len(waiting)), waiting] = True
        chances = torch.cat([asked(some).probabilities[:, label] for some in ways.split(evidence.room)])
        best = int(chances.argmax())
        blurred.append(waiting[best])
        left.append(float(chances[best]))
        even[waiting[best]] = True
    maps = blocks.on_grid(plain.rows[0, :, label])
    return Ranking(tuple(blurred), tuple(left), float(plain.probabilities[0, label]), maps)


def _read(evidence: Evidence, explainer: Explainer | str | Path | None) -> tuple[TokenBlocks, Any]:
    blocks = token_blocks(evidence.model, evidence.size, _NAME)
    fitted = explainer_of(evidence, _NAME, explainer)
    same_build(fitted, width=blocks.width, depth=len(blocks), classes=len(evidence.model.labels))
    return blocks, fitted.net
