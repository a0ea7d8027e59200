"""The colours of the world, and the numbers by which the id map names what is painted."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

# What the id map holds.
PART_IDS = {
    "background": 0,
    "prop": 1,
    "feet": 2,
    "tail": 3,
    "crest": 4,
    "body": 5,
    "bib": 6,
    "wing": 7,
    "head": 8,
    "beak": 9,
    "eye": 10,
    "grass": 11,
    "cue": 12,
}
BIRD_PARTS = ("feet", "tail", "crest", "body", "bib", "wing", "head", "beak", "eye")
BIRD_IDS = tuple(PART_IDS[part] for part in BIRD_PARTS)
BACKGROUND_IDS = (0, 1, 11, 12)


def _rgb(*codes: str) -> Float[np.ndarray, "colour 3"]:
    return np.array(
        [[int(code[at : at + 2], 16) for at in (0, 2, 4)] for code in codes], dtype=np.float32
    ) / np.float32(255)


HUE_COLOURS = _rgb("E2654E", "F2AE3D", "7BA650", "2C9A93", "4A77C9", "9159A6")
BEAK_COLOURS = np.stack([HUE_COLOURS[1], _rgb("2A2C3B")[0], HUE_COLOURS[0]])
# sky top, sky low, far hill, near hill, accent
LAND_COLOURS = np.stack(
    [
        _rgb("BFE3EE", "F3F8E6", "B7D7A0", "8FC07C", "FFF6D8"),  # meadow
        _rgb("A9D5EC", "FBEFD9", "86C1D6", "EBD7A8", "FFFFFF"),  # shore
        _rgb("5B5A93", "F0A79B", "7A5F95", "514878", "FFE9B0"),  # dusk
        _rgb("CBD9E8", "F5F7FA", "DDE7F0", "F7FAFC", "FFFFFF"),  # snow
        _rgb("CFE0CF", "E6EFD9", "6F9A86", "557F6B", "44695A"),  # forest
        _rgb("F6D9B8", "FDF0D9", "E5B07E", "D99A66", "FFF8E6"),  # desert
    ]
)
CREAM, INK, STEM, GRASS, STONE = _rgb("FCF3E0", "2A2C3B", "5F8F57", "3F6E57", "8C8698")[
    :, None, :, None, None
]  # [1 3 1 1]
PAPER = (0xFA, 0xF7, 0xF0)  # what sheets of scenes are laid on
