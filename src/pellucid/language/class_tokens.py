"""Tokens read by a model's own head, and which of them speak for the class through attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from pellucid import hooks
from pellucid.engine import look
from pellucid.engine.token_drop import token_answers
from pellucid.language.residual import Written, picture_tower, writing
from pellucid.language.towers import Readout, read_tower
from pellucid.subject import VisionModel
from pellucid.subject.loaders.dual import DualEncoder
from pellucid.values import Class, Seed


def token_importance(
    model: VisionModel, inputs: Float[Tensor, "picture 3 height width"], labels: Int64[Tensor, "picture"]
) -> Float[Tensor, "picture token"]:
    """How much each patch speaks for the class through the attention of every block, signed.

    Less the gradient of the class's cross-entropy, as the head reads what attention adds to the token that is read, on
    that token's attention; summed over heads and blocks. Nothing of what later blocks make of it is counted.
    """
    network = picture_tower(model)
    with hooks.guest(network, frozen=True), torch.inference_mode(False):
        tower = read_tower(network)
        says = TokenHead(model, tower.readout)
        with torch.no_grad():
            begun = tower.begin(inputs.to(model.device, model.dtype))
            written = [*writing(tower, begun)]
        found = [_pull(one, says, labels.to(model.device))[:, tower.prefix :] for one in written]
    return torch.stack(found).sum(dim=0)


@dataclass(frozen=True)
class Kept:
    """The probability of the class with some patches taken out of the sequence, mean over pictures.

    share: of the patches that stay; whole: with all of them
    most, least, any: with those that speak for the class most, those that do least, as many by lot
    """

    share: float
    whole: float
    most: float
    least: float
    any: float

    @property
    def beats(self) -> bool:
        """Whether the patches that speak for the class keep it better than as many by lot."""
        return self.most > self.any

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "beats": self.beats}

    def __str__(self) -> str:
        verdict = "" if self.beats else " Those that speak for it are no better than any."
        return (
            f"With {self.share:.0%} of the patches the class has {self.most:.0%} where those stay that speak for it "
            f"most, {self.least:.0%} where those that do least, {self.any:.0%} by lot; {self.whole:.0%} with all."
            f"{verdict}"
        )


def kept(
    model: VisionModel, inputs: Float[Tensor, "picture 3 height width"], labels: Int64[Tensor, "picture"], *,
    shares: Sequence[float] = (0.5, 0.25), batch: int = 16, seed: Seed | int = 0,
) -> tuple[Kept, ...]:  # fmt: skip
    """Whether `token_importance` is right: the patches that it ranks first or last stay alone, or as many by lot.

    Raises MethodUnavailable where patches cannot be taken out, TowerUnsupported.
    """
    generator = (seed if isinstance(seed, Seed) else Seed(seed)).child("tokens").generator()
    rows: list[Tensor] = []
    for start in range(0, len(inputs), batch):
        some, of = inputs[start : start + batch], labels[start : start + batch]
        order = token_importance(model, some, of).cpu().argsort(dim=1, descending=True, stable=True)
        lot = torch.rand(order.shape, generator=generator).argsort(dim=1)
        counts = [max(1, round(share * order.shape[1])) for share in shares]
        asked = [order, *(each for count in counts for each in (order[:, :count], order[:, -count:], lot[:, :count]))]
        evidence = look(model, some, [Class(label) for label in of.tolist()])
        rows.append(torch.stack([one.probabilities for one in token_answers(evidence, asked)]))
    means = torch.cat(rows, dim=1).mean(dim=1).tolist()
    return tuple(Kept(share, means[0], *means[1 + 3 * place : 4 + 3 * place]) for place, share in enumerate(shares))


class TokenHead:
    """What the model's head says of one token, whichever it usually reads."""

    def __init__(self, model: VisionModel, readout: Readout) -> None:
        self.readout, self.texts = readout, model.network if isinstance(model.network, DualEncoder) else None

    def __call__(self, tokens: Float[Tensor, "... width"]) -> Float[Tensor, "... classes"]:
        return self.finished(
            sum((self.normed(tokens) @ matrix.T for _, matrix in self.readout.parts), self.readout.bias)
        )

    def whole(self, tokens: Float[Tensor, "picture token width"]) -> Float[Tensor, "picture classes"]:
        """What it says of all tokens together, as it reads them."""
        total = self.readout.bias
        for weigh, matrix in self.readout.parts:
            weights = weigh(tokens.shape[1]).to(tokens)
            kept = tokens if self.readout.after else self.normed(tokens)
            pooled = torch.einsum("btw,t->bw", kept, weights)
            total = total + (self.normed(pooled) if self.readout.after else pooled) @ matrix.T
        return self.finished(total)

    def reads(self, tokens: int) -> list[bool]:
        """Which of so many tokens it reads."""
        weights = torch.stack([weigh(tokens).float() for weigh, _ in self.readout.parts])
        return (weights != 0).any(dim=0).tolist()

    def normed(self, tokens: Tensor) -> Tensor:
        return tokens if self.readout.norm is None else self.readout.norm(tokens)

    def finished(self, embedding: Tensor) -> Tensor:
        if self.texts is None:
            return embedding
        unit = functional.normalize(embedding, dim=-1)
        return unit @ self.texts.text_features.T * self.texts.logit_scale + self.texts.logit_bias

    @property
    def directions(self) -> Float[Tensor, "classes width"]:
        """Along which the stream has to move for each class, the norm's gain included."""
        matrix = torch.stack([matrix for _, matrix in self.readout.parts]).sum(dim=0)
        matrix = matrix if self.texts is None else self.texts.text_features @ matrix
        gain = getattr(self.readout.norm, "weight", None)
        return matrix if gain is None else matrix * gain


def _pull(one: Written, says: TokenHead, labels: Int64[Tensor, "picture"]) -> Float[Tensor, "picture token"]:
    """Less the gradient of the cross-entropy on one block's attention, in the rows of what the head reads."""
    rows = torch.tensor(says.reads(one.links.shape[2]), device=one.links.device)
    with torch.enable_grad():
        links = one.links[:, :, rows].detach().requires_grad_()
        mixed = (links @ one.values).transpose(1, 2).flatten(2)
        said = says(functional.linear(mixed, one.block.out, one.block.out_bias))
        loss = functional.cross_entropy(said.flatten(0, 1), labels.repeat_interleave(said.shape[1]), reduction="sum")
        (slope,) = torch.autograd.grad(loss / said.shape[1], links)
    return -slope.sum(dim=(1, 2))
