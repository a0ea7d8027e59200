"""Units that fire on edges of one direction, and the gratings for which their answers are known in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from pellucid.testbed.planted.separation import fill
from pellucid.testbed.planted.unit import Planted, PlantedUnit

SIDE = 5
PERIOD = 4.0  # pixels from stripe to stripe, where the response is largest
WIDTH = 1.3  # standard deviation of the kernel's window in pixels
# Direction in which brightness changes, in degrees from rightward to downward, and what such stripes are called.
DIRECTIONS = (0, 45, 90, 135)
WORDS = (
    ("vertical stripes", ("vertical edges", "upright stripes", "vertical lines")),
    ("rising stripes", ("rising diagonal stripes", "diagonal edges from lower left to upper right")),
    ("horizontal stripes", ("horizontal edges", "level stripes", "horizontal lines")),
    ("falling stripes", ("falling diagonal stripes", "diagonal edges from upper left to lower right")),
)


@dataclass(frozen=True, eq=False)
class Gratings:
    """Pictures of stripes: `0.5 + contrast / 2 * cos(2 pi frequency (x cos a + y sin a) + phase)`, x and y in pixels.

    frequency: periods per pixel, up to 1/2; direction: a in degrees; phase: radians; contrast: 0 to 1. One each.
    """

    frequency: Float[np.ndarray, "picture"]
    direction: Float[np.ndarray, "picture"]
    phase: Float[np.ndarray, "picture"]
    contrast: Float[np.ndarray, "picture"]
    size: int = 64

    def __len__(self) -> int:
        return len(self.frequency)

    @property
    def wave(self) -> Float[np.ndarray, "picture 2"]:
        """Periods per pixel rightward and downward."""
        angle = np.deg2rad(self.direction)
        return self.frequency[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def cosine(self) -> Float[np.ndarray, "picture height width"]:
        """The stripes alone, from -1 to 1."""
        places = np.arange(self.size)
        turns = self.wave[:, 0, None, None] * places[None, None] + self.wave[:, 1, None, None] * places[None, :, None]
        return np.cos(2 * np.pi * turns + self.phase[:, None, None])

    def tensor(self) -> Float32[Tensor, "picture 3 height width"]:
        """Grey pictures in 0..1."""
        grey = 0.5 + self.contrast[:, None, None] / 2 * self.cosine()
        return torch.from_numpy(np.repeat(grey[:, None], 3, axis=1)).float()


def gratings(seed: int, count: int) -> Gratings:
    """Stripes of all widths, directions and contrasts."""
    draw = np.random.default_rng(seed)
    return Gratings(
        draw.uniform(0.02, 0.5, count), draw.uniform(0, 180, count), draw.uniform(0, 2 * np.pi, count),
        draw.uniform(0.1, 1.0, count),
    )  # fmt: skip


def edges() -> Planted:
    """Four rectified 5x5 filters with no mean, each tuned to stripes of one direction; logits are their means.

    On a grating a filter answers `contrast * tuning * cos(2 pi f . r + phase)` at the place r, where `tuning` is its
    Fourier amplitude at f; at full contrast, its own direction and period 4 that is 1.
    """
    margin = _margin()
    return Planted(
        "edges",
        _Edges(),
        gratings,
        Gratings.tensor,
        tuple(name for name, _ in WORDS),
        "units",
        units=tuple(
            PlantedUnit("units", at, name, words, _Fires(at), _Where(at), margin)
            for at, (name, words) in enumerate(WORDS)
        ),
        notes=(
            "Its answer to a flat picture is 0, whatever the brightness.",
            "`tuning(frequency, direction)` is the height of each unit's answer, `optimum(unit)` the patch of pixels "
            "in 0..1 that drives it furthest.",
        ),
    )


def kernels() -> Float[np.ndarray, "unit 5 5"]:
    """The filters for grey pictures: a cosine of period 4 under a Gaussian, made free of mean, scaled to answer 1."""
    reach = np.arange(SIDE) - SIDE // 2
    down, across = np.meshgrid(reach, reach, indexing="ij")
    window = np.exp(-(across**2 + down**2) / (2 * WIDTH**2))
    angles = np.deg2rad(DIRECTIONS)[:, None, None]
    raw = window * np.cos(2 * np.pi / PERIOD * (across * np.cos(angles) + down * np.sin(angles)))
    raw -= window * (raw.sum(axis=(1, 2)) / window.sum())[:, None, None]
    best = [
        _transform(kernel, np.array([1 / PERIOD]), np.array([float(direction)]))
        for kernel, direction in zip(raw, DIRECTIONS, strict=True)
    ]
    return raw / (0.5 * np.concatenate(best))[:, None, None]


def tuning(
    frequency: Float[np.ndarray, "grating"], direction: Float[np.ndarray, "grating"]
) -> Float[np.ndarray, "grating unit"]:
    """What each filter answers to full contrast where a bright stripe lies on its centre: half its transform.

    Even kernels have real transforms: below 0 where the filter answers to the dark stripe instead.
    """
    return np.stack([0.5 * _transform(kernel, frequency, direction) for kernel in kernels()], axis=1)


def optimum(unit: int) -> Bool[np.ndarray, "5 5"]:
    """The patch that drives a unit furthest: white where its weight is above 0, black elsewhere."""
    return kernels()[unit] > 0


def answers(stripes: Gratings, unit: int) -> Float[np.ndarray, "picture height width"]:
    """What a unit answers at every place its filter fits, from the formula."""
    heights = stripes.contrast * tuning(stripes.frequency, stripes.direction)[:, unit]
    rim = SIDE // 2
    return np.maximum(heights[:, None, None] * stripes.cosine()[:, rim:-rim, rim:-rim], 0)


class _Edges(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.filters = nn.Conv2d(3, len(DIRECTIONS), SIDE, bias=False)
        fill(self.filters.weight, np.repeat(kernels()[:, None] / 3, 3, axis=1))
        self.units = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()

    def forward(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 4"]:
        return self.flatten(self.pool(self.units(self.filters(pictures))))


@dataclass(frozen=True)
class _Where:
    """The pixels round which one unit answers above one half."""

    unit: int

    def __call__(self, stripes: Gratings) -> Bool[np.ndarray, "picture height width"]:
        rim = SIDE // 2
        return np.pad(answers(stripes, self.unit) > 0.5, ((0, 0), (rim, rim), (rim, rim)))


@dataclass(frozen=True)
class _Fires:
    unit: int

    def __call__(self, stripes: Gratings) -> Bool[np.ndarray, "picture"]:
        return np.any(_Where(self.unit)(stripes), axis=(1, 2))


def _transform(
    kernel: Float[np.ndarray, "5 5"], frequency: Float[np.ndarray, "wave"], direction: Float[np.ndarray, "wave"]
) -> Float[np.ndarray, "wave"]:
    """Fourier transform of an even kernel at waves of this frequency and direction."""
    reach = np.arange(SIDE) - SIDE // 2
    angle = np.deg2rad(direction)
    across = (frequency * np.cos(angle))[:, None, None] * reach[None, :]
    down = (frequency * np.sin(angle))[:, None, None] * reach[:, None]
    return (kernel * np.cos(2 * np.pi * (across + down))).sum(axis=(1, 2))


def _margin() -> float:
    """How far a unit's answers to its own direction and to the next lie from one half, at the best frequency."""
    heights = np.abs(tuning(np.full(4, 1 / PERIOD), np.array(DIRECTIONS, dtype=np.float64)))
    others = heights[~np.eye(4, dtype=bool)]
    return float(min(np.diag(heights).min() - 0.5, 0.5 - others.max()))
