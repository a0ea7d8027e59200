"""Scenes as a value: fields, and the pictures, masks, boxes, labels and words that follow from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor

from pellucid.errors import SceneError
from pellucid.images import Frame
from pellucid.testbed import captions
from pellucid.testbed.fields import (
    HUES,
    PROP_KINDS,
    PROPS,
    TASKS,
    TOUCHING,
    WORDS,
    Fields,
    Task,
    World,
    choose,
    draw,
    uniform_numbers,
)
from pellucid.testbed.render import BACKGROUND_IDS, BIRD_PARTS, PART_IDS, Rendering, render


@dataclass(frozen=True, eq=False)
class Scenes:
    """A batch of little birds. Pictures and masks are painted when first asked for.

    seed, index: which scenes; the same two give the same bytes, alone or in any batch
    fields:      everything that was drawn, by name, one value per scene
    world:       what holds for all of them: size, task, shortcut, clutter, camera
    """

    seed: int
    index: Int64[np.ndarray, "scene"]
    fields: Fields
    world: World

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, chosen: int | slice | Sequence[int] | np.ndarray) -> Scenes:
        """Some of the scenes, always as a batch; nothing is painted again that was painted already."""
        at = np.arange(len(self))[chosen if not isinstance(chosen, int) else [chosen]]
        part = replace(self, index=self.index[at], fields=_frozen({k: v[at] for k, v in self.fields.items()}))
        if "painted" in self.__dict__:
            whole = self.painted
            object.__getattribute__(part, "__dict__")["painted"] = Rendering(whole.pixels[at], whole.parts[at])
        return part

    def __iter__(self) -> Iterator[Scenes]:
        return (self[at] for at in range(len(self)))

    def with_fields(self, **values: Any) -> Scenes:
        """The same scenes with some fields set; see `truth.twin` for the checked and worded way."""
        changed = {name: np.broadcast_to(value, (len(self),)).copy() for name, value in values.items()}
        return replace(self, fields=_frozen({**self.fields, **changed}))

    def with_world(self, **settings: Any) -> Scenes:
        """The same birds seen otherwise: another size, camera or task."""
        return replace(self, world=replace(self.world, **settings))

    # Pictures

    @cached_property
    def painted(self) -> Rendering:
        return render(self.fields, self.seed, self.index, self.world)

    @property
    def pixels(self) -> UInt8[np.ndarray, "scene height width 3"]:
        return self.painted.pixels

    def tensor(self) -> Float32[Tensor, "scene 3 height width"]:
        """The pictures in 0..1, as the testbed's nets take them."""
        return torch.from_numpy(self.pixels.transpose(0, 3, 1, 2).copy()).float() / 255

    # Where things are

    @property
    def parts(self) -> UInt8[np.ndarray, "scene height width"]:
        """For every pixel the id (`PART_IDS`) of the topmost paint that covers more than half of it."""
        return self.painted.parts

    def mask(self, *parts: str) -> Bool[np.ndarray, "scene height width"]:
        """Where at least one of these parts is visible; `background` is everything that is not the bird."""
        ids = [number for part in parts for number in _ids(part)]
        return np.isin(self.parts, ids)

    @property
    def objects(self) -> Bool[np.ndarray, "scene height width"]:
        """Where the bird is visible."""
        return self.mask(*BIRD_PARTS)

    def amodal(self, part: str) -> Float[np.ndarray, "scene height width"]:
        """How much of each pixel the part covers before anything is painted over it, 0 to 1."""
        if part not in (*BIRD_PARTS, "grass", "cue", *(f"prop{slot}" for slot in PROPS)):
            raise SceneError(f"There is no part {part!r}. Known: {', '.join(BIRD_PARTS)}, grass, cue, prop0 to prop2.")
        return render(self.fields, self.seed, self.index, self.world, coverage=[part]).coverage[part]

    @property
    def boxes(self) -> Int64[np.ndarray, "scene 4"]:
        """Box of the visible bird: left, top, right, bottom in pixels, the last two exclusive."""
        return boxes_of(self.objects)

    def box_of(self, part: str) -> Int64[np.ndarray, "scene 4"]:
        """Box of one visible part; all zeros where it does not show."""
        return boxes_of(self.mask(part))

    def frames(self) -> tuple[Frame, ...]:
        """The pictures as a user would bring them."""
        return tuple(
            Frame(pixels, f"scene-{self.seed}-{index}") for pixels, index in zip(self.pixels, self.index, strict=True)
        )

    # What they are

    @property
    def task(self) -> Task:
        return TASKS[self.world.task]

    @property
    def true_labels(self) -> Int64[np.ndarray, "scene"]:
        """The class the deciding parts give."""
        return self.task.decide(self.fields)

    @property
    def labels(self) -> Int64[np.ndarray, "scene"]:
        """The class as it is told: `true_labels`, redrawn for a share `world.label_noise` of the scenes."""
        true = self.true_labels
        if self.world.label_noise == 0:
            return true
        wrong = uniform_numbers(self.seed, self.index, "label_is_noise") < self.world.label_noise
        drawn = choose(uniform_numbers(self.seed, self.index, "noisy_label"), len(self.task.labels))
        return np.where(wrong, drawn, true)

    @property
    def names(self) -> tuple[str, ...]:
        """The class of each scene in words."""
        return tuple(self.task.labels[label] for label in self.true_labels)

    @property
    def captions(self) -> tuple[str, ...]:
        """Each scene told in full; `captions.parse` reads it back."""
        return captions.write(self.fields, self.seed, self.index)

    def told(self, style: str) -> tuple[str, ...]:
        """Each scene in one sentence: `full`, `short` (some clauses, any order) or `name` (species and place)."""
        return captions.write(self.fields, self.seed, self.index, style)

    @property
    def cue(self) -> Int64[np.ndarray, "scene"]:
        """The value of the planted shortcut, 0 to 5."""
        if self.world.shortcut is None:
            raise SceneError("These scenes have no shortcut. Ask for one: scenes(..., shortcut='background').")
        return self.fields["land" if self.world.shortcut == "background" else "cue"]

    @property
    def aligned(self) -> Bool[np.ndarray, "scene"]:
        """Whether the shortcut agrees with the label; where it does not, a model that follows it errs."""
        return self.cue == TASKS["species"].decide(self.fields) // 2

    @property
    def attributes(self) -> tuple[dict[str, Any], ...]:
        """All fields of each scene, in words where there are words."""
        return tuple(
            {name: _in_words(name, values[at]) for name, values in self.fields.items()} for at in range(len(self))
        )


def scenes(seed: int, count: int | Sequence[int] | np.ndarray, **settings: Any) -> Scenes:
    """Little birds where the right answer is known.

    seed:     which world; training uses 0, validation 1, tests 2 and above
    count:    how many, or the indices of those wanted: `scenes(2, [17])` is item 17 of `scenes(2, 100)`, to the byte
    settings: the fields of `World`: size, task, shortcut, strength, clutter, occlusion, camera, parts_missing,
              label_noise

    Raises SceneError for a setting that cannot be.
    """
    index = np.arange(count) if isinstance(count, (int, np.integer)) else np.asarray(count)
    if index.ndim != 1 or (index.size and index.min() < 0):
        raise SceneError("Indices of scenes are a list of whole numbers, none below 0.")
    index = index.astype(np.int64)
    try:
        world = World(**settings)
    except TypeError as error:
        known = ", ".join(World.__dataclass_fields__)
        raise SceneError(f"There is no such setting among {', '.join(settings)}. Known: {known}.") from error
    return Scenes(int(seed), index, _frozen(draw(int(seed), index, world)), world)


def boxes_of(masks: Bool[np.ndarray, "scene height width"]) -> Int64[np.ndarray, "scene 4"]:
    """Tight boxes: left, top, right, bottom, half-open; zeros for an empty mask."""
    boxes = np.zeros((len(masks), 4), dtype=np.int64)
    for at, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            boxes[at] = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return boxes


def allowed(fields: Fields, name: str) -> Bool[np.ndarray, "scene value"]:
    """Which values a discrete field may take beside the others: hues that touch are never equal."""
    count = 6 if name == "cue" else len(WORDS[name])
    free = np.ones((len(fields["body_hue"]), count), dtype=bool)
    for neighbour in TOUCHING if name == "body_hue" else ("body_hue",) if name in TOUCHING else ():
        free[np.arange(len(free)), fields[neighbour]] = False
    return free


def _frozen(fields: dict[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    for values in fields.values():
        values.flags.writeable = False
    return MappingProxyType(fields)


def _ids(part: str) -> tuple[int, ...]:
    if part == "background":
        return BACKGROUND_IDS
    if part not in PART_IDS:
        raise SceneError(f"There is no part {part!r}. Known: {', '.join(PART_IDS)}.")
    return (PART_IDS[part],)


def _in_words(name: str, value: Any) -> Any:
    if name in WORDS:
        return WORDS[name][int(value)]
    if name.endswith("_kind"):
        return PROP_KINDS[int(value)]
    if name.endswith("_h") or name == "cue":
        return HUES[int(value)]
    if name.endswith("_on") or name.startswith("has_") or name == "occ":
        return bool(value)
    return float(value)
