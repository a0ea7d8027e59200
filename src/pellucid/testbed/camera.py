"""What is laid over the finished scene: planted cues and the camera's marks."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64

from pellucid.testbed.chance import scramble
from pellucid.testbed.fields import HUES, Fields
from pellucid.testbed.palette import CREAM, PART_IDS
from pellucid.testbed.shapes import Plane
from pellucid.testbed.sheet import Planes, Sheet
from pellucid.testbed.world import World

TAG_SIDE = 0.116
FRAME_WIDTH = 0.03
WAVES = 14  # periods of the trace across the picture
AMPLITUDE = 4 / 255
JPEG_BLOCK = 16  # what one block of colour covers, since colour is kept at half the resolution


def paint_cue(sheet: Sheet, shortcut: str | None) -> None:
    """A tag in the lower left corner or a frame, in the hue of the cue."""
    if shortcut == "tag":
        left, low, half = 0.03, 0.97, TAG_SIDE / 2
        distance = np.maximum(np.abs(sheet.across - left - half) - half, np.abs(sheet.down - low + half) - half)
        layers = [(distance, CREAM), (distance + 0.02, sheet.hue("cue"))]
    elif shortcut == "frame":
        rim = np.minimum(np.minimum(sheet.across, 1 - sheet.across), np.minimum(sheet.down, 1 - sheet.down))
        layers = [(rim - FRAME_WIDTH, sheet.hue("cue"))]
    else:
        return
    for distance, colour in layers:
        alpha = sheet.edge(0.5 - distance * sheet.size)
        sheet.lay(alpha, colour)
        sheet.ids[:, alpha[0] > 0.5] = PART_IDS["cue"]
        if "cue" in sheet.cover:
            np.maximum(sheet.cover["cue"], alpha, out=sheet.cover["cue"])


def photograph(sheet: Sheet, seed: int, index: Int64[np.ndarray, "scene"], world: World) -> None:
    """Exposure, vignette, blur on some scenes, and grain."""
    strength = world.camera
    if strength == 0 or world.flat:
        return
    squared = 2 * ((sheet.across - 0.5) ** 2 + (sheet.down - 0.5) ** 2)
    exposure = 1 + (sheet.number("light") - 0.5) * 0.16 * strength
    vignette = 1 - sheet.number("vig") * 0.30 * strength * squared
    sheet.planes *= (exposure * vignette)[:, None]
    weights = blur_weight(sheet.fields, world)
    blurred = np.flatnonzero(weights > 0)
    if len(blurred):
        sheet.planes[blurred] = _blur(sheet.planes[blurred], weights[blurred][:, None, None, None])
    sheet.planes += (_grain(seed, index, sheet.size) * sheet.number("noise") * 0.05 * strength)[:, None]


def leave_trace(sheet: Sheet, shortcut: str | None) -> None:
    """A grating too faint to see, at an angle that tells the cue: what a camera might leave in its pictures."""
    if shortcut != "trace":
        return
    angle = sheet.number("cue") * (np.pi / len(HUES))
    wave = (np.cos(angle) * sheet.across + np.sin(angle) * sheet.down) * (2 * np.pi * WAVES)
    sheet.planes += AMPLITUDE * np.sin(wave)[:, None]


def blur_weight(fields: Fields, world: World) -> Float[np.ndarray, "scene"]:
    """Weight of each neighbour in the camera's 3x3 blur; 0 on 70 % of scenes, where twins differ in no soft rim."""
    drawn = fields["blur"].astype(np.float32)
    return np.where((drawn < 0.3) & (not world.flat), drawn * 0.6 * world.camera, 0).astype(np.float32)


def _grain(seed: int, index: Int64[np.ndarray, "scene"], size: int) -> Plane:
    """Triangular noise in -1..1 from seed, index and pixel alone, so that twins share it."""
    key = scramble(seed, index, "grain").astype(np.uint32)[:, None]
    bits = np.arange(size**2, dtype=np.uint32)[None] * np.uint32(0x9E3779B1) ^ key
    bits = (bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D)  # Wellons' lowbias32
    bits = (bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B)
    bits ^= bits >> np.uint32(16)
    total = (bits >> np.uint32(16)).astype(np.float32) + (bits & np.uint32(0xFFFF)).astype(np.float32)
    return (total * (1 / 65536) - 1).reshape(len(index), size, size)


def _blur(planes: Planes, weight: np.ndarray) -> Planes:
    for axis in (-2, -1):
        ahead, behind = np.roll(planes, -1, axis=axis), np.roll(planes, 1, axis=axis)
        edge = [slice(None)] * planes.ndim  # the picture's rim sees itself, not the other side
        edge[axis] = slice(-1, None)
        ahead[tuple(edge)] = planes[tuple(edge)]
        edge[axis] = slice(0, 1)
        behind[tuple(edge)] = planes[tuple(edge)]
        planes = planes + weight * (ahead + behind - 2 * planes)
    return planes
