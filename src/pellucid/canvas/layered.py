"""A graph in columns: knots of one column are joined to those of the next by lines, thicker where more goes through."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw

from pellucid.canvas import painting

_ROOM, _HEAD, _EDGE = 64, 48, 70  # pixels between knots of a column, for its name, and left and right
_LIGHT, _DARK = (206, 224, 220), (11, 107, 99)


def graph(
    columns: Sequence[Sequence[Hashable]],
    names: Sequence[str],
    sizes: Mapping[Any, float],
    lines: Sequence[tuple[Hashable, Hashable, float]],
    label: Callable[[Any], str],
    *,
    width: int,
) -> Image.Image:
    """The graph as a picture `width` pixels wide.

    columns: the knots of each, named `names`; sizes: of each knot, 0 to 1; lines: from, to, strength 0 to 1
    label:   what is written under a knot
    """
    tallest = max((len(column) for column in columns), default=1)
    height = _HEAD + _ROOM * max(1, tallest) + 24
    whole = Image.new("RGB", (width, height), painting.PAPER)
    draw = ImageDraw.Draw(whole)
    step = (width - 2 * _EDGE) / max(1, len(columns) - 1)
    places = {
        knot: (_EDGE + at * step, _HEAD + (height - _HEAD - 24) * (row + 0.5) / len(column))
        for at, column in enumerate(columns) for row, knot in enumerate(column)
    }  # fmt: skip
    for start, end, strength in sorted(lines, key=lambda line: line[2]):
        draw.line((places[start], places[end]), fill=_shade(strength), width=1 + round(7 * max(0.0, strength)))
    for knot, (x, y) in places.items():
        radius = 6 + 10 * max(0.0, min(1.0, sizes[knot])) ** 0.5
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_DARK, outline=painting.PAPER, width=2)
        _write(whole, label(knot), x, y + radius + 1, width, 15, painting.INK)
    for at, name in enumerate(names):
        _write(whole, name, _EDGE + at * step, 4, width, 18, painting.MUTED)
    return whole


def _write(whole: Image.Image, words: str, x: float, top: float, width: int, size: int, colour: str) -> None:
    """Words centred at x, inside the picture."""
    block = painting.line(words, size, colour)
    whole.paste(block, (round(min(max(0.0, x - block.width / 2), width - block.width)), round(top)))


def _shade(strength: float) -> tuple[int, int, int]:
    part = max(0.0, min(1.0, strength))
    red, green, blue = (round(low + part * (high - low)) for low, high in zip(_LIGHT, _DARK, strict=True))
    return red, green, blue
