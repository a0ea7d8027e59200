"""A part of a picture, with the words for where it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Region:
    """A set of pixels of the original picture and its place in plain words."""

    mask: np.ndarray  # bool [height width]
    words: str

    @property
    def share(self) -> float:
        """Part of the picture it covers, 0 to 1."""
        return float(self.mask.mean())

    def in_words(self) -> str:
        return self.words
