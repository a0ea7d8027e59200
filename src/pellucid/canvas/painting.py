"""Blocks of a PNG sheet: each is an image, and rows and columns of blocks are blocks again.

Letters come from Pillow's own font, so a sheet looks the same on every machine.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pellucid.canvas.raster import Pixels, enlarged
from pellucid.canvas.scales import Scale
from pellucid.canvas.words import percent

PAPER, INK, MUTED, TRACK, ACCENT, WRONG = "#fbfaf7", "#1c1b19", "#625e57", "#e6e1d7", "#0b6b63", "#9c2f22"


def text(words: str, size: int, width: int, colour: str = INK, *, lines: int = 20) -> Image.Image:
    """Words wrapped to `width` pixels; what does not fit in `lines` ends in an ellipsis."""
    face = _font(size)
    wrapped = _wrapped(writable(words), face, width)
    if len(wrapped) > lines:
        wrapped = [*wrapped[: lines - 1], _fitting(f"{wrapped[lines - 1]} …", face, width)]
    height = round(1.36 * size)
    block = Image.new("RGB", (width, max(1, height * len(wrapped))), PAPER)
    draw = ImageDraw.Draw(block)
    for index, line in enumerate(wrapped):
        draw.text((0, index * height), line, fill=colour, font=face)
    return block


def plate(pixels: Pixels, width: int, height: int | None = None) -> Image.Image:
    """A picture fitted into `width` (and `height`); a small one is first enlarged in whole pixels."""
    image = Image.fromarray(enlarged(pixels, 2 * width))
    factor = min(width / image.width, (height or 10**9) / image.height)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    small = max(pixels.shape[:2]) * 4 < width
    return image.resize(size, Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS)


def probabilities(rows: Sequence[tuple[str, float]], width: int, size: int = 22) -> Image.Image:
    """A thin bar under each label, its share of one at the right end."""
    step, face = round(2.4 * size), _font(size)
    block = Image.new("RGB", (width, max(1, step * len(rows))), PAPER)
    draw = ImageDraw.Draw(block)
    for index, (label, share) in enumerate(rows):
        top, said = index * step, percent(share)
        room = width - face.getlength(said) - size
        draw.text((0, top), _fitting(writable(label), face, room), fill=INK, font=face)
        draw.text((width, top), said, fill=INK if index == 0 else MUTED, font=face, anchor="ra")
        bar, known = top + round(1.5 * size), 0.0 if share != share else min(1.0, max(0.0, share))
        draw.rounded_rectangle((0, bar, width - 1, bar + 5), 3, fill=TRACK)
        if known * width >= 1:
            draw.rounded_rectangle((0, bar, known * (width - 1), bar + 5), 3, fill=ACCENT if index == 0 else "#aaa59b")
    return block


def scale_bar(scale: Scale, width: int, size: int = 20) -> Image.Image:
    """The colours of a scale from end to end, its ends in words below."""
    ends = np.linspace(-1 if scale.signed else 0, 1, width)
    bar = Image.fromarray(np.repeat(scale.colours(ends)[None], 10, axis=0))
    face, block = _font(size), Image.new("RGB", (width, 18 + round(1.3 * size)), PAPER)
    block.paste(bar, (0, 0))
    draw = ImageDraw.Draw(block)
    draw.text((0, 16), scale.low, fill=MUTED, font=face)
    draw.text((width, 16), scale.high, fill=MUTED, font=face, anchor="ra")
    return block


def row(blocks: Sequence[Image.Image], gap: int) -> Image.Image:
    """Blocks beside each other, their tops aligned."""
    width = sum(block.width for block in blocks) + gap * (len(blocks) - 1)
    whole, left = Image.new("RGB", (max(1, width), max(block.height for block in blocks)), PAPER), 0
    for block in blocks:
        whole.paste(block, (left, 0))
        left += block.width + gap
    return whole


def column(blocks: Sequence[Image.Image], gap: int) -> Image.Image:
    """Blocks below each other, their left edges aligned."""
    height = sum(block.height for block in blocks) + gap * (len(blocks) - 1)
    whole, top = Image.new("RGB", (max(block.width for block in blocks), max(1, height)), PAPER), 0
    for block in blocks:
        whole.paste(block, (0, top))
        top += block.height + gap
    return whole


def framed(block: Image.Image, margin: int) -> Image.Image:
    """A block on paper with an even margin."""
    whole = Image.new("RGB", (block.width + 2 * margin, block.height + 2 * margin), PAPER)
    whole.paste(block, (margin, margin))
    return whole


def png(block: Image.Image) -> bytes:
    """A block as a PNG file."""
    buffer = io.BytesIO()
    block.save(buffer, "PNG")
    return buffer.getvalue()


def writable(words: str) -> str:
    """The words in letters that Pillow's own font has: no accents, signs in ASCII, other scripts as `?`."""
    return "".join(_letter(letter) for letter in words)


@cache
def _letter(letter: str) -> str:
    if letter.isascii() or not _is_missing(letter):
        return letter
    plain = unicodedata.normalize("NFKD", _SIGNS.get(letter, letter))
    return "".join(part for part in plain if part.isascii()) or ("" if unicodedata.combining(letter) else "?")


_SIGNS = {
    "×": "x",
    "−": "-",
    "—": "-",
    "✓": "+",
    "✗": "x",
    "≤": "<=",
    "≥": ">=",
    "ß": "ss",
    "ø": "o",
    "æ": "ae",
    "→": "->",
}


def _is_missing(letter: str) -> bool:
    """Whether the font draws its box for unknown letters."""
    face = _font(24)
    drawn, box = (Image.new("L", (40, 40)) for _ in range(2))
    ImageDraw.Draw(drawn).text((4, 4), letter, fill=255, font=face)
    ImageDraw.Draw(box).text((4, 4), "\ue123", fill=255, font=face)
    return drawn.tobytes() == box.tobytes()


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _wrapped(words: str, face: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> list[str]:
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and face.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(_fitting(word, face, width))
    return lines


def _fitting(line: str, face: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    if face.getlength(line) <= width:
        return line
    while line and face.getlength(line + "…") > width:
        line = line[:-1]
    return line.rstrip() + "…"
