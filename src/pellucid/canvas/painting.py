"""Blocks of a PNG sheet: each is an image, and rows and columns of blocks are blocks again.

Letters come from a font that lies beside this file, so a sheet looks the same on every machine. One that the font lacks
is drawn as an open box.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pellucid.canvas.raster import Pixels, enlarged
from pellucid.canvas.scales import Scale
from pellucid.canvas.words import percent

_BALANCED = 4  # lines of a caption or headline; beyond that it is a paragraph, which fills its column
_FONT = Path(__file__).parent / "fonts" / "Inter-Regular.ttf"
PAPER, INK, MUTED, TRACK, ACCENT, WRONG = "#fbfaf7", "#1c1b19", "#625e57", "#e6e1d7", "#0b6b63", "#9c2f22"


def text(words: str, size: int, width: int, colour: str = INK, *, lines: int = 20) -> Image.Image:
    """Words wrapped to `width` pixels in lines about as long as each other; what does not fit in `lines` is left out
    behind an ellipsis.
    """
    face = _font(size)
    wrapped = _wrapped(writable(words), face, width)
    if len(wrapped) > lines:
        wrapped = [*wrapped[: lines - 1], _cut_at_a_word(wrapped[lines - 1], face, width)]
    elif 1 < len(wrapped) <= _BALANCED:
        wrapped = _balanced(writable(words), face, width, len(wrapped))
    height = round(1.36 * size)
    block = Image.new("RGB", (width, max(1, height * len(wrapped))), PAPER)
    draw = ImageDraw.Draw(block)
    for index, line in enumerate(wrapped):
        draw.text((0, index * height), line, fill=colour, font=face)
    return block


def line(words: str, size: int, colour: str = INK) -> Image.Image:
    """Words in one line, as wide as they are."""
    face, said = _font(size), writable(words)
    block = Image.new("RGB", (max(1, round(face.getlength(said)) + 1), round(1.36 * size)), PAPER)
    ImageDraw.Draw(block).text((0, 0), said, fill=colour, font=face)
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
    """The colours of a scale from end to end, its ends in words below; below each other where there is little room."""
    ends = np.linspace(-1 if scale.signed else 0, 1, width)
    bar = Image.fromarray(np.repeat(scale.colours(ends)[None], 10, axis=0))
    face, line = _font(size), round(1.3 * size)
    stacked = face.getlength(scale.low) + face.getlength(scale.high) + size > width
    block = Image.new("RGB", (width, 18 + line * (1 + stacked)), PAPER)
    block.paste(bar, (0, 0))
    draw = ImageDraw.Draw(block)
    draw.text((0, 16), scale.low, fill=MUTED, font=face)
    draw.text((width, 16 + line * stacked), scale.high, fill=MUTED, font=face, anchor="ra")
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
    """The words as the font can set them: accents joined to their letters, and nothing that is not to be seen."""
    joined = unicodedata.normalize("NFC", words)
    return "".join(letter for letter in joined if unicodedata.category(letter) != "Cf" and letter not in _SELECTORS)


_SELECTORS = frozenset(map(chr, range(0xFE00, 0xFE10)))  # they choose between shapes of the sign before them


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # The basic layout is in every build of Pillow; the other one depends on libraries of the machine.
    return ImageFont.truetype(_FONT, size, layout_engine=ImageFont.Layout.BASIC)


def _wrapped(words: str, face: ImageFont.FreeTypeFont, width: float) -> list[str]:
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and face.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(_fitting(word, face, width))
    return lines


def _balanced(words: str, face: ImageFont.FreeTypeFont, width: int, count: int) -> list[str]:
    """As many lines, but none of them a single word that was left over: in the narrowest column that holds them."""
    narrow, wide = width // (count + 1), width
    while wide - narrow > 4:
        middle = (narrow + wide) // 2
        fits = len(_wrapped(words, face, middle)) <= count and max(map(face.getlength, words.split())) <= middle
        narrow, wide = (narrow, middle) if fits else (middle, wide)
    return _wrapped(words, face, wide)


def _cut_at_a_word(line: str, face: ImageFont.FreeTypeFont, width: float) -> str:
    while " " in line and face.getlength(f"{line} …") > width:
        line = line.rpartition(" ")[0]
    return _fitting(f"{line} …", face, width)


def _fitting(line: str, face: ImageFont.FreeTypeFont, width: float) -> str:
    if face.getlength(line) <= width:
        return line
    while line and face.getlength(line + "…") > width:
        line = line[:-1]
    return line.rstrip() + "…"
