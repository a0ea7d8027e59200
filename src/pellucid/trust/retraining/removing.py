"""Remove and retrain, keep and retrain: does a net that may learn again miss what a map points at?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.compute.bootstrap import Interval, difference, interval, over_repeats
from pellucid.engine.perturb import digest
from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.results.retraining import Retraining, Row
from pellucid.trust.measured import Maps, is_control
from pellucid.trust.retraining.erasing import colours, erased, silhouettes, taken
from pellucid.trust.retraining.learning import (
    Facts,
    HeldMaps,
    Learn,
    Record,
    Split,
    Work,
    answers,
    check_maps,
    check_seeds,
    facts_of,
    here,
    packed,
    unpacked,
)
from pellucid.values.seed import Seed

LEVELS = (0.3, 0.6, 0.9)
SEEDS = (0, 1, 2)
_PAPER = "Hooker et al. 2019"
_WHOLE, _PICTURE, _SHAPE = "whole", "picture", "shape alone"


@metric("roar", better="lower", paper=_PAPER, trains=True)
def roar(
    maps_of_training: Maps,
    maps_of_held_out: HeldMaps,
    data: Split,
    recipe: Learn,
    *,
    levels: Sequence[float] = LEVELS,
    seeds: Sequence[int] = SEEDS,
    work: Work = here,
) -> Retraining:
    """How much a net still learns from pictures without the pixels that the map ranks first.

    maps_of_training, maps_of_held_out: by name, [picture height width], of the same names; `control random` and the
             other controls among them. Made without knowledge of the held-out classes, or the score is worthless
    recipe:  trains a net from nothing; the same for every map and level
    levels:  which part of the pixels goes, above 0 and at most 1; they take the mean colour of the training pictures
    seeds:   one training each, of first weights and order alike
    work:    who does the trainings; `here` does them one after the other

    One row per map: `area` under the accuracy on the held-out pictures over the levels, the whole pictures at 0 among
    them, with a 95 % interval over pictures and, of several seeds, Student's 95 % interval over seeds; by how much that
    is lower than with the best control; `leak`, what a net
    learns from nothing but the shape of what was taken, at the worst level. A detail per map and level. Lower is
    better: the pixels were needed. Raises ShapeError, RequestError.
    """
    return _retrained("roar", False, maps_of_training, maps_of_held_out, data, recipe, levels, seeds, work)


@metric("kar", better="higher", paper=_PAPER, trains=True)
def kar(
    maps_of_training: Maps,
    maps_of_held_out: HeldMaps,
    data: Split,
    recipe: Learn,
    *,
    levels: Sequence[float] = LEVELS,
    seeds: Sequence[int] = SEEDS,
    work: Work = here,
) -> Retraining:
    """How much a net learns from nothing but the pixels that the map ranks first.

    As `roar`, with the first `levels` of the pixels kept and all others in the mean colour; the whole pictures stand
    at 1. Higher is better. Here the shape alone leaks most: compare `leak` before anything else.
    """
    return _retrained("kar", True, maps_of_training, maps_of_held_out, data, recipe, levels, seeds, work)


@dataclass(frozen=True, eq=False)
class Erasing:
    """Trains on pictures without what a map ranks first, or with nothing else, and tries the net on others like them.

    asked: part (whole, picture, shape alone), map, level, seed
    """

    data: Split
    training: Maps
    held_out: HeldMaps
    recipe: Learn
    keep: bool

    def __call__(self, asked: Facts) -> Record:
        learned, tried = (
            self._pictures(pictures, maps, asked, side)
            for side, pictures, maps in (
                ("training", self.data.pictures, self.training), ("held out", self.data.held_out, self.held_out),
            )
        )  # fmt: skip
        net = self.recipe(learned, self.data.labels, seed=asked["seed"])
        return {"right": packed(answers(net, tried) == self.data.held_labels)}

    def facts(self, asked: Facts) -> list[Any]:
        return [self.data.name, facts_of(self.recipe), self.keep, self._digests.get(asked["map"])]

    @cached_property
    def _digests(self) -> dict[str, list[str]]:
        return {name: [digest(self.training[name]), digest(self.held_out[name])] for name in self.training}

    def _pictures(self, pictures: Tensor, maps: Maps, asked: Facts, side: str) -> Tensor:
        if asked["part"] == _WHOLE:
            return pictures
        gone = taken(maps[asked["map"]], asked["level"], self.keep, Seed(0).child("erasing", side))
        if asked["part"] == _SHAPE:
            return silhouettes(pictures, gone)
        return erased(pictures, gone, colours(self.data.pictures)[0])


def _retrained(
    name: str, keep: bool, training: Maps, held_out: HeldMaps, data: Split, recipe: Learn, levels: Sequence[float],
    seeds: Sequence[int], work: Work,
) -> Retraining:  # fmt: skip
    check_maps("maps_of_training", training, data.pictures)
    check_maps("maps_of_held_out", held_out, data.held_out)
    if set(training) != set(held_out) or not training:
        raise RequestError("maps_of_training and maps_of_held_out have to hold maps of the same names, at least one.")
    asked_levels, asked_seeds = _checked(levels), check_seeds(seeds)
    whole = [{"part": _WHOLE, "map": "", "level": 0.0, "seed": seed} for seed in asked_seeds]
    pictures = [
        {"part": _PICTURE, "map": one, "level": level, "seed": seed}
        for seed in asked_seeds for one in training for level in asked_levels
    ]  # fmt: skip
    shapes = [
        {"part": _SHAPE, "map": one, "level": level, "seed": asked_seeds[0]}
        for one in training for level in asked_levels
    ]  # fmt: skip
    asked = [*whole, *pictures, *shapes]
    records = work(Erasing(data, training, held_out, recipe, keep), asked)
    right = _rows_of(asked, records)
    found = {
        one: _Curve(asked_levels, keep, right[_WHOLE, "", 0.0], [right[_PICTURE, one, level] for level in asked_levels],
                    [right[_SHAPE, one, level].mean(dim=0) for level in asked_levels])
        for one in training
    }  # fmt: skip
    rows = sorted((_row(name, one, found) for one in found), key=lambda row: (1 if keep else -1) * -row["area"])
    return Retraining(
        name, "higher" if keep else "lower", tuple(rows),
        tuple(detail for one, curve in found.items() for detail in curve.details(one)),
        {"learned from": len(data.pictures), "held out": len(data.held_out), "seeds": len(asked_seeds),
         "chance": round(data.chance, 4), "recipe": facts_of(recipe)},
        notes=(
            f"Always saying the commonest class is right on {data.chance:.1%} of the held-out pictures.",
            "leak: what a net reads off the shape of what was taken, without any picture, at the level where it reads "
            "most; where that is above chance, the accuracies hold some of it.",
            "Intervals are over held-out pictures"
            + ("; those over seeds are Student's, the details have the accuracy of every seed." if len(asked_seeds) > 1
               else ": with one training each, how much another seed would change is not in them."),
        ),
        trainings=len(asked), seconds=sum(record.get("seconds", 0.0) for record in records),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Curve:
    """Which held-out pictures were right: [seed picture] for the whole pictures and at each level; leak: [picture]."""

    levels: tuple[float, ...]
    keep: bool
    whole: Float[Tensor, "seed picture"]
    at: Sequence[Float[Tensor, "seed picture"]]
    leaks: Sequence[Float[Tensor, "picture"]]

    @property
    def areas(self) -> Float[np.ndarray, "picture"]:
        """Area under each picture's share of right answers over the levels, in parts of their span."""
        return self._areas(0)

    @property
    def areas_of_seeds(self) -> Float[np.ndarray, "seed"]:
        """The same of each seed, over all pictures."""
        return self._areas(1)

    def _areas(self, axis: int) -> Float[np.ndarray, "item"]:
        points = [1.0, *self.levels] if self.keep else [0.0, *self.levels]
        heights = torch.stack([values.mean(dim=axis) for values in (self.whole, *self.at)]).double().numpy()
        order = np.argsort(points, kind="stable")
        steps = np.asarray(points)[order]
        span = steps[-1] - steps[0]
        return np.trapezoid(heights[order], steps, axis=0) / span if span > 0 else heights[0]

    @property
    def leak(self) -> float:
        return max(float(values.mean()) for values in self.leaks)

    def details(self, name: str) -> list[Row]:
        ends = [("whole pictures", 1.0 if self.keep else 0.0, self.whole, None)]
        parts = zip(("erased" for _ in self.levels), self.levels, self.at, self.leaks, strict=True)
        found: list[Row] = []
        for part, level, values, shape in [*ends, *parts]:
            held, seeds = (
                interval(values.mean(dim=0).double().numpy()),
                over_repeats(values.mean(dim=1).double().numpy()),
            )
            seen = {} if shape is None else {"shape alone": float(shape.mean())}
            found.append({
                "map": name, "part": part, "level": level, "accuracy": held.mean, "low": held.low, "high": held.high,
                "over seeds": float(values.mean(dim=1).std(correction=0)), **seen,
                **_over(seeds),
                "each seed": [round(one, 6) for one in values.mean(dim=1).tolist()],
            })  # fmt: skip
        return found


def _row(name: str, one: str, found: Mapping[str, _Curve]) -> dict[str, Any]:
    curve = found[one]
    area = interval(curve.areas)
    row: dict[str, Any] = {"map": one, "area": area.mean, "low": area.low, "high": area.high}
    row |= _over(over_repeats(curve.areas_of_seeds))
    controls = {other: curve.areas for other, curve in found.items() if is_control(other)}
    sign = 1 if name == "kar" else -1
    if controls and one not in controls:
        best = max(controls, key=lambda other: sign * controls[other].mean())
        better = difference(sign * curve.areas, sign * controls[best])
        row |= {"best control": best, "better by": better.mean, "at least": better.low, "beats": better.above_zero}
    return {**row, "leak": curve.leak}


def _over(seeds: Interval) -> dict[str, float]:
    """How far the mean over seeds may lie off; nothing of a single one."""
    return {"low over seeds": seeds.low, "high over seeds": seeds.high} if seeds.count > 1 else {}


def _rows_of(asked: Sequence[Facts], records: Sequence[Record]) -> dict[tuple[str, str, float], Tensor]:
    """[seed picture] of right answers by part, map and level."""
    found: dict[tuple[str, str, float], list[Tensor]] = {}
    for one, record in zip(asked, records, strict=True):
        found.setdefault((one["part"], one["map"], one["level"]), []).append(unpacked(record["right"]))
    return {place: torch.stack(values) for place, values in found.items()}


def _checked(levels: Sequence[float]) -> tuple[float, ...]:
    asked = tuple(sorted(float(level) for level in levels))
    if not asked or len(set(asked)) != len(asked) or not all(0 < level <= 1 for level in asked):
        raise RequestError(f"levels={list(levels)}; expected shares above 0 and at most 1, each once.")
    return asked
