"""From fields to pixels: birds of cut paper in a landscape, and which part shows at every pixel.

Plain NumPy in float32 (a Python number beside a float32 array takes its type). Shapes are signed distances in the
bird's own frame; coverage is `0.5 - distance` in pixels, clipped to 0..1; painter's order; rounded to bytes once, at
the end.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int64, UInt8

from pellucid.images.shifts import saved_as_jpeg
from pellucid.testbed.bird import Flock, paint_bird
from pellucid.testbed.camera import leave_trace, paint_cue, photograph
from pellucid.testbed.fields import BIRDS, OWN, PROPS, Fields, of_bird
from pellucid.testbed.landscape import paint_grass, paint_landscape, paint_prop
from pellucid.testbed.palette import BIRD_IDS, BIRD_PARTS, PART_IDS
from pellucid.testbed.placement import placed
from pellucid.testbed.sheet import Sheet
from pellucid.testbed.world import World

__all__ = ["BIRD_PARTS", "PART_IDS", "Rendering", "render"]

IS_BIRD = np.isin(np.arange(256), BIRD_IDS).astype(np.uint8)
CHUNK = 24  # pictures painted together: their planes stay in cache (64 px: 1.2 MB)


@dataclass(frozen=True, eq=False)
class Rendering:
    """Pictures and what is where in them.

    pixels:   the pictures
    parts:    for every pixel the id (PART_IDS) of the topmost paint that covers more than half of it
    birds:    for every pixel which bird shows there, counted from 1; 0 where none does
    coverage: for each part asked for, how much of each pixel it covers before anything is painted over it, 0 to 1
    """

    pixels: UInt8[np.ndarray, "scene height width 3"]
    parts: UInt8[np.ndarray, "scene height width"]
    birds: UInt8[np.ndarray, "scene height width"]
    coverage: dict[str, Float[np.ndarray, "scene height width"]] = field(default_factory=dict)

    def __getitem__(self, chosen: np.ndarray) -> Rendering:
        """Some of the pictures; coverage is not taken along."""
        return Rendering(self.pixels[chosen], self.parts[chosen], self.birds[chosen])


def render(
    fields: Fields, seed: int, index: Int64[np.ndarray, "scene"], world: World, *, coverage: Collection[str] = ()
) -> Rendering:
    """Paint scenes.

    coverage: names parts of the bird, `wing_shadow`, `shadow`, `prop0` to `prop2`, `grass` or `cue`; in a flock they
              mean those of all birds, and `bird0_tail` to `bird3_tail` those of one
    """
    count, size = len(index), world.size
    pixels = np.empty((count, size, size, 3), dtype=np.uint8)
    parts = np.empty((count, size, size), dtype=np.uint8)
    birds = np.empty((count, size, size), dtype=np.uint8)
    cover = {name: np.zeros((count, size, size), dtype=np.float32) for name in coverage}
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        sheet = Sheet({name: values[part] for name, values in fields.items()}, size, world.flat)
        sheet.cover = {name: planes[part] for name, planes in cover.items()}
        _paint(sheet, seed, index[part], world)
        pixels[part] = _rounded(sheet, world)
        parts[part] = sheet.ids
        shown = IS_BIRD[sheet.ids]
        birds[part] = shown if sheet.birds is None else sheet.birds * shown
    return Rendering(pixels, parts, birds, cover)


def _paint(sheet: Sheet, seed: int, index: Int64[np.ndarray, "scene"], world: World) -> None:
    paint_landscape(sheet)
    for slot in PROPS:
        paint_prop(sheet, slot)
    if world.flock:
        _paint_flock(sheet)
    else:
        paint_bird(sheet, sheet.fields)
    paint_grass(sheet)
    paint_cue(sheet, world.shortcut)
    photograph(sheet, seed, index, world)
    leave_trace(sheet, world.shortcut)


def _paint_flock(sheet: Sheet) -> None:
    """Birds that stand lower in the picture are nearer, and so painted later."""
    sheet.birds = np.zeros(sheet.ids.shape, dtype=np.uint8)
    fields = sheet.fields
    heights = [placed(_own(fields, bird), flock=True).centre_y[:, 0, 0] for bird in range(BIRDS)]
    order = np.argsort(np.stack(heights, axis=1), axis=1, kind="stable")
    everyone = {name: np.stack([fields[of_bird(bird, name)] for bird in range(BIRDS)], axis=1) for name in OWN}
    for rank in range(BIRDS):
        bird = order[:, rank]
        there = bird <= fields["birds"]
        if there.any():
            own = {name: values[np.arange(sheet.count), bird] for name, values in everyone.items()}
            paint_bird(sheet, own, Flock(bird, there))


def _own(fields: Fields, bird: int) -> Fields:
    return {name: fields[of_bird(bird, name)] for name in OWN}


def _rounded(sheet: Sheet, world: World) -> UInt8[np.ndarray, "scene height width 3"]:
    sheet.planes *= 255
    sheet.planes += 0.5
    np.clip(sheet.planes, 0, 255.5, out=sheet.planes)
    pixels = sheet.planes.astype(np.uint8).transpose(0, 2, 3, 1)
    return pixels if world.jpeg is None else saved_as_jpeg(pixels, world.jpeg)
