"""Why one map is shown first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from markupsafe import Markup
from rich.console import RenderableType

from pellucid.canvas import fragments, terminal
from pellucid.canvas.words import listed, number, percent
from pellucid.results.encoding import from_plain, to_plain
from pellucid.results.result import Result


@dataclass(frozen=True, eq=False)
class Choice(Result):
    """The map shown first, and how sure one can be that it is the right one to show.

    margin_*: by how much it beat the random map, the picture's centre and its edges; negative where it did not;
              None where that was not measured
    stable:   share of the fills under which it comes first as well, 0 to 1
    table:    one row per scored map, best first: `method`, `score` (higher is better), `spread`, and `control` (True
              for the maps that know nothing); further columns are kept and shown in the details;
              `places` holds the place among the others under each fill; a `spread` of None says that nothing was varied
    foretells: how much of what the answer does the map foretells, one row per kind of change: `changes` in words,
            `mean`, `low` and `high`, 1 for all of it
    """

    noun: ClassVar[str] = "choice"

    method: str
    reason: str
    margin_random: float | None = None
    margin_centre: float | None = None
    margin_edge: float | None = None
    beats_controls: bool = False
    stable: float | None = None
    table: tuple[Mapping[str, Any], ...] = ()
    foretells: tuple[Mapping[str, Any], ...] = ()

    @property
    def margins(self) -> dict[str, float]:
        """By how much it beat each control that was measured."""
        rows = {"random": self.margin_random, "centre": self.margin_centre, "edge": self.margin_edge}
        return {name: margin for name, margin in rows.items() if margin is not None and margin == margin}

    @property
    def sentence(self) -> str:
        """How it stands against maps that know nothing, plainly."""
        if not self.margins:
            return "It was not measured against maps that know nothing about the model, so its worth is unknown."
        margins = listed([f"{_CONTROLS[name]} ({_signed(margin)})" for name, margin in self.margins.items()])
        if self.beats_controls:
            return f"It does better than {margins}."
        lost = [_CONTROLS[name] for name, margin in self.margins.items() if margin <= 0]
        if not lost:
            return f"It does better than {margins}, but not by more than chance would give. Read it with care."
        return f"It does no better than {listed(lost)}: do not rely on it. Against {margins}."

    @property
    def question(self) -> str:
        """Which kind of change the map foretells, the question it answers; empty where that was not measured."""
        if not self.foretells:
            return ""
        rows = sorted(self.foretells, key=lambda row: (row["low"] <= 0, -row["mean"]))
        if rows[0]["low"] <= 0:
            return "It shows where to look, not what would happen: it foretells no kind of change for sure."
        others = [f"{_share(row)} when {row['changes']}" for row in rows[1:]]
        return (
            f"Ask it what happens when {rows[0]['changes']}: it foretells "
            f"{listed([f'{_share(rows[0])} of that', *others])}."
        )

    def to_dict(self) -> dict[str, Any]:
        return cast("dict[str, Any]", to_plain(vars(self)))

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Choice:
        """The choice that `to_dict` wrote."""
        values = cast("dict[str, Any]", from_plain(dict(record)))
        values |= {name: tuple(values[name]) for name in ("table", "foretells") if name in values}
        return cls(**values)

    def fragment(self) -> Markup:
        return fragments.facts(f"{self.method} is shown first", self._facts())

    def __rich__(self) -> RenderableType:
        return terminal.facts(f"{self.method} is shown first", self._facts())

    def _facts(self) -> dict[str, str]:
        beaten = {f"above {name}": f"{margin:+.3f}" for name, margin in self.margins.items()}
        stable = {} if self.stable is None else {"stable under": f"{number(100 * self.stable)} % of the fills"}
        return {"why": self.reason, **beaten, **stable, "beats all controls": "yes" if self.beats_controls else "no"}


_CONTROLS = {"random": "a random map", "centre": "the centre of the picture", "edge": "the edges in the picture"}


def _share(row: Mapping[str, Any]) -> str:
    if row["low"] <= 0 and row["mean"] > _LITTLE:
        return "nothing for sure"
    return percent(row["mean"]) if row["mean"] > _LITTLE else "next to nothing"


_LITTLE = 0.01  # share of what the answer does that is not worth a figure


def _signed(margin: float) -> str:
    return f"{margin:+.2f}".replace("-", "−")
