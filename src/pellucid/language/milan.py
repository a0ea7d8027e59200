"""What a captioner says of the places that drive a unit, less what it says anyway.

Hernandez et al., Natural Language Descriptions of Deep Visual Features (MILAN), ICLR 2022: the description d with the
largest log p(d | exemplars) - weight * log p(d).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from pellucid.errors import ShapeError
from pellucid.results import Beside
from pellucid.testbed.nets import Captioner
from pellucid.values import Seed

EXEMPLARS, QUANTILE, WEIGHT = 15, 0.99, 0.2


@dataclass(frozen=True)
class Description:
    """One text, its score, and the two likelihoods it is made of (natural logarithms)."""

    text: str
    score: float
    seen: float
    anyway: float


def describe(
    captioner: Captioner,
    pictures: Float[Tensor, "picture 3 height width"],
    activation: Float[Tensor, "picture h w"],
    candidates: Sequence[str],
    *,
    anyway: Float[Tensor, "text"],
    weight: float = WEIGHT,
) -> tuple[Description, ...]:
    """Candidate texts for one unit, the best first.

    pictures:   in 0..1, as the captioner takes them
    activation: the unit's map of the same pictures; what lies above its .99 quantile is shown, the rest is painted in
                the picture's mean colour
    anyway:     log likelihood of each candidate whatever the unit, such as `likelihood` over pictures drawn at random
                gives; in the paper a language model's, which this captioner has none of
    """
    if len(pictures) != len(activation):
        raise ShapeError("The unit's maps", got=tuple(activation.shape), expected=f"{len(pictures)}, one per picture")
    strongest = activation.flatten(1).amax(dim=1).topk(min(EXEMPLARS, len(pictures))).indices
    shown = _shown(pictures[strongest], activation[strongest], float(np.quantile(activation.numpy(), QUANTILE)))
    seen = likelihood(captioner, shown, candidates)
    scored = [
        Description(text, one - weight * other, one, other)
        for text, one, other in zip(candidates, seen.tolist(), anyway.tolist(), strict=True)
    ]
    return tuple(sorted(scored, key=lambda said: -said.score))


def beside(
    captioner: Captioner, pictures: Float[Tensor, "picture 3 height width"], activation: Float[Tensor, "picture h w"],
    candidates: Sequence[str], *, anyway: Float[Tensor, "text"], weight: float = WEIGHT, seed: int = 0,
) -> Beside:  # fmt: skip
    """The score of a unit's text on pictures that did not help to choose it, beside texts that nothing chose.

    The text is chosen on every second picture and scored on the others; so is one chosen with the unit's maps dealt to
    other pictures. Twice the cost of `describe`.
    """
    order = torch.randperm(len(pictures), generator=Seed(seed).child("dealt maps").generator()).to(activation.device)
    one, other = slice(0, None, 2), slice(1, None, 2)
    score = lambda said: {each.text: each.score for each in said}
    chosen, blind = (
        describe(captioner, pictures[one], maps[one], candidates, anyway=anyway, weight=weight)[0].text
        for maps in (activation, activation[order])
    )
    later = score(describe(captioner, pictures[other], activation[other], candidates, anyway=anyway, weight=weight))
    return Beside("Score of the text on pictures that did not help to choose it", later[chosen], {
        "of the text chosen with the maps dealt to other pictures": later[blind],
        "of a random text": sum(later.values()) / len(later),
    }, unit="nats per word")  # fmt: skip


@torch.no_grad()
def likelihood(
    captioner: Captioner, pictures: Float[Tensor, "picture 3 height width"], texts: Sequence[str]
) -> Float[Tensor, "text"]:
    """The mean over pictures of the log likelihood of each text, per word so that short ones have no advantage."""
    seen, numbers = captioner.look(pictures), captioner.words.encode(texts)
    found: list[Tensor] = []
    for row in numbers:
        said = row[row != 0]
        logits = captioner.speak(seen, said[None, :-1].expand(len(seen), -1)).log_softmax(dim=-1)
        own = logits.gather(2, said[None, 1:, None].expand(len(seen), -1, -1))
        found.append(own.mean())
    return torch.stack(found)


def _shown(
    pictures: Float[Tensor, "picture 3 height width"], activation: Float[Tensor, "picture h w"], level: float
) -> Float[Tensor, "picture 3 height width"]:
    large = functional.interpolate(activation[:, None], pictures.shape[-2:], mode="bilinear", align_corners=False)
    mask: Bool[Tensor, "picture 1 height width"] = large >= min(level, float(large.max()))
    return torch.where(mask, pictures, pictures.mean(dim=(2, 3), keepdim=True))
