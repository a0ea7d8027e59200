"""Change the picture and watch the target: a sliding window, random masks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.engine import Evidence
from pellucid.errors import RequestError
from pellucid.registry import method
from pellucid.values import Scores, Seed

Extent = int | tuple[int, int]


def _positions(
    *, window: Extent | None = None, stride: Extent | None = None, size: tuple[int, int] = (224, 224), **_: Any
) -> float:
    """`size` may be given by a planner that knows the model's input size."""
    windows = _windows(size, window, stride)
    return len(windows.tops) * len(windows.lefts)


@method("occlusion", needs=[Scores], paper="Zeiler & Fergus 2014", signed=True, cost=_positions)
def occlusion(
    evidence: Evidence, *, window: Extent | None = None, stride: Extent | None = None, baseline: str = "blur"
) -> Float[Tensor, "batch height width"]:
    """How far the target falls when a window over the pixel is covered; overlapping windows are averaged.

    window:   side in pixels, or (rows, columns); None is an eighth of the shorter side
    stride:   step in pixels, or (down, right); None is half the window
    baseline: what covers it; zeros are a colour the model has opinions about, so the default is blur
    """
    windows = _windows(evidence.size, window, stride)
    cover = evidence.fill(baseline)

    def covered() -> Iterator[Tensor]:
        for rows, columns in windows:
            point = evidence.inputs.clone()
            point[..., rows, columns] = cover[..., rows, columns]
            yield point

    clean = evidence.score()
    fallen, counted = torch.zeros_like(evidence.inputs[:, 0]), torch.zeros_like(evidence.inputs[0, 0])
    for (rows, columns), score in zip(windows, evidence.scores_at(covered()), strict=True):
        fallen[:, rows, columns] += (clean - score)[:, None, None]
        counted[rows, columns] += 1
    return fallen / counted.clamp(min=1)


def _mask_count(*, masks: int = 4000, **_: Any) -> float:
    return masks


@method("rise", needs=[Scores], paper="Petsiuk et al. 2018", cost=_mask_count)
def rise(
    evidence: Evidence, *, masks: int = 4000, grid: int = 7, keep: float = 0.5, baseline: str = "zero"
) -> Float[Tensor, "batch height width"]:
    """Pixels weighted by the probability the model keeps when they are among those shown.

    masks:    how many random masks, one forward pass each; the error falls with their square root
    grid:     rows and columns of the coarse grid that is drawn, then spread smoothly and shifted at random
    keep:     chance that a cell is shown
    baseline: what hidden pixels become; zero is the mean colour of normalised inputs, as in the paper
    """
    total = evidence.accumulate(
        rise_masks(masks, grid, keep, evidence.size, evidence.seed),
        weigh=lambda mask, score: mask * score,
        fill=baseline,
        probability=True,
    )
    return total / (masks * keep)


def rise_masks(
    count: int, grid: int, keep: float, size: tuple[int, int], seed: Seed, chunk: int = 64
) -> Iterator[Float[Tensor, "mask height width"]]:
    """Coarse random grids, spread bilinearly over a little more than the picture and cut at a random shift."""
    height, width = size
    cell = math.ceil(height / grid), math.ceil(width / grid)
    larger = (grid + 1) * cell[0], (grid + 1) * cell[1]
    for start in range(0, count, chunk):
        # One generator per chunk, so that the masks are the same however many are asked for at once.
        generator = seed.child("rise", start).generator()
        drawn = (torch.rand(chunk, 1, grid, grid, generator=generator) < keep).float()
        tops = torch.randint(cell[0], (chunk,), generator=generator).tolist()
        lefts = torch.randint(cell[1], (chunk,), generator=generator).tolist()
        spread = interpolate(drawn, larger, mode="bilinear", align_corners=False)[:, 0]
        shifted = [
            mask[top : top + height, left : left + width] for mask, top, left in zip(spread, tops, lefts, strict=True)
        ]
        yield torch.stack(shifted[: count - start])


def starts_along(side: int, length: int, step: int) -> list[int]:
    """Where stretches of a length begin along a side; the last ends at its end."""
    return sorted({*range(0, side - length + 1, step), side - length})


class _Windows:
    """Windows that slide over a picture; the last in each direction ends at the border, so every pixel is covered."""

    def __init__(self, size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int]) -> None:
        self.window = window
        self.tops, self.lefts = (starts_along(*each) for each in zip(size, window, stride, strict=True))

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        for top in self.tops:
            for left in self.lefts:
                yield slice(top, top + self.window[0]), slice(left, left + self.window[1])


def _windows(size: tuple[int, int], window: Extent | None, stride: Extent | None) -> _Windows:
    sides = _pair(max(1, round(min(size) / 8)) if window is None else window)
    sides = min(sides[0], size[0]), min(sides[1], size[1])
    steps = (max(1, sides[0] // 2), max(1, sides[1] // 2)) if stride is None else _pair(stride)
    if steps[0] > sides[0] or steps[1] > sides[1]:
        raise RequestError(f"stride={stride} is wider than the window {sides}: pixels between would never be covered.")
    return _Windows(size, sides, steps)


def _pair(extent: Extent) -> tuple[int, int]:
    return (extent, extent) if isinstance(extent, int) else extent
