"""A simple additive model, fitted around one picture, whose coefficients are the explanation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.images import superpixels
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
    maps = _segments(evidence, segments)
    shown = [_random_choices(evidence, samples, int(numbers.max()) + 1, keep) for numbers in maps]
    scores = _scores(evidence, maps, shown, baseline)
    painted: list[Tensor] = []
    fits: list[float] = []
    for numbers, choices, answers in zip(maps, shown, scores.double(), strict=True):
        distance = 1 - choices.mean(dim=1).sqrt()  # cosine distance of a 0/1 vector to all ones
        weights = torch.exp(-(distance / kernel).square())  # in this order a narrow kernel's square cannot vanish
        coefficients, fit = _ridge(choices, answers, weights, ridge)
        painted.append(coefficients[numbers])
        fits.append(fit)
    low, high = f"{min(fits):.2f}", f"{max(fits):.2f}"
    fit = low if low == high else f"{low} to {high}"
    evidence.note(f"LIME's linear model explains {fit} of the weighted variance (R²) of the scores.")
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
    maps = _segments(evidence, segments)
    whole = evidence.score().double()
    empty = evidence.score_of_fill(baseline)
    plans = [_coalitions(evidence, samples, int(numbers.max()) + 1) for numbers in maps]
    scores = _scores(evidence, maps, [plan[0] for plan in plans], baseline)
    painted: list[Tensor] = []
    for index, (numbers, (choices, weights)) in enumerate(zip(maps, plans, strict=True)):
        shares = _constrained(
            choices, weights, scores[index, : len(choices)].double() - empty[index], whole[index] - empty[index]
        )
        painted.append((shares / numbers.flatten().bincount(minlength=len(shares)))[numbers])
    return torch.stack(painted).to(evidence.inputs)


def _segments(evidence: Evidence, segments: int | Tensor) -> list[Int[Tensor, "height width"]]:
    """Segment numbers 0, 1, 2 ... of every picture, on the CPU."""
    if isinstance(segments, Tensor):
        numbers = segments.cpu().unique(return_inverse=True)[1]
        return [numbers] * len(evidence.inputs)
    found = [
        torch.as_tensor(superpixels.slic(picture, segments, preprocess=evidence.preprocess))
        for picture in evidence.inputs.cpu()
    ]
    return [numbers.unique(return_inverse=True)[1] for numbers in found]


def _scores(
    evidence: Evidence, maps: Sequence[Tensor], shown: Sequence[Tensor], baseline: str
) -> Float[Tensor, "batch sample"]:
    """The target when only the chosen segments are shown. Shorter lists are filled up with the whole picture."""
    hidden = evidence.fill(baseline)

    def points() -> Iterator[Tensor]:
        for sample in range(max(map(len, shown))):
            visible = [
                choices[sample][numbers] > 0 if sample < len(choices) else torch.ones_like(numbers, dtype=torch.bool)
                for choices, numbers in zip(shown, maps, strict=True)
            ]
            yield torch.where(torch.stack(visible)[:, None].to(hidden.device), evidence.inputs, hidden)

    scores = list(evidence.scores_at(points()))
    return torch.stack(scores, dim=1).cpu() if scores else torch.zeros(len(maps), 0)


def _random_choices(evidence: Evidence, samples: int, count: int, keep: float) -> Float[Tensor, "sample segment"]:
    """1 for shown, 0 for hidden; the same draw for every picture with as many segments."""
    generator = evidence.seed.child("lime", count).generator()
    choices = (torch.rand(samples, count, generator=generator) < keep).double()
    choices[0] = 1
    return choices


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
