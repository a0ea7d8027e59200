"""Which point of one bird is which point of another: dense, and true because both are drawn from one plan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from pellucid.errors import SceneError
from pellucid.testbed.fields import fields_of_bird
from pellucid.testbed.placement import Placement, placed
from pellucid.testbed.scene import Scenes


@dataclass(frozen=True, eq=False)
class Correspondence:
    """For every pixel of the first pictures, where its counterpart lies in the second.

    points: column and row in pixels of the second picture, pixel edges at whole numbers; NaN off the bird
    valid:  where the pixel shows a part of the bird, and the counterpart lies in the picture and shows the same part
    """

    points: Float[np.ndarray, "scene height width 2"]
    valid: Bool[np.ndarray, "scene height width"]


def local_coordinates(scenes: Scenes, *, bird: int = 0) -> Float[np.ndarray, "scene height width 2"]:
    """Every visible pixel of the bird in its own frame: x towards the beak, y towards the feet, in units of its size.

    The same numbers mean the same place on any bird, however it is turned, mirrored or scaled. NaN off the bird.
    """
    place = _placement(scenes, bird)
    size = scenes.world.size
    middles = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = place.to_bird(middles[None, None, :], middles[None, :, None])
    local = np.stack(np.broadcast_arrays(x, y), axis=-1)
    return np.where((scenes.birds == bird + 1)[..., None], local, np.float32(np.nan))


def correspond(scenes: Scenes, others: Scenes, *, bird: int = 0, other_bird: int = 0) -> Correspondence:
    """The counterparts of one bird of each scene on a bird of another scene: scene i of the one with i of the other.

    Raises SceneError unless there are as many scenes on both sides.
    """
    if len(scenes) != len(others):
        raise SceneError(f"{len(scenes)} scenes correspond to {len(others)}; expected as many on both sides.")
    local = local_coordinates(scenes, bird=bird)
    across, down = _placement(others, other_bird).to_picture(local[..., 0], local[..., 1])
    size = others.world.size
    points = np.stack([across, down], axis=-1) * np.float32(size)
    on_bird = scenes.birds == bird + 1
    cells = np.floor(np.nan_to_num(points, nan=-1.0)).astype(np.int64)
    inside = on_bird & ((cells >= 0) & (cells < size)).all(axis=-1)
    columns, rows = (np.clip(cells[..., axis], 0, size - 1) for axis in (0, 1))
    which = np.arange(len(scenes))[:, None, None]
    same_part = others.parts[which, rows, columns] == scenes.parts
    same_bird = others.birds[which, rows, columns] == other_bird + 1
    return Correspondence(points, inside & same_part & same_bird)


def _placement(scenes: Scenes, bird: int) -> Placement:
    if not 0 <= bird < scenes.most:
        raise SceneError(f"There is no bird {bird}: these scenes have at most {scenes.most}, counted from 0.")
    return placed(fields_of_bird(scenes.fields, bird), flock=scenes.world.flock)
