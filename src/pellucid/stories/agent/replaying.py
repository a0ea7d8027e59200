"""A journal run again: the same calls, and where the numbers are not the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pellucid.stories.agent import journal
from pellucid.stories.agent.investigation import laboratory
from pellucid.stories.agent.protocol import Task
from pellucid.subject import VisionModel, load

NEAR = 1e-3  # relative: another machine adds up in another order


@dataclass(frozen=True)
class Difference:
    """One figure that is another now: in which turn, where in its result, what it was and is."""

    turn: int
    where: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"turn {self.turn}, {self.where}: was {self.before}, is {self.now}"


@dataclass(frozen=True)
class Replayed:
    """What came of running a journal again."""

    task: Task
    turns: int
    figures: int
    differences: tuple[Difference, ...]
    label: str | None

    @property
    def same(self) -> bool:
        """Whether every figure came out as it was written."""
        return not self.differences

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.task.model, "turns": self.turns, "figures": self.figures, "same": self.same,
            "label": self.label,
            "differences": [
                {"turn": one.turn, "where": one.where, "before": one.before, "now": one.now} for one in self.differences
            ],
        }  # fmt: skip

    def __str__(self) -> str:
        begin = f"{self.turns} turns run again, {self.figures} figures compared"
        if self.same:
            return f"{begin}: all the same."
        shown = "\n".join(f"  {one}" for one in self.differences[:20])
        more = len(self.differences) - 20
        return f"{begin}: {len(self.differences)} differ.\n{shown}" + (f"\n  and {more} more" if more > 0 else "")


def replay(path: str | Path, *, model: VisionModel | None = None, files: Sequence[str] | None = None) -> Replayed:
    """Makes every call of a journal again and compares the results, figure by figure (relative 1e-3).

    model: None loads the one the journal names. files: where the user's pictures lie now, in the journal's order.

    Raises FileError and RequestError for what is no journal, LoadError where the model cannot be had.
    """
    written = journal.read(Path(path))
    task = written.task if files is None else replace(written.task, files=tuple(files))
    lab = laboratory(model or load(task.model), task)
    found: list[Difference] = []
    figures = 0
    for turn in written.turns:
        if "same_as_turn" in turn.result:
            continue
        result, _ = lab.call(turn.number, turn.call.tool, turn.call.arguments)
        count, differing = _compared(turn.number, "", dict(turn.result), result)
        figures += count
        found += differing
    label = None if written.finding is None else str(written.finding.get("label", ""))
    return Replayed(task, len(written.turns), figures, tuple(found), label)


def _compared(turn: int, where: str, before: Any, now: Any) -> tuple[int, list[Difference]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = list(dict.fromkeys([*before, *now]))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        parts = [_compared(turn, f"{where}.{key}".strip("."), before.get(key), now.get(key)) for key in keys]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):  # pyright: ignore[reportUnknownArgumentType]
        pairs = list(zip(before, now, strict=True))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        parts = [_compared(turn, f"{where}[{at}]", *pair) for at, pair in enumerate(pairs)]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    elif isinstance(before, (int, float)) and isinstance(now, (int, float)) and bool not in (type(before), type(now)):
        near = math.isclose(before, now, rel_tol=NEAR, abs_tol=1e-6)
        return 1, [] if near else [Difference(turn, where, before, now)]
    else:
        return 0, [] if before == now else [Difference(turn, where, before, now)]
    return sum(count for count, _ in parts), [one for _, differing in parts for one in differing]
