"""A map laid over the picture it explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8

from pellucid.canvas.scales import Scale, scale
from pellucid.errors import MapError, ShapeError

State = Literal["drawn", "flat", "nothing"]


@dataclass(frozen=True, eq=False)
class Overlay:
    """The drawn map, and what is needed to read it.

    state:  `drawn`; `flat` when every seen pixel has the same value; `nothing` when an unsigned map has no value
            above zero. The last two are drawn without any colour.
    limit:  the value drawn in full colour, in the map's unit
    unseen: part of the picture the model never saw, 0 to 1
    """

    pixels: UInt8[np.ndarray, "height width 3"]
    state: State
    signed: bool
    limit: float
    unseen: float

    @property
    def scale(self) -> Scale:
        return scale(self.signed)

    @property
    def legend(self) -> tuple[str, ...]:
        """How to read what has no colour, in words; the colours are named by the ends of the scale."""
        return (*_LEGENDS[self.state, self.signed], *((_UNSEEN,) if self.unseen > 0 else ()))


def overlay(
    pixels: UInt8[np.ndarray, "height width 3"],
    values: Float[np.ndarray, "height width"],
    *,
    signed: bool,
    seen: Bool[np.ndarray, "height width"] | None = None,
) -> Overlay:
    """The picture in dim grey with the map in colour over it, stronger where the map is stronger.

    values: any unit; the colours are full at the 99.5th percentile of the magnitude, so that one hot pixel does not
            hide the rest
    signed: negative values mean evidence against; else only what lies above zero is drawn, and above what every pixel
            has, as in a map of mean scores
    seen:   where the model saw the picture; the rest is hatched and never coloured. None: everywhere

    Raises MapError where a seen value is not a number, ShapeError where map and picture differ in size.
    """
    values = np.asarray(values, dtype=np.float32)
    if values.shape != pixels.shape[:2]:
        raise ShapeError("the map", got=values.shape, expected=f"{list(pixels.shape[:2])}, as the picture")
    seen = np.ones(values.shape, dtype=bool) if seen is None else np.asarray(seen, dtype=bool)
    if not np.isfinite(values[seen]).all():
        raise MapError("The map holds values that are not finite numbers, so it cannot be drawn.")
    strength, limit, state = _strength(values, seen, signed)
    base = _dim_grey(pixels)
    if state == "drawn":
        # a power below one lets middling places show; below 4 % there is no colour at all
        alpha = 0.84 * (np.clip((np.abs(strength) - 0.04) / 0.96, 0, 1) ** 0.75)[..., None]
        base = base * (1 - alpha) + scale(signed).colours(strength) * alpha
    drawn = np.where(seen[..., None], base, _hatched(pixels))
    return Overlay(np.rint(drawn).astype(np.uint8), state, signed, limit, float(1 - seen.mean()))


def hatch(pixels: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """The whole picture as if nothing of it had been seen: for a map that cannot be drawn."""
    return np.rint(_hatched(pixels)).astype(np.uint8)


def outline(
    pixels: UInt8[np.ndarray, "height width 3"], mask: Bool[np.ndarray, "height width"], width: int = 2
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture with everything outside `mask` in dim grey, and a line `width` pixels wide around the mask."""
    inner = mask.copy()
    for _ in range(max(1, width)):
        inner = _eroded(inner)
    drawn = np.where(mask[..., None], pixels, _dim_grey(pixels))
    return np.where((mask & ~inner)[..., None], np.array(_TRUTH_COLOUR), np.rint(drawn)).astype(np.uint8)


_TRUTH_COLOUR = (255, 255, 255)

_UNSEEN = "hatched: the model never saw this part"
_LEGENDS: dict[tuple[State, bool], tuple[str, ...]] = {
    ("drawn", False): ("no colour: hardly mattered",),
    ("drawn", True): ("no colour: did neither",),
    ("flat", False): ("no colour: the map is flat, every place has the same value",),
    ("flat", True): ("no colour: the map is flat, every place has the same value",),
    ("nothing", False): ("no colour: the map holds nothing above zero",),
    ("nothing", True): ("no colour: the map holds nothing above zero",),
}


def _strength(
    values: Float[np.ndarray, "height width"], seen: Bool[np.ndarray, "height width"], signed: bool
) -> tuple[Float[np.ndarray, "height width"], float, State]:
    known = values[seen].astype(np.float64)
    if known.size == 0 or np.ptp(known) <= 1e-6 * np.abs(known).max():
        return np.zeros_like(values), 0.0, "flat"
    shared = 0.0 if signed else max(float(known.min()), 0.0)
    magnitude = np.abs(known) if signed else np.clip(known - shared, 0, None)
    if magnitude.max() <= 0:
        return np.zeros_like(values), 0.0, "nothing"
    limit = float(np.percentile(magnitude, 99.5)) or float(magnitude.max())
    # divided in float64: a map of 1e-40 would overflow its own inverse in float32
    scaled = np.clip(np.where(seen, values.astype(np.float64) - shared, 0) / limit, -1 if signed else 0, 1)
    return scaled.astype(np.float32), limit + shared, "drawn"


def _dim_grey(pixels: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width 3"]:
    grey = pixels.astype(np.float32) @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
    return np.repeat((18 + 0.62 * grey)[..., None], 3, axis=-1)


def _hatched(pixels: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width 3"]:
    height, width = pixels.shape[:2]
    step = max(3, round(max(height, width) / 80))
    stripes = (np.add.outer(np.arange(height), np.arange(width)) % (2 * step)) < max(1, step // 4)
    dimmed = 8 + 0.45 * _dim_grey(pixels)
    return np.where(stripes[..., None], 0.65 * dimmed + 38, dimmed)


def _eroded(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    padded = np.pad(mask, 1, mode="edge")
    return mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
