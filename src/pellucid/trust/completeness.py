"""Completeness: does the map account for all of the target, where its method promises to?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.perturb import empty_answers, whole_answers
from pellucid.registry import metric
from pellucid.results import Heatmaps
from pellucid.trust.measured import Maps, Measured

LIMIT = 0.05
_PROMISES = ("completeness", "efficiency")
_SAME = "the target is the same for the picture and for nothing but fill, so there is nothing to account for"


@metric(
    "completeness", better="lower", paper="Sundararajan et al. 2017", range=(0.0, float("inf")), limit=LIMIT,
    shared=lambda baseline=None, **_: 0 if baseline is None else 2,
)  # fmt: skip
def completeness(
    evidence: Evidence, maps: Maps, heats: Mapping[str, Heatmaps], *, baseline: str | None = None
) -> Measured:
    """By how much the sum of the map misses what it is to account for, in parts of that.

    baseline: None takes each method by its own promise and baseline (integrated gradients, FullGrad, Kernel SHAP); maps
              whose method promises nothing have no value. A fill by name measures every map against
              target(picture) - target(fill)
    returns:  gap, 0 where the map accounts for everything. That it does says nothing of where it puts it
    """
    if baseline is not None:
        return _against(evidence, maps, baseline)
    values = {name: _promised(heats.get(name), len(evidence)) for name in maps}
    silent = [name for name in heats if bool(values[name].isnan().all())]
    notes = (f"no promise of completeness: {', '.join(silent)}",) if silent else ()
    return Measured(values=values, unit="part of what was to be accounted for", notes=notes)


def _promised(heat: Heatmaps | None, pictures: int) -> Float[Tensor, "batch"]:
    """The gap that was found when the map was made; NaN where nothing was promised."""
    gaps = torch.full((pictures,), torch.nan)
    for index, checks in enumerate(heat.checks if heat is not None else ()):
        for check in checks:
            if check.name in _PROMISES and check.value is not None:
                gaps[index] = check.value
    return gaps


def _against(evidence: Evidence, maps: Maps, baseline: str) -> Measured:
    owed = (whole_answers(evidence).scores - empty_answers(evidence, baseline).scores).double()
    gaps = {
        name: ((values.cpu().double().sum(dim=(-2, -1)) - owed).abs() / owed.abs()).float()
        for name, values in maps.items()
    }
    nothing = owed == 0
    return Measured(
        values={name: torch.where(nothing, torch.nan, gap) for name, gap in gaps.items()},
        fills=(baseline,),
        unit="part of what was to be accounted for",
        skipped=dict.fromkeys(torch.nonzero(nothing).flatten().tolist(), _SAME),
    )
