"""The same scene with one thing otherwise: exact counterfactuals, and where two of them can differ at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from pellucid.errors import SceneError
from pellucid.images import masks
from pellucid.testbed.camera import JPEG_BLOCK, blur_weight
from pellucid.testbed.chance import uniform_numbers
from pellucid.testbed.fields import (
    BIRDS,
    OWN_NUMBERS,
    PARTS_OF_FIELD,
    PRESENCE_OF_PART,
    PROPS,
    of_bird,
    whose,
    words_of,
)
from pellucid.testbed.palette import BIRD_PARTS
from pellucid.testbed.scene import Scenes, allowed

WHOLE_BIRD = (*BIRD_PARTS, "wing_shadow", "shadow")
PLACING = (*OWN_NUMBERS, "flip", "cell")  # fields that move the whole bird
LANDSCAPE = ("land", "tint", "hill1", "hill2", "hillp", "sun", "sunx")
PROP_NAMES = tuple(f"prop{slot}" for slot in PROPS)


def twin(scenes: Scenes, **changes: Any) -> Scenes:
    """The same scenes but for these fields, one value or one each: `twin(scenes, tail="fanned")`.

    Everything that was drawn for other fields stays, so pictures differ only in the `footprint`.
    Raises SceneError for a field or value that does not exist, where a hue would equal that of the body it touches,
    where two birds would share a cell, and where the birds of the task `side` would have the same tail.
    """
    values = {name: _values(scenes, name, wanted) for name, wanted in changes.items()}
    changed = scenes.with_fields(**values)
    for name in values:
        if words_of(name):
            _check_neighbours(changed, name)
    if scenes.world.task == "side" and (changed.fields["tail"] == changed.fields["bird1_tail"]).any():
        raise SceneError("In the task 'side' one bird is a swift and one a wren: change tail and bird1_tail together.")
    return changed


def another(scenes: Scenes, name: str) -> Int64[np.ndarray, "scene"]:
    """For each scene one other value the field may take, drawn by seed and index."""
    free = allowed(scenes.fields, name)
    free[np.arange(len(scenes)), scenes.fields[name]] = False
    if not free.any(axis=1).all():
        raise SceneError(f"There is no other value that {name} could take in some of these scenes.")
    rank = (uniform_numbers(scenes.seed, scenes.index, f"another_{name}") * free.sum(axis=1)).astype(np.int64)
    rank = np.minimum(rank, free.sum(axis=1) - 1)
    return np.argmax(np.cumsum(free, axis=1) == (rank + 1)[:, None], axis=1).astype(np.int64)


def remove(scenes: Scenes, part: str, *, bird: int = 0) -> Scenes:
    """The same scenes without one part: any part of a bird, grass, or prop0 to prop2.

    bird: whose part, in a flock
    """
    return scenes.with_fields(**{presence(scenes, part, bird): np.int64(0)})


def add(scenes: Scenes, part: str, *, bird: int = 0) -> Scenes:
    """The same scenes with one part that may be missing."""
    return scenes.with_fields(**{presence(scenes, part, bird): np.int64(1)})


def paste_land(scenes: Scenes, land: str | int) -> Scenes:
    """The same birds in another landscape."""
    return twin(scenes, land=land)


def presence(scenes: Scenes, part: str, bird: int = 0) -> str:
    """The field that says whether a part is there."""
    if part not in PRESENCE_OF_PART:
        raise SceneError(f"There is no part {part!r} that can be left out. Known: {', '.join(PRESENCE_OF_PART)}.")
    if not 0 <= bird < scenes.most:
        raise SceneError(f"There is no bird {bird}: these scenes have at most {scenes.most}, counted from 0.")
    return of_bird(bird, PRESENCE_OF_PART[part])


def footprint(scenes: Scenes, other: Scenes) -> Bool[np.ndarray, "scene height width"]:
    """Where two sets of the same scenes can differ at all: outside, their pictures are equal byte for byte.

    The soft edge of the changed part in either picture, before anything is painted over it; for the landscape all
    that the bird and the things before it do not cover fully. One pixel more where the camera blurs; where the picture
    was saved as JPEG, its whole blocks of 16 x 16 pixels, and one pixel about them.
    """
    if scenes.seed != other.seed or not np.array_equal(scenes.index, other.index) or scenes.world != other.world:
        raise SceneError("A footprint lies between twins: the same seed, indices and world on both sides.")
    changed = {name: scenes.fields[name] != other.fields[name] for name in scenes.fields}
    changed = {name: where for name, where in changed.items() if where.any()}
    reach = {name: _reached_by(name, scenes) for name in changed}
    asked = sorted({cover for covers in reach.values() if covers is not None for cover in covers})
    touched = np.zeros((len(scenes), scenes.world.size, scenes.world.size), dtype=bool)
    for side in (scenes, other):
        covers = dict(zip(asked, side.coverage(asked), strict=True)) if asked else {}
        if "birds" in changed:  # those that are on both sides stay as they are
            fewest = np.minimum(scenes.fields["birds"], other.fields["birds"])
            touched |= _newcomers(covers, fewest)
        for name, where in changed.items():
            if name != "birds":
                touched[where] |= _touched(name, reach[name], covers, touched.shape)[where]
    return _spread(touched, scenes, other)


def _values(scenes: Scenes, name: str, wanted: Any) -> np.ndarray:
    """Words or numbers as the field keeps them, one per scene."""
    if name not in scenes.fields:
        raise SceneError(f"Scenes have no field {name!r}. Known: {', '.join(scenes.fields)}.")
    words = words_of(name)
    listed = np.broadcast_to(np.asarray(wanted), (len(scenes),))
    if listed.dtype.kind in "US":
        unknown = sorted(set(listed.tolist()) - set(words))
        if unknown:
            raise SceneError(f"{name} has no value {unknown[0]!r}. Known: {', '.join(words) or 'numbers from 0 to 1'}.")
        return np.array([words.index(word) for word in listed.tolist()], dtype=np.int64)
    values = listed.astype(scenes.fields[name].dtype)
    top = len(words) - 1 if words else 1
    if (values < 0).any() or (values > top).any():
        raise SceneError(f"{name} lies between 0 and {top}; got {values.min()} to {values.max()}.")
    return values


def _check_neighbours(changed: Scenes, name: str) -> None:
    bad = ~allowed(changed.fields, name)[np.arange(len(changed)), changed.fields[name]]
    if not bad.any():
        return
    at = int(np.flatnonzero(bad)[0])
    value = words_of(name)[changed.fields[name][at]]
    hue = "a part that touches it has that hue, and they would run together"
    raise SceneError(
        f"{name} cannot be {value!r} in scene {changed.index[at]}: "
        f"{'another bird is there' if whose(name)[1] == 'cell' else hue}. `truth.another` gives a value that is free."
    )


def _reached_by(name: str, scenes: Scenes) -> tuple[str, ...] | None:
    """The coverages that say how far a change of this field can reach; None where it reaches everywhere."""
    bird, plain = whose(name)
    flock = scenes.world.flock
    if plain in LANDSCAPE:
        hiding = (*BIRD_PARTS, "grass", *PROP_NAMES)
        return (*hiding, "cue") if scenes.world.shortcut in ("tag", "frame") else hiding
    if plain == "cue":
        return ("cue",) if scenes.world.shortcut in ("tag", "frame") else None
    if plain == "birds":
        return tuple(f"bird{other}_{part}" for other in range(1, BIRDS) for part in WHOLE_BIRD)
    if plain.startswith("prop") or plain in ("occ", "occx"):
        return PARTS_OF_FIELD[plain]
    parts = WHOLE_BIRD if plain in PLACING else PARTS_OF_FIELD.get(plain)
    if parts is None:  # light and noise
        return None
    if plain == "has_wing":
        parts = (*parts, "wing_shadow")
    return tuple(f"bird{bird}_{part}" for part in parts) if flock else parts


def _touched(
    name: str, reach: Sequence[str] | None, covers: Mapping[str, np.ndarray], shape: tuple[int, ...]
) -> Bool[np.ndarray, "scene height width"]:
    if reach is None:
        return np.ones(shape, dtype=bool)
    if name in LANDSCAPE:
        return ~np.logical_or.reduce([covers[part] >= 1 for part in reach])
    return np.logical_or.reduce([covers[part] > 0 for part in reach])


def _newcomers(
    covers: Mapping[str, np.ndarray], fewest: Int64[np.ndarray, "scene"]
) -> Bool[np.ndarray, "scene height width"]:
    """Where the birds after the first `fewest + 1` of each scene are painted."""
    return np.logical_or.reduce(
        [
            (covers[f"bird{bird}_{part}"] > 0) & (bird > fewest)[:, None, None]
            for bird in range(1, BIRDS)
            for part in WHOLE_BIRD
        ]
    )


def _spread(touched: Bool[np.ndarray, "scene height width"], scenes: Scenes, other: Scenes) -> np.ndarray:
    """What the camera and the file format make of it."""
    blurred = np.maximum(blur_weight(scenes.fields, scenes.world), blur_weight(other.fields, other.world)) > 0
    for at in np.flatnonzero(blurred):
        touched[at] = masks.dilate(touched[at], 1)
    if scenes.world.jpeg is None:
        return touched
    size, block = scenes.world.size, JPEG_BLOCK
    room = -(-size // block) * block
    padded = np.zeros((len(touched), room, room), dtype=bool)
    padded[:, :size, :size] = touched
    blocks = padded.reshape(-1, room // block, block, room // block, block).any(axis=(2, 4))
    whole = np.repeat(np.repeat(blocks, block, axis=1), block, axis=2)[:, :size, :size]
    # Colour, kept at half the resolution, is smoothed across the border when the file is opened.
    return np.stack([masks.dilate(one, 1) for one in whole]) if len(whole) else whole
