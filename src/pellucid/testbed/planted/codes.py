"""Scenes as pictures of what is where: the id map with each part's shape and hue, told in three channels.

The bird's outline is as it was; a pixel's red says which part it shows, green the part's kind (the wing's pattern, the
tail's or beak's shape, on the background which landscape), blue its hue. So a 1x1 convolution can read a pattern or a
shape off one pixel, which it cannot on paper, and what a net is told can be stated exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from pellucid.errors import SceneError
from pellucid.testbed.fields import HUES, LANDS, WORDS
from pellucid.testbed.palette import PART_IDS
from pellucid.testbed.planted.colours import HUE_WORDS, LAND_WORDS
from pellucid.testbed.planted.separation import Concept, Palette
from pellucid.testbed.scene import Scenes, scenes

PART_STEP, KIND_STEP, HUE_STEP = 20, 40, 40  # of 255: whole bytes, so a coded picture survives being saved
# Parts in the order of their codes: the body's beside the head's, so that one set of planes holds both.
ORDER = ("background", "prop", "feet", "tail", "crest", "body", "head", "bib", "wing", "beak", "eye", "grass", "cue")

# Which field says what kind, or what hue, a part is.
KIND_FIELDS: Mapping[str, str] = MappingProxyType(
    {"background": "land", "wing": "wing", "tail": "tail", "crest": "crest", "beak": "beak"}
)
HUE_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "body": "body_hue",
        "head": "body_hue",
        "wing": "wing_hue",
        "tail": "tail_hue",
        "crest": "crest_hue",
        "bib": "bib_hue",
        "beak": "beak_hue",
        "cue": "cue",
    }
)


@dataclass(frozen=True, eq=False)
class CodedScenes(Scenes):
    """Scenes whose pictures are codes. Twins, effects, masks and frames work as for any others."""

    @cached_property
    def pixels(self) -> UInt8[np.ndarray, "scene height width 3"]:  # type: ignore[override]  # cached, else the same
        """Part, kind and hue of what every pixel shows."""
        table = np.zeros((len(self), len(PART_IDS), 3), dtype=np.uint8)
        for part, number in PART_IDS.items():
            table[:, number, 0] = ORDER.index(part) * PART_STEP
            if part in KIND_FIELDS:
                table[:, number, 1] = (self.fields[KIND_FIELDS[part]] + 1) * KIND_STEP
            field = HUE_FIELDS.get(part, "")
            if field in self.fields:
                table[:, number, 2] = (_hues(field)[self.fields[field]] + 1) * HUE_STEP
        return table[np.arange(len(self))[:, None, None], self.parts]


def coded(scenes: Scenes) -> CodedScenes:
    """The same scenes in codes. Raises SceneError for flocks, where a class is no matter of one bird's parts."""
    if scenes.world.flock:
        raise SceneError("Coded pictures show one bird; these scenes are flocks. Draw them with mode='solo'.")
    same = CodedScenes(scenes.seed, scenes.index, scenes.fields, scenes.world)
    if "painted" in vars(scenes):
        vars(same)["painted"] = scenes.painted
    return same


def coded_scenes(seed: int, count: int | Sequence[int] | np.ndarray, **settings: Any) -> CodedScenes:
    """Scenes drawn as `testbed.scenes` draws them, in codes."""
    return coded(scenes(seed, count, **{"camera": 0.0, **settings}))


@cache
def code_palette() -> Palette:
    """Every colour that a coded picture can show; the paint's name says part, kind and hue: `wing 1 4`.

    Black, which no scene shows, is there too, so that what is covered in black speaks for nothing.
    """
    return {"black": np.zeros((1, 3))} | {
        f"{part} {kind} {hue}": np.array([[number * PART_STEP, (kind + 1) * KIND_STEP, (hue + 1) * HUE_STEP]]) / 255
        for number, part in enumerate(ORDER)
        for kind in _kinds(part)
        for hue in _hues_of(part)
    }


@dataclass(frozen=True)
class _Shown:
    """Where one of some parts shows, of a certain kind and hue where these are given."""

    parts: tuple[str, ...]
    kind: int | None
    hue: int | None

    def __call__(self, scenes: Scenes) -> Bool[np.ndarray, "scene height width"]:
        found = np.zeros(scenes.parts.shape, dtype=bool)
        for part in self.parts:
            if part == "cue" and "cue" not in scenes.fields:
                continue
            right = np.ones(len(scenes), dtype=bool)
            if self.kind is not None:
                right &= scenes.fields[KIND_FIELDS[part]] == self.kind
            if self.hue is not None:
                right &= _hues(HUE_FIELDS[part])[scenes.fields[HUE_FIELDS[part]]] == self.hue
            found |= (scenes.parts == PART_IDS[part]) & right[:, None, None]
        return found

    @property
    def paints(self) -> tuple[str, ...]:
        kinds = {part: _kinds(part) if self.kind is None else (self.kind,) for part in self.parts}
        hues = {part: _hues_of(part) if self.hue is None else (self.hue,) for part in self.parts}
        names = (f"{part} {kind} {hue}" for part in self.parts for kind in kinds[part] for hue in hues[part])
        return tuple(name for name in names if name in code_palette())


def _concept(
    name: str, words: tuple[str, ...], parts: tuple[str, ...], *, kind: int | None = None, hue: int | None = None
) -> Concept:
    shown = _Shown(parts, kind, hue)
    return Concept(name, words, shown.paints, shown)


def _kinds(part: str) -> tuple[int, ...]:
    if part == "crest":
        return (1,)  # a crest that shows is a plume
    return tuple(range(len(WORDS[KIND_FIELDS[part]]))) if part in KIND_FIELDS else (-1,)


def _hues_of(part: str) -> tuple[int, ...]:
    return tuple(sorted(set(_hues(HUE_FIELDS[part]).tolist()))) if part in HUE_FIELDS else (-1,)


def _hues(field: str) -> Int64[np.ndarray, "value"]:
    """Value of a hue's field -> which of the six hues, -1 for none of them (a black beak)."""
    words = WORDS.get(field, HUES)
    return np.array([HUES.index(word) if word in HUES else -1 for word in words])


# -- what a pixel of a coded picture can say -----------------------------------------------------------------------

_HUED = ("body", "head", "wing", "tail", "crest", "bib", "beak")

HUE = tuple(_concept(hue, HUE_WORDS[hue], _HUED, hue=at) for at, hue in enumerate(HUES))
BODY = tuple(
    _concept(f"{hue} body", (f"a {hue} bird", *(f"{word} body" for word in HUE_WORDS[hue])), ("body", "head"), hue=at)
    for at, hue in enumerate(HUES)
)
LAND = tuple(_concept(land, LAND_WORDS[land], ("background",), kind=at) for at, land in enumerate(LANDS))
TAG = tuple(_concept(f"{hue} tag", (f"a {hue} square",), ("cue",), hue=at) for at, hue in enumerate(HUES))
WING = tuple(
    _concept(f"{kind} wings", (kind, f"{kind} wing", other), ("wing",), kind=at)
    for at, (kind, other) in enumerate(
        zip(WORDS["wing"], ("striped wings", "spotted wings", "rimmed wings"), strict=True)
    )
)
TAIL = tuple(
    _concept(f"a {kind} tail", (kind, f"{kind} tail", other), ("tail",), kind=at)
    for at, (kind, other) in enumerate(zip(WORDS["tail"], ("a split tail", "a spread tail"), strict=True))
)
PLUME = _concept("a plume", ("plume", "crest", "crown", "feathers on the head"), ("crest",))
STANDING = _concept("standing", ("feet", "legs", "a standing bird"), ("feet",))
