"""Small nets that explainers are built from. They take pictures of any size."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.engine.maps import upsampled

_GROUPS = 4  # of channels that are normalised together: no picture depends on the others of its batch
_LEVELS = 4  # grids, each half as fine as the one before


class UNet(nn.Module):
    """One number per pixel: down over four grids and up again, each way a convolution per grid (Ronneberger 2015).

    Its finest grid is half as fine as the picture; from there the numbers are brought to its size bilinearly.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(_LEVELS)]
        self.down = nn.ModuleList(convolved(before, after, stride=2) for before, after in pairwise([channels, *widths]))
        self.up = nn.ModuleList(
            convolved(fine + coarse, fine) for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.read = nn.Conv2d(width, 1, 1)

    def forward(self, inputs: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch height width"]:
        seen: list[Tensor] = []
        for step in self.down:
            seen.append(step(seen[-1] if seen else inputs))
        coarse = seen.pop()
        for step in self.up:
            fine = seen.pop()
            larger = upsampled(coarse, (int(fine.shape[-2]), int(fine.shape[-1])))
            coarse = step(torch.cat([larger, fine], dim=1))
        return upsampled(self.read(coarse), (int(inputs.shape[-2]), int(inputs.shape[-1])))[:, 0]


class PictureNet(nn.Module):
    """A classifier: four convolutions, each on a grid half as fine, and a linear layer over their mean."""

    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        widths = [channels, *(width * 2**level for level in range(_LEVELS))]
        self.features = nn.Sequential(*(convolved(*pair, stride=2) for pair in pairwise(widths)))
        self.head = Pooled(widths[-1], classes)

    def forward(self, inputs: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch classes"]:
        return self.head(self.features(inputs))


class Pooled(nn.Module):
    """A linear layer over the mean of a grid."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, classes)

    def forward(self, grid: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch classes"]:
        return self.linear(grid.mean(dim=(-2, -1)))


def convolved(before: int, after: int, *, stride: int = 1) -> nn.Sequential:
    """A convolution of 3 by 3, normalised and rectified."""
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1), nn.GroupNorm(_GROUPS, after), nn.ReLU())
