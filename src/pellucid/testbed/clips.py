"""Short films of one bird: it stands, flies a little way in one direction, and stands again. The direction decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from pellucid.testbed.chance import choose, uniform_numbers
from pellucid.testbed.scene import Scenes, indices, scenes

DIRECTIONS = ("left", "right", "up", "down")
FRAMES = 8
MOVING = 3  # steps from one frame to the next in which the bird flies
_WAY = 0.5  # how far it flies in all, as a share of the room it has
_LARGEST = 0.4  # of the field `scale`: a small bird has more room


@dataclass(frozen=True, eq=False)
class Clips:
    """Films of birds. Frames are painted when first asked for.

    drawn:      every frame of every film, those of one film one after another
    directions: which way each bird flies, a position in DIRECTIONS; which way it faces says nothing about that
    starts:     the last frame in which it still stands where it stood at first
    """

    drawn: Scenes
    directions: Int64[np.ndarray, "clip"]
    starts: Int64[np.ndarray, "clip"]

    def __len__(self) -> int:
        return len(self.directions)

    def __getitem__(self, chosen: int | slice | Sequence[int] | np.ndarray) -> Clips:
        """Some of the films, always as a batch."""
        at = np.arange(len(self))[[chosen] if isinstance(chosen, (int, np.integer)) else chosen]
        rows = (at[:, None] * FRAMES + np.arange(FRAMES)).ravel()
        return replace(self, drawn=self.drawn[rows], directions=self.directions[at], starts=self.starts[at])

    @property
    def pixels(self) -> UInt8[np.ndarray, "clip frame height width 3"]:
        return self.drawn.pixels.reshape(len(self), FRAMES, *self.drawn.pixels.shape[1:])

    def tensor(self) -> Float32[Tensor, "clip 3 frame height width"]:
        """The films in 0..1, as the net takes them."""
        return torch.from_numpy(self.pixels.transpose(0, 4, 1, 2, 3).copy()).float() / 255

    @property
    def labels(self) -> Int64[np.ndarray, "clip"]:
        return self.directions

    @property
    def objects(self) -> Bool[np.ndarray, "clip frame height width"]:
        """Where the bird is visible."""
        return self.drawn.objects.reshape(len(self), FRAMES, *self.drawn.objects.shape[1:])

    @cached_property
    def moving(self) -> Bool[np.ndarray, "clip frame"]:
        """The frames that show the flight: any two neighbours of them differ. The others say nothing of the class."""
        frame = np.arange(FRAMES)[None]
        return (frame >= self.starts[:, None]) & (frame <= self.starts[:, None] + MOVING)

    @property
    def cause(self) -> Bool[np.ndarray, "clip frame height width"]:
        """What decides the class, in time and space: where the bird has been or comes to, in frames of the flight."""
        passed = (self.objects & self.moving[:, :, None, None]).any(axis=1, keepdims=True)
        return passed & self.moving[:, :, None, None]


def clips(seed: int, count: int | Sequence[int] | np.ndarray, *, size: int = 64) -> Clips:
    """Films of birds that fly to the left, to the right, up or down.

    seed:  which world; training uses 0, tests 2 and above
    count: how many, or the indices of those wanted: film 17 is the same alone and in any batch

    Raises SceneError for indices below 0.
    """
    index = indices(count, "clips")
    directions = choose(uniform_numbers(seed, index, "clip_direction"), len(DIRECTIONS))
    starts = choose(uniform_numbers(seed, index, "clip_start"), FRAMES - MOVING)
    still = scenes(seed, np.repeat(index, FRAMES), size=size, occlusion=0.0)
    across, down = _course(seed, index, directions, starts)
    scale = still.fields["scale"] * _LARGEST
    drawn = still.with_fields(x=across.ravel(), y=down.ravel(), scale=scale)
    return Clips(drawn, directions, starts)


def _course(
    seed: int, index: Int64[np.ndarray, "clip"], directions: Int64[np.ndarray, "clip"],
    starts: Int64[np.ndarray, "clip"],
) -> tuple[Float32[np.ndarray, "clip frame"], Float32[np.ndarray, "clip frame"]]:  # fmt: skip
    """The bird's place in every frame, in shares of the room it has. The middle of its way lies anywhere."""
    gone = np.clip((np.arange(FRAMES)[None] - starts[:, None]) / MOVING, 0, 1) - 0.5
    signed = gone * np.where(directions % 2 == 0, -1, 1)[:, None] * _WAY
    sideways = (directions < 2)[:, None]
    room = _WAY / 2
    across = uniform_numbers(seed, index, "clip_x")[:, None] * (1 - 2 * room) + room
    down = uniform_numbers(seed, index, "clip_y")[:, None] * (1 - 2 * room) + room
    moved = across + np.where(sideways, signed, 0), down + np.where(sideways, 0, signed)
    return moved[0].astype(np.float32), moved[1].astype(np.float32)
