"""Cover a part of a film, in space and for a while, and watch the target. A picture is a film of one frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.attribution.perturbation import Extent, starts_along
from pellucid.engine import Evidence
from pellucid.errors import RequestError
from pellucid.registry import method
from pellucid.subject.clips import as_films
from pellucid.values import Films, Scores, Seed

_LEAST_SPREAD = 1e-3  # of how much of a pixel is shown, for fewer masks than it takes to see both
_SHARE = 4  # a window is a quarter of the frame's shorter side, and of the film's length


def _positions(
    *, window: Extent | None = None, stride: Extent | None = None, span: int | None = None,
    span_stride: int | None = None, size: tuple[int, int] = (224, 224), frames: int = 1, **_: Any,
) -> float:  # fmt: skip
    """`size` (of a frame) and `frames` may be given by a planner that knows the model's input."""
    return math.prod(len(axis) for axis in _windows((frames, *size), window, stride, span, span_stride))


@method("time_occlusion", needs=[Scores, Films], paper="Zeiler & Fergus 2014", signed=True, cost=_positions)
def time_occlusion(
    evidence: Evidence, *, window: Extent | None = None, stride: Extent | None = None, span: int | None = None,
    span_stride: int | None = None, baseline: str = "blur",
) -> Float[Tensor, "batch rows width"]:  # fmt: skip
    """How far the target falls when a window is covered for a while; overlapping windows are averaged.

    window:      side in pixels of a frame, or (rows, columns); None is a quarter of the shorter side
    stride:      step in pixels, or (down, right); None is half the window
    span:        how many frames in a row are covered; None is a quarter of them, at least one
    span_stride: step in frames; None is half the span, at least one
    baseline:    what covers it, made of each frame by itself
    """
    frames = evidence.model.frames
    shape = (frames, evidence.size[0] // frames, evidence.size[1])
    windows = list(product(*_windows(shape, window, stride, span, span_stride)))
    cover = as_films(evidence.fill(baseline), frames)
    films = as_films(evidence.inputs, frames)

    def covered() -> Iterator[Tensor]:
        for place in windows:
            point = films.clone()
            point[(..., *place)] = cover[(..., *place)]
            yield point.flatten(2, 3)

    clean = evidence.score()
    fallen = torch.zeros(len(evidence), *shape, device=evidence.inputs.device)
    counted = torch.zeros(shape, device=evidence.inputs.device)
    for place, score in zip(windows, evidence.scores_at(covered()), strict=True):
        fallen[(slice(None), *place)] += (clean - score)[:, None, None, None]
        counted[place] += 1
    return (fallen / counted.clamp(min=1)).flatten(1, 2)


def _mask_count(*, masks: int = 500, **_: Any) -> float:
    return masks


@method("time_rise", needs=[Scores, Films], paper="Petsiuk et al. 2018", signed=True, cost=_mask_count)
def time_rise(
    evidence: Evidence, *, masks: int = 500, grid: int = 7, span: int | None = None, keep: float = 0.5,
    baseline: str = "blur",
) -> Float[Tensor, "batch rows width"]:  # fmt: skip
    """How far the probability rises with a pixel's being shown among others, over random masks in space and time.

    The slope of the probability along how much of the pixel is shown: what all masks share cancels, which in a map of
    few masks would hide the rest.

    masks:    how many random masks, one forward pass each; the error falls with their square root
    grid:     rows and columns of the coarse grid that is drawn for every instant, then spread smoothly and shifted
    span:     how many frames lie between two instants of that grid; None is a quarter of the film, at least one
    keep:     chance that a cell is shown
    baseline: what hidden pixels become, made of each frame by itself; a flat colour would flicker, which is motion
    """
    frames = evidence.model.frames
    shape = (frames, evidence.size[0] // frames, evidence.size[1])
    drawn = time_masks(masks, grid, _span(frames, span), keep, shape, evidence.seed)
    hidden = evidence.fill(baseline)
    both = torch.zeros_like(evidence.inputs[:, 0])
    shown, squared = torch.zeros_like(both[0]), torch.zeros_like(both[0])
    scored = torch.zeros_like(both[:, 0, 0])
    for chunk in drawn:
        some = chunk.to(evidence.inputs)
        points = (evidence.inputs * mask + hidden * (1 - mask) for mask in some)
        for mask, score in zip(some, evidence.scores_at(points, probability=True), strict=True):
            both += mask * score[:, None, None]
            scored += score
        shown += some.sum(dim=0)
        squared += some.square().sum(dim=0)
    mean = shown / masks
    spread = (squared / masks - mean.square()).clamp(min=_LEAST_SPREAD)
    return (both / masks - mean * (scored / masks)[:, None, None]) / spread


def time_masks(
    count: int, grid: int, span: int, keep: float, shape: tuple[int, int, int], seed: Seed, chunk: int = 64
) -> Iterator[Float[Tensor, "mask rows width"]]:
    """Coarse random grids over time and space, spread trilinearly over a little more than the film, cut at random.

    shape: frames, height and width of the film; masks come as strips
    """
    cells = (max(1, math.ceil(shape[0] / span)), grid, grid)
    sides = [math.ceil(length / number) for length, number in zip(shape, cells, strict=True)]
    larger = [(number + 1) * side for number, side in zip(cells, sides, strict=True)]
    for start in range(0, count, chunk):
        # One generator per chunk, so that the masks are the same however many are asked for at once.
        generator = seed.child("time rise", start).generator()
        drawn = (torch.rand(chunk, 1, *cells, generator=generator) < keep).float()
        shifts = [torch.randint(side, (chunk,), generator=generator).tolist() for side in sides]
        spread = interpolate(drawn, larger, mode="trilinear", align_corners=False)[:, 0]
        cut = [
            mask[tuple(slice(first, first + length) for first, length in zip(firsts, shape, strict=True))]
            for mask, *firsts in zip(spread, *shifts, strict=True)
        ]
        yield torch.stack(cut[: count - start]).flatten(1, 2)


def _windows(
    shape: tuple[int, int, int], window: Extent | None, stride: Extent | None, span: int | None,
    span_stride: int | None,
) -> list[list[slice]]:  # fmt: skip
    """Along time, rows and columns: where the windows lie. The last of each ends at the border."""
    side = max(1, round(min(shape[1:]) / _SHARE)) if window is None else window
    lengths = [_span(shape[0], span), *((side, side) if isinstance(side, int) else side)]
    lengths = [min(length, whole) for length, whole in zip(lengths, shape, strict=True)]
    half = [max(1, length // 2) for length in lengths]
    asked = half[1:] if stride is None else (stride, stride) if isinstance(stride, int) else stride
    steps = [half[0] if span_stride is None else span_stride, *asked]
    for name, step, length in zip(("span_stride", "stride", "stride"), steps, lengths, strict=True):
        if step > length:
            raise RequestError(f"{name}={step} is wider than the window, {length}: what lies between is never covered.")
    return [
        [slice(first, first + length) for first in starts_along(whole, length, step)]
        for length, step, whole in zip(lengths, steps, shape, strict=True)
    ]


def _span(frames: int, span: int | None) -> int:
    return max(1, frames // _SHARE) if span is None else min(span, frames)
