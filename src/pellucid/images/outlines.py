"""Masks as annotation files write them: polygons, and run lengths as text. Read as COCO's tools do, to the pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int64

from pellucid.errors import RequestError

FINE = 5  # outlines are traced on a grid this many times finer than the pixels


def fill(polygons: Sequence[Sequence[float] | np.ndarray], height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """The pixels inside any of the polygons, each a flat list of x, y in pixels: [x0, y0, x1, y1, ...].

    Outlines are rounded to a fifth of a pixel and traced; a column's pixels are inside between every second crossing
    and the next. That is how COCO's tools fill, with their rounding, so masks agree with theirs in every pixel.
    """
    mask = np.zeros(height * width, dtype=bool)
    for polygon in polygons:
        corners = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
        crossings = _crossings(_traced(corners), height, width)
        toggles = np.bincount(crossings, minlength=height * width + 1)[: height * width]
        mask |= np.cumsum(toggles) % 2 == 1
    return mask.reshape((height, width), order="F")


def run_lengths(text: str | bytes) -> list[int]:
    """The counts that COCO's compressed runs hold: in each character 5 bits and one that says whether more follow.

    From the fourth on, a count is kept as its difference from the one before the last.
    Raises RequestError where the text is cut off or holds other characters.
    """
    counts: list[int] = []
    value = place = 0
    for code in map(ord, text) if isinstance(text, str) else text:
        bits = code - 48
        if not 0 <= bits < 64 or place > 12:
            raise RequestError(f"Compressed runs hold the characters '0' to 'o'; got {chr(code)!r}.")
        value |= (bits & 31) << (5 * place)
        place += 1
        if bits & 32:
            continue
        if bits & 16:  # the number is negative: its sign fills all higher bits
            value -= 1 << (5 * place)
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = place = 0
    if place:
        raise RequestError("The compressed runs are cut off in the middle of a number.")
    return counts


def _traced(corners: Float[np.ndarray, "corner 2"]) -> Int64[np.ndarray, "point 2"]:
    """All points of the closed outline on the fine grid, in steps of one along the longer side of each edge."""
    fine = np.trunc(FINE * corners + 0.5).astype(np.int64)
    pieces: list[np.ndarray] = []
    for start, end in zip(fine, np.roll(fine, -1, axis=0), strict=True):
        long = 0 if abs(end[0] - start[0]) >= abs(end[1] - start[1]) else 1
        steps = abs(int(end[long] - start[long]))
        if steps == 0:
            pieces.append(start[None])
            continue
        backwards = start[long] > end[long]  # both directions round alike: always from the smaller coordinate
        low, high = (end, start) if backwards else (start, end)
        along = np.arange(steps + 1)
        slope = float(high[1 - long] - low[1 - long]) / steps
        points = np.empty((steps + 1, 2), dtype=np.int64)
        points[:, long] = low[long] + along
        points[:, 1 - long] = np.trunc(low[1 - long] + slope * along + 0.5)
        pieces.append(points[::-1] if backwards else points)
    return np.concatenate(pieces)


def _crossings(points: Int64[np.ndarray, "point 2"], height: int, width: int) -> Int64[np.ndarray, "crossing"]:
    """Where the outline crosses the middle of a column, as places in the mask read column by column."""
    x, y = points[:, 0], points[:, 1]
    stepped = np.flatnonzero(x[1:] != x[:-1])
    column = (np.minimum(x[stepped], x[stepped + 1]) + 0.5) / FINE - 0.5
    middle = (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    row = (np.minimum(y[stepped], y[stepped + 1]) + 0.5) / FINE - 0.5
    below = np.ceil(np.clip(row, 0, height)).astype(np.int64)
    return column[middle].astype(np.int64) * height + below[middle]
