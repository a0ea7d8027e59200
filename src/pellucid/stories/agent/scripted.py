"""A policy without a language model: hypotheses from the strongest pictures, each tried by changing pictures."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from pellucid.errors import RequestError
from pellucid.stories.agent.bias_script import bias_script
from pellucid.stories.agent.photo_script import photo_script
from pellucid.stories.agent.protocol import Call, Task, Tool, Turn
from pellucid.stories.agent.unit_script import unit_script

Script = Generator[Call, Mapping[str, Any], None]


class Scripted:
    """Works through a fixed procedure; the same task gives the same calls. One of them serves one task at a time."""

    name = "scripted"

    def __init__(self) -> None:
        self._script: Script | None = None
        self._given = 0

    def act(self, task: Task, tools: Sequence[Tool], turns: Sequence[Turn], left: Mapping[str, int]) -> Call:
        """The next step. Raises RequestError where its script is over and nothing was concluded."""
        try:
            if not turns:
                self._script, self._given = _script(task), 0
                return next(self._script)
            if self._script is None or len(turns) != self._given + 1:
                return self._catch_up(task, turns)
            self._given = len(turns)
            return self._script.send(turns[-1].result)
        except StopIteration as end:
            raise RequestError("The scripted policy has nothing more to try.") from end

    def _catch_up(self, task: Task, turns: Sequence[Turn]) -> Call:
        """The same script from its beginning, told what has come of it."""
        self._script = _script(task)
        call = next(self._script)
        for turn in turns:
            call = self._script.send(turn.result)
        self._given = len(turns)
        return call


def _script(task: Task) -> Script:
    if task.job == "bias":
        return bias_script(task)
    return unit_script(task) if task.source == "scene" else photo_script(task)
