"""Pixels made the right size and put into words a browser reads."""

from __future__ import annotations

import base64
import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Pixels = UInt8[np.ndarray, "height width 3"]

SMALL = 200  # a picture with no side longer than this is enlarged in whole pixels, so that they can be seen


def display_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Rows and columns at which a picture is drawn: no side beyond `side`; small pictures keep their own size."""
    factor = min(1.0, side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def resized(pixels: Pixels, size: tuple[int, int]) -> UInt8[np.ndarray, "rows columns 3"]:
    """The picture at exactly `size` rows and columns, smoothed when it shrinks."""
    if pixels.shape[:2] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.LANCZOS))


def enlarged(pixels: Pixels, side: int) -> UInt8[np.ndarray, "rows columns 3"]:
    """A small picture (digits, rendered scenes) with every pixel repeated until it nearly fills `side`."""
    longest = max(pixels.shape[:2])
    if longest > SMALL:
        return pixels
    times = max(1, side // longest)
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def png_bytes(pixels: Pixels) -> bytes:
    """The picture as a PNG file."""
    return _encoded(pixels, "PNG", optimize=True)


def data_uri(pixels: Pixels, *, quality: int = 82) -> str:
    """The picture as an address that holds it: WebP, or PNG where enlarged pixels make that smaller."""
    candidates = {"webp": _encoded(pixels, "WEBP", quality=quality, method=4)}
    if _blocky(pixels):
        candidates["png"] = _encoded(pixels, "PNG", optimize=True)
    kind = min(candidates, key=lambda name: len(candidates[name]))
    return f"data:image/{kind};base64,{base64.b64encode(candidates[kind]).decode()}"


def data_uri_of_png(png: bytes) -> str:
    """A PNG file as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _blocky(pixels: Pixels) -> bool:
    return bool(pixels.shape[0] > 1 and (pixels[0] == pixels[1]).all())


def _encoded(pixels: Pixels, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()
