"""Pictures as shearlet coefficients and back: bands of one scale and one direction, over two cones of frequencies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Shearlets:
    """A system of band-limited shearlets for pictures of one size.

    filters:    of every band on the grid of frequencies, real and symmetric, so that coefficients are real
    directions: of every band the angle of the edges it answers to, in degrees from horizontal, 0 to 180; NaN for the
                coarse picture, which is the first
    scales:     of every band 0 for the coarse picture, then 1 for the coarsest

    Kutyniok, Lim, Reisenhofer, ShearLab 3D, TOMS 2016, has the construction with compactly supported filters.
    """

    filters: Float[Tensor, "band height width"]
    weights: Float[Tensor, "height width"]
    directions: tuple[float, ...]
    scales: tuple[int, ...]

    @classmethod
    def of(cls, size: tuple[int, int], scales: int = 4) -> Shearlets:
        """2^(⌈j/2⌉ + 1) + 1 directions in each of the two cones at the scales j = 0, 1, ..., `scales` - 1."""
        rows, columns = torch.fft.fftfreq(size[0])[:, None].double(), torch.fft.fftfreq(size[1])[None, :].double()
        rows, columns = rows.expand(*size), columns.expand(*size)
        radius = torch.maximum(rows.abs(), columns.abs()) * 2  # 0 to 1
        coarse = [_falling(radius * 2**level) for level in range(scales, -1, -1)]
        coarse[-1] = torch.ones_like(radius)  # the finest scale reaches into the corners
        filters, angles, numbers = [coarse[0]], [math.nan], [0]
        for scale in range(scales):
            ring = (coarse[scale + 1].square() - coarse[scale].square()).clamp(min=0).sqrt()
            steps = 2 ** math.ceil(scale / 2)
            for along, across, upright in ((columns, rows, True), (rows, columns, False)):
                slope = across / torch.where(along == 0, torch.inf, along)
                for shear in range(-steps, steps + 1):
                    found = ring * _bump(steps * slope - shear) * (along != 0)
                    filters.append((found + _mirrored(found)) / 2)
                    angles.append(_edge(shear / steps, upright))
                    numbers.append(scale + 1)
        stacked = torch.stack(filters)
        return cls(stacked.float(), stacked.square().sum(dim=0).float(), tuple(angles), tuple(numbers))

    def analysed(
        self, pictures: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch channel band _ _"]:
        """The coefficients [batch channel band height width] of pictures."""
        return torch.fft.ifft2(torch.fft.fft2(pictures)[:, :, None] * self.filters.to(pictures)).real

    def synthesised(
        self, coefficients: Float[Tensor, "batch channel band height width"]
    ) -> Float[Tensor, "batch channel height width"]:
        """The pictures that have these coefficients, or are nearest to having them."""
        spectrum = (torch.fft.fft2(coefficients) * self.filters.to(coefficients)).sum(dim=2)
        return torch.fft.ifft2(spectrum / self.weights.to(coefficients)).real


def edge_strength(pictures: Float[Tensor, "batch h w"], scales: int = 4) -> Float[Tensor, "batch h w"]:
    """How strong an edge runs through every pixel, in whichever direction: 1 for an upright step of height 1.

    Slanted steps, which pixels make ragged, have half of that and more.

    The largest modulus, over directions, of the finest shearlets without half of their frequencies: the real part
    answers to lines, the imaginary one to steps, so that the modulus peaks on the edge. Pictures are continued by their
    mirror images, so that borders are no edges.
    """
    height, width = pictures.shape[-2:]
    step = (torch.arange(width) >= width // 2).to(pictures).expand(1, height, width)
    both = torch.cat([pictures, step])
    both = torch.cat([both, both.flip(-1)], dim=-1)
    both = torch.cat([both, both.flip(-2)], dim=-2)
    system, size = Shearlets.of((2 * height, 2 * width), scales), both.shape[-2:]
    rows, columns = torch.fft.fftfreq(size[0])[:, None], torch.fft.fftfreq(size[1])[None, :]
    spectrum, found = torch.fft.fft2(both), torch.zeros_like(both)
    for band, degrees, scale in zip(system.filters, system.directions, system.scales, strict=True):
        if scale == scales:
            angle = math.radians(degrees)
            ahead = 2 * (math.sin(angle) * columns + math.cos(angle) * rows > 0)
            found = torch.maximum(found, torch.fft.ifft2(spectrum * (band * ahead).to(both)).abs())
    strength = found[..., :height, :width]
    return strength[:-1] / strength[-1:].amax(dim=(-2, -1), keepdim=True)


def _falling(radius: Tensor) -> Tensor:
    """1 up to a half, 0 from 1 on, between them Meyer's smooth cosine."""
    return torch.cos(math.pi / 2 * _smooth((2 * radius - 1).clamp(0, 1)))


def _bump(offset: Tensor) -> Tensor:
    """1 at 0, 0 beyond ±1; the squares of bumps one apart sum to 1."""
    return torch.cos(math.pi / 2 * _smooth(offset.abs().clamp(0, 1)))


def _smooth(share: Tensor) -> Tensor:
    """From 0 to 1 with three vanishing derivatives at both ends (Meyer's auxiliary polynomial)."""
    return share**4 * (35 - 84 * share + 70 * share**2 - 20 * share**3)


def _mirrored(values: Tensor) -> Tensor:
    """Values at the opposite frequencies."""
    return values.flip(0, 1).roll((1, 1), (0, 1))


def _edge(slope: float, upright: bool) -> float:
    """The angle of an edge whose frequencies lie at this slope; they stand at right angles to it.

    upright: whether the frequencies run from left to right, so that the edge stands upright for slope 0
    """
    across = math.degrees(math.atan(slope))
    return (90 - across) % 180 if upright else across % 180
