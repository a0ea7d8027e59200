"""Pictures as wavelet coefficients and back: Daubechies' orthonormal wavelets with three vanishing moments (db3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

_TEN = 10**0.5
_ROOT = (5 + 2 * _TEN) ** 0.5
# The closed form of the scaling filter (Daubechies 1992, chapter 6.4).
_SCALING = tuple(
    value / (16 * 2**0.5)
    for value in (
        1 + _TEN + _ROOT, 5 + _TEN + 3 * _ROOT, 10 - 2 * _TEN + 2 * _ROOT, 10 - 2 * _TEN - 2 * _ROOT,
        5 + _TEN - 3 * _ROOT, 1 + _TEN - _ROOT,
    )
)  # fmt: skip
_CENTRE = (
    2  # taps before the pixel whose average is taken, so that coefficients lie where their part of the picture does
)


@dataclass(frozen=True, eq=False)
class Wavelets:
    """The transform for pictures of one size.

    Pictures are continued by their last row and column until both sides can be halved `levels` times, and beyond that
    periodically, so that there are as many coefficients as pixels of the continued picture. They lie as Mallat draws
    them: the coarse picture in the upper left corner, around it the details, the finest outermost.

    scales: of every coefficient 0 for the coarse picture, 1 for the coarsest details, `levels` for the finest
    """

    size: tuple[int, int]
    levels: int
    scales: Int[Tensor, "rows columns"]

    @classmethod
    def of(cls, size: tuple[int, int], levels: int = 5) -> Wavelets:
        """At most `levels` halvings, fewer where a side has not as many."""
        levels = max(1, min(levels, min(size).bit_length() - 1))
        unit = 2**levels
        rows, columns = (-(-side // unit) * unit for side in size)
        scales = torch.full((rows, columns), levels)
        for level in range(1, levels + 1):
            scales[: rows >> level, : columns >> level] = levels - level
        return cls(size, levels, scales)

    def analysed(self, pictures: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel _ _"]:
        """The coefficients of pictures."""
        rows, columns = self.scales.shape
        right, below = columns - self.size[1], rows - self.size[0]
        found = functional.pad(pictures, (0, right, 0, below), mode="replicate")
        for level in range(self.levels):
            height, width = rows >> level, columns >> level
            down, across = _halving(height).to(found), _halving(width).to(found)
            found = _with_corner(found, down @ found[..., :height, :width] @ across.T)
        return found

    def synthesised(self, coefficients: Float[Tensor, "batch channel _ _"]) -> Float[Tensor, "batch channel _ _"]:
        """The pictures [batch channel height width] that have these coefficients."""
        rows, columns = self.scales.shape
        found = coefficients
        for level in reversed(range(self.levels)):
            height, width = rows >> level, columns >> level
            down, across = _halving(height).to(found), _halving(width).to(found)
            found = _with_corner(found, down.T @ found[..., :height, :width] @ across)
        return found[..., : self.size[0], : self.size[1]]


@cache
def _halving(length: int) -> Float[Tensor, "length length"]:
    """One step of the periodic transform along an axis, an orthogonal matrix: averages first, then details."""
    half = length // 2
    matrix = torch.zeros(length, length, dtype=torch.float64)
    for tap, value in enumerate(_SCALING):
        for row in range(half):
            matrix[row, (2 * row + tap - _CENTRE) % length] += value
            matrix[half + row, (2 * row + 5 - tap - _CENTRE) % length] -= (-1) ** tap * value
    return matrix.float()


def _with_corner(whole: Tensor, corner: Tensor) -> Tensor:
    """The same with another upper left corner; nothing is written in place, so that gradients pass."""
    height, width = corner.shape[-2:]
    if whole.shape[-2:] == corner.shape[-2:]:
        return corner
    upper = torch.cat([corner, whole[..., :height, width:]], dim=-1)
    return torch.cat([upper, whole[..., height:, :]], dim=-2)
