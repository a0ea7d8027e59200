"""An outline that a picture and a map of it pull to the edges of what the map points at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from scipy import ndimage
from skimage import filters
from torch import Tensor

from pellucid.errors import RequestError, ShapeError

_BROAD = 1.5  # of the smoothed step and its derivative
_GLOBAL = 0.1  # part of the fit that looks at the whole picture, so that an outline on flat ground does not stand still
_REACH = 2.0  # standard deviations after which the windows end


@dataclass(frozen=True, eq=False)
class Contour:
    """What the outline encloses, and the energy on the way there.

    energy: after every step; it falls until the outline rests
    """

    mask: Bool[np.ndarray, "height width"]
    energy: tuple[float, ...]


def active_contour(
    values: Tensor | ArrayLike,
    grey: Float[np.ndarray, "height width"],
    *,
    start: Bool[np.ndarray, "height width"] | None = None,
    steps: int = 200,
    rate: float = 0.5,
    window: float = 3.0,
    of_map: float = 1.0,
    of_picture: float = 1.0,
    length: float = 0.01,
    smoothing: float = 0.5,
) -> Contour:
    """The set of pixels whose outline fits both a map and the picture, each by a local mean inside and outside.

    values:     a map; scaled to 0..1 here
    grey:       the picture in grey, 0..1
    start:      where to begin; None is where the map exceeds Otsu's threshold
    rate:       of a step
    window:     standard deviation of the local means, in pixels
    of_map, of_picture: how much each of the two counts
    length:     how much a long outline costs
    smoothing:  standard deviation, in pixels, by which the level set is smoothed after each step

    The local image fitting of Zhang, Song and Zhang (Pattern Recognition 2010) on map and picture, a tenth of it
    replaced by the fit of Chan and Vese (2001) with means over the whole picture.
    Raises ShapeError for a map of another size, RequestError for a flat map without a start.
    """
    mapped = _scaled(values)
    if mapped.shape != grey.shape:
        raise ShapeError("The map of a contour", got=mapped.shape, expected=f"that of the picture, {list(grey.shape)}")
    if start is None and np.ptp(mapped) == 0:
        raise RequestError("A flat map has no threshold to begin an outline at; give `start`.")
    inside = mapped > filters.threshold_otsu(mapped) if start is None else np.asarray(start, dtype=bool)
    level = np.where(inside, 1.0, -1.0)
    energies: list[float] = []
    for _ in range(steps):
        step, soft = _narrow(level), _inside(level)
        force, energy = np.zeros_like(level), 0.0
        for weight, image in ((of_map, mapped), (of_picture, np.asarray(grey, dtype=np.float64))):
            pull, missed = _fit(image, soft, window)
            force, energy = force + weight * pull, energy + weight * missed
        down, right = np.gradient(soft)
        energies.append(energy + length * float(np.hypot(down, right).sum()))
        # Forces of a fit are as small as the contrast squared: scaled, the fastest pixel moves by `rate`.
        force = force / max(np.abs(force).max(), 1e-12) if np.abs(force).max() > _STILL else np.zeros_like(force)
        level = np.clip(level + rate * (force + length * _curvature(level)) * step / step.max(), -3, 3)
        level = ndimage.gaussian_filter(level, smoothing) if smoothing else level
    return Contour(level > 0, tuple(energies))


_STILL = 1e-9


def _fit(image: np.ndarray, soft: np.ndarray, window: float) -> tuple[np.ndarray, float]:
    """Which way the outline gains, larger inside or smaller, and what the fit misses."""
    local = [ndimage.gaussian_filter(part, window, truncate=_REACH) for part in (image * soft, soft)]
    rest = [ndimage.gaussian_filter(part, window, truncate=_REACH) for part in (image * (1 - soft), 1 - soft)]
    within, without = local[0] / np.maximum(local[1], 1e-9), rest[0] / np.maximum(rest[1], 1e-9)
    missed = image - (within * soft + without * (1 - soft))
    near = missed * (within - without)
    mean_in = float((image * soft).sum() / max(soft.sum(), 1e-9))
    mean_out = float((image * (1 - soft)).sum() / max((1 - soft).sum(), 1e-9))
    far = ((image - mean_out) ** 2 - (image - mean_in) ** 2) / 2
    apart = (soft * (image - mean_in) ** 2 + (1 - soft) * (image - mean_out) ** 2).sum() / 2
    energy = (1 - _GLOBAL) * float((missed**2).sum()) / 2 + _GLOBAL * float(apart)
    return (1 - _GLOBAL) * near + _GLOBAL * far, energy


def _inside(level: np.ndarray) -> np.ndarray:
    """A step from 0 to 1 across the outline, smoothed."""
    return 0.5 + np.arctan(level / _BROAD) / np.pi


def _narrow(level: np.ndarray) -> np.ndarray:
    """Its derivative."""
    return _BROAD / (np.pi * (level**2 + _BROAD**2))


def _curvature(level: np.ndarray) -> np.ndarray:
    down, right = np.gradient(level)
    steep = np.hypot(down, right) + 1e-9
    return np.gradient(down / steep, axis=0) + np.gradient(right / steep, axis=1)


def _scaled(values: Tensor | ArrayLike) -> Float[np.ndarray, "height width"]:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    array = array.astype(np.float64)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise ShapeError("The map of a contour", got=array.shape, expected="[height width] of finite numbers")
    span = np.ptp(array)
    return (array - array.min()) / span if span else np.zeros_like(array)
