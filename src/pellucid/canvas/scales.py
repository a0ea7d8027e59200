"""The two colour scales of the product, one meaning each.

`GLOW` says how much a place mattered: no colour for nothing, then plum, orange and pale gold for the most.
`TUG` says which way it pulled: red raised the answer, blue lowered it, no colour did neither.

Both are drawn in OKLab, where equal steps look equal, and stay apart for people who see no red or no green.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

Lch = tuple[float, float, float]  # lightness 0..1, chroma, hue in degrees


@dataclass(frozen=True)
class Scale:
    """Colours by strength. `low` and `high` say what its ends mean.

    signed: strengths run from -1 to 1 and the middle has no colour; else they run from 0 to 1
    stops:  evenly spaced colours from the lowest strength to the highest
    """

    name: str
    signed: bool
    stops: tuple[Lch, ...]
    low: str
    high: str

    def colours(self, strength: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape 3"]:
        """The colour of each strength; what lies beyond the ends gets the colour of the end."""
        place = (np.asarray(strength) + 1) / 2 if self.signed else np.asarray(strength)
        steps = np.clip(place, 0, 1) * (len(_table(self.stops)) - 1)
        return _table(self.stops)[np.rint(steps).astype(np.int64)]

    def css(self, steps: int = 9) -> str:
        """The scale as a CSS gradient, left to right."""
        ends = np.linspace(-1 if self.signed else 0, 1, steps)
        return f"linear-gradient(to right, {', '.join(hexadecimal(colour) for colour in self.colours(ends))})"


def hexadecimal(colour: UInt8[np.ndarray, "3"]) -> str:
    """`#rrggbb`."""
    return "#" + "".join(f"{int(part):02x}" for part in colour)


def oklab_from_srgb(colours: UInt8[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 3"]:
    """Lightness 0..1 and two opponent axes in which equal distances look equal. Ottosson 2020."""
    scaled = np.asarray(colours, dtype=np.float64) / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _LMS_FROM_RGB.T) @ _LAB_FROM_LMS.T


def srgb_from_oklab(lab: Float[np.ndarray, "*shape 3"]) -> UInt8[np.ndarray, "*shape 3"]:
    """The screen colour nearest to a point of OKLab."""
    linear = np.clip(((lab @ np.linalg.inv(_LAB_FROM_LMS).T) ** 3) @ np.linalg.inv(_LMS_FROM_RGB).T, 0, 1)
    scaled = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(scaled * 255).astype(np.uint8)


_LMS_FROM_RGB = np.array([
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
])  # fmt: skip
_LAB_FROM_LMS = np.array([
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
])  # fmt: skip

GLOW = Scale(
    "glow", False, ((0.36, 0.12, 325), (0.52, 0.17, 5), (0.68, 0.18, 45), (0.82, 0.16, 75), (0.95, 0.11, 100)),
    low="plum: mattered a little", high="pale gold: mattered most",
)  # fmt: skip
TUG = Scale(
    "tug", True, ((0.70, 0.15, 248), (0.60, 0.13, 250), (0.50, 0.0, 0), (0.60, 0.19, 26), (0.70, 0.21, 28)),
    low="blue: lowered the answer", high="red: raised the answer",
)  # fmt: skip


def scale(signed: bool) -> Scale:
    """The one scale for maps of this kind."""
    return TUG if signed else GLOW


_STEPS = 512
_tables: dict[tuple[Lch, ...], UInt8[np.ndarray, "step 3"]] = {}


def _table(stops: tuple[Lch, ...]) -> UInt8[np.ndarray, "step 3"]:
    if stops not in _tables:
        lightness, chroma, hue = (np.array(part) for part in zip(*stops, strict=True))
        lab = np.stack([lightness, chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))], axis=1)
        grid, known = np.linspace(0, 1, _STEPS + 1), np.linspace(0, 1, len(stops))
        _tables[stops] = srgb_from_oklab(np.stack([np.interp(grid, known, part) for part in lab.T], axis=1))
    return _tables[stops]
