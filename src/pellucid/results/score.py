"""How well one explanation did on one measure."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from markupsafe import Markup
from rich.console import RenderableType

from pellucid.canvas import fragments, terminal
from pellucid.canvas.words import number
from pellucid.compute.bootstrap import class_mean
from pellucid.results.encoding import from_plain, to_plain
from pellucid.results.result import Result

Values = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Score(Result):
    """One measure of one method, one value per picture, with the maps that know nothing beside it.

    values: in `unit`; NaN for a picture that could not be measured, with the reason in `notes`
    random, centre, edge: the same measure of the random map, of the picture's centre and of its edges
    spread: how far the value moves over the fills, as a standard deviation; empty where nothing was varied
    fills:  what removed pixels became, for measures that remove pixels
    order:  how pixels were ranked
    curves: what the value is the area of: `fractions` of the picture changed, 0 to 1, and by name (`deletion`,
            `insertion`; `deletion_random`, `insertion_random` for the random map) values [fill picture point]
    passes: what measuring took per picture, the controls and all maps measured with it together; a backward counts two
    seed:   of what was drawn; None where nothing is
    """

    noun: ClassVar[str] = "score"

    metric: str
    method: str
    values: Values
    random: Values = ()
    centre: Values | None = None
    edge: Values | None = None
    spread: Values = ()
    better: Literal["higher", "lower"] = "higher"
    fills: tuple[str, ...] = ()
    order: str = ""
    unit: str = ""
    curves: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    passes: float = 0.0
    seed: int | None = None

    @property
    def kept(self) -> int:
        """How many of the pictures have a value; why the others have none stands in `notes`."""
        return sum(map(math.isfinite, self.values))

    def controls(self, index: int = 0) -> dict[str, float]:
        """What the maps that know nothing reached on one picture, those that were measured."""
        rows = {"random": self.random, "centre": self.centre, "edge": self.edge}
        return {name: row[index] for name, row in rows.items() if row}

    def margin(self, control: str, index: int = 0) -> float:
        """By how much it is better than a control on one picture; negative where it is worse."""
        gap = self.values[index] - self.controls(index)[control]
        return gap if self.better == "higher" else -gap

    def beats_controls(self, index: int = 0) -> bool:
        """Whether it is better than every control that was measured on this picture (and one was)."""
        measured = self.controls(index)
        return bool(measured) and all(self.margin(name, index) > 0 for name in measured)

    def class_mean(self, classes: Sequence[Hashable]) -> float:
        """The mean over classes of the mean over their pictures; `classes` has one per picture, `heat.targets` say."""
        return class_mean(self.values, classes)

    def curve(self, name: str, index: int = 0) -> list[float] | None:
        """One curve of one picture, mean over the fills; None where it was not kept."""
        if self.curves is None or name not in self.curves:
            return None
        fills = cast("list[list[list[float]]]", self.curves[name])
        return [sum(points) / len(points) for points in zip(*(fill[index] for fill in fills), strict=True)]

    def to_dict(self) -> dict[str, Any]:
        return cast("dict[str, Any]", to_plain(vars(self)))

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Score:
        """The score that `to_dict` wrote."""
        values = cast("dict[str, Any]", from_plain(dict(record)))
        rows = ("values", "random", "centre", "edge", "spread", "fills", "notes")
        values |= {name: tuple(values[name]) for name in rows if values[name] is not None}
        return cls(**values)

    def fragment(self) -> Markup:
        return fragments.table(self._title, *self._table())

    def __rich__(self) -> RenderableType:
        return terminal.table(self._title, *self._table())

    @property
    def _title(self) -> str:
        lost = "" if self.kept == len(self.values) else f", {self.kept} of {len(self.values)} pictures"
        spent = f", {number(self.passes)} passes a picture" if self.passes else ""
        return f"{self.metric} of {self.method}, {self.better} is better{lost}{spent}"

    def _table(self) -> tuple[list[str], list[list[str]]]:
        controls = list(self.controls(0)) if self.values else []
        rows = [
            [str(index), number(value), *(number(self.controls(index)[name]) for name in controls),
             number(self.spread[index]) if self.spread else "not varied", "yes" if self.beats_controls(index) else "no"]
            for index, value in enumerate(self.values)
        ]  # fmt: skip
        return ["picture", "value", *controls, "spread", "beats all"], rows
