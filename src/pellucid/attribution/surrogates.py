"""A simple additive model, fitted around one picture, whose coefficients are the explanation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.attribution.players import scores_shown, segments_of, shares_on_pixels
from pellucid.engine import Evidence
from pellucid.registry import method
from pellucid.values import Check, Scores

LIMIT = 1e-3


def _lime_passes(*, samples: int = 1000, **_: Any) -> float:
    return samples


@method("lime", needs=[Scores], paper="Ribeiro et al. 2016", signed=True, cost=_lime_passes)
def lime(
    evidence: Evidence,
    *,
    samples: int = 1000,
    segments: int | Int[Tensor, "height width"] = 50,
    baseline: str = "blur",
    keep: float = 0.5,
    kernel: float = 0.25,
    ridge: float = 1.0,
) -> Float[Tensor, "batch height width"]:
    """How much a patch of the picture adds to the target when it is shown, in a linear model of shown and hidden.

    segments: about how many superpixels, or a map of segment numbers [height width]
    baseline: what hidden segments become
    keep:     chance that a segment is shown in a sample; the first sample shows all
    kernel:   width of the kernel exp(-d²/kernel²) that weighs samples by their cosine distance d to the whole picture
    ridge:    strength of the penalty on the squared coefficients; the intercept is free
    returns:  the segment's coefficient, in target units, on each of its pixels; how well the model fits is a note
    """
    maps = segments_of(evidence, segments)
    shown = [_random_choices(evidence, samples, int(numbers.max()) + 1, keep) for numbers in maps]
    scores = scores_shown(evidence, maps, shown, baseline)
    painted: list[Tensor] = []
    fits: list[float] = []
    for numbers, choices, answers in zip(maps, shown, scores.double(), strict=True):
        distance = 1 - choices.mean(dim=1).sqrt()  # cosine distance of a 0/1 vector to all ones
        weights = torch.exp(-(distance / kernel).square())  # in this order a narrow kernel's square cannot vanish
        coefficients, fit = _ridge(choices, answers, weights, ridge)
        painted.append(coefficients[numbers])
        fits.append(fit)
    evidence.note(f"LIME's linear model explains {_span(fits)} of the weighted variance (R²) of the scores.")
    return torch.stack(painted).to(evidence.inputs)


@method("c_lime", needs=[Scores], paper="Agarwal et al. 2021", signed=True, cost=_lime_passes)
def c_lime(
    evidence: Evidence,
    *,
    samples: int = 1000,
    segments: int | Int[Tensor, "height width"] = 50,
    noise: float = 0.15,
) -> Float[Tensor, "batch height width"]:
    """How fast the target rises with a patch's brightness, in a linear model of small random changes of all patches.

    samples:  changed pictures, in pairs that mirror each other, so that curvature cancels
    segments: about how many superpixels, or a map of segment numbers [height width]; one per pixel is SmoothGrad in the
              limit of many samples, by Stein's identity
    noise:    standard deviation of what is added to all pixels and colours of a segment, as part of the picture's own
              range (largest minus smallest value)
    returns:  the coefficient of an unweighted least-squares fit with intercept, in target units per unit of model
              input, spread evenly over the segment's pixels. How well the model fits is a note
    """
    maps = segments_of(evidence, segments)
    counts = [int(numbers.max()) + 1 for numbers in maps]
    added = [_mirrored_noise(evidence, samples, count) for count in counts]
    span = evidence.inputs.amax(dim=(1, 2, 3)) - evidence.inputs.amin(dim=(1, 2, 3))
    sigma = (noise * span).clamp(min=torch.finfo(torch.float32).tiny)

    def points() -> Iterator[Tensor]:
        for sample in range(samples):
            step = torch.stack([draws[sample][numbers] for draws, numbers in zip(added, maps, strict=True)])
            yield evidence.inputs + (sigma[:, None, None] * step.to(evidence.inputs))[:, None]

    scores = torch.stack(list(evidence.scores_at(points())), dim=1).double().cpu()
    painted: list[Tensor] = []
    fits: list[float] = []
    for numbers, draws, answers, width in zip(maps, added, scores, sigma.double().tolist(), strict=True):
        coefficients, fit = _ridge(draws.double(), answers, torch.ones(samples).double(), 0.0)
        painted.append(shares_on_pixels(coefficients / width, numbers))
        fits.append(fit)
    evidence.note(f"C-LIME's linear model explains {_span(fits)} of the variance (R²) of the scores.")
    return torch.stack(painted).to(evidence.inputs)


def _shap_passes(*, samples: int = 1000, segments: Any = 50, **_: Any) -> float:
    few = isinstance(segments, int) and segments < 20
    return min(samples, 2**segments - 2) + 1 if few else samples + 1


def efficiency(evidence: Evidence, values: Tensor, parameters: Mapping[str, Any]) -> list[Check]:
    """Whether the shares sum to target(picture) - target(everything hidden), one check per picture."""
    hidden = evidence.score_of_fill(parameters.get("baseline", "blur"))
    checks: list[Check] = []
    for total, shared in zip(values.flatten(1).sum(dim=1).tolist(), (evidence.score() - hidden).tolist(), strict=True):
        gap = abs(total - shared) / max(abs(shared), 1e-8)
        words = f"The shares sum to {total:.4g}; hiding everything changes the target by {shared:.4g} (gap {gap:.2%})."
        checks.append(Check("efficiency", gap <= LIMIT, gap, words))
    return checks


@method(
    "kernel_shap",
    needs=[Scores],
    paper="Lundberg & Lee 2017",
    signed=True,
    cost=_shap_passes,
    promise=efficiency,
)
def kernel_shap(
    evidence: Evidence,
    *,
    samples: int = 1000,
    segments: int | Int[Tensor, "height width"] = 50,
    baseline: str = "blur",
) -> Float[Tensor, "batch height width"]:
    """Each segment's fair share (Shapley value) of the difference between the picture and the hidden picture.

    samples:  coalitions of segments tried; where there are no more than that (1000: up to 9 segments) all of them are,
              and the values are exact
    segments: about how many superpixels, or a map of segment numbers [height width]
    baseline: what hidden segments become
    returns:  the segment's share spread evenly over its pixels, so that the map sums to
              target(picture) - target(baseline)
    """
    maps = segments_of(evidence, segments)
    whole = evidence.score().double()
    empty = evidence.score_of_fill(baseline)
    plans = [_coalitions(evidence, samples, int(numbers.max()) + 1) for numbers in maps]
    scores = scores_shown(evidence, maps, [plan[0] for plan in plans], baseline)
    painted: list[Tensor] = []
    for index, (numbers, (choices, weights)) in enumerate(zip(maps, plans, strict=True)):
        shares = _constrained(
            choices, weights, scores[index, : len(choices)].double() - empty[index], whole[index] - empty[index]
        )
        painted.append(shares_on_pixels(shares, numbers))
    return torch.stack(painted).to(evidence.inputs)


def _random_choices(evidence: Evidence, samples: int, count: int, keep: float) -> Float[Tensor, "sample segment"]:
    """1 for shown, 0 for hidden; the same draw for every picture with as many segments."""
    generator = evidence.seed.child("lime", count).generator()
    choices = (torch.rand(samples, count, generator=generator) < keep).double()
    choices[0] = 1
    return choices


def _mirrored_noise(evidence: Evidence, samples: int, count: int) -> Float[Tensor, "sample segment"]:
    """Standard normal draws, each followed by its opposite; the same for every picture with as many segments."""
    generator = evidence.seed.child("c_lime", count).generator()
    half = torch.randn((samples + 1) // 2, count, generator=generator)
    return torch.stack([half, -half], dim=1).flatten(0, 1)[:samples]


def _span(fits: list[float]) -> str:
    low, high = f"{min(fits):.2f}", f"{max(fits):.2f}"
    return low if low == high else f"{low} to {high}"


def _ridge(choices: Tensor, answers: Tensor, weights: Tensor, ridge: float) -> tuple[Tensor, float]:
    """Weighted ridge regression with a free intercept: coefficients and weighted R²."""
    weights = weights / weights.sum()
    centred = choices - weights @ choices
    wanted = answers - weights @ answers
    samples = len(choices)
    # The weights average to one over the samples, so that `ridge` means what it means in ordinary least squares.
    square = centred.T @ (weights[:, None] * centred) * samples + ridge * torch.eye(choices.shape[1]).double()
    coefficients = torch.linalg.lstsq(square, centred.T @ (weights * wanted) * samples, driver="gelsd").solution
    missed = (weights * (wanted - centred @ coefficients).square()).sum()
    spread = (weights * wanted.square()).sum()
    return coefficients, float(1 - missed / spread) if spread > 0 else 1.0


def _coalitions(evidence: Evidence, samples: int, count: int) -> tuple[Tensor, Tensor]:
    """Which segments are shown in each sample [sample segment], and the weight of the sample.

    Neither the empty nor the full coalition: the constraints hold them exactly.
    """
    if count == 1:
        return torch.zeros(0, 1).double(), torch.zeros(0).double()
    if 2**count - 2 <= samples:
        numbers = torch.arange(1, 2**count - 1)
        choices = (numbers[:, None] >> torch.arange(count) & 1).double()
        sizes = choices.sum(dim=1).int().tolist()
        kernel = [(count - 1) / (math.comb(count, size) * size * (count - size)) for size in sizes]
        return choices, torch.tensor(kernel).double()
    # Sizes drawn in proportion to the kernel, so that every sample weighs the same; each coalition is followed by its
    # opposite, which halves the variance.
    generator = evidence.seed.child("kernel_shap", count).generator()
    sizes = torch.arange(1, count)
    chance = 1.0 / (sizes * (count - sizes)).double()
    pairs = max(samples // 2, 1)
    drawn = sizes[torch.multinomial(chance, pairs, replacement=True, generator=generator)]
    ranks = torch.rand(pairs, count, generator=generator).argsort(dim=1).argsort(dim=1)
    half = (ranks < drawn[:, None]).double()
    choices = torch.stack([half, 1 - half], dim=1).flatten(0, 1)
    return choices, torch.ones(len(choices)).double()


def _constrained(choices: Tensor, weights: Tensor, answers: Tensor, shared: Tensor) -> Float[Tensor, "segment"]:
    """Weighted least squares without intercept whose coefficients sum exactly to `shared`."""
    if choices.shape[1] == 1:
        return shared[None]
    last = choices[:, -1]
    design = choices[:, :-1] - last[:, None]
    wanted = answers - last * shared
    root = weights.sqrt()
    # Fewer samples than segments leave freedom: the smallest solution is taken.
    first = torch.linalg.lstsq(root[:, None] * design, root * wanted, driver="gelsd").solution
    return torch.cat([first, (shared - first.sum())[None]])
