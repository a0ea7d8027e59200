"""A finished map read as regions: superpixels, segments given, boxes, regions by rank, the inside of an outline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import ArrayLike
from skimage import color, filters
from torch import Tensor, as_tensor

from pellucid.errors import RequestError, ShapeError
from pellucid.images import masks, superpixels
from pellucid.images.contour import active_contour
from pellucid.images.position import in_words
from pellucid.images.ranked import ranked_regions
from pellucid.values import Region

_LEAST = 50 / 224**2  # part of the picture below which a piece is a crumb


@dataclass(frozen=True, eq=False)
class RegionReading(Region):
    """A region of the picture and what a map gives to it.

    mean: of the map over the region
    mass: the region's part of all that is positive in the map, 0 to 1; 0 where nothing is
    """

    mean: float
    mass: float

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom in pixels, the last two exclusive."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def by_segments(values: Tensor | ArrayLike, labels: Int[np.ndarray, "height width"]) -> tuple[RegionReading, ...]:
    """Every segment of a map of segment numbers, the one with the highest mean first."""
    array = _map(values)
    if labels.shape != array.shape:
        raise ShapeError("The segments", got=labels.shape, expected=f"those of the map, {list(array.shape)}")
    found = [read_off(array, labels == number) for number in np.unique(labels)]
    return tuple(sorted(found, key=lambda one: -one.mean))


def by_superpixels(
    values: Tensor | ArrayLike, pixels: UInt8[np.ndarray, "height width 3"], *, count: int = 50
) -> tuple[RegionReading, ...]:
    """About `count` superpixels of the picture, the one with the highest mean first."""
    return by_segments(values, superpixels.slic(pixels, count))


def by_rank(
    values: Tensor | ArrayLike, pixels: UInt8[np.ndarray, "height width 3"], *, area: float = 0.3
) -> tuple[RegionReading, ...]:
    """The regions that XRAI's ranking takes from the map until they cover that part of the picture, in its order."""
    array = _map(values)
    ranking = ranked_regions(as_tensor(array), superpixels.by_edges(pixels))
    return tuple(read_off(array, one.mask) for one in ranking.taken if one.covered <= area)


def by_boxes(
    values: Tensor | ArrayLike, pixels: UInt8[np.ndarray, "height width 3"] | None = None, *, area: float | None = None
) -> tuple[RegionReading, ...]:
    """Rectangles around the pieces of the map above a threshold, the one with most mass first.

    area: the threshold leaves this part of the picture, 0 to 1; None is Otsu's threshold
    """
    array = _map(values)
    pieces = [piece for piece in masks.connected(_marked(array, area)) if piece.mean() >= _LEAST]
    boxes: list[np.ndarray] = []
    for piece in pieces:
        left, top, right, bottom = read_off(array, piece).box
        boxes.append(np.zeros(array.shape, dtype=bool))
        boxes[-1][top:bottom, left:right] = True
    return tuple(sorted((read_off(array, box) for box in boxes), key=lambda one: -one.mass))


def by_contour(
    values: Tensor | ArrayLike, pixels: UInt8[np.ndarray, "height width 3"], *, area: float | None = None
) -> tuple[RegionReading, ...]:
    """What an outline encloses that map and picture pull together, piece by piece, the one with most mass first.

    area: the outline begins around the highest part of the map, of this size; None is Otsu's threshold
    """
    array = _map(values)
    found = active_contour(array, color.rgb2gray(pixels), start=_marked(array, area)).mask
    pieces = [piece for piece in masks.connected(found) if piece.mean() >= _LEAST]
    return tuple(sorted((read_off(array, piece) for piece in pieces), key=lambda one: -one.mass))


def read_off(values: Float[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]) -> RegionReading:
    """What a map gives to one region."""
    positive = np.clip(values, 0, None)
    whole = float(positive.sum())
    mass = float(positive[mask].sum()) / whole if whole else 0.0
    return RegionReading(mask, in_words(mask), float(values[mask].mean()), mass)


def _marked(values: np.ndarray, area: float | None) -> Bool[np.ndarray, "height width"]:
    if area is not None:
        return masks.threshold_area(values, area)
    if np.ptp(values) == 0:
        raise RequestError("A flat map has no threshold; give `area`.")
    return values > filters.threshold_otsu(values)


def _map(values: Tensor | ArrayLike) -> Float[np.ndarray, "height width"]:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    array = array.astype(np.float64)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise ShapeError("The map to be read", got=array.shape, expected="[height width] of finite numbers")
    return array


READINGS: dict[str, Callable[..., Sequence[RegionReading]]] = {
    "superpixels": by_superpixels,
    "rank": by_rank,
    "boxes": by_boxes,
    "contour": by_contour,
}
"""Every way to read a map of a picture, (values, pixels) -> regions, by name."""
