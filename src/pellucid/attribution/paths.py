"""Gradients gathered along a path from a baseline to the picture."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat, tee
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.attribution.gradients import noisy_copies
from pellucid.engine import Evidence
from pellucid.engine.perturb import digest
from pellucid.registry import method
from pellucid.values import Check, Gradients, InputGradient

WIDE = 0.05  # part of the difference to be shared; a wider gap than this asks for more steps
CLOSE = 0.01
_FILLS = ("black", "white", "mean", "blur", "noise")  # baselines where no pictures are given


def _passes(*, steps: int = 50, most_steps: int = 200, **_: Any) -> float:
    """With every doubling that `most_steps` allows; most pictures need none."""
    total = steps
    while 2 * steps <= most_steps:
        steps *= 2
        total += steps
    return 3.0 * total + 1


def completeness(evidence: Evidence, values: Tensor, parameters: Mapping[str, Any]) -> list[Check]:
    """Whether the map sums to target(picture) - target(baseline), one check per picture.

    Passed within 1 %, refused beyond 5 %; between the two the figure is information.
    """
    return gap_checks(values, difference(evidence, parameters.get("baseline", "black")))


def gap_checks(
    values: Tensor, shared: Float[Tensor, "batch"], *, close: float = CLOSE, wide: float = WIDE
) -> list[Check]:
    """How far each map's sum is from what it shares out: passed within `close` of that, refused beyond `wide`."""
    gaps = _gap(values, shared)
    return [
        Check(
            "completeness",
            True if gap <= close else None if gap <= wide else False,
            gap,
            f"The map sums to {total:.4g}; the target differs from the baseline's by {difference:.4g} (gap {gap:.2%}).",
        )
        for gap, total, difference in zip(
            gaps.tolist(), values.flatten(1).sum(dim=1).tolist(), shared.tolist(), strict=True
        )
    ]


@method(
    "integrated_gradients",
    needs=[InputGradient, Gradients],
    paper="Sundararajan et al. 2017",
    signed=True,
    cost=_passes,
    promise=completeness,
)
def integrated_gradients(
    evidence: Evidence, *, steps: int = 50, baseline: str = "black", tolerance: float = WIDE, most_steps: int = 200
) -> Float[Tensor, "batch 3 height width"]:
    """What each pixel contributes to the rise of the target on the straight way from a baseline to the picture.

    steps:      points of the Gauss-Legendre rule along the way, one gradient each
    baseline:   where the way begins; black is zeros where the model has no preprocessing
    tolerance:  a picture whose map misses completeness by more than this part is done again with twice the steps
    most_steps: where doubling stops
    returns:    (input - baseline) times the mean gradient; sums to target(picture) - target(baseline)
    """
    start = evidence.fill(baseline)
    shared = difference(evidence, baseline)
    values = path_integral(evidence, start, steps)
    wide = _gap(values, shared) > tolerance
    while wide.any() and 2 * steps <= most_steps:
        steps *= 2
        # Pictures that were close enough keep their map, so that it does not depend on their neighbours in the batch.
        values = torch.where(wide[:, None, None, None], path_integral(evidence, start, steps), values)
        wide = _gap(values, shared) > tolerance
    note_gap(evidence, values, shared, "Integrated gradients", f"with {steps} steps; raise `most_steps`")
    return values


def _sample_passes(*, references: Tensor | None = None, samples: int = 150, **_: Any) -> float:
    return 3.0 * samples + (len(_FILLS) if references is None else len(references))


def _expected_completeness(evidence: Evidence, values: Tensor, parameters: Mapping[str, Any]) -> list[Check]:
    """Whether the map sums to target(picture) - mean target(references), up to chance: information, never refused."""
    shared = evidence.score() - score_of_references(evidence, parameters.get("references"))
    return gap_checks(values, shared, close=WIDE, wide=math.inf)


@method(
    "expected_gradients",
    needs=[InputGradient, Gradients],
    paper="Erion et al. 2021; Lundberg & Lee 2017",
    signed=True,
    cost=_sample_passes,
    promise=_expected_completeness,
    aliases=("gradient_shap",),
)
def expected_gradients(
    evidence: Evidence,
    *,
    references: Float[Tensor, "reference channel height width"] | None = None,
    samples: int = 150,
    noise: float = 0.0,
) -> Float[Tensor, "batch channel height width"]:
    """Integrated gradients averaged over many baselines: what each pixel adds compared with other pictures.

    references: model input that takes the baselines' place, best pictures of the model's own kind; None is black,
                white, the mean colour, blur and noise
    samples:    gradients, shared evenly among the references, each at a point drawn on its own part of the way
    noise:      standard deviation of Gaussian noise added to the picture, as part of its own range
    returns:    sums to target(picture) - mean target(references), up to the chance of the points drawn
    """
    starts = starts_of(evidence, references)
    drawn = torch.rand(samples, generator=evidence.seed.child("way").generator()).tolist()
    values = torch.zeros_like(evidence.inputs)

    def ways() -> Iterator[tuple[Tensor, Tensor]]:
        """Where each sample lies, and the way it lies on."""
        ends = noisy_copies(evidence, samples, noise) if noise else repeat(evidence.inputs, samples)
        for number, end in enumerate(ends):
            start = starts[number % len(starts)]
            # Of the samples of one reference each has its own stretch of the way: as fair as drawing, less scattered.
            stretches = len(range(number % len(starts), samples, len(starts)))
            place = (number // len(starts) + drawn[number]) / stretches
            yield start + place * (end - start), end - start

    points, along = tee(ways())
    slopes = evidence.gradients_at(point for point, _ in points)
    for slope, (_, way) in zip(slopes, along, strict=True):
        values += way * slope / samples
    shared = evidence.score() - score_of_references(evidence, references)
    note_gap(evidence, values, shared, "Expected gradients", f"with {samples} samples; raise `samples`")
    return values


def note_gap(evidence: Evidence, values: Tensor, shared: Float[Tensor, "batch"], name: str, remedy: str) -> None:
    """Leaves a note where a map's sum is far from what it shares out."""
    gaps = _gap(values, shared)
    if bool((gaps > WIDE).any()):
        evidence.note(f"{name} miss completeness by up to {gaps.max():.0%} {remedy}, or read the map with care.")


def score_of_references(evidence: Evidence, references: Tensor | None) -> Float[Tensor, "batch"]:
    """The target's mean over the references; asked once."""
    key = "score of references", None if references is None else digest(references)
    mean = lambda: torch.stack(list(evidence.scores_at(starts_of(evidence, references)))).mean(dim=0)
    return evidence.remember(key, mean)


def starts_of(evidence: Evidence, references: Tensor | None) -> list[Tensor]:
    if references is None:
        return [evidence.fill(kind) for kind in _FILLS]
    return [one.expand_as(evidence.inputs) for one in references.to(evidence.inputs)[:, None]]


def path_integral(evidence: Evidence, start: Tensor, steps: int) -> Float[Tensor, "batch channel height width"]:
    """(x - b) times the integral over a of the gradient at b + a (x - b)."""
    nodes, weights = quadrature(steps)
    return (evidence.inputs - start) * averaged(weights, evidence.gradients_at(between(start, evidence.inputs, nodes)))


def quadrature(points: int) -> tuple[list[float], list[float]]:
    """Nodes in 0..1 of the Gauss-Legendre rule, ascending, and their weights, which sum to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return ((nodes + 1) / 2).tolist(), (weights / 2).tolist()


def between(start: Tensor, end: Tensor, nodes: Iterable[float]) -> Iterator[Tensor]:
    """The points that lie these parts of the straight way behind its start."""
    way = end - start
    for node in nodes:
        yield start + node * way


def averaged(weights: Sequence[float], slopes: Iterable[Tensor]) -> Tensor:
    """The weighted sum, holding one of them at a time."""
    pairs = zip(weights, slopes, strict=True)
    total = operator.mul(*next(pairs))
    for weight, slope in pairs:
        total += weight * slope
    return total


def difference(evidence: Evidence, baseline: str) -> Float[Tensor, "batch"]:
    """target(picture) - target(baseline)."""
    return evidence.score() - evidence.score_of_fill(baseline)


def _gap(values: Tensor, shared: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    return (values.flatten(1).sum(dim=1) - shared).abs() / shared.abs().clamp(min=1e-8)
