"""Maps drawn over their pictures at the size they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.canvas import painting
from pellucid.canvas.overlay import Overlay, hatch, outline, overlay
from pellucid.canvas.raster import Pixels, display_size, enlarged, resized
from pellucid.images import Frame, Geometry

if TYPE_CHECKING:
    from pellucid.results.heatmaps import Heatmaps
    from pellucid.results.truth import Truth

_PLATE = 480


def photograph(frame: Frame, *, side: int) -> Pixels:
    """The picture, no side longer than `side`."""
    return resized(frame.pixels, display_size(frame.height, frame.width, side))


def plate_of(frame: Frame) -> Pixels:
    """The picture as large as it is drawn beside others; a small one enlarged."""
    return enlarged(photograph(frame, side=_PLATE), _PLATE)


def plate_under(frame: Frame, values: Float[np.ndarray, "rows columns"], geometry: Geometry, *, signed: bool) -> Pixels:
    """`plate_of` with a map of the picture's own pixels over it; what the model never saw is hatched."""
    shown = plate_of(frame)
    smooth = interpolate(torch.from_numpy(values)[None, None].float(), shown.shape[:2], mode="bilinear")[0, 0]
    seen = replace(geometry, original=(shown.shape[0], shown.shape[1])).seen
    return overlay(shown, smooth.numpy(), signed=signed, seen=seen).pixels


def map_on(frame: Frame, values: Float[np.ndarray, "rows columns"] | Tensor, *, signed: bool) -> Pixels:
    """`plate_of` with a map of the model's input over it."""
    geometry = frame.geometry or Geometry.identity(values.shape[0], values.shape[1])
    return plate_under(frame, geometry.to_frame(values), geometry, signed=signed)


def sheet_of(
    sentence: str, rows: Sequence[Sequence[tuple[Pixels, str]]], *, width: int, plate: tuple[int, int], size: int,
    gap: int,
) -> bytes:  # fmt: skip
    """Rows of pictures with a caption each, below a sentence, as PNG.

    width: of the sentence; plate: the width of each picture and its greatest height; size: of the captions
    """
    shown = [
        painting.row([
            painting.column([painting.plate(pixels, *plate), painting.text(said, size, plate[0], painting.MUTED)], 12)
            for pixels, said in row
        ], gap)
        for row in rows
    ]  # fmt: skip
    head = painting.text(sentence, 26, width)
    return painting.png(painting.framed(painting.column([head, *shown], 36), 48))


def drawn(heat: Heatmaps, index: int = 0, *, side: int) -> Overlay:
    """The map of one picture over it, no side longer than `side`.

    A map that holds values which are not numbers is drawn as an entirely hatched picture.
    """
    frame = heat.frames[index]
    pixels = photograph(frame, side=side)
    if not heat.finite(index):
        return Overlay(hatch(pixels), "nothing", heat.signed, 0.0, 1.0)
    values, seen = _at_display(heat, index, pixels.shape[:2])
    return overlay(pixels, values, signed=heat.signed, seen=seen)


def truth_drawn(frame: Frame, truth: Truth, *, side: int) -> Pixels:
    """The picture with all but the known cause in grey."""
    pixels = photograph(frame, side=side)
    mask = np.asarray(truth.mask, dtype=np.uint8)[..., None].repeat(3, axis=2) * 255
    return outline(
        pixels, resized(mask, (pixels.shape[0], pixels.shape[1]))[..., 0] > 127, 1 if max(pixels.shape) < 200 else 2
    )


def picture_alt(heat: Heatmaps, index: int = 0) -> str:
    """What a reader who cannot see the drawn map is told."""
    place = _centre_of_mass(heat, index)
    return f"{heat.title} map of {heat.frames[index].name} for {heat.target_names[index]}{place}"


def _at_display(
    heat: Heatmaps, index: int, size: tuple[int, ...]
) -> tuple[Float[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
    """The map and what the model saw, laid straight on a picture of the size shown: 12 megapixels would be wasted."""
    values, frame = heat.one_channel[index], heat.frames[index]
    geometry = frame.geometry or Geometry.identity(values.shape[0], values.shape[1])
    if frame.geometry is None and values.shape != (frame.height, frame.width):
        geometry = replace(geometry, original=(frame.height, frame.width))
    shown = replace(geometry, original=(size[0], size[1]))
    return shown.to_frame(values), shown.seen


def _centre_of_mass(heat: Heatmaps, index: int) -> str:
    if not heat.finite(index) or heat.flat(index):
        return "; it shows nothing"
    frame = heat.frames[index]
    values, _ = _at_display(heat, index, display_size(frame.height, frame.width, 96))
    weight = np.clip(values, 0, None)
    if weight.sum() <= 0:
        return "; nothing raised the answer"
    row, column = np.unravel_index(int(weight.argmax()), weight.shape)
    down, across = 100 * (row + 0.5) / weight.shape[0], 100 * (column + 0.5) / weight.shape[1]
    return f"; strongest {across:.0f}% from the left and {down:.0f}% from the top"
