"""What a map owes the model whatever it says: nothing where nothing matters, and the same where nothing changed."""

from __future__ import annotations

import copy
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pellucid.engine import Evidence
from pellucid.engine.perturb import sums_over, write_without
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.registry import metric
from pellucid.subject import VisionModel
from pellucid.trust.likeness import rank_correlation
from pellucid.trust.measured import Maps, Measured, Remake
from pellucid.trust.removal import blanked
from pellucid.trust.subsets import alone, lost_without

_ROUNDING = 1e-3  # of the largest output: a shift taken back leaves rounding, which deep networks enlarge


@metric(
    "non_sensitivity", better="lower", paper="Nguyen & Martinez 2020",
    shared=lambda grid=8, **_: 1 + grid**2,
)  # fmt: skip
def non_sensitivity(
    evidence: Evidence, maps: Maps, *, grid: int = 8, fill: str = "black", least: float = 1e-3
) -> Measured:
    """In how many cells map and model disagree about whether there is anything at all.

    grid:    rows and columns of cells; each is removed alone, as `faithfulness_estimate` removes them
    least:   what counts as nothing: at most this part of the largest, for the map its magnitude in a cell, for the
             model the change of the target without it
    returns: share of the cells that only one of the two calls nothing, 0 to 1. The curves hold the two kinds apart:
             `overlooked` cells change the target and have nothing in the map, `invented` ones the other way round
    """
    if not 0 <= least < 1:
        raise RequestError(f"least={least}; expected a part of the largest, 0 or more and below 1.")
    sets = alone(evidence, grid)
    still = _nothing(lost_without(evidence, {"1": sets}, fill)["1"].T.abs(), least)
    silent = {name: _nothing(sums_over(values.abs(), sets.labels), least) for name, values in maps.items()}
    found = {name: (said ^ still).float().mean(dim=1) for name, said in silent.items()}
    return Measured(
        values=blanked(found, maps),
        curves={
            name: {
                "overlooked": (said & ~still).sum(dim=1).tolist(), "invented": (~said & still).sum(dim=1).tolist(),
                "cells": still.shape[1],
            }
            for name, said in silent.items()
        },
        fills=(fill,),
        unit=f"share of the cells of a {grid} x {grid} grid",
    )  # fmt: skip


@metric(
    "input_invariance", better="lower", paper="Kindermans et al. 2017", range=(0.0, 2.0), remakes=True, limit=0.05,
    cost=3, shared=1,
)  # fmt: skip
def input_invariance(
    evidence: Evidence, model: VisionModel, maps: Maps, remake: Remake, *, shift: float = -1.0
) -> Measured:
    """How much the map changes when the picture is shifted by a constant and the model takes the shift back.

    shift:   added to every pixel, in parts of the way from black to white; the model's first operation subtracts it, so
             that all it computes is what it was
    returns: |map of the shifted - map| / the larger of both lengths: 0 for the same map, 1 where one of them is zero, 2
             for the opposite. The curves hold the rank correlation, which does not see a change of scale. A map fails
             above 0.05: it depends on where the colours have their zero

    Raises MethodUnavailable for a black box, and for a network whose input cannot be shifted.
    """
    if shift == 0:
        raise RequestError("shift=0; a picture that is not shifted shows nothing.")
    step = shift * (evidence.fill("white") - evidence.fill("black"))[:1, :, :1, :1]
    other = model.with_module(shifted(_own(model), step))
    moved = evidence.inputs + step
    _check_answers(evidence, other.predict(moved))
    made = remake(model=other, inputs=moved)
    return Measured(
        values={name: relative_difference(values, made[name]) for name, values in maps.items()},
        curves={name: {"rank correlation": rank_correlation(values, made[name]).tolist()}
                for name, values in maps.items()},
        unit="relative difference",
        notes=("centre and edge maps ignore the shift, the random one is drawn anew",),
    )  # fmt: skip


@metric(
    "perturbation_axiom", better="higher", paper="Kapishnikov et al. 2019", remakes=True,
    cost=lambda regions=4, **_: regions, shared=lambda grid=8, **_: 1 + grid**2,
)  # fmt: skip
def perturbation_axiom(
    evidence: Evidence, maps: Maps, remake: Remake, *, grid: int = 8, regions: int = 4, fill: str = "blur"
) -> Measured:
    """In how many cases a region that showed something gets less once it shows nothing.

    grid:    rows and columns of cells
    regions: cells tried, those without which the target falls most; each is filled alone and the map made anew. What it
             showed was informative by construction: the target fell without it
    returns: share of the regions whose part of the map (its sum there over the sum of all magnitudes) is smaller in the
             filled picture, where equal parts count half: 1 is right, 0.5 chance, or a map that ignores the picture

    Pictures whose target falls without none of the cells have no value.
    """
    if regions < 1:
        raise RequestError(f"regions={regions}; expected at least 1.")
    sets = alone(evidence, grid)
    lost = lost_without(evidence, {"1": sets}, fill)["1"].T.cpu()
    chosen = lost.topk(min(regions, lost.shape[1]), dim=1)
    before = {name: _parts(values, sets.labels) for name, values in maps.items()}
    rows: dict[str, list[Tensor]] = {name: [] for name in maps}
    for cells in chosen.indices.T:
        filled = torch.empty_like(evidence.inputs)
        write_without(evidence, sets.labels == cells[:, None, None], fill, filled)
        made = remake(inputs=filled)
        for name, own in before.items():
            fall = (own - _parts(made[name], sets.labels)).gather(1, cells[:, None])[:, 0]
            rows[name].append((fall.sign() + 1) / 2)
    told = chosen.values > 0
    none = ~told.any(dim=1)
    found = {
        name: (torch.stack(row, dim=1) * told).sum(dim=1) / told.sum(dim=1).clamp(min=1) for name, row in rows.items()
    }
    values = {name: row.masked_fill(none, torch.nan).float() for name, row in blanked(found, maps).items()}
    skipped = {at: "the target falls without none of its cells" for at, lost in enumerate(none.tolist()) if lost}
    return Measured(values, fills=(fill,), unit=f"share of {regions} cells of a {grid} x {grid} grid", skipped=skipped)


def _parts(values: Float[Tensor, "batch height width"], labels: Int[Tensor, "height width"]) -> Tensor:
    """What each cell has of the map, in parts of all magnitudes, rounded to what float32 can tell apart."""
    whole = values.cpu().double().abs().sum(dim=(-2, -1)).clamp(min=1e-300)
    return (sums_over(values, labels) / whole[:, None]).float()


def shifted(module: nn.Module, step: Float[Tensor, "1 channel 1 1"]) -> nn.Module:
    """A copy of the network that subtracts `step` from its input before anything else.

    A copy of a class derived from the module's own, not a module around it: every layer keeps its name.
    """
    network = copy.deepcopy(module)
    kind: Any = type(network)

    def forward(self: nn.Module, inputs: Tensor, *rest: Any, **named: Any) -> Any:
        return kind.forward(self, inputs - step.to(inputs), *rest, **named)

    network.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
    return network


def relative_difference(
    one: Float[Tensor, "batch height width"], other: Float[Tensor, "batch height width"]
) -> Float[Tensor, "batch"]:
    """Length of the difference of two maps in parts of the longer one, 0 to 2; 0 where both are nothing but zeros."""
    first, second = (values.detach().cpu().double().flatten(1) for values in (one, other))
    longer = torch.maximum(first.norm(dim=1), second.norm(dim=1))
    return ((first - second).norm(dim=1) / torch.where(longer == 0, 1.0, longer)).float()


def _nothing(sizes: Float[Tensor, "batch cell"], least: float) -> Bool[Tensor, "batch cell"]:
    """Which cells have at most that part of the picture's largest; all of them where nothing has anything."""
    return sizes <= least * sizes.amax(dim=1, keepdim=True)


def _own(model: VisionModel) -> nn.Module:
    if model.network is None or not model.differentiable:
        raise MethodUnavailable(
            "Input invariance", "a black box has no first operation that could take a shift back.", ("non_sensitivity",)
        )
    return model.network


def _check_answers(evidence: Evidence, answers: Float[Tensor, "batch classes"]) -> None:
    """The shifted network is the same function, or the maps of the two cannot be compared."""
    before = evidence.output().to(answers)
    apart, size = float((answers - before).abs().max()), float(before.abs().max())
    if not apart <= _ROUNDING * max(size, 1.0):
        raise MethodUnavailable(
            "Input invariance", f"its shifted copy answers otherwise, by {apart:.2g} of {size:.2g}.", ()
        )
