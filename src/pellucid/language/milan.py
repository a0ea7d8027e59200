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
from pellucid.testbed.nets.words import LONGEST, PAD
from pellucid.values import Seed

EXEMPLARS, QUANTILE, WEIGHT = 15, 0.99, 0.2
_LEAST = 1e-12  # a likelihood below which texts are not told apart


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
    activation: the unit's map of the same pictures; the words look at what lies above its .99 quantile in the 15
                pictures where it is strongest
    anyway:     log likelihood of each candidate whatever the unit, such as `likelihood` over pictures drawn at random
                gives; in the paper a language model's, which this captioner has none of
    """
    if len(pictures) != len(activation):
        raise ShapeError("The unit's maps", got=tuple(activation.shape), expected=f"{len(pictures)}, one per picture")
    strongest = activation.flatten(1).amax(dim=1).topk(min(EXEMPLARS, len(pictures))).indices
    level = float(np.quantile(activation.numpy(), QUANTILE))
    region = _region(activation[strongest], level, (pictures.shape[2], pictures.shape[3]))
    seen = likelihood(captioner, pictures[strongest], candidates, region=region)
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
    }, unit="nats")  # fmt: skip


@torch.no_grad()
def likelihood(
    captioner: Captioner, pictures: Float[Tensor, "picture 3 height width"], texts: Sequence[str], *,
    region: Bool[Tensor, "picture height width"] | None = None,
) -> Float[Tensor, "text"]:  # fmt: skip
    """How likely the captioner is to say each text of such pictures, whatever else it says (natural logarithm).

    It tells each picture in a sentence of its own. A text is read into that where it fits best, its words in order and
    at most one other between two of them: "a forked tail" is as likely in "a fanned plum tail" as "forked" was in the
    place of "fanned". Of pictures it is the mean.

    region: where the words may look: the tokens of these places, which know what is around them, and the class token;
            None is everywhere
    """
    said = captioner.generate(pictures, longest=LONGEST - 1)  # its end, which may be missing, still fits
    numbers, seen = captioner.words.encode(said), captioner.look(pictures)
    if region is None:
        logits = captioner.speak(seen, numbers[:, :-1])
    else:
        cells = functional.adaptive_max_pool2d(region[:, None].float(), captioner.tower.grid).flatten(1) > 0
        kept = torch.cat([torch.ones_like(cells[:, :1]), cells], dim=1)
        each = zip(seen, kept, numbers, strict=True)
        logits = torch.cat([captioner.speak(one[among][None], words[None, :-1]) for one, among, words in each])
    spoken = logits.log_softmax(dim=-1).masked_fill((numbers[:, 1:] == PAD)[..., None], -torch.inf)
    read = torch.stack([_read_into(spoken, captioner.words.numbers(text)) for text in texts], dim=1)
    return read.exp().mean(dim=0).clamp(min=_LEAST).log()


def _read_into(spoken: Float[Tensor, "picture place word"], numbers: Sequence[int]) -> Float[Tensor, "picture"]:
    """The largest sum of log likelihoods over places that follow each other, or but for one.

    spoken: of every word at every place of each sentence, after the words before it
    """
    first, *others = numbers
    best = spoken[:, :, first]
    for number in others:
        next_to, one_between = (functional.pad(best, (step, 0), value=-torch.inf)[:, :-step] for step in (1, 2))
        best = spoken[:, :, number] + torch.maximum(next_to, one_between)
    return best.amax(dim=1)


def _region(
    activation: Float[Tensor, "picture h w"], level: float, size: tuple[int, int]
) -> Bool[Tensor, "picture height width"]:
    """What lies above the level, or is the picture's strongest; a level of 0 must not show where the unit is silent."""
    large = functional.interpolate(activation[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    return (large > level) | (large >= large.amax(dim=(1, 2), keepdim=True))
