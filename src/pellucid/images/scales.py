"""The same picture seen from nearer and from farther off, always as large as it was, and maps laid back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, pad

from pellucid.errors import RequestError


@dataclass(frozen=True)
class View:
    """One window of a picture's own size in the picture at another scale.

    size:   of the picture and of the window; larger: of the picture at that scale
    corner: of the window in it; negative where the scaled picture is the smaller one and lies inside the window
    """

    size: tuple[int, int]
    larger: tuple[int, int]
    corner: tuple[int, int]

    @property
    def plain(self) -> bool:
        """Whether it shows the picture as it is."""
        return self.larger == self.size

    def of(self, pictures: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel height width"]:
        """What the window shows; around a picture that became smaller, each channel's mean."""
        if self.plain:
            return pictures
        scaled = interpolate(pictures, self.larger, mode="bilinear", align_corners=False, antialias=True)
        rows, columns = self._inside()
        seen = scaled[:, :, rows, columns]
        around = pictures.mean(dim=(2, 3), keepdim=True)
        return pad(seen - around, self._margins()) + around

    def back(
        self, maps: Float[Tensor, "batch height width"]
    ) -> tuple[Float[Tensor, "batch height width"], Float[Tensor, "height width"]]:
        """The window's maps on the picture's own pixels, and how much of each pixel the window showed, 0 to 1."""
        if self.plain:
            return maps, maps.new_ones(self.size)
        rows, columns = self._inside()
        left, right, top, bottom = self._margins()
        seen = maps[:, top : self.size[0] - bottom, left : self.size[1] - right]
        whole, shown = maps.new_zeros(len(maps), *self.larger), maps.new_zeros(1, *self.larger)
        whole[:, rows, columns], shown[:, rows, columns] = seen, 1.0
        found = interpolate(torch.cat([whole, shown])[:, None], self.size, mode="bilinear", align_corners=False,
                            antialias=True)[:, 0]  # fmt: skip
        return found[:-1], found[-1]

    def _inside(self) -> tuple[slice, slice]:
        """Rows and columns of the scaled picture that the window shows."""
        rows, columns = (
            slice(max(0, start), min(larger, start + side))
            for start, larger, side in zip(self.corner, self.larger, self.size, strict=True)
        )
        return rows, columns

    def _margins(self) -> tuple[int, int, int, int]:
        """Left, right, top and bottom of the window that show nothing."""
        (top, bottom), (left, right) = (
            (max(0, -start), max(0, start + side - larger))
            for start, larger, side in zip(self.corner, self.larger, self.size, strict=True)
        )
        return left, right, top, bottom


def views(size: tuple[int, int], scale: float) -> tuple[View, ...]:
    """The windows that show all of a picture at a scale: one up to 1, as few as cover it, spread evenly, beyond.

    Raises RequestError for a scale at which nothing is left.
    """
    larger = (round(size[0] * scale), round(size[1] * scale))
    if not 0 < scale <= 8 or min(larger) < 1:
        raise RequestError(f"scale={scale}; expected a number above 0, at most 8, that leaves a picture of "
                           f"{size[0]} x {size[1]} pixels some of them.")  # fmt: skip
    tops, lefts = (_starts(side, length) for side, length in zip(size, larger, strict=True))
    return tuple(View(size, larger, (top, left)) for top in tops for left in lefts)


def together(
    parts: list[tuple[Float[Tensor, "batch height width"], Float[Tensor, "height width"]]],
) -> Float[Tensor, "batch height width"]:
    """Maps of several windows as one: the mean of those that showed a pixel."""
    total = torch.stack([found for found, _ in parts]).sum(dim=0)
    return total / torch.stack([shown for _, shown in parts]).sum(dim=0).clamp(min=1e-6)


def fused(
    maps: Float[Tensor, "scale batch height width"], scales: Sequence[float], fuse: str
) -> Float[Tensor, "batch height width"]:
    """Maps at several scales as one.

    fuse: `mean`; or `normalised`, each scale's map in parts of its greatest magnitude, and their mean in units of that
          of the scale nearest to 1
    """
    if fuse == "mean":
        return maps.mean(dim=0)
    greatest = maps.abs().amax(dim=(-2, -1), keepdim=True)
    own = greatest[min(range(len(scales)), key=lambda at: abs(scales[at] - 1))]
    return torch.where(greatest > 0, maps / greatest, 0).mean(dim=0) * own


def _starts(side: int, length: int) -> list[int]:
    if length <= side:
        return [-((side - length) // 2)]
    count = ceil(length / side)
    return [round(at * (length - side) / (count - 1)) for at in range(count)]
