"""Several explanations on one PNG: a picture of the product for a README or a slide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pellucid.canvas import painting
from pellucid.canvas.painting import ACCENT, MUTED, WRONG
from pellucid.canvas.raster import Pixels
from pellucid.canvas.words import percent
from pellucid.errors import RequestError
from pellucid.results import Explanation
from pellucid.results.drawing import drawn, photograph, truth_drawn
from pellucid.results.files import write_atomically

_GAP, _CLOSE, _MARGIN, _WIDTH = 56, 8, 64, 1600


def write_gallery(path: str | Path, stories: Sequence[Explanation], *, columns: int = 2) -> Path:
    """Write the gallery of `stories` as a PNG file, 1600 pixels wide, whole or not at all.

    Each entry is picture and map (and truth where it is known) side by side, the answer and the headline below.
    Raises RequestError without stories, FileError where it cannot be written.
    """
    return write_atomically(path, painting.png(gallery_sheet(stories, columns=columns)))


def gallery_sheet(stories: Sequence[Explanation], *, columns: int = 2) -> Image.Image:
    """The gallery as an image."""
    if not stories or columns < 1:
        raise RequestError(f"A gallery needs explanations and columns; got {len(stories)} in {columns} columns.")
    width = (_WIDTH - 2 * _MARGIN - _GAP * (columns - 1)) // columns
    entries = [_entry(story, width) for story in stories]
    rows = [painting.row(entries[start : start + columns], _GAP) for start in range(0, len(entries), columns)]
    return painting.framed(painting.column(rows, _GAP), _MARGIN)


def _entry(story: Explanation, width: int) -> Image.Image:
    shown: list[Pixels] = [photograph(story.frame, side=1024), drawn(story.chosen, 0, side=1024).pixels]
    if story.truth is not None:
        shown.append(truth_drawn(story.frame, story.truth, side=1024))
    each = (width - _CLOSE * (len(shown) - 1)) // len(shown)
    plates = painting.row([painting.plate(_square(pixels), each) for pixels in shown], _CLOSE)
    probability = story.answer.probability
    sure = f", {percent(probability)} sure" if probability == probability else ""
    answer = story.answer.label[:1].upper() + story.answer.label[1:]
    colour = ACCENT if story.choice.beats_controls else WRONG
    return painting.column([
        plates,
        painting.text(f"{answer}{sure}", 34, width, lines=1),
        painting.text(story.headline, 24, width, lines=4),
        painting.text(f"Map: {story.chosen.title}. {story.choice.sentence}", 20, width, colour, lines=3),
        painting.text(story.model.name, 20, width, MUTED, lines=1),
    ], 12)  # fmt: skip


def _square(pixels: Pixels) -> UInt8[np.ndarray, "side side 3"]:
    """The middle square, so that entries of different shape stand in line."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]
