"""Sets of pixels: chosen by value, split into pieces, grown, compared, and written short."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy.typing import ArrayLike
from scipy import ndimage
from torch import Tensor

from pellucid.errors import RequestError, ShapeError
from pellucid.values import Seed

_PLUS, _SQUARE = ndimage.generate_binary_structure(2, 1), ndimage.generate_binary_structure(2, 2)


def threshold_area(
    values: Tensor | ArrayLike, fraction: float, seed: Seed | int = 0
) -> Bool[np.ndarray, "height width"]:
    """The highest `fraction` (0 to 1) of a map's pixels, rounded to whole pixels. Ties are broken by the seed.

    Breaking ties by position would favour the upper left and make a flat map look as if it pointed there.
    """
    if not 0 <= fraction <= 1:
        raise RequestError(f"fraction is {fraction}; expected a share of the picture, 0 to 1.")
    array = _matrix(values, "The map").astype(np.float64)
    if not np.isfinite(array).all():
        raise RequestError("The map holds NaN or infinite values, so its pixels cannot be ranked.")
    tie_breaker = np.random.default_rng(int(seed)).permutation(array.size)
    order = np.lexsort((tie_breaker, -array.ravel()))
    chosen = np.zeros(array.size, bool)
    chosen[order[: round(fraction * array.size)]] = True
    return chosen.reshape(array.shape)


def connected(mask: Tensor | ArrayLike, *, diagonal: bool = True) -> list[Bool[np.ndarray, "height width"]]:
    """The pieces a mask falls into, largest first; pixels that touch at a corner hang together if `diagonal`."""
    array = _boolean(mask)
    labels = np.zeros(array.shape, np.int32)
    ndimage.label(array, structure=_SQUARE if diagonal else _PLUS, output=labels)
    areas = np.bincount(labels.ravel())[1:]
    return [labels == index + 1 for index in np.argsort(-areas, kind="stable")]


def iou(first: Tensor | ArrayLike, second: Tensor | ArrayLike) -> float:
    """Intersection over union of two masks, 0 (apart) to 1 (equal, which two empty ones are)."""
    one, other = _boolean(first), _boolean(second)
    if one.shape != other.shape:
        raise ShapeError("The second mask", got=other.shape, expected=f"that of the first, {list(one.shape)}")
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def dice(first: Tensor | ArrayLike, second: Tensor | ArrayLike) -> float:
    """Twice what two masks share over both areas, 0 (apart) to 1 (equal, which two empty ones are)."""
    shared = iou(first, second)
    return 2 * shared / (1 + shared)


def dilate(mask: Tensor | ArrayLike, pixels: int = 1, *, diagonal: bool = True) -> Bool[np.ndarray, "height width"]:
    """The mask grown by `pixels` on every side: by squares if `diagonal`, else by diamonds."""
    array = _boolean(mask)
    if pixels < 1:
        return array
    return ndimage.binary_dilation(array, structure=_SQUARE if diagonal else _PLUS, iterations=pixels)


def near(mask: Tensor | ArrayLike, pixels: float) -> Bool[np.ndarray, "height width"]:
    """Where the mask is less than `pixels` away, from centre to centre of pixels; nowhere for an empty mask."""
    array = _boolean(mask)
    return array if not array.any() else array | (np.asarray(ndimage.distance_transform_edt(~array)) < pixels)


def encode(mask: Tensor | ArrayLike) -> dict[str, list[int]]:
    """The mask as run lengths: `size` [height, width] and `counts`, zeros first, column by column, as COCO has it."""
    array = _boolean(mask)
    flat = array.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    lead = [0] if flat.size and flat[0] else []
    return {"size": list(array.shape), "counts": lead + np.diff(edges).tolist()}


def decode(runs: Mapping[str, Any]) -> Bool[np.ndarray, "height width"]:
    """The mask that `encode` wrote. Raises ShapeError if the runs do not add up to the size."""
    height, width = (int(side) for side in runs["size"])
    counts = np.asarray(runs["counts"], dtype=int)
    if (counts < 0).any() or counts.sum() != height * width:
        raise ShapeError("The run lengths", got=f"{counts.sum()} pixels", expected=f"{height} x {width}")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape((height, width), order="F")


def _boolean(mask: Tensor | ArrayLike) -> Bool[np.ndarray, "height width"]:
    return _matrix(mask, "The mask").astype(bool)


def _matrix(values: Tensor | ArrayLike, what: str) -> np.ndarray:
    array = values.detach().cpu().float().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim != 2:
        raise ShapeError(what, got=array.shape, expected="[height width]")
    return array
