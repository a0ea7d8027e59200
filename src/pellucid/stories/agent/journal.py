"""An agent's work as lines of JSON: the task, every turn as it ends, and the finding."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import FileError, RequestError
from pellucid.stories.agent.protocol import Task, Turn

FORMAT = "pellucid agent 1"


@dataclass(frozen=True)
class Journal:
    """What was written of one investigation, or is: without a path nothing is kept.

    Each line is on disk before the next turn begins, so a run that was stopped leaves what it did.
    """

    path: Path | None = None

    def begin(self, task: Task, policy: str) -> None:
        """A new journal. Raises FileError where there is one already, or none can be written."""
        if self.path is not None and self.path.exists():
            raise FileError(self.path, "there is a journal already.", "Choose another name, or remove it.")
        self._add({"format": FORMAT, "task": task.to_dict(), "policy": policy})

    def turn(self, turn: Turn) -> None:
        """One turn that has ended."""
        self._add(turn.to_dict())

    def end(self, finding: Mapping[str, Any]) -> None:
        """What was found."""
        self._add({"finding": dict(finding)})

    def _add(self, record: Mapping[str, Any]) -> None:
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise FileError(self.path, f"it cannot be written: {error.strerror or error}.",
                            "Choose another folder.") from error  # fmt: skip


@dataclass(frozen=True)
class Written:
    """A journal as it was read.

    finding: None where the run was stopped before it ended
    """

    task: Task
    policy: str
    turns: tuple[Turn, ...]
    finding: Mapping[str, Any] | None


def read(path: Path) -> Written:
    """The journal in a file; a last line that was cut short is left out.

    Raises FileError for what cannot be read, RequestError for what is no journal.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(path, f"it cannot be read: {error}.", "Give a journal that `pellucid agent` wrote.") from error
    records: list[dict[str, Any]] = []
    for at, line in enumerate(lines):
        try:
            record: Any = json.loads(line)
        except ValueError:
            if at == len(lines) - 1:
                break
            record = None
        if not isinstance(record, dict):
            raise RequestError(f"Line {at + 1} of {path.name} is no line of a journal.")
        records.append(record)
    if not records or records[0].get("format") != FORMAT:
        raise RequestError(f"{path.name} is no journal of an agent.")
    try:
        turns = tuple(Turn.from_dict(one) for one in records[1:] if "turn" in one)
    except (KeyError, TypeError, ValueError) as error:
        raise RequestError(f"A turn in {path.name} lacks {error}.") from error
    ends = [one["finding"] for one in records if "finding" in one]
    return Written(Task.from_dict(records[0]["task"]), str(records[0]["policy"]), turns, ends[-1] if ends else None)
