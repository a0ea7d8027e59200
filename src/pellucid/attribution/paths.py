"""Gradients gathered along a path from a baseline to the picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.registry import method
from pellucid.values import Check, Gradients, InputGradient

WIDE = 0.05  # part of the difference to be shared; a wider gap than this asks for more steps
CLOSE = 0.01


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
    shared = _difference(evidence, parameters.get("baseline", "black"))
    gaps = _gap(values, shared)
    return [
        Check(
            "completeness",
            True if gap <= CLOSE else None if gap <= WIDE else False,
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
    shared = _difference(evidence, baseline)
    values = _integral(evidence, start, steps)
    wide = _gap(values, shared) > tolerance
    while wide.any() and 2 * steps <= most_steps:
        steps *= 2
        # Pictures that were close enough keep their map, so that it does not depend on their neighbours in the batch.
        values = torch.where(wide[:, None, None, None], _integral(evidence, start, steps), values)
        wide = _gap(values, shared) > tolerance
    if wide.any():
        evidence.note(
            f"Integrated gradients miss completeness by up to {_gap(values, shared).max():.0%} with {steps} steps; "
            f"raise `most_steps`, or read the map with care."
        )
    return values


def _integral(evidence: Evidence, start: Tensor, steps: int) -> Tensor:
    """(x - b) times the integral over a of the gradient at b + a (x - b)."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # on -1..1
    way = evidence.inputs - start

    def points() -> Iterator[Tensor]:
        for node in nodes:
            yield start + float(node + 1) / 2 * way

    mean = torch.zeros_like(way)
    for weight, slope in zip(weights, evidence.gradients_at(points()), strict=True):
        mean += float(weight) / 2 * slope
    return way * mean


def _difference(evidence: Evidence, baseline: str) -> Float[Tensor, "batch"]:
    """target(picture) - target(baseline)."""
    return evidence.score() - evidence.score_of_fill(baseline)


def _gap(values: Tensor, shared: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    return (values.flatten(1).sum(dim=1) - shared).abs() / shared.abs().clamp(min=1e-8)
