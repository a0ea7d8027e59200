"""Wavelets and shearlets: there and back, the same numbers as PyWavelets, and directions."""

from __future__ import annotations

import math
import warnings

import pytest
import pywt
import torch
from torch import Tensor

from pellucid.images.shearlets import Shearlets
from pellucid.images.wavelets import Wavelets


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [(64, 64), (37, 53), (7, 9), (224, 200)])
def test_pictures_come_back_from_their_wavelets(size: tuple[int, int]) -> None:
    wavelets, pictures = Wavelets.of(size), noise(2, 3, *size)
    assert (wavelets.synthesised(wavelets.analysed(pictures)) - pictures).abs().max() < 1e-5


def test_wavelets_equal_pywavelets_to_the_sign() -> None:
    """db3, five levels, periodic; there the details' filter has the opposite sign."""
    picture, wavelets = noise(1, 1, 64, 64), Wavelets.of((64, 64), 5)
    found = wavelets.analysed(picture)[0, 0].numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # five levels of 64 pixels wrap around
        coarse, *details = pywt.wavedec2(picture[0, 0].numpy(), "db3", mode="periodization", level=5)
    assert abs(found[:2, :2] - coarse).max() < 1e-5
    for level, (horizontal, vertical, diagonal) in enumerate(details):
        low, high = slice(0, 2 << level), slice(2 << level, 4 << level)
        for ours, theirs in (((high, low), horizontal), ((low, high), vertical), ((high, high), diagonal)):
            assert abs(found[ours] - theirs).max() < 1e-5, f"level {level}"


def test_wavelets_keep_the_energy_and_number_their_scales() -> None:
    wavelets, pictures = Wavelets.of((32, 64), 3), noise(1, 1, 32, 64)
    assert float(wavelets.analysed(pictures).square().sum()) == pytest.approx(float(pictures.square().sum()), rel=1e-5)
    assert wavelets.scales.flatten().bincount().tolist() == [4 * 8, 3 * 32, 3 * 128, 3 * 512]


def test_three_moments_vanish() -> None:
    """A parabola has no details but where the period breaks it."""
    parabola = ((torch.arange(64) - 20.0) ** 2)[None, None, None].expand(1, 1, 64, 64).contiguous()
    details = Wavelets.of((64, 64), 1).analysed(parabola)[0, 0, :32, 32:]
    assert details[:, 3:28].abs().max() < 1e-2 < details.abs().max()


@pytest.mark.parametrize("size", [(64, 64), (37, 53), (48, 31)])
def test_pictures_come_back_from_their_shearlets(size: tuple[int, int]) -> None:
    shearlets, pictures = Shearlets.of(size), noise(2, 3, *size)
    assert (shearlets.synthesised(shearlets.analysed(pictures)) - pictures).abs().max() < 1e-4
    assert shearlets.filters.shape[0] == 1 + 2 * (3 + 5 + 5 + 9) == len(shearlets.directions)


def test_shearlets_are_real() -> None:
    shearlets = Shearlets.of((37, 48))
    bands = torch.fft.ifft2(torch.fft.fft2(noise(1, 37, 48)) * shearlets.filters)
    assert bands.imag.abs().max() < 1e-5


@pytest.mark.parametrize("angle", [0, 30, 60, 90, 120, 150])
def test_an_edge_answers_in_the_bands_of_its_direction(angle: int) -> None:
    """A soft edge through the middle, faded towards the borders; its strongest band at the second finest scale."""
    turn = math.radians(angle)
    rows, columns = torch.meshgrid(torch.arange(64.0) - 31.5, torch.arange(64.0) - 31.5, indexing="ij")
    edge = torch.tanh(math.sin(turn) * columns + math.cos(turn) * rows)  # rows run downward
    faded = edge * torch.exp(-(rows.square() + columns.square()) / 300)
    shearlets = Shearlets.of((64, 64))
    energy = shearlets.analysed(faded[None, None])[0, 0].square().sum(dim=(-2, -1))
    energy[torch.tensor(shearlets.scales) != 3] = 0
    found = shearlets.directions[int(energy.argmax())]
    apart = abs(found - angle) % 180
    assert min(apart, 180 - apart) <= 10, f"{found} degrees"
