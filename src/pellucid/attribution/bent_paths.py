"""Gradients along ways that are not straight: out of a blur, and around where the model is steep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.attribution.paths import completeness, difference, gap_checks, note_gap
from pellucid.engine import Evidence
from pellucid.registry import method
from pellucid.values import Check, Gradients, InputGradient

_LARGEST_BLUR = 50 / 299  # of the shorter side; published as 50 pixels at 299
_REACH = 4.0  # standard deviations at which the Gaussian is cut off
_STEP = 0.01  # pixels of blur over which its derivative is taken
_CLOSE = 1e-9  # distances to the picture count as equal within this part


def _blur_passes(*, steps: int = 100, **_: Any) -> float:
    return 3.0 * steps + 1


def _blur_completeness(evidence: Evidence, values: Tensor, parameters: Mapping[str, Any]) -> list[Check]:
    """Whether the map sums to target(picture) - target(blurred picture), one check per picture."""
    return gap_checks(values, evidence.score() - _score_of_blurred(evidence, parameters.get("sigma")))


@method(
    "blur_ig",
    needs=[InputGradient, Gradients],
    paper="Xu et al. 2020",
    signed=True,
    cost=_blur_passes,
    promise=_blur_completeness,
)
def blur_ig(
    evidence: Evidence, *, steps: int = 100, sigma: float | None = None
) -> Float[Tensor, "batch channel height width"]:
    """What each pixel contributes to the rise of the target on the way from the blurred picture to the sharp one.

    No colour is a baseline here: what is taken away is detail, coarse last.

    steps:   blurs on the way, evenly spaced by standard deviation, one gradient each
    sigma:   standard deviation in pixels of the strongest blur; None is 50/299 of the shorter side
    returns: minus the sum of (step of sigma) x (gradient at the blurred picture) x (change of the blurred picture per
             sigma); sums to target(picture) - target(blurred) as the steps become fine. Beyond the border is zero
    """
    strongest = _strongest(evidence, sigma)
    blurs = [strongest * step / steps for step in range(steps)]
    values = torch.zeros_like(evidence.inputs)
    slopes = evidence.gradients_at(_blurred(evidence.inputs, blur) for blur in blurs)
    for blur, slope in zip(blurs, slopes, strict=True):
        values -= strongest / steps * slope * _change(evidence.inputs, blur)
    shared = evidence.score() - _score_of_blurred(evidence, sigma)
    note_gap(evidence, values, shared, "Blur integrated gradients", f"with {steps} steps; raise `steps`")
    return values


def _strongest(evidence: Evidence, sigma: float | None) -> float:
    return _LARGEST_BLUR * min(evidence.size) if sigma is None else sigma


def _score_of_blurred(evidence: Evidence, sigma: float | None) -> Float[Tensor, "batch"]:
    strongest = _strongest(evidence, sigma)
    make = lambda: next(iter(evidence.scores_at([_blurred(evidence.inputs, strongest)])))
    return evidence.remember(("score of blur", strongest), make)


def _blurred(inputs: Float[Tensor, "batch channel height width"], sigma: float) -> Tensor:
    """Gaussian blur cut off at four standard deviations, zeros beyond the border."""
    rows, columns = (_gaussian(int(side), sigma).to(inputs) for side in inputs.shape[-2:])
    return rows @ inputs @ columns.T


def _change(inputs: Float[Tensor, "batch channel height width"], sigma: float) -> Tensor:
    """Change of the blurred pictures per standard deviation, by a finite difference."""
    here, beyond = ([_gaussian(int(side), one) for side in inputs.shape[-2:]] for one in (sigma, sigma + _STEP))
    # The difference is taken between the matrices, in double precision: between pictures rounding would drown it.
    rows, columns = ((after - before) / _STEP for before, after in zip(here, beyond, strict=True))
    left = rows.to(inputs) @ inputs @ beyond[1].to(inputs).T
    return left + here[0].to(inputs) @ inputs @ columns.to(inputs).T


def _gaussian(side: int, sigma: float) -> Float[Tensor, "side side"]:
    reach = int(_REACH * sigma + 0.5)
    if not reach:
        return torch.eye(side, dtype=torch.float64)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma) ** 2)
    offset = torch.arange(side)[:, None] - torch.arange(side)[None, :]
    weights = (weights / weights.sum())[(offset + reach).clamp(0, 2 * reach)]
    return torch.where(offset.abs() <= reach, weights, 0)


def _guided_passes(*, steps: int = 150, **_: Any) -> float:
    return 3.0 * steps + 1


@method(
    "guided_ig",
    needs=[InputGradient, Gradients],
    paper="Kapishnikov et al. 2021",
    signed=True,
    cost=_guided_passes,
    promise=completeness,
)
def guided_ig(
    evidence: Evidence,
    *,
    steps: int = 150,
    fraction: float = 0.25,
    distance: float = 0.02,
    baseline: str = "black",
) -> Float[Tensor, "batch channel height width"]:
    """What each value contributes to the rise of the target on a way that avoids where the model is steep.

    At every step the values with the smallest gradients go ahead, so that noise along the way adds up less than on the
    straight way of integrated gradients.

    steps:    one gradient each, one after the other
    fraction: part of the values, those of the smallest gradient, that may go ahead at a time
    distance: how far a value may be ahead of the straight way or behind it, in parts of that way; 0 is the straight
              way, 1 sets no bound
    baseline: where the way begins
    returns:  sums to target(picture) - target(baseline) as the steps become fine
    """
    walk = _Walk(evidence.inputs, evidence.fill(baseline), fraction, distance)
    for step in range(steps):
        (slope,) = evidence.gradients_at([walk.place.to(evidence.inputs)])
        walk.go(slope.flatten(1).double(), (step + 1) / steps)
    values = walk.gained.view_as(evidence.inputs).to(evidence.inputs)
    shared = difference(evidence, baseline)
    note_gap(evidence, values, shared, "Guided integrated gradients", f"with {steps} steps; raise `steps`")
    return values


class _Walk:
    """Every picture on its way from its baseline, values flat and in double precision; what each gained so far."""

    def __init__(self, inputs: Tensor, baseline: Tensor, fraction: float, distance: float) -> None:
        self._shape = inputs.shape
        self._end, self._start = inputs.flatten(1).double(), baseline.flatten(1).double()
        self._total = (self._end - self._start).abs().sum(dim=1)
        self._rank = int(fraction * (self._end.shape[1] - 1))  # of the threshold among ordered gradients
        self._distance = distance
        self._at = self._start.clone()
        self.gained = torch.zeros_like(self._at)

    @property
    def place(self) -> Float[Tensor, "batch channel height width"]:
        return self._at.view(self._shape)

    def go(self, slope: Float[Tensor, "batch value"], part: float) -> None:
        """One step: on until `part` of the way is behind, the values of the smallest slopes first."""
        low, high = max(part - self._distance, 0.0), min(part + self._distance, 1.0)
        least, most = (self._start + bound * (self._end - self._start) for bound in (low, high))
        goal = self._total * (1 - part)
        cost = slope.abs()
        moving = self._total > 0
        # Whoever has gone as far as it may is left out, so each round ends with fewer values or with the goal.
        while bool(moving.any()):
            before = self._at
            behind = self._behind(least) & moving[:, None]
            caught_up = torch.where(behind, least, before)
            missing = (caught_up - self._end).abs().sum(dim=1) - goal
            reached = missing.abs() <= _CLOSE * torch.maximum(goal, missing + goal).clamp(min=1)
            ahead, share, room = self._ahead(caught_up, most, cost, missing)
            stuck = ~reached & (room <= 0) & ~self._open(caught_up, most, cost)
            going = moving & ~reached & ~stuck
            goes = torch.where(share[:, None] < 1, caught_up + share[:, None] * (most - caught_up), most)
            stepped = torch.where(ahead, goes, caught_up)
            self._at = torch.where(going[:, None], stepped, torch.where(moving[:, None], caught_up, before))
            self.gained += (self._at - before) * slope
            cost = torch.where(self._at == most, torch.inf, cost)
            moving = going & (share >= 1)

    def _behind(self, least: Tensor) -> Bool[Tensor, "batch value"]:
        return (least - self._at) * (self._end - self._start) > 0

    def _open(self, at: Tensor, most: Tensor, cost: Tensor) -> Bool[Tensor, "batch"]:
        return ((at != most) & cost.isfinite()).any(dim=1)

    def _ahead(
        self, at: Tensor, most: Tensor, cost: Tensor, missing: Tensor
    ) -> tuple[Bool[Tensor, "batch value"], Float[Tensor, "batch"], Float[Tensor, "batch"]]:
        """Which values go, how far of the way to their bound (1 at most), and how far all of them could."""
        open_cost = torch.where(at == most, torch.inf, cost)
        threshold = open_cost.kthvalue(self._rank + 1, dim=1, keepdim=True).values
        ahead = (open_cost <= threshold) & open_cost.isfinite()
        room = ((at - most).abs() * ahead).sum(dim=1)
        share = torch.where(room > 0, missing / room.clamp(min=1e-300), torch.inf).clamp(max=1)
        return ahead, share, room
