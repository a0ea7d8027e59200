"""Segments of a picture by name: what they look most like, where they lie, what colour they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from skimage.color import rgb2lab
from torch import Tensor

from pellucid.errors import RequestError, ShapeError
from pellucid.images import Frame
from pellucid.images.position import in_words
from pellucid.subject import VisionModel

# What people call these colours (Berlin & Kay's eleven, and two that photographs are full of), as sRGB bytes.
_COLOURS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "black": ((20, 20, 20),),
    "grey": ((128, 128, 128), (80, 80, 80), (180, 180, 180)),
    "white": ((245, 245, 245),),
    "red": ((200, 30, 35), (140, 25, 30)),
    "orange": ((235, 130, 40), (225, 105, 70)),
    "yellow": ((240, 215, 60),),
    "green": ((60, 150, 60), (40, 85, 45), (150, 190, 100)),
    "turquoise": ((60, 180, 175), (45, 125, 125)),
    "blue": ((50, 90, 190), (30, 45, 100), (140, 185, 230)),
    "purple": ((125, 60, 150), (80, 50, 95)),
    "pink": ((235, 150, 175),),
    "brown": ((110, 70, 40), (150, 105, 70), (70, 45, 30)),
    "beige": ((220, 200, 165),),
}
COLOUR_WORDS = tuple(_COLOURS)
_MOST = 0.5  # share of the pixels that a colour must have, or there is none that stands for the segment


def dominant_colour(pixels: UInt8[np.ndarray, "pixel 3"]) -> str | None:
    """The colour word that fits most of these pixels, None where no colour has half of them."""
    if not len(pixels):
        return None
    names = [name for name, shades in _COLOURS.items() for _ in shades]
    shades = _lab(np.array([shade for shades in _COLOURS.values() for shade in shades], dtype=np.uint8))
    nearest = np.linalg.norm(_lab(pixels)[:, None] - shades[None], axis=-1).argmin(axis=1)
    words, counts = np.unique(np.array(names)[nearest], return_counts=True)
    return str(words[counts.argmax()]) if counts.max() >= _MOST * len(pixels) else None


def sums(heat: Float[Tensor, "height width"], labels: Int[np.ndarray, "height width"]) -> Float[np.ndarray, "segment"]:
    """The map's sum over each segment; labels count from 0 without gaps."""
    values = heat.detach().cpu().double().numpy()
    if values.shape != labels.shape:
        raise ShapeError("The segments", got=labels.shape, expected=f"those of the map, {list(values.shape)}")
    return np.bincount(labels.ravel(), weights=values.ravel())


def touching(labels: Int[np.ndarray, "height width"]) -> tuple[tuple[int, ...], ...]:
    """For each segment those with which it shares an edge of a pixel."""
    beside = [set[int]() for _ in range(int(labels.max()) + 1)]
    for one, other in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])):
        different = one != other
        for this, that in set(zip(one[different].tolist(), other[different].tolist(), strict=True)):
            beside[this].add(that)
            beside[that].add(this)
    return tuple(tuple(sorted(near)) for near in beside)


def in_reading_order(labels: Int[np.ndarray, "height width"]) -> Int[np.ndarray, "height width"]:
    """The same segments numbered from the largest to the smallest, equal ones as one reads."""
    known, first, counts = np.unique(labels, return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    number = np.empty(len(known), dtype=np.int64)
    number[order] = np.arange(len(known))
    return number[np.searchsorted(known, labels)]


def region_name(
    frame: Frame, mask: Bool[np.ndarray, "height width"], *, seen: Bool[np.ndarray, "height width"] | None = None,
    encoder: VisionModel | None = None,
) -> str:  # fmt: skip
    """A noun phrase for pixels of the picture: "the upper left, mostly brown".

    encoder: a dual encoder, loaded with the texts to choose from; the one that fits the masked crop best is named too
    """
    colour = dominant_colour(frame.pixels[mask])
    words = [in_words(mask, seen)]
    if encoder is not None:
        words.append(f"most like “{likest(encoder, frame, [mask])[0]}”")
    if colour is not None:
        words.append(f"mostly {colour}")
    return ", ".join(words)


def likest(encoder: VisionModel, frame: Frame, found: Sequence[Bool[np.ndarray, "height width"]]) -> tuple[str, ...]:
    """For each mask the text that fits best to its crop, all around it painted in the crop's mean colour."""
    if not encoder.texts:
        raise RequestError(
            f"{encoder.name} compares pictures with no texts. Take a dual encoder: "
            "pl.load('testbed:dual', texts=['a coral bird', ...])."
        )
    frames = [Frame(crop(frame, mask), frame.name) for mask in found]
    with torch.no_grad():
        best = encoder.predict(encoder.prepare(frames)).argmax(dim=1).tolist()
    return tuple(encoder.labels.name(at) for at in best)


def crop(frame: Frame, mask: Bool[np.ndarray, "height width"]) -> UInt8[np.ndarray, "side side 3"]:
    """The smallest square around a mask, what is not in it painted in the mean colour of what is."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise RequestError("A region without pixels has no crop.")
    side = int(max(np.ptp(rows), np.ptp(columns))) + 1
    painted = np.empty((side, side, 3), dtype=np.uint8)
    painted[:] = frame.pixels[mask].mean(axis=0).round()
    inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    top, left = (side - inside.shape[0]) // 2, (side - inside.shape[1]) // 2
    window: Any = painted[top : top + inside.shape[0], left : left + inside.shape[1]]
    window[inside] = frame.pixels[mask]
    return painted


def _lab(pixels: UInt8[np.ndarray, "pixel 3"]) -> Float[np.ndarray, "pixel 3"]:
    return rgb2lab(pixels[None].astype(np.float64) / 255)[0]
