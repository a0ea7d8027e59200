"""Squares of the picture taken away one after the other, in the order of what a map gives to each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.perturb import Cut, Side, squares
from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.trust.measured import Maps, Measured, spread_of
from pellucid.trust.removal import USUAL_SIZE, Along, along


def _steps(*, region: int, steps: int | None, size: tuple[int, int] = USUAL_SIZE) -> int:
    count = -(-size[0] // region) * -(-size[1] // region)
    return count if steps is None else min(steps, count)


def _cost(*, region: int, steps: int | None, fills: Sequence[str], size: tuple[int, int] = USUAL_SIZE, **_: Any) -> int:
    """Passes per map; where every region goes, the last step is the pure fill, which belongs to no map."""
    done = _steps(region=region, steps=steps, size=size)
    return (done - (done == _steps(region=region, steps=None, size=size))) * len(fills)


def _shared(
    *, region: int, steps: int | None, fills: Sequence[str], size: tuple[int, int] = USUAL_SIZE, **_: Any
) -> int:
    everything = _steps(region=region, steps=steps, size=size) == _steps(region=region, steps=None, size=size)
    return 1 + everything * len(fills)


def _price(**usual: Any) -> dict[str, Callable[..., float]]:
    """Cost and shared cost of a measure with these defaults, as `metric` takes them."""
    return {"cost": partial(_cost, **usual), "shared": partial(_shared, **usual)}


@metric(
    "aopc", better="higher", paper="Samek et al. 2017", range=(-1.0, 1.0),
    **_price(region=9, steps=100, fills=("noise",)),
)  # fmt: skip
def aopc(
    evidence: Evidence, maps: Maps, *, region: int = 9, steps: int = 100, fills: Sequence[str] = ("noise",),
    seed: int | None = None,
) -> Measured:  # fmt: skip
    """How much of the prediction is lost, on average, while the most relevant regions go first (MoRF).

    region:  side of the squares in pixels; a square counts what the map gives to it in all
    steps:   regions that go, at most all of them
    returns: area over the perturbation curve: the mean over 0 to `steps` regions of the prediction lost by then
    """
    found = _along(evidence, maps, "removed", region, steps, fills, seed)
    return _lost(found, fills, region, with_start=True, order="signed, largest region first")


@metric(
    "aopc_lerf", better="lower", paper="Samek et al. 2017", range=(-1.0, 1.0),
    **_price(region=9, steps=100, fills=("noise",)),
)  # fmt: skip
def aopc_lerf(
    evidence: Evidence, maps: Maps, *, region: int = 9, steps: int = 100, fills: Sequence[str] = ("noise",),
    seed: int | None = None,
) -> Measured:  # fmt: skip
    """How much of the prediction is lost, on average, while the least relevant regions go first (LeRF).

    Parameters as for `aopc`; here a good map loses little.
    """
    found = _along(evidence, maps, "kept", region, steps, fills, seed)
    return _lost(found, fills, region, with_start=True, order="signed, smallest region first")


@metric(
    "region_perturbation", better="higher", paper="Samek et al. 2017, as in Quantus", range=(-1.0, 1.0),
    **_price(region=8, steps=100, fills=("black",)),
)  # fmt: skip
def region_perturbation(
    evidence: Evidence, maps: Maps, *, region: int = 8, steps: int = 100, fills: Sequence[str] = ("black",),
    seed: int | None = None,
) -> Measured:  # fmt: skip
    """How much of the prediction is lost, on average, per region taken, as Quantus counts it.

    `aopc` with the settings that Quantus uses and without the whole picture in the mean, so (steps + 1) / steps of it.
    """
    found = _along(evidence, maps, "removed", region, steps, fills, seed)
    return _lost(found, fills, region, with_start=False, order="signed, largest region first")


@metric(
    "selectivity", better="lower", paper="Montavon et al. 2018", **_price(region=16, steps=None, fills=("black",))
)  # fmt: skip
def selectivity(
    evidence: Evidence, maps: Maps, *, region: int = 16, fills: Sequence[str] = ("black",), seed: int | None = None
) -> Measured:
    """How fast the prediction falls while regions go, the most relevant first, until nothing is left.

    returns: area under the prediction over the share of regions gone; the deletion curve of regions
    """
    found = _along(evidence, maps, "removed", region, None, fills, seed)
    areas = {name: torch.trapezoid(values, dim=-1) / (values.shape[-1] - 1) for name, values in found.values.items()}
    return _measured(found, areas, fills, region, f"area under the {found.unit}", "signed, largest region first")


def _along(
    evidence: Evidence, maps: Maps, side: Side, region: int, steps: int | None, fills: Sequence[str], seed: int | None
) -> Along:
    if steps is not None and steps < 1:
        raise RequestError(f"steps={steps}; expected at least 1 region.")
    regions = int(squares(*evidence.size, region).max()) + 1
    gone = range((regions if steps is None else min(steps, regions)) + 1)
    cuts = {
        fill: [Cut(fill, count if side == "removed" else regions - count, side) for count in gone] for fill in fills
    }
    return along(evidence, maps, cuts, seed, region)


def _lost(found: Along, fills: Sequence[str], region: int, *, with_start: bool, order: str) -> Measured:
    first = 0 if with_start else 1
    means = {name: (found.whole[:, None] - values)[..., first:].mean(dim=-1) for name, values in found.values.items()}
    return _measured(found, means, fills, region, f"{found.unit} lost, mean over steps", order)


def _measured(
    found: Along, values: dict[str, Float[Tensor, "fill batch"]], fills: Sequence[str], region: int, unit: str,
    order: str,
) -> Measured:  # fmt: skip
    return Measured(
        values={name: row.mean(dim=0) for name, row in values.items()},
        spread=spread_of(values),
        curves={
            name: {"regions": list(range(curve.shape[-1])), found.unit: curve.tolist()}
            for name, curve in found.values.items()
        },
        fills=tuple(fills),
        order=order,
        unit=unit,
        notes=(f"regions of {region} x {region} pixels",),
    )
