"""What every measure takes and gives: maps by name, one table of values; and how a table becomes Scores."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.maps import compute
from pellucid.errors import ShapeError
from pellucid.registry import Metric, find_method
from pellucid.results import Score
from pellucid.subject import VisionModel
from pellucid.values.target import Target

Maps = Mapping[str, Float[Tensor, "batch height width"]]
CONTROLS = ("random", "centre", "edge")


@dataclass(frozen=True, eq=False)
class Measured:
    """What one measure found for several maps of the same pictures.

    values:  per map [batch], in `unit`; NaN for a picture that could not be measured
    spread:  per map [batch], the standard deviation over what was varied (fills, draws); empty where nothing was
    curves:  per map, what the value is the area or the mean of, as plain lists
    by_fill: per map [fill batch], the value under each of `fills`
    fills, order: what removed pixels became and how pixels were ranked, where pixels are removed
    skipped: why a picture has no value, by its place in the batch
    clipped: per map [batch], the part of its evidence that is below 0, where only the positive was measured
    passes:  what measuring all maps took per picture, a backward as two, beyond what was there already
    seed:    of what was drawn; None where nothing is
    """

    values: Mapping[str, Float[Tensor, "batch"]]
    spread: Mapping[str, Float[Tensor, "batch"]] = field(default_factory=dict[str, Tensor])
    curves: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    by_fill: Mapping[str, Float[Tensor, "fill batch"]] = field(default_factory=dict[str, Tensor])
    fills: tuple[str, ...] = ()
    order: str = ""
    unit: str = ""
    notes: tuple[str, ...] = ()
    skipped: Mapping[int, str] = field(default_factory=dict[int, str])
    clipped: Mapping[str, Float[Tensor, "batch"]] = field(default_factory=dict[str, Tensor])
    passes: float = 0.0
    seed: int | None = None


@runtime_checkable
class Remake(Protocol):
    """Makes the measured maps anew under changed circumstances, the controls among them, in as few passes as they took.

    None leaves a circumstance as it was, and makes all maps; `names` asks for some only. The random control is drawn
    anew each time.
    """

    def __call__(
        self,
        *,
        model: VisionModel | None = None,
        inputs: Float[Tensor, "batch channel height width"] | None = None,
        targets: Sequence[Target] | None = None,
        seed: int | None = None,
        names: Collection[str] | None = None,
    ) -> dict[str, Float[Tensor, "batch height width"]]: ...


def control(name: str) -> str:
    """The name of a control among the maps: a method that was asked for may have the same name."""
    return f"control {name}"


def is_control(name: str) -> bool:
    """Whether this map stands in the table as a control."""
    return name.startswith("control ")


def controls(evidence: Evidence) -> dict[str, Float[Tensor, "batch height width"]]:
    """The maps every map has to beat: random, the picture's centre, its edges."""
    return {name: compute(evidence, find_method(name)) for name in CONTROLS}


def with_controls(evidence: Evidence, maps: Maps) -> dict[str, Float[Tensor, "batch height width"]]:
    """The maps, and the controls beside them. Raises ShapeError for a map of other pictures."""
    for name, values in maps.items():
        check_belongs(evidence, name, values)
    beside = {control(name): values.cpu() for name, values in controls(evidence).items()}
    return {**{name: values.cpu() for name, values in maps.items()}, **beside}


def check_belongs(evidence: Evidence, name: str, values: Tensor) -> None:
    """Raises ShapeError unless the map is of these pictures."""
    expected = (len(evidence.inputs), *evidence.size)
    if tuple(values.shape) != expected:
        raise ShapeError(
            f"The map of {name}", got=tuple(values.shape),
            expected=f"{list(expected)}: one map per picture at model input size",
        )  # fmt: skip


def scores_of(metric: Metric, measured: Measured, *, notes: Sequence[str] = ()) -> list[Score]:
    """One Score per map that is no control, the controls' values beside."""
    reasons = [f"picture {index} was left out: {reason}" for index, reason in sorted(measured.skipped.items())]
    return [
        Score(
            metric=metric.name,
            method=name,
            values=_row(values),
            random=_row(measured.values.get(control("random"))),
            centre=_row(measured.values.get(control("centre"))) or None,
            edge=_row(measured.values.get(control("edge"))) or None,
            spread=_row(measured.spread.get(name)),
            better=cast("Literal['higher', 'lower']", metric.better),
            fills=measured.fills,
            order=measured.order,
            unit=measured.unit,
            curves=measured.curves.get(name),
            notes=(*measured.notes, *_clipped(measured.clipped.get(name)), *reasons, *notes),
            passes=measured.passes,
            seed=measured.seed,
        )
        for name, values in measured.values.items()
        if not is_control(name)
    ]


def _clipped(shares: Tensor | None) -> tuple[str, ...]:
    share = 0.0 if shares is None else float(shares.nanmean())
    return (f"{share:.1%} of this map's evidence is below 0 and was left out",) if share > 0 else ()


def per_map(maps: Maps, measure: Any, *arguments: Any) -> dict[str, Float[Tensor, "batch"]]:
    """`measure(values, ...)` of every map as float32 [batch]."""
    return {name: torch.as_tensor(measure(values, *arguments)).float() for name, values in maps.items()}


def spread_of(rows: Mapping[str, Float[Tensor, "variation batch"]]) -> dict[str, Float[Tensor, "batch"]]:
    """The standard deviation over what was varied; none where it was one thing, which would look like certainty."""
    return {name: row.std(dim=0, correction=0) for name, row in rows.items() if len(row) > 1}


def where_judged(
    maps: Maps, missing: Mapping[str, Bool[Tensor, "batch"]], measure: Any, *arguments: Any, **rest: Any
) -> Measured:
    """`measure(values, ...)` of every map, without a value for pictures in which something is missing.

    missing: by reason, for which pictures it holds
    """
    skipped: dict[int, str] = {}
    for reason, which in missing.items():
        skipped |= dict.fromkeys(which.nonzero().flatten().tolist(), reason)
    gone = torch.stack(list(missing.values())).any(dim=0)
    values = {name: torch.where(gone, torch.nan, row) for name, row in per_map(maps, measure, *arguments).items()}
    return Measured(values, skipped=skipped, **rest)


def _row(values: Tensor | None) -> tuple[float, ...]:
    return () if values is None else tuple(values.double().tolist())
