"""Pictures as short texts that say how they are made, so that an experiment can be written down and made again.

`scene:3000:17` is a scene of the testbed by seed and index; `scene:3000:17;tail=fanned;props=none` the same with other
fields; `scene@frame:3000:17` one with a frame that has a colour of its own. `photo:1000:4` is a crop of a photograph
that comes along, `file:4` the fifth of the files that the user gave. All take `grey`, `turn=120` (hues, in degrees),
`mirror`, `hide=l,t,r,b`, `only=l,t,r,b` and `crop=l,t,r,b` (shares of width and height).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from pellucid.errors import RequestError, SceneError
from pellucid.images import Frame
from pellucid.images.reading import read
from pellucid.language.probes import Probe
from pellucid.subject import VisionModel
from pellucid.testbed import captions
from pellucid.testbed.fields import PROPS, SHORTCUTS, WORDS, Fields, words_of
from pellucid.testbed.planted import codes
from pellucid.testbed.scene import Scenes, allowed, scenes

SOURCES = ("scene", "photo", "file")
FIELDS = (*WORDS, "cue")  # of a scene, that may be set to a word
ANOTHER = "another"  # as a word: some other one that the field may take here
_LONGEST = 400  # characters of a recipe
_MOST_NUMBER = 10**9


@dataclass(frozen=True)
class Recipe:
    """How one picture is made.

    source:  scene, photo or file
    numbers: seed and index; of a file its place in the list
    world:   of a scene, which cue is drawn in it for itself: frame, tag or trace; empty for none
    changes: fields and their words, or changes of the picture, in the order in which they are made
    """

    source: str
    numbers: tuple[int, ...]
    world: str = ""
    changes: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """The recipe as it is written."""
        begin = f"{self.source}{'@' * bool(self.world)}{self.world}:{':'.join(map(str, self.numbers))}"
        return ";".join([begin, *(f"{name}={word}" if word else name for name, word in self.changes)])

    @property
    def fields(self) -> dict[str, str]:
        """The fields that are set, of a scene."""
        return {name: word for name, word in self.changes if name not in PICTURE_CHANGES}

    def having(self, changes: Mapping[str, str]) -> Recipe:
        """The same with these changes made last."""
        kept = tuple(pair for pair in self.changes if pair[0] not in changes)
        return replace(self, changes=(*kept, *changes.items()))

    @classmethod
    def read(cls, text: str) -> Recipe:
        """The recipe of a text. Raises RequestError where it is none."""
        if len(text) > _LONGEST:
            raise RequestError(f"A recipe of {len(text)} characters; the longest has {_LONGEST}.")
        begin, *rest = text.strip().split(";")
        kind, *numbers = begin.split(":")
        source, _, world = kind.partition("@")
        wanted = 1 if source == "file" else 2
        if source not in SOURCES or len(numbers) != wanted or not all(one.isdigit() for one in numbers):
            raise RequestError(
                f"{text[:60]!r} is no picture; expected such as scene:3000:17, scene:3000:17;tail=fanned, photo:1000:4."
            )
        if world and (source != "scene" or world not in SHORTCUTS[1:]):
            raise RequestError(f"There is no world {world!r}; scenes have one of {', '.join(SHORTCUTS[1:])}, or none.")
        found = tuple(map(int, numbers))
        if max(found) > _MOST_NUMBER:
            raise RequestError(f"{text[:60]!r}: numbers of pictures go up to {_MOST_NUMBER}.")
        pairs = [(name.strip(), word.strip()) for name, _, word in (one.partition("=") for one in rest)]
        for name, word in pairs:
            _check(source, world, name, word)
        return cls(source, found, world, tuple(pairs))


def _check(source: str, world: str, name: str, word: str) -> None:
    if name in PICTURE_CHANGES:
        PICTURE_CHANGES[name](np.zeros((8, 8, 3), dtype=np.uint8), word)
        return
    if source != "scene":
        raise RequestError(f"{name!r} is no change of a photograph; there are {', '.join(PICTURE_CHANGES)}.")
    if name == "props" and word == "none":
        return
    if name not in FIELDS or (name == "cue" and not world):
        known = [field for field in FIELDS if field != "cue" or world]
        raise RequestError(f"Scenes have no field {name!r}; there are {', '.join(known)}, and props=none.")
    if word not in words_of(name):
        raise RequestError(f"{name} has no value {word!r}; there are {', '.join(words_of(name))}.")


# -- what they show ---------------------------------------------------------------------------------------------------


def inputs_of(
    model: VisionModel, recipes: Sequence[Recipe], *, paint: str = "lit", files: Sequence[str] = ()
) -> Float[Tensor, "picture channel height width"]:
    """The pictures as a model takes them.

    paint: of scenes, `lit`, `flat` or `coded`, as in a Probe
    files: what `file:` counts

    Raises RequestError for what cannot be made, such as a hue that touches the same hue.
    """
    plain = all(one.source == "scene" and len(one.fields) == len(one.changes) for one in recipes)
    if plain and (paint != "lit" or model.input_size == (64, 64)):
        rows: list[Tensor | None] = [None] * len(recipes)
        for places, drawn in _batches(recipes):
            painted = {"lit": lambda d=drawn: d, "flat": lambda d=drawn: d.with_world(flat=True),
                       "coded": lambda d=drawn: codes.coded(d)}[paint]().tensor()  # fmt: skip
            for at, row in zip(places, painted, strict=True):
                rows[at] = row
        return torch.stack([row for row in rows if row is not None])
    if paint != "lit":
        raise RequestError("This net sees scenes in codes or flat paint; only their fields can be changed.")
    return model.prepare(frames_of(recipes, files=files))


def frames_of(recipes: Sequence[Recipe], *, files: Sequence[str] = ()) -> tuple[Frame, ...]:
    """The pictures as a person sees them, named by their recipes."""
    begun: list[UInt8[np.ndarray, "height width 3"] | None] = [None] * len(recipes)
    for places, drawn in _batches([one for one in recipes if one.source == "scene"]):
        own = [at for at, one in enumerate(recipes) if one.source == "scene"]
        for at, pixels in zip(places, drawn.pixels, strict=True):
            begun[own[at]] = pixels
    for at, one in enumerate(recipes):
        if one.source == "photo":
            seed, index = one.numbers
            begun[at] = Probe("photographs", seed, index + 1).frames()[index].pixels
        elif one.source == "file":
            if one.numbers[0] >= len(files):
                raise RequestError(f"There is no {one.text!r}: {len(files)} files were given, counted from 0.")
            begun[at] = read(files[one.numbers[0]]).pixels
    return tuple(
        Frame(_changed(pixels, one), one.text)
        for pixels, one in zip(begun, recipes, strict=True)
        if pixels is not None
    )  # fmt: skip


def facts_of(recipes: Sequence[Recipe]) -> tuple[dict[str, str], ...]:
    """What is so in each scene by its own record, as `testbed.captions.facts` says it, with the cue where there is one.

    This is the maker's knowledge of its pictures: experiments are planned with it, never judged by it.
    """
    return tuple(dict(_facts(one)) for one in recipes)


@lru_cache(maxsize=20_000)
def _facts(recipe: Recipe) -> dict[str, str]:
    fields = _fields(recipe)
    (told,) = captions.facts(fields)
    return {**told, "cue": words_of("cue")[int(fields["cue"][0])]} if "cue" in fields else told


def another(recipe: Recipe, field: str, *, keep: str = "") -> str:
    """Another word that a field may take in this scene: the next one that is free, after the one it has.

    keep: also not this word. Raises RequestError where there is none.
    """
    fields = _fields(recipe)
    if field not in FIELDS or field not in fields:
        raise RequestError(f"Scenes have no field {field!r}; there are {', '.join(FIELDS)}.")
    words, now = words_of(field), int(fields[field][0])
    free = allowed(fields, field)[0] if field in WORDS else np.ones(len(words), dtype=bool)
    start = 1 + sum(recipe.numbers) % (len(words) - 1)  # so that all other words have their turn
    for step in range(len(words)):
        at = (now + start + step) % len(words)
        if at != now and free[at] and words[at] != keep:
            return words[at]
    raise RequestError(f"There is no other {field} that {recipe.text} could have.")


def is_free(recipe: Recipe, field: str, word: str) -> bool:
    """Whether the scene may take that word: hues that touch are never equal."""
    return field not in WORDS or bool(allowed(_fields(recipe), field)[0, words_of(field).index(word)])


@lru_cache(maxsize=5_000)
def _as_drawn(seed: int, index: int, world: str) -> Fields:
    """One scene's fields before any change; drawing them costs more than all that is done with them here."""
    return _draw(seed, [index], world).fields


def _fields(recipe: Recipe) -> Fields:
    """One scene's fields. Raises SceneError where hues that touch would be equal."""
    if recipe.source != "scene":
        raise RequestError(f"{recipe.text} is no scene.")
    values = dict(_as_drawn(*recipe.numbers, recipe.world))
    for name, number in _set(recipe):
        values[name] = np.array([number])
    for name, word in recipe.fields.items():
        if name in WORDS and not allowed(values, name)[0, int(values[name][0])]:
            raise SceneError(f"{recipe.text}: {name} cannot be {word!r}, a part that touches it has that hue.")
    return values


def _set(recipe: Recipe) -> list[tuple[str, int]]:
    """Fields and the numbers they are set to."""
    bare = [(f"prop{slot}_on", 0) for slot in PROPS] if recipe.fields.get("props") == "none" else []
    return [*bare, *((name, words_of(name).index(word)) for name, word in recipe.fields.items() if name != "props")]


def _draw(seed: int, index: Sequence[int], world: str) -> Scenes:
    settings: dict[str, Any] = {"shortcut": world, "strength": 0.0} if world else {}
    return scenes(seed, index, camera=0.0, **settings)


def _batches(recipes: Sequence[Recipe]) -> list[tuple[list[int], Scenes]]:
    """Scenes of one seed and world together, with their places."""
    groups: dict[tuple[int, str], list[int]] = {}
    for at, one in enumerate(recipes):
        if one.source != "scene":
            raise RequestError(f"{one.text} is no scene.")
        groups.setdefault((one.numbers[0], one.world), []).append(at)
    return [(places, _drawn(seed, world, [recipes[at] for at in places])) for (seed, world), places in groups.items()]


def _drawn(seed: int, world: str, recipes: Sequence[Recipe]) -> Scenes:
    drawn = _draw(seed, [one.numbers[1] for one in recipes], world)
    values = {name: array.copy() for name, array in drawn.fields.items()}
    for row, one in enumerate(recipes):
        _fields(one)  # raises for what cannot be
        for name, number in _set(one):
            values[name][row] = number
    return drawn.with_fields(**values)


# -- changes of the picture itself ------------------------------------------------------------------------------------


def _grey(pixels: np.ndarray, word: str) -> np.ndarray:
    _none("grey", word)
    grey = pixels.astype(np.float64) @ (0.299, 0.587, 0.114)
    return np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=2)


def _mirror(pixels: np.ndarray, word: str) -> np.ndarray:
    _none("mirror", word)
    return pixels[:, ::-1]


def _turn(pixels: np.ndarray, word: str) -> np.ndarray:
    """All hues, turned round the wheel."""
    if not word.isdigit() or not 0 < int(word) < 360:
        raise RequestError(f"turn={word!r}; expected degrees from 1 to 359.")
    hsv = np.array(Image.fromarray(pixels).convert("HSV"))
    hsv[..., 0] = (hsv[..., 0].astype(int) + round(int(word) / 360 * 256)) % 256
    return np.array(Image.fromarray(hsv, "HSV").convert("RGB"))


def _hide(pixels: np.ndarray, word: str) -> np.ndarray:
    """A box in the mean colour of the picture."""
    left, top, right, bottom = _box("hide", word, pixels.shape)
    changed = pixels.copy()
    changed[top:bottom, left:right] = pixels.reshape(-1, 3).mean(axis=0).round()
    return changed


def _only(pixels: np.ndarray, word: str) -> np.ndarray:
    """A box as it is, all else in the mean colour."""
    left, top, right, bottom = _box("only", word, pixels.shape)
    changed = np.empty_like(pixels)
    changed[:] = pixels.reshape(-1, 3).mean(axis=0).round()
    changed[top:bottom, left:right] = pixels[top:bottom, left:right]
    return changed


def _crop(pixels: np.ndarray, word: str) -> np.ndarray:
    left, top, right, bottom = _box("crop", word, pixels.shape)
    return pixels[top:bottom, left:right]


def _none(name: str, word: str) -> None:
    if word:
        raise RequestError(f"{name} takes no value; got {word!r}.")


def _box(name: str, word: str, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    try:
        left, top, right, bottom = (float(one) for one in word.split(","))
    except ValueError:
        raise RequestError(f"{name}={word!r}; expected left,top,right,bottom from 0 to 1.") from None
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise RequestError(f"{name}={word!r}; expected left,top,right,bottom from 0 to 1.")
    height, width = shape[:2]
    x, y = int(left * width), int(top * height)
    return x, y, max(x + 1, round(right * width)), max(y + 1, round(bottom * height))


PICTURE_CHANGES: Mapping[str, Callable[[np.ndarray, str], np.ndarray]] = {
    "grey": _grey, "mirror": _mirror, "turn": _turn, "hide": _hide, "only": _only, "crop": _crop,
}  # fmt: skip


def _changed(pixels: UInt8[np.ndarray, "height width 3"], recipe: Recipe) -> UInt8[np.ndarray, "height width 3"]:
    for name, word in recipe.changes:
        if name in PICTURE_CHANGES:
            pixels = PICTURE_CHANGES[name](pixels, word)
    return np.ascontiguousarray(pixels)
