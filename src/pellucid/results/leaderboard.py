"""The finished contest of methods on one model: every measure of every map, with how sure it is."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, Literal, cast

from markupsafe import Markup
from rich.console import RenderableType

from pellucid.canvas import fragments, terminal
from pellucid.canvas.words import number, percent
from pellucid.compute.bootstrap import Interval, class_mean, difference, holm, interval, p_value, standard_error
from pellucid.compute.ranking import MeanRanks, mean_ranks
from pellucid.errors import RequestError
from pellucid.results.encoding import from_plain, to_plain
from pellucid.results.model_card import ModelCard
from pellucid.results.readings import Reading
from pellucid.results.result import Result

Kind = Literal["method", "control", "oracle", "shown first"]
_BACKGROUND = 0.5  # the share of a map's evidence beside all objects from which on that is what it shows


@dataclass(frozen=True)
class Column:
    """One measure: its name, which way is better and what it says.

    limit:   the value that a map must keep on the good side of, for measures that are checks
    changes: for measures of how well a map foretells the model: by which changes of the picture, in words
    """

    metric: str
    better: str
    summary: str
    paper: str
    unit: str = ""
    truth: bool = False
    remakes: bool = False
    limit: float | None = None
    changes: str = ""

    @property
    def sign(self) -> int:
        return 1 if self.better == "higher" else -1


@dataclass(frozen=True, eq=False)
class Entry:
    """One competitor.

    values:  by metric, one per picture in the order of the board's pictures; NaN where it was not measured
    passes:  forward passes per picture that its map takes alone (a backward counts two)
    seconds: per picture, beyond the passes that all maps share
    parameters: those that differ from the method's defaults, to stay within the cap
    """

    name: str
    kind: Kind
    values: Mapping[str, tuple[float, ...]]
    passes: float = 0.0
    seconds: float = 0.0
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    class_agnostic: bool = False


@dataclass(frozen=True)
class Standing:
    """How a competitor stands on one measure.

    margin:   by how much it is better than the best control, or than the limit, paired over pictures; None for a
              control that is measured against none
    control:  what the margin is over
    beats:    whether that margin's whole interval lies above 0; of a check, whether its mean does
    p_next:   of being better than the next in rank, corrected over all neighbours (Holm); None for the last
    """

    name: str
    kind: Kind
    rank: int
    value: Interval
    margin: Interval | None
    control: str | None
    beats: bool
    p_next: float | None


@dataclass(frozen=True, eq=False)
class Example:
    """One picture and its maps as PNG files, by competitor; `picture` is the picture itself."""

    name: str
    plates: Mapping[str, bytes]


@dataclass(frozen=True, eq=False)
class Leaderboard(Result):
    """Methods ranked on one model, with the maps that know nothing and, where it is known, the truth among them.

    truth:    where pictures and right answers came from
    pictures: names of those measured; kept of total, since only pictures the model gets right can be judged
    classes:  the class that each is explained for; empty where none was noted
    readings: what the model's answer rests on in these pictures, where they could be made again with things changed
    left_out: methods that were not run: (name, passes, reason)
    rank_by:  the measure that orders the board
    """

    noun: ClassVar[str] = "leaderboard"

    model: ModelCard
    truth: str
    pictures: tuple[str, ...]
    total: int
    columns: tuple[Column, ...]
    entries: tuple[Entry, ...]
    rank_by: str
    cap: float
    seed: int
    left_out: tuple[tuple[str, float, str], ...] = ()
    examples: tuple[Example, ...] = ()
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    classes: tuple[str, ...] = ()
    readings: tuple[Reading, ...] = ()

    def __post_init__(self) -> None:
        if self.rank_by not in {column.metric for column in self.columns}:
            raise RequestError(f"rank_by={self.rank_by!r} is not among the measures of the board.")

    def column(self, metric: str) -> Column:
        """The column of that name. Raises RequestError for a measure that was not taken."""
        for column in self.columns:
            if column.metric == metric:
                return column
        names = ", ".join(column.metric for column in self.columns)
        raise RequestError(f"The board has no measure {metric!r}; it has {names}.")

    def entry(self, name: str) -> Entry:
        """The competitor of that name. Raises RequestError where it did not take part."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise RequestError(f"{name!r} is not on the board; it has {', '.join(entry.name for entry in self.entries)}.")

    def standings(self, metric: str) -> tuple[Standing, ...]:
        """All competitors on one measure, best first; those that could not be measured last."""
        return self._standings[metric]

    def standing(self, metric: str, name: str) -> Standing:
        """One competitor's place on one measure."""
        return next(place for place in self._standings[metric] if place.name == name)

    def class_mean(self, metric: str, name: str) -> float | None:
        """The mean over classes of one competitor's mean over their pictures; None where there are no two classes."""
        row = self.entry(name).values.get(metric, ())
        return class_mean(row, self.classes) if row and len(set(self.classes)) > 1 else None

    def ranks(self, metric: str) -> MeanRanks | None:
        """How competitors rank picture by picture on one measure, and which cannot be told apart.

        None where fewer than three were measured, or fewer than two pictures. The truth itself does not compete.
        """
        rows = {one.name: one.values.get(metric, ()) for one in self.entries if one.kind != "oracle"}
        measured = {name: row for name, row in rows.items() if not all(math.isnan(value) for value in row)}
        return mean_ranks(measured, higher=self.column(metric).sign > 0) if measured else None

    @property
    def order(self) -> tuple[str, ...]:
        """The competitors' names in the order of the board."""
        return tuple(place.name for place in self.standings(self.rank_by))

    def flags(self, name: str) -> tuple[str, ...]:
        """The measures on which a competitor does not beat the best control for sure."""
        return tuple(
            column.metric
            for column in self.columns
            if (place := self.standing(column.metric, name)).margin is not None and not place.beats
        )

    @property
    def neighbourhoods(self) -> tuple[Column, ...]:
        """The measures of how well a map foretells what the model does under some kind of change (Han et al. 2022)."""
        return tuple(column for column in self.columns if column.changes)

    def answers_for(self, name: str) -> str | None:
        """The neighbourhood in which a map foretells the model clearly better than in all others; None without one.

        Clearly: the paired 95% interval of the difference to every other lies above 0, and so does its own.
        """
        places = {column.metric: self.standing(column.metric, name).value for column in self.neighbourhoods}
        means = {metric: value.mean for metric, value in places.items() if value.count}
        if not means:
            return None
        best, rows = max(means, key=lambda metric: means[metric]), self.entry(name).values
        others = [rows[metric] for metric in means if metric != best]
        clear = all(difference(rows[best], row, seed=self.seed).above_zero for row in others)
        return best if clear and places[best].above_zero else None

    @property
    def alarms(self) -> tuple[str, ...]:
        """What the board says against the model: that most of the map shown first surely lies where there is no object.

        Surely: the whole 95% interval of its background mass lies above one half.
        """
        if "background_mass" not in {column.metric for column in self.columns}:
            return ()
        first = [entry for entry in self.entries if entry.kind == "shown first"]
        found = [interval(entry.values["background_mass"], self.seed) for entry in first]
        return tuple(
            f"The model may read the background: {percent(seen.mean)} of what the map shown first shows lies where "
            f"there is no object (95% between {percent(seen.low)} and {percent(seen.high)})."
            for seen in found
            if seen.count and seen.low > _BACKGROUND
        )

    @cached_property
    def _standings(self) -> dict[str, tuple[Standing, ...]]:
        return {column.metric: tuple(self._ranked(column)) for column in self.columns}

    def _ranked(self, column: Column) -> list[Standing]:
        measured = {entry.name: entry.values.get(column.metric, ()) for entry in self.entries}
        values = {name: interval(row, self.seed) for name, row in measured.items()}
        order = sorted(self.entries, key=lambda entry: _place(values[entry.name].mean, column.sign, entry.kind))
        controls = [entry.name for entry in order if entry.kind == "control" and values[entry.name].count]
        best = controls[0] if controls else None
        pairs = [(one.name, other.name) for one, other in pairwise(order)]
        p_next = holm({
            one: p_value(measured[one], measured[other], self.seed)
            for one, other in pairs
            if values[one].count and values[other].count
        })  # fmt: skip
        standings: list[Standing] = []
        for rank, entry in enumerate(order, start=1):
            margin, against = None, best
            if column.limit is not None and values[entry.name].count:
                against = f"the limit {number(column.limit)}"
                gaps = [column.sign * (value - column.limit) for value in measured[entry.name]]
                margin = interval(gaps, self.seed)
            elif best is not None and entry.kind != "control" and values[entry.name].count:
                sides = (measured[entry.name], measured[best])
                margin = difference(*(sides if column.sign > 0 else sides[::-1]), seed=self.seed)
            standings.append(Standing(
                entry.name, entry.kind, rank, values[entry.name], margin, against if margin else None,
                margin is not None and (margin.above_zero or (column.limit is not None and margin.mean > 0)),
                p_next.get(entry.name),
            ))  # fmt: skip
        return standings

    # -- showing ----------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        plain = {name: value for name, value in vars(self).items() if name not in ("model", "examples", "_standings")}
        return {
            **cast("dict[str, Any]", to_plain({**plain, "entries": [dict(vars(entry)) for entry in self.entries]})),
            "model": self.model.to_dict(),
            "alarms": list(self.alarms),
            "ranks": {column.metric: to_plain(self._ranks_in_full(column.metric)) for column in self.columns},
            "standard errors": {
                column.metric: {
                    one.name: to_plain(standard_error(one.values.get(column.metric, ()))) for one in self.entries
                }
                for column in self.columns
            },
            "examples": [
                {"name": one.name, "plates": {key: png.hex() for key, png in one.plates.items()}}
                for one in self.examples
            ],
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Leaderboard:
        """The board that `to_dict` wrote."""
        apart = ("model", "alarms", "ranks", "standard errors", "examples", "pellucid", "format")
        values = cast("dict[str, Any]", from_plain({key: value for key, value in record.items() if key not in apart}))
        everything: dict[str, Any] = {
            **values,
            "model": ModelCard.from_dict(record["model"]),
            "pictures": tuple(values["pictures"]),
            "columns": tuple(Column(**column) for column in values["columns"]),
            "entries": tuple(_entry(cast("dict[str, Any]", entry)) for entry in values["entries"]),
            "left_out": tuple((name, passes, reason) for name, passes, reason in values["left_out"]),
            "examples": tuple(
                Example(one["name"], {key: bytes.fromhex(png) for key, png in one["plates"].items()})
                for one in record["examples"]
            ),
            "notes": tuple(values["notes"]),
            "classes": tuple(values.get("classes", ())),
            "readings": tuple(Reading.from_dict(cast("dict[str, Any]", one)) for one in values.get("readings", ())),
        }
        return cls(**everything)

    def _ranks_in_full(self, metric: str) -> dict[str, Any] | None:
        found = self.ranks(metric)
        return None if found is None else {**asdict(found), "cannot be told apart": found.groups}

    def csv(self) -> str:
        """One line per competitor and measure: value, interval, margin over the best control, cost."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([
            "method", "kind", "metric", "better", "rank", "mean", "standard error", "low", "high", "pictures",
            "class mean", "mean rank", "best control", "margin", "margin low", "margin high", "beats controls",
            "p against next", "passes", "seconds",
        ])  # fmt: skip
        for column in self.columns:
            found = self.ranks(column.metric)
            places = {} if found is None else found.ranks
            for place in self.standings(column.metric):
                entry, margin = self.entry(place.name), place.margin
                writer.writerow([
                    place.name, place.kind, column.metric, column.better, place.rank, place.value.mean,
                    standard_error(entry.values.get(column.metric, ())), place.value.low, place.value.high,
                    place.value.count, "" if (each := self.class_mean(column.metric, place.name)) is None else each,
                    places.get(place.name, ""), place.control or "",
                    *((margin.mean, margin.low, margin.high) if margin else ("", "", "")),
                    "" if margin is None else place.beats, "" if place.p_next is None else place.p_next,
                    entry.passes, round(entry.seconds, 5),
                ])  # fmt: skip
        return out.getvalue()

    def fragment(self) -> Markup:
        return fragments.table(self.title, *self.rows())

    def __rich__(self) -> RenderableType:
        return terminal.table(self.title, *self.rows())

    @property
    def title(self) -> str:
        kept = f"{len(self.pictures)} of {self.total} pictures"
        return f"{self.model.name} on {self.truth}: {kept}, best {self.rank_by} first"

    def rows(self, metrics: Sequence[str] | None = None) -> tuple[list[str], list[list[str]]]:
        """Columns and rows of the board as words: mean of each measure, `!` where the controls are not beaten."""
        shown = [self.column(name) for name in metrics] if metrics else list(self.columns)
        head = ["", *(column.metric for column in shown), "passes"]
        rows = []
        for name in self.order:
            entry = self.entry(name)
            cells = [self._cell(column.metric, name) for column in shown]
            label = name if entry.kind == "method" else f"{name} ({entry.kind})" if entry.kind == "control" else name
            rows.append([label, *cells, f"{entry.passes:.0f}" if entry.passes else ""])
        return head, rows

    def _cell(self, metric: str, name: str) -> str:
        place = self.standing(metric, name)
        if not place.value.count:
            return "–"
        return number(place.value.mean) + ("" if place.margin is None or place.beats else " !")

    def _writers(self) -> Mapping[str, Callable[[], bytes]]:
        from pellucid.results.board_page import board_page

        return {
            **super()._writers(),
            ".html": lambda: board_page(self).encode(),
            ".csv": lambda: self.csv().encode(),
        }


def _entry(record: dict[str, Any]) -> Entry:
    rows = {str(name): tuple(row) for name, row in record.pop("values").items()}
    return Entry(values=rows, **record)


def _place(mean: float, sign: int, kind: Kind) -> tuple[bool, float, int]:
    """What is equal stands in the order of how much is known."""
    return math.isnan(mean), -sign * mean, ("oracle", "shown first", "method", "control").index(kind)
