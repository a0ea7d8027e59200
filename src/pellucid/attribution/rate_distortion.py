"""The fewest coefficients of a picture, in pixels, wavelets or shearlets, that keep the model's answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.attribution.masks import as_probability
from pellucid.engine import Evidence
from pellucid.engine.optimise import descend
from pellucid.images.shearlets import Shearlets
from pellucid.images.wavelets import Wavelets
from pellucid.registry import method
from pellucid.values import Gradients, InputGradient, Probability

_LUMA = (0.299, 0.587, 0.114)


@runtime_checkable
class Basis(Protocol):
    """A way to write pictures as coefficients, in bands, and back."""

    def analysed(self, pictures: Tensor) -> Tensor: ...
    def synthesised(self, coefficients: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class _Pixels:
    """Pixels as they are."""

    def analysed(self, pictures: Tensor) -> Tensor:
        return pictures

    def synthesised(self, coefficients: Tensor) -> Tensor:
        return coefficients


@dataclass(frozen=True)
class _Question:
    """What is to be paid for: coefficients kept, and light in what they show.

    raised: whether the answer is to be as high as can be, instead of as it was
    """

    updates: int
    samples: int
    rate: float
    sparsity: float
    spatial: float
    raised: bool = False


def _passes(*, updates: int = 300, samples: int = 1, **_: Any) -> float:
    return 3.0 * updates * samples + 2


@method("pixel_rde", needs=[InputGradient, Gradients], paper="MacDonald et al. 2019", cost=_passes)
def pixel_rde(
    evidence: Evidence, *, updates: int = 300, samples: int = 1, rate: float = 0.1, sparsity: float = 0.5
) -> Float[Tensor, "batch height width"]:
    """The fewest pixels that keep the answer when all others are noise.

    samples:  draws of the noise per step: uniform, one standard deviation around the mean of each colour
    sparsity: price of all pixels, where a distortion of 1 is the whole answer lost
    returns:  the mask, 0 to 1
    """
    bands = torch.zeros(evidence.size, dtype=torch.long)
    question = _Question(updates, samples, rate, sparsity, 0.0)
    return _mask(evidence, _Pixels(), bands, question)


@method("cartoonx", needs=[InputGradient, Gradients], paper="Kolek et al. 2022", cost=_passes)
def cartoonx(
    evidence: Evidence,
    *,
    updates: int = 300,
    samples: int = 1,
    rate: float = 0.1,
    sparsity: float = 2.0,
    levels: int = 5,
) -> Float[Tensor, "batch height width"]:
    """The piecewise smooth picture that is left of the fewest wavelets that keep the answer.

    samples:  draws of the noise per step that takes the place of the other wavelets, scale by scale
    sparsity: price of all wavelets, where a distortion of 1 is the whole answer lost
    levels:   of the wavelet transform
    returns:  what the kept wavelets show, as light: 0 dark to 1 bright
    """
    basis = Wavelets.of(evidence.size, levels)
    return _shown(evidence, basis, basis.scales, _Question(updates, samples, rate, sparsity, 0.0))


@method("waveletx", needs=[InputGradient, Gradients], paper="Kolek et al. 2023", cost=_passes)
def waveletx(
    evidence: Evidence, *, updates: int = 300, samples: int = 1, rate: float = 0.1, sparsity: float = 1.0,
    spatial: float = 2.0, levels: int = 5,
) -> Float[Tensor, "batch height width"]:  # fmt: skip
    """The least light, made of the fewest wavelets, that raises the target's probability as far as it goes.

    spatial: price of the mean brightness of what is kept
    returns: what the kept wavelets show, as light: 0 dark to 1 bright. Other parameters as those of `cartoonx`
    """
    basis = Wavelets.of(evidence.size, levels)
    return _shown(evidence, basis, basis.scales, _Question(updates, samples, rate, sparsity, spatial, raised=True))


@method("shearletx", needs=[InputGradient, Gradients], paper="Kolek et al. 2023", cost=_passes)
def shearletx(
    evidence: Evidence, *, updates: int = 300, samples: int = 1, rate: float = 0.1, sparsity: float = 1.0,
    spatial: float = 2.0, levels: int = 4,
) -> Float[Tensor, "batch height width"]:  # fmt: skip
    """The least light, made of the fewest shearlets, that raises the target's probability as far as it goes.

    Shearlets are edges and textures of one scale and one direction, so that the edges of what is kept are those of the
    picture. Parameters as those of `waveletx`; levels are scales of the shearlets.
    """
    basis = Shearlets.of(evidence.size, levels)
    bands = torch.arange(len(basis.filters))[:, None, None].expand(-1, *evidence.size)
    return _shown(evidence, basis, bands, _Question(updates, samples, rate, sparsity, spatial, raised=True))


def _shown(evidence: Evidence, basis: Basis, bands: Tensor, question: _Question) -> Float[Tensor, "batch height width"]:
    mask = _mask(evidence, basis, bands, question)
    light, _ = _light(evidence)
    kept = [
        basis.synthesised(own * basis.analysed(one)) for own, one in zip(mask.split(1), light.split(1), strict=True)
    ]
    return torch.cat(kept)[:, 0].clamp(0, 1)


def _mask(
    evidence: Evidence, basis: Basis, bands: Int[Tensor, "*coefficient"], question: _Question
) -> Float[Tensor, "batch *coefficient"]:
    """How much of each coefficient is kept. Picture by picture: shearlets of many at once would fill the memory."""
    asked = as_probability(evidence)
    found: list[Tensor] = []
    before = list[float]()
    after = list[float]()
    for place in range(len(evidence)):
        one = asked.alone(place)
        mask, drawn = _descended(one, basis, bands, question)
        told = torch.stack(list(one.scores_at([drawn]))).mean()
        evidence.passes.add(one.passes.forwards / len(evidence), one.passes.backwards / len(evidence))
        before.append(float(one.score()))
        after.append(float(told))
        found.append(mask)
    rates = ", ".join(f"{one.mean():.1%}" for one in found[:8])
    values = "; ".join(f"{old:.3g}, then {new:.3g}" for old, new in zip(before[:8], after[:8], strict=True))
    evidence.note(f"{rates} of the coefficients are kept; the target with all, and with noise for the rest: {values}.")
    return torch.cat(found)


def _descended(evidence: Evidence, basis: Basis, bands: Tensor, question: _Question) -> tuple[Tensor, Tensor]:
    """The mask of one picture, and the picture with noise for what is not kept."""
    bands = bands.to(evidence.inputs.device)
    whole = basis.analysed(evidence.inputs)
    noise = _Noise.of(whole, bands)
    light, (least, most) = _light(evidence)
    grey = basis.analysed(light)
    clean = evidence.score()
    chance = isinstance(evidence.targets[0], Probability) and evidence.model.activation != "none"
    scale = 1.0 if chance else float(clean.square().clamp(min=1e-12))
    wanted = torch.ones_like(clean) if question.raised and chance else clean

    def seen(mask: Tensor, draw: Tensor) -> Tensor:
        mixed = basis.synthesised(torch.lerp(draw, whole, mask[:, None]))
        return torch.minimum(torch.maximum(mixed, least), most)

    def show(mask: Tensor, step: int) -> list[Tensor]:
        draws = noise.drawn(evidence, step, question.samples)
        return [seen(mask, draw) for draw in draws]

    def loss(mask: Tensor, scores: Tensor, step: int) -> Tensor:
        distortion = (wanted - scores).square().mean(dim=0) / scale
        price = question.sparsity * mask.flatten(1).mean(dim=1)
        if question.spatial:
            kept = basis.synthesised(mask[:, None] * grey).clamp(0, 1)
            price = price + question.spatial * kept.flatten(1).mean(dim=1)
        return distortion + price

    start = torch.ones(1, *bands.shape).to(whole)
    mask = descend(evidence, start, show, loss, steps=question.updates, rate=question.rate).found
    (last,) = noise.drawn(evidence, question.updates, 1)
    return mask, seen(mask, last)


@dataclass(frozen=True, eq=False)
class _Noise:
    """Uniform noise, one standard deviation around the mean, with the mean and deviation of each band and colour."""

    mean: Float[Tensor, "1 channel *coefficient"]
    spread: Float[Tensor, "1 channel *coefficient"]

    @classmethod
    def of(cls, coefficients: Tensor, bands: Tensor) -> _Noise:
        place, flat = bands.flatten(), coefficients.flatten(2)
        count = int(place.max()) + 1
        sizes = place.bincount(minlength=count).to(flat)
        sums, squares = (flat.new_zeros(*flat.shape[:2], count).index_add_(2, place, one) for one in (flat, flat**2))
        mean = sums / sizes
        spread = (squares / sizes - mean.square()).clamp(min=0).sqrt()
        return cls(mean[..., place].view(coefficients.shape), spread[..., place].view(coefficients.shape))

    def drawn(self, evidence: Evidence, step: int, samples: int) -> Iterator[Tensor]:
        for sample in range(samples):
            generator = evidence.seed.child("noise", step, sample).generator()
            uniform = torch.rand(self.mean.shape, generator=generator).to(self.mean) * 2 - 1
            yield self.mean + self.spread * uniform


def _light(evidence: Evidence) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The pictures in grey between 0 and 1, and the least and greatest input that stands for a colour.

    Input that lies beyond black and white, as where nothing is known of its colours, is its own range.
    """
    inputs = evidence.inputs
    lows, highs = inputs.amin(dim=(-2, -1), keepdim=True), inputs.amax(dim=(-2, -1), keepdim=True)
    least, most = torch.minimum(evidence.fill("black"), lows), torch.maximum(evidence.fill("white"), highs)
    colours = (inputs - least) / (most - least)
    weights = torch.tensor(_LUMA if inputs.shape[1] == 3 else (1.0,)).to(inputs)
    return torch.einsum("bchw,c->bhw", colours, weights)[:, None], (least, most)
