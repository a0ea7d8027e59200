"""A map of the picture seen through the map: does the method stand by what it said? And figures that combine it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.perturb import digest, shown
from pellucid.registry import metric
from pellucid.trust import masking
from pellucid.trust.likeness import correlation
from pellucid.trust.measured import Maps, Measured, Remake
from pellucid.trust.road import road
from pellucid.values.seed import Seed

_PARTS = (0.2, 0.4, 0.6, 0.8)
_WHOLE = (1.0,)


@metric("coherency", better="higher", paper="Poppi et al. 2021", remakes=True)
def coherency(evidence: Evidence, maps: Maps, remake: Remake, *, fill: str = "black") -> Measured:
    """How alike the map is to the map of the picture seen through it.

    fill:    what shines through where the map is 0
    returns: (1 + Pearson's correlation) / 2: 1 the same, 0.5 unrelated. The centre, which ignores the picture, scores
             1: stability is no merit by itself
    """
    return Measured(
        values=_coherency(evidence, maps, remake, fill), fills=(fill,), unit="(1 + correlation) / 2",
        order="scaled to 0..1",
    )  # fmt: skip


@metric("adcc", better="higher", paper="Poppi et al. 2021", remakes=True, cost=1, shared=2)
def adcc(evidence: Evidence, maps: Maps, remake: Remake, *, fill: str = "black") -> Measured:
    """One figure of coherency, brevity and the drop of the prediction: their harmonic mean.

    3 / (1 / coherency + 1 / (1 - mean of the map scaled to 0..1) + 1 / (1 - drop)); 0 where one of the three is 0. A
    map that hides nothing keeps the prediction but is not brief, so it cannot win.
    """
    seen = masking.look_through(evidence, maps, _WHOLE, fill)
    kept = {name: 1 - masking.drop(seen.before, rows)[0] for name, rows in seen.after.items()}
    return _combined(evidence, maps, remake, fill, kept, "1 - drop", skipped=seen.why)


@metric(
    "arcc", better="higher", paper="ADCC with ROAD, as in pytorch-grad-cam", remakes=True,
    cost=lambda parts=_PARTS, **_: 2 * len(parts), shared=1,
)  # fmt: skip
def arcc(
    evidence: Evidence, maps: Maps, remake: Remake, *, parts: Sequence[float] = _PARTS, fill: str = "zero"
) -> Measured:
    """One figure of coherency, brevity and ROAD: their harmonic mean.

    As `adcc`, with twice the figure of `road` (0 where it is negative) in place of the drop, which a map wins by hiding
    nothing.

    parts: of the picture that ROAD removes
    """
    found = road(evidence, maps, parts=parts)
    kept = {name: (2 * values).clamp(0, 1) for name, values in found.values.items()}
    return _combined(evidence, maps, remake, fill, kept, "2 ROAD")


def _combined(
    evidence: Evidence, maps: Maps, remake: Remake, fill: str, kept: Mapping[str, Float[Tensor, "batch"]], third: str,
    *, skipped: Mapping[int, str] | None = None,
) -> Measured:  # fmt: skip
    coherent = _coherency(evidence, maps, remake, fill)
    parts = {
        name: {"coherency": coherent[name], "brevity": 1 - _scaled(values).mean(dim=(-2, -1)), third: kept[name]}
        for name, values in maps.items()
    }
    return Measured(
        values={name: _harmonic(list(row.values())) for name, row in parts.items()},
        curves={name: {key: value.tolist() for key, value in row.items()} for name, row in parts.items()},
        fills=(fill,),
        order="scaled to 0..1",
        unit=f"harmonic mean of coherency, brevity and {third}",
        skipped=skipped or {},
    )


def _harmonic(parts: Sequence[Float[Tensor, "batch"]]) -> Float[Tensor, "batch"]:
    together = torch.stack(list(parts))
    mean = len(together) / together.reciprocal().sum(dim=0)
    return torch.where((together <= 0).any(dim=0), torch.zeros_like(mean), mean)


def _coherency(evidence: Evidence, maps: Maps, remake: Remake, fill: str) -> dict[str, Float[Tensor, "batch"]]:
    return {
        name: evidence.remember(("coherency", name, digest(values), fill), _one(evidence, name, values, remake, fill))
        for name, values in maps.items()
    }


def _one(
    evidence: Evidence, name: str, values: Tensor, remake: Remake, fill: str
) -> Callable[[], Float[Tensor, "batch"]]:
    def make() -> Tensor:
        own = _scaled(values)
        through = torch.lerp(evidence.fill(fill), evidence.inputs, own[:, None].to(evidence.inputs))
        again = remake(inputs=through, names=[name])[name]
        return ((1 + correlation(own, _scaled(again))) / 2).float()

    return make


def _scaled(values: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch height width"]:
    return shown(values.cpu().float(), 1.0, Seed(0))
