"""What a measure that trains models has found: rows of words and numbers, and the parts they are made of."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from markupsafe import Markup
from rich.console import RenderableType

from pellucid.canvas import fragments, terminal
from pellucid.canvas.words import number
from pellucid.errors import RequestError
from pellucid.results.encoding import from_plain, to_plain
from pellucid.results.result import Result

Row = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Retraining(Result):
    """One row per map, or per pair of explainers, and the figures behind it.

    measure:   its name among the metrics; better: which way of its first number is better
    rows:      names and numbers; NaN where there is no value
    details:   what the rows are the mean, the area or the difference of
    facts:     what decides the figures: pictures, recipe, seeds
    notes:     what a reader must know to read them
    trainings: nets trained for it; seconds: processor time that they took, whenever that was
    """

    noun: ClassVar[str] = "retraining"

    measure: str
    better: str
    rows: tuple[Row, ...]
    details: tuple[Row, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    notes: tuple[str, ...] = ()
    trainings: int = 0
    seconds: float = 0.0

    def row(self, **named: Any) -> Row:
        """The first row, or else the first detail, that holds these values. Raises RequestError where none does."""
        for row in (*self.rows, *self.details):
            if all(name in row and row[name] == value for name, value in named.items()):
                return row
        raise RequestError(f"{self.measure} has no row with {dict(named)}.")

    def to_dict(self) -> dict[str, Any]:
        return cast("dict[str, Any]", to_plain(vars(self)))

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Retraining:
        """The result that `to_dict` wrote."""
        values = cast(
            "dict[str, Any]",
            from_plain({key: value for key, value in record.items() if key not in ("pellucid", "format")}),
        )
        values.update({name: tuple(values[name]) for name in ("rows", "details", "notes")})
        return cls(**values)

    def csv(self, *, details: bool = False) -> str:
        """The rows, or the details, one line each under the names of their columns."""
        chosen = self.details if details else self.rows
        columns = list(dict.fromkeys(name for row in chosen for name in row))
        out = io.StringIO()
        writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(dict(row) for row in chosen)
        return out.getvalue()

    def fragment(self) -> Markup:
        return fragments.table(self.title, *self.in_words())

    def __rich__(self) -> RenderableType:
        return terminal.table(self.title, *self.in_words())

    @property
    def title(self) -> str:
        said = ", ".join(f"{name} {value}" for name, value in self.facts.items() if isinstance(value, (str, int)))
        return (
            f"{self.measure}, {self.better} is better ({said})" if said else f"{self.measure}, {self.better} is better"
        )

    def in_words(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows as they are shown."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        return columns, [[_cell(row.get(name, "")) for name in columns] for row in self.rows]

    def _writers(self) -> Mapping[str, Callable[[], bytes]]:
        return {**super()._writers(), ".csv": lambda: self.csv().encode()}


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "–" if value != value else number(value)
    return str(value)
