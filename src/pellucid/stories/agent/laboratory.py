"""Where an agent's experiments are made: tools over pellucid's own functions, with a budget.

Pictures are recipes (`language.recipes`), so a tool needs nothing but its arguments, and can be called again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pellucid.errors import BudgetSpent, PellucidError, RequestError, SceneError
from pellucid.language import recipes
from pellucid.language.recipes import ANOTHER, Recipe, facts_of, frames_of
from pellucid.stories.agent.protocol import CONCLUDE, UNREAD, Task, Tool, Turn, checked
from pellucid.subject import VisionModel
from pellucid.testbed import captions
from pellucid.testbed.fields import SHORTCUTS, words_of
from pellucid.testbed.witness import witness

MOST_PICTURES, MOST_EDITS = 64, 64
LIST: Mapping[str, Any] = {"type": "array", "items": {"type": "string"}, "maxItems": MOST_PICTURES, "minItems": 1,
                           "description": "Pictures, as other tools name them."}  # fmt: skip
CHANGE: Mapping[str, Any] = {
    "type": "object", "additionalProperties": {"type": "string", "maxLength": 40},
    "description": f"Fields and words, such as {{'tail': 'fanned'}}; the word `{ANOTHER}` takes some other one.",
}  # fmt: skip
COUNT: Mapping[str, Any] = {"type": "integer", "minimum": 1, "maximum": MOST_PICTURES}
TEXT: Mapping[str, Any] = {"type": "string", "maxLength": 400}
_KNOWN = ", ".join(f"{name} ({', '.join(words_of(name))})" for name in recipes.FIELDS)


@dataclass(frozen=True)
class Experiment:
    """Pictures before and after one change."""

    before: tuple[Recipe, ...]
    after: tuple[Recipe, ...]
    change: Mapping[str, str]

    @property
    def words(self) -> str:
        """The change for a reader: `the tail fanned`, `another land`."""
        return " and ".join(
            f"another {_said(name)}" if word == ANOTHER else f"the {_said(name)} {word}" if word else name
            for name, word in self.change.items()
        )


class Laboratory:
    """The tools of every job, what they cost, and what was found with them."""

    jobs_tools: tuple[Tool, ...] = ()

    def __init__(self, model: VisionModel, task: Task) -> None:
        self.model, self.task = model, task
        self.spent = 0
        self.experiments: dict[str, Experiment] = {}
        self.notes: list[dict[str, str]] = []
        self._turn = 0

    # -- calling ------------------------------------------------------------------------------------------------------

    @property
    def tools(self) -> tuple[Tool, ...]:
        """All that can be done here."""
        common = (EDIT, DRAW, DESCRIBE, NOTE)
        usable = common if self.task.source == "scene" else (CHANGE_PICTURE, DESCRIBE, NOTE)
        return (*self.jobs_tools, *usable)

    @property
    def left(self) -> int:
        """Forward passes that may still be spent."""
        return self.task.passes - self.spent

    def call(self, turn: int, name: str, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """What a tool gives, and what it cost. What it cannot do is told as an `error`, which costs nothing."""
        before, self._turn = self.spent, turn
        try:
            tool = next((one for one in self.tools if one.name == name), None)
            if name == UNREAD:
                raise RequestError('No call could be read; answer with {"tool": "NAME", "arguments": {...}}.')
            if tool is None:
                known = ", ".join(one.name for one in self.tools)
                raise RequestError(f"There is no tool {name[:40]!r}. There are {known}.")
            done: Callable[..., dict[str, Any]] = getattr(self, f"do_{name}")
            found = _rounded(done(**checked(tool, arguments)))
        except PellucidError as error:
            return {"error": str(error)}, self.spent - before
        return found, self.spent - before

    def spend(self, passes: int) -> None:
        """Takes forward passes from the budget. Raises BudgetSpent where too few are left."""
        if passes > self.left:
            raise BudgetSpent(passes, self.left)
        self.spent += passes

    def read(self, texts: Sequence[str]) -> list[Recipe]:
        """Pictures by what they are called."""
        found = [Recipe.read(text) for text in texts]
        for one in found:
            if one.source != self.task.source:
                raise RequestError(f"{one.text[:60]!r}: this task is about {self.task.source} pictures.")
        return found

    # -- tools that all jobs have -------------------------------------------------------------------------------------

    def do_edit(self, pictures: list[str], change: dict[str, str]) -> dict[str, Any]:
        made, skipped = self.changed(self.read(pictures), change)
        return {"pictures": [after.text for _, after in made], "skipped": skipped}

    def do_draw(self, text: str, count: int) -> dict[str, Any]:
        """Text to picture: scenes that show what a caption states."""
        wanted = captions.parse(text)
        if any(name.startswith(("left_", "right_", "birds")) for name in wanted):
            raise SceneError("Only one bird can be drawn.")
        drawn = [Recipe("scene", (self.task.seed + 11, at)).having(wanted) for at in range(3 * count)]
        made = [one for one in drawn if _can_be(one)][:count]
        return {"pictures": [one.text for one in made]}

    def do_describe(self, pictures: list[str]) -> dict[str, Any]:
        """What another net, which shares no weight with the model, sees in the pictures."""
        asked = self.read(pictures)
        if self.task.source != "scene":
            return {"words": [{"colour": _colour(frame.pixels)} for frame in frames_of(asked, files=self.task.files)]}
        shown = np.stack([frame.pixels for frame in frames_of(asked)]).transpose(0, 3, 1, 2)
        read = witness().read(torch.from_numpy(shown.copy()).float() / 255)
        return {"words": [_likeliest(one) for one in read]}

    def do_note(self, hypothesis: str, status: str) -> dict[str, Any]:
        self.notes = [one for one in self.notes if one["hypothesis"] != hypothesis]
        self.notes.append({"hypothesis": hypothesis, "status": status})
        return {"hypotheses": [dict(one) for one in self.notes]}

    # -- what jobs build on -------------------------------------------------------------------------------------------

    def changed(
        self, pictures: Sequence[Recipe], change: Mapping[str, str]
    ) -> tuple[list[tuple[Recipe, Recipe]], list[dict[str, str]]]:
        """Pictures before and after a change, and those that it cannot be made in, or does nothing to, with why."""
        if not change:
            raise RequestError("A change names at least one field.")
        made: list[tuple[Recipe, Recipe]] = []
        skipped: list[dict[str, str]] = []
        scenes = self.task.source == "scene"
        facts = facts_of(pictures) if scenes else [{} for _ in pictures]
        for one, now in zip(pictures, facts, strict=True):
            try:
                words = {name: recipes.another(one, name) if word == ANOTHER else word for name, word in change.items()}
                after = Recipe.read(one.having(words).text)
                if scenes and not _can_be(after):
                    raise RequestError("a part that touches it has that hue")
            except (RequestError, SceneError) as error:
                if len(pictures) == 1 or "no field" in str(error) or "no value" in str(error):
                    raise
                skipped.append({"picture": one.text, "why": str(error)[:120]})
                continue
            same = scenes and all(now.get(name) == word for name, word in words.items() if name in recipes.FIELDS)
            if same and "props" not in words:
                skipped.append({"picture": one.text, "why": "it is so already"})
                continue
            made.append((one, after))
        return made, skipped

    def keep(self, row: int, experiment: Experiment) -> str:
        """Keeps an experiment under a name by which a conclusion can cite it: `7.2` is the second of turn 7."""
        name = f"{self._turn}.{row}"
        self.experiments[name] = experiment
        return name

    def cited(self, names: Sequence[str]) -> list[Experiment]:
        """Experiments by name. Raises RequestError for one that was never made."""
        unknown = [name for name in names if name not in self.experiments]
        if unknown:
            raise RequestError(
                f"No experiment is called {unknown[0][:20]!r}; what is concluded must rest on logged ones: "
                f"{', '.join(self.experiments) or 'there are none yet'}."
            )
        return [self.experiments[name] for name in names]

    def pool(self, count: int, world: str = "") -> list[Recipe]:
        """The first pictures of the task."""
        if self.task.source == "file":
            return [Recipe("file", (at,)) for at in range(min(count, len(self.task.files)))]
        return [Recipe(self.task.source, (self.task.seed, at), world) for at in range(count)]


def repeated(turns: Sequence[Turn], name: str, arguments: Mapping[str, Any]) -> Turn | None:
    """The turn in which the very same was done, with success."""
    for turn in turns:
        if turn.call.tool == name and dict(turn.call.arguments) == dict(arguments) and not turn.error:
            return turn if name not in (CONCLUDE, "note") else None
    return None


def _can_be(recipe: Recipe) -> bool:
    try:
        facts_of([recipe])
    except SceneError:
        return False
    return True


def _likeliest(read: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """One word for each field; the hue of a plume only where there is one."""
    words = {name: max(shares, key=lambda word: shares[word]) for name, shares in read.items()}
    if words.get("crest") == "none":
        words.pop("crest_hue", None)
    return words


def _colour(pixels: np.ndarray) -> str:
    red, green, blue = (float(one) for one in pixels.reshape(-1, 3).mean(axis=0))
    if max(red, green, blue) - min(red, green, blue) < 20:
        return "grey" if 60 < red < 190 else "dark" if red <= 60 else "pale"
    return {red: "reddish", green: "greenish", blue: "bluish"}[max(red, green, blue)]


def _said(name: str) -> str:
    plain = {"land": "landscape", "flip": "side it faces", "feet": "stance", "crest": "plume", "beak": "beak's shape",
             "wing": "wing pattern", "tail": "tail's shape", "cue": "colour of the planted cue"}  # fmt: skip
    return plain.get(name, name.replace("_", " ").replace("crest", "plume"))


def _rounded(value: Any) -> Any:
    """Numbers as a journal keeps them: six digits."""
    if isinstance(value, dict):
        return {str(name): _rounded(one) for name, one in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return float(f"{number:.6g}") if np.isfinite(number) else None
    return int(value) if isinstance(value, np.integer) else value


EDIT = Tool("edit", f"Paints scenes again with fields changed. Fields: {_KNOWN}; props=none clears the ground.",
            {"pictures": LIST, "change": CHANGE}, ("pictures", "change"))  # fmt: skip
CHANGE_PICTURE = Tool("edit", "Changes photographs: grey (''), mirror (''), turn (degrees of hue), hide, only or crop "
                      "('left,top,right,bottom' from 0 to 1).", {"pictures": LIST, "change": CHANGE},
                      ("pictures", "change"))  # fmt: skip
DRAW = Tool("draw", "Paints scenes that show what a caption says, such as 'a coral bird with dotted plum wings'.",
            {"text": TEXT, "count": COUNT}, ("text", "count"))  # fmt: skip
DESCRIBE = Tool("describe", "What is seen in pictures, by a reader that shares no weight with the model. May err.",
                {"pictures": LIST}, ("pictures",))  # fmt: skip
NOTE = Tool("note", "Keeps a hypothesis and what has become of it.",
            {"hypothesis": TEXT, "status": {"type": "string", "enum": ["open", "kept", "refuted"]}},
            ("hypothesis", "status"))  # fmt: skip
EVIDENCE: Mapping[str, Any] = {
    "type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 12,
    "description": "Names of experiments, such as 7.2, that what is concluded rests on.",
}  # fmt: skip
WORLD: Mapping[str, Any] = {
    "type": "string", "enum": ["", *SHORTCUTS[1:]],
    "description": "Scenes with a tag, a frame or a trace whose field is `cue`; '' without.",
}  # fmt: skip
SAMPLE = Tool("sample", "Pictures of the task, by lot.", {"count": COUNT, "world": WORLD}, ("count",))
EDITS: Mapping[str, Any] = {"type": "array", "items": CHANGE, "maxItems": MOST_EDITS, "minItems": 1,
                            "description": "Several changes; each is tried by itself on all pictures."}  # fmt: skip
