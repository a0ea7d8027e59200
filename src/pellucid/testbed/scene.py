"""Scenes as a value: fields, and the pictures, masks, boxes, labels and words that follow from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
from pellucid.testbed.chance import choose, uniform_numbers
from pellucid.testbed.fields import (
    BIRDS,
    PROPS,
    TOUCHING,
    Fields,
    fields_of_bird,
    is_yes_or_no,
    of_bird,
    whose,
    words_of,
)
from pellucid.testbed.palette import BACKGROUND_IDS, BIRD_PARTS, PAPER, PART_IDS
from pellucid.testbed.render import Rendering, render
from pellucid.testbed.tasks import TASKS, Task
from pellucid.testbed.world import World, draw


@dataclass(frozen=True, eq=False)
class Scenes:
    """A batch of little birds. Pictures and masks are painted when first asked for.

    seed, index: which scenes; the same two give the same bytes, alone or in any batch
    fields:      everything that was drawn, by name, one value per scene
    world:       what holds for all of them: size, task, mode, shortcut, clutter, camera
    """

    seed: int
    index: Int64[np.ndarray, "scene"]
    fields: Fields
    world: World

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, chosen: int | slice | Sequence[int] | np.ndarray) -> Scenes:
        """Some of the scenes, always as a batch; nothing is painted again that was painted already."""
        at = np.arange(len(self))[[chosen] if isinstance(chosen, (int, np.integer)) else chosen]
        part = replace(self, index=self.index[at], fields=frozen({k: v[at] for k, v in self.fields.items()}))
        if "painted" in self.__dict__:
            object.__getattribute__(part, "__dict__")["painted"] = self.painted[at]
        return part

    def __iter__(self) -> Iterator[Scenes]:
        return (self[at] for at in range(len(self)))

    def with_fields(self, **values: Any) -> Scenes:
        """The same scenes with some fields set; see `truth.twin` for the checked and worded way."""
        changed = {name: np.broadcast_to(value, (len(self),)).copy() for name, value in values.items()}
        return replace(self, fields=frozen({**self.fields, **changed}))

    def with_world(self, **settings: Any) -> Scenes:
        """The same birds seen otherwise: another size, camera or task.

        Raises SceneError for what would need other fields: flocks of single birds, a cue that was never drawn.
        """
        world = world_of({**asdict(self.world), **settings})
        told_by_tails = world.task == "side" and self.world.task != "side"
        cue = world.shortcut in ("tag", "frame", "trace") and "cue" not in self.fields
        if world.flock != self.world.flock or told_by_tails or cue:
            raise SceneError("These scenes were drawn without that; draw them with it: scenes(seed, count, ...).")
        return replace(self, world=world)

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

    def contact_sheet(self, columns: int = 8) -> UInt8[np.ndarray, "height width 3"]:
        """All pictures side by side on paper, with 6 pixels between them."""
        size, gap = self.world.size, 6
        columns = max(1, min(columns, len(self)))
        rows = -(-len(self) // columns)
        sheet = np.full((rows * (size + gap) + gap, columns * (size + gap) + gap, 3), PAPER, dtype=np.uint8)
        for at, pixels in enumerate(self.pixels):
            top, left = (gap + place * (size + gap) for place in divmod(at, columns))
            sheet[top : top + size, left : left + size] = pixels
        return sheet

    def frames(self) -> tuple[Frame, ...]:
        """The pictures as a user would bring them."""
        return tuple(
            Frame(pixels, f"scene-{self.seed}-{index}") for pixels, index in zip(self.pixels, self.index, strict=True)
        )

    # Where things are

    @property
    def parts(self) -> UInt8[np.ndarray, "scene height width"]:
        """For every pixel the id (`PART_IDS`) of the topmost paint that covers more than half of it."""
        return self.painted.parts

    @property
    def birds(self) -> UInt8[np.ndarray, "scene height width"]:
        """For every pixel which bird shows there, counted from 1; 0 where none does."""
        return self.painted.birds

    def mask(self, *parts: str, bird: int | None = None) -> Bool[np.ndarray, "scene height width"]:
        """Where at least one of these parts is visible; `background` is everything that is not a bird.

        bird: of one bird of a flock only, 0 to 3
        """
        mask = np.isin(self.parts, [number for part in parts for number in _ids(part)])
        return mask if bird is None else mask & (self.birds == bird + 1)

    @property
    def objects(self) -> Bool[np.ndarray, "scene height width"]:
        """Where a bird is visible."""
        return self.birds > 0

    @property
    def instances(self) -> Bool[np.ndarray, "scene bird height width"]:
        """Where each bird is visible: one plane where there is one bird, four in a flock, empty for birds not there."""
        return self.birds[:, None] == np.arange(1, self.most + 1, dtype=np.uint8)[:, None, None]

    def amodal(self, part: str, *, bird: int | None = None) -> Float[np.ndarray, "scene height width"]:
        """How much of each pixel the part covers before anything is painted over it, 0 to 1."""
        if part not in (*BIRD_PARTS, "grass", "cue", *(f"prop{slot}" for slot in PROPS)):
            raise SceneError(f"There is no part {part!r}. Known: {', '.join(BIRD_PARTS)}, grass, cue, prop0 to prop2.")
        return self.coverage([self._cover_name(part, bird)])[0]

    def coverage(self, names: Sequence[str]) -> Float[np.ndarray, "name scene height width"]:
        """What `render` remembers under these names, painted anew."""
        painted = render(self.fields, self.seed, self.index, self.world, coverage=names)
        return np.stack([painted.coverage[name] for name in names])

    def _cover_name(self, part: str, bird: int | None) -> str:
        if bird is None or (not self.world.flock and bird == 0):
            return part
        if not 0 <= bird < self.most:
            raise SceneError(f"There is no bird {bird}: these scenes have at most {self.most}, counted from 0.")
        return f"bird{bird}_{part}"

    @property
    def boxes(self) -> Int64[np.ndarray, "scene 4"]:
        """Box of all that shows of the birds: left, top, right, bottom in pixels, the last two exclusive."""
        return boxes_of(self.objects)

    def bird_boxes(self, *, whole: bool = False) -> Int64[np.ndarray, "scene bird 4"]:
        """Box of each bird; zeros for one that is not there.

        whole: of all the bird covers, also where something is before it, instead of what shows
        """
        masks = self._whole_birds() if whole else self.instances
        return boxes_of(masks.reshape(-1, *masks.shape[2:])).reshape(len(self), self.most, 4)

    def _whole_birds(self) -> Bool[np.ndarray, "scene bird height width"]:
        names = [self._cover_name(part, bird) for bird in range(self.most) for part in BIRD_PARTS]
        covers = self.coverage(names).reshape(self.most, len(BIRD_PARTS), len(self), *self.parts.shape[1:])
        return np.moveaxis(covers.max(axis=1) > 0.5, 0, 1)

    def box_of(self, part: str, *, bird: int | None = None) -> Int64[np.ndarray, "scene 4"]:
        """Box of what shows of one part; all zeros where it does not show."""
        return boxes_of(self.mask(part, bird=bird))

    # What they are

    @property
    def most(self) -> int:
        """How many birds a scene can have."""
        return BIRDS if self.world.flock else 1

    @property
    def counts(self) -> Int64[np.ndarray, "scene"]:
        """How many birds there are."""
        return self.fields["birds"] + 1 if self.world.flock else np.ones(len(self), dtype=np.int64)

    @property
    def task(self) -> Task:
        return self.world.labelling

    @property
    def true_labels(self) -> Int64[np.ndarray, "scene"]:
        """The class the deciding fields give, also where a part that shows them is missing (see `decided`)."""
        if self.world.flock and not self.task.flock:
            raise SceneError(
                f"The task {self.world.task!r} labels one bird, and these scenes have several: `bird_labels` has the "
                f"class of each. Tasks about flocks: {', '.join(name for name, task in TASKS.items() if task.flock)}."
            )
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
    def bird_labels(self) -> Int64[np.ndarray, "scene bird"]:
        """The class of each bird, -1 for one that is not there: by the task, or the species if it is about flocks."""
        task = TASKS["species"] if self.task.flock else self.task
        labels = np.stack([task.decide(fields_of_bird(self.fields, bird)) for bird in range(self.most)], axis=1)
        return np.where(np.arange(self.most) < self.counts[:, None], labels, -1)

    @property
    def decided(self) -> Bool[np.ndarray, "scene"]:
        """Whether only one class fits what can be seen. Accuracy counts these scenes alone."""
        return self.task.fitting(self.fields).sum(axis=1) == 1

    @property
    def targets(self) -> Float32[np.ndarray, "scene class"]:
        """What to train towards: the label, or equally all classes that still fit where a deciding part is missing."""
        fits = self.task.fitting(self.fields).astype(np.float32)
        told = np.eye(len(self.task.labels), dtype=np.float32)[self.labels]
        return np.where(self.decided[:, None], told, fits / fits.sum(axis=1, keepdims=True))

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
    def attributes(self) -> tuple[dict[str, Any], ...]:
        """All fields of each scene, in words where there are words."""
        return tuple(
            {name: _in_words(name, values[at]) for name, values in self.fields.items()} for at in range(len(self))
        )

    # The planted shortcut

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
    def groups(self) -> Int64[np.ndarray, "scene"]:
        """Class and cue as one number, `6 * class + cue`: the groups whose worst accuracy debiasing watches."""
        return 6 * self.true_labels + self.cue

    @property
    def cue_mask(self) -> Bool[np.ndarray, "scene height width"]:
        """Where the shortcut shows: the landscape, the tag, the frame, or everywhere for a trace."""
        if len(self.cue) and self.world.shortcut == "trace":
            return np.ones(self.parts.shape, dtype=bool)
        return self.mask("background" if self.world.shortcut == "background" else "cue")


def scenes(seed: int, count: int | Sequence[int] | np.ndarray, **settings: Any) -> Scenes:
    """Little birds where the right answer is known.

    seed:     which world; training uses 0, validation 1, tests 2 and above
    count:    how many, or the indices of those wanted: `scenes(2, [17])` is item 17 of `scenes(2, 100)`, to the byte
    settings: the fields of `World`: size, task, mode, shortcut, strength, clutter, occlusion, camera, jpeg,
              parts_missing, label_noise, flat

    Raises SceneError for a setting that cannot be.
    """
    index, world = indices(count, "scenes"), world_of(settings)
    return Scenes(int(seed), index, frozen(draw(int(seed), index, world)), world)


def indices(count: int | Sequence[int] | np.ndarray, of: str) -> Int64[np.ndarray, "_"]:
    """The first `count`, or those that are named. Raises SceneError for what cannot be a list of indices."""
    index = np.arange(count) if isinstance(count, (int, np.integer)) else np.asarray(count)
    if index.ndim != 1 or (index.size and index.min() < 0):
        raise SceneError(f"Indices of {of} are a list of whole numbers, none below 0.")
    return index.astype(np.int64)


def world_of(settings: Mapping[str, Any]) -> World:
    """The world with these settings. Raises SceneError for one that does not exist or cannot be."""
    try:
        return World(**settings)
    except TypeError as error:
        known = ", ".join(World.__dataclass_fields__)
        raise SceneError(f"There is no such setting among {', '.join(settings)}. Known: {known}.") from error


def boxes_of(masks: Bool[np.ndarray, "scene height width"]) -> Int64[np.ndarray, "scene 4"]:
    """Tight boxes: left, top, right, bottom, half-open; zeros for an empty mask."""
    boxes = np.zeros((len(masks), 4), dtype=np.int64)
    for at, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            boxes[at] = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return boxes


def allowed(fields: Fields, name: str) -> Bool[np.ndarray, "scene value"]:
    """Which values a discrete field may take beside the others.

    Hues that touch are never equal; no two birds of a flock share a cell.
    """
    bird, plain = whose(name)
    free = np.ones((len(fields["land"]), len(words_of(name))), dtype=bool)
    everywhere = np.arange(len(free))
    for neighbour in TOUCHING if plain == "body_hue" else ("body_hue",) if plain in TOUCHING else ():
        free[everywhere, fields[of_bird(bird, neighbour)]] = False
    for other in range(BIRDS) if plain == "cell" else ():
        if other != bird:
            here = other <= fields["birds"]
            free[everywhere[here], fields[of_bird(other, "cell")][here]] = False
    return free


def frozen(fields: dict[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Fields that nobody can write to."""
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
    if words := words_of(name):
        return words[int(value)]
    return bool(value) if is_yes_or_no(name) else float(value)
