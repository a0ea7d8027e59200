"""The files that people hand back, joined with what they were not told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pellucid.errors import FileError
from pellucid.trust.people.analysis import Decision


@dataclass(frozen=True)
class Answers:
    """What came back.

    decisions:  of the tasks that count
    unfinished: people whose file does not reach the end
    left_page:  decisions during which the page was out of sight: their time is not a time of thinking
    practice:   answers to tasks of practice, which are left out
    """

    decisions: tuple[Decision, ...]
    unfinished: tuple[str, ...]
    left_page: int
    practice: int


def read_answers(files: Iterable[str | Path], key: str | Path | Mapping[str, Any]) -> Answers:
    """Decisions from the files of answers, with the key that `Study.save` wrote beside the page.

    Raises FileError for a file that is no log of this study or names an unknown task, and for two files of one person.
    """
    held = key if isinstance(key, Mapping) else cast("dict[str, Any]", _json(Path(key)))
    tasks = cast("dict[str, dict[str, Any]]", held["tasks"])
    decisions: list[Decision] = []
    unfinished: list[str] = []
    seen: dict[str, Path] = {}
    left, practice = 0, 0
    for file in map(Path, files):
        lines = _lines(file)
        who = _person(file, lines, str(held["study"]))
        if who in seen:
            raise FileError(file, f"the code {who!r} is that of {seen[who].name} too.", "Keep one file per person.")
        seen[who] = file
        answered = [line for line in lines if line.get("kind") == "decision"]
        practice += sum(bool(line["practice"]) for line in answered)
        for line in answered:
            if line["practice"]:
                continue
            if line["task"] not in tasks:
                raise FileError(file, f"the key has no task {line['task']!r}.", "Take the key of the same study.")
            away = bool(line.get("left_page"))
            left += away
            decisions.append(_decision(who, line, tasks[line["task"]], away))
        if not any(line.get("kind") == "end" for line in lines):
            unfinished.append(who)
    return Answers(tuple(decisions), tuple(unfinished), left, practice)


def _decision(who: str, line: Mapping[str, Any], truth: Mapping[str, Any], away: bool) -> Decision:
    return Decision(
        user=who, task=str(line["task"]), accepted=bool(line["accepted"]), right=bool(truth["right"]),
        confidence=float(truth["confidence"]), condition=str(truth["condition"]),
        seconds=float("nan") if away else float(line["seconds"]), edits=int(line.get("edits", 0)),
    )  # fmt: skip


def _person(file: Path, lines: list[dict[str, Any]], study: str) -> str:
    start = next((line for line in lines if line.get("kind") == "start"), None)
    if start is None:
        raise FileError(file, "it does not begin as a log of answers does.", "Take the file that the page downloads.")
    if start["study"] != study:
        raise FileError(file, f"it belongs to the study {start['study']!r}, not {study!r}.", "Take the other key.")
    return str(start["participant"])


def _lines(file: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise FileError(file, f"it cannot be read: {error}.", "Take the file that the page downloads.") from error


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(file, f"it cannot be read: {error}.", "Take key.json from the study's folder.") from error
