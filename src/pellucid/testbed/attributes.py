"""What is so in each scene, as a table of yes and no with a word for every column: concepts whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from pellucid.errors import SceneError
from pellucid.testbed.captions import PLACES
from pellucid.testbed.fields import OWN_WORDS, WORDS
from pellucid.testbed.scene import Scenes
from pellucid.testbed.tasks import shown
from pellucid.testbed.truth import place_of

FIELDS = (*OWN_WORDS, "land")
_NOUNS = {
    "wing": "{} wing",
    "tail": "{} tail",
    "beak": "{} beak",
    "feet": "{}",
    "flip": "facing {}",
    **{f"{part}_hue": f"{{}} {part}" for part in ("body", "wing", "tail", "crest", "bib", "beak")},
}


@dataclass(frozen=True)
class Attribute:
    """One thing that can be so: a value of a field, and how it is said."""

    field: str
    value: int
    words: str


@dataclass(frozen=True, eq=False)
class Table:
    """Which attributes each scene has: `values` is True where it has one."""

    attributes: tuple[Attribute, ...]
    values: Bool[np.ndarray, "scene attribute"]

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(attribute.words for attribute in self.attributes)

    def place(self, scenes: Scenes, words: str) -> Bool[np.ndarray, "scene height width"]:
        """Where one attribute shows; nowhere in scenes that do not have it, or show it in no one place."""
        if words not in self.words:
            raise SceneError(f"The table has no attribute {words!r}. Known: {', '.join(self.words)}.")
        at = self.words.index(words)
        field = self.attributes[at].field
        mask = scenes.objects if field == "flip" else place_of(scenes, field, ghosts=False)
        return mask & self.values[:, at, None, None]


def table(scenes: Scenes, fields: Sequence[str] = FIELDS) -> Table:
    """The attributes of solo scenes: each value of these fields, "coral wing" and "fanned tail" and "in a forest".

    A value of a part that is missing is not there. Raises SceneError for flocks, whose birds differ, and for fields
    without words.
    """
    if scenes.world.flock:
        raise SceneError("A flock has no one attribute of a kind: its birds differ. Use scenes of one bird.")
    for field in fields:
        if field not in FIELDS:
            raise SceneError(f"The field {field!r} is no attribute. Known: {', '.join(FIELDS)}.")
    attributes = tuple(
        Attribute(field, at, _said(field, word)) for field in fields for at, word in enumerate(WORDS[field])
    )
    columns = [_there(scenes, one.field) & (scenes.fields[one.field] == one.value) for one in attributes]
    return Table(attributes, np.stack(columns, axis=1))


def _said(field: str, word: str) -> str:
    if field == "crest":
        return "plume" if word == "plume" else "no plume"
    if field == "land":
        return PLACES[WORDS["land"].index(word)]
    return _NOUNS[field].format(word).replace("crest", "plume")


def _there(scenes: Scenes, field: str) -> Bool[np.ndarray, "scene"]:
    if field == "crest_hue":
        return scenes.fields["crest"] == 1
    if field in ("land", "flip"):
        return np.ones(len(scenes), dtype=bool)
    if field in ("beak_hue", "wing_hue", "tail_hue"):
        return shown(scenes.fields, field.removesuffix("_hue"))
    return shown(scenes.fields, field)
