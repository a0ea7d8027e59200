"""Edge filters: their answers to gratings, bars and flat pictures in closed form."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from pellucid.testbed.planted import Gratings, edges, gabor
from tests.testbed.planted_runs import activations


def grating(frequency: float, direction: float, *, phase: float = 0.0, contrast: float = 1.0) -> Gratings:
    return Gratings(*(np.array([float(value)]) for value in (frequency, direction, phase, contrast)))


def test_every_answer_to_every_grating_has_a_closed_form() -> None:
    net = edges()
    stripes = net.stimuli(7, 200)
    found = activations(net, Sliceable(stripes), "units")
    answers = np.stack([gabor.answers(stripes, unit) for unit in range(4)], axis=1)
    assert np.abs(found["units"].numpy() - answers).max() < 3e-6
    expected = answers.mean(axis=(2, 3))
    assert np.abs(found["logits"].numpy() - expected).max() < 3e-6


def test_a_unit_fires_if_and_only_if_the_formula_says_so() -> None:
    net = edges()
    stripes = net.stimuli(8, 400)
    units = activations(net, Sliceable(stripes), "units")["units"].numpy()
    for unit in net.units:
        heights = gabor.answers(stripes, unit.index)
        sure = np.abs(heights - 0.5) > 1e-5  # at one half itself, float32 decides
        assert sure.mean() > 0.9999
        fires = units[:, unit.index] > unit.threshold
        inner = unit.where(stripes)[:, 2:-2, 2:-2]  # type: ignore[misc]
        assert np.array_equal(fires & sure, inner & sure)
        clear = np.abs(heights.max(axis=(1, 2)) - 0.5) > 1e-5
        assert np.array_equal(fires.any(axis=(1, 2))[clear], unit.fires(stripes)[clear])
        assert 0.02 < unit.fires(stripes).mean() < 0.5


def test_the_tuning_curve_is_the_kernels_fourier_amplitude() -> None:
    """Against a discrete transform of the padded kernel, which knows nothing of cosines."""
    size = 64
    for kernel, unit in zip(gabor.kernels(), range(4), strict=True):
        padded = np.zeros((size, size))
        padded[:5, :5] = kernel
        amplitude = np.abs(np.fft.fft2(padded))
        for row, column in product(range(0, 33, 4), repeat=2):
            down, across = row / size, column / size
            frequency, direction = np.hypot(down, across), np.rad2deg(np.arctan2(down, across))
            tuned = gabor.tuning(np.array([frequency]), np.array([direction]))[0, unit]
            assert abs(tuned) == pytest.approx(amplitude[row, column] / 2, abs=1e-9)


@pytest.mark.parametrize("unit", range(4))
def test_a_unit_answers_one_to_its_own_stripes_and_less_than_half_to_the_others(unit: int) -> None:
    own = gabor.tuning(np.full(4, 1 / gabor.PERIOD), np.array(gabor.DIRECTIONS, dtype=float))[:, unit]
    assert own[unit] == pytest.approx(1)
    assert np.abs(np.delete(own, unit)).max() <= 0.5 - edges().units[unit].margin + 1e-12


def test_directions_are_what_their_words_say() -> None:
    """Vertical stripes do not change downward; rising ones not along the line from lower left to upper right."""
    same = {0: lambda p: p[1:] - p[:-1], 90: lambda p: p[:, 1:] - p[:, :-1],
            45: lambda p: p[:-1, 1:] - p[1:, :-1], 135: lambda p: p[1:, 1:] - p[:-1, :-1]}  # fmt: skip
    words = {0: "vertical", 45: "rising", 90: "horizontal", 135: "falling"}
    for at, direction in enumerate(gabor.DIRECTIONS):
        picture = grating(0.2, direction).tensor()[0, 0].numpy()
        assert np.abs(same[direction](picture)).max() < 1e-6
        assert edges().units[at].name.startswith(words[direction])


@pytest.mark.parametrize("width", range(1, 8))
def test_the_answer_to_a_bar_is_a_sum_of_the_kernels_columns(width: int) -> None:
    picture = torch.zeros(1, 3, 16, 16)
    picture[..., 8 : 8 + width] = 1
    with torch.no_grad():
        found = edges().module.units(edges().module.filters(picture))[0, 0, 5]
    columns = gabor.kernels()[0].sum(axis=0)
    for at in range(12):
        lit = [column for column in range(5) if 8 <= at + column < 8 + width]
        assert float(found[at]) == pytest.approx(max(columns[lit].sum(), 0), abs=2e-6)


@pytest.mark.parametrize("brightness", [0.0, 0.3, 1.0])
def test_a_flat_picture_leaves_every_unit_silent(brightness: float) -> None:
    with torch.no_grad():
        assert edges().module(torch.full((1, 3, 16, 16), brightness)).abs().max() < 1e-6


def test_the_answer_grows_with_contrast_and_only_with_it() -> None:
    faint, strong = (grating(0.25, 45, contrast=contrast).tensor() for contrast in (0.25, 1.0))
    with torch.no_grad():
        torch.testing.assert_close(edges().module(strong), 4 * edges().module(faint), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("unit", range(4))
def test_no_patch_drives_a_unit_further_than_its_optimum(unit: int) -> None:
    kernel = torch.tensor(gabor.kernels()[unit])
    best = float(kernel[torch.tensor(gabor.optimum(unit))].sum())
    patches = torch.rand(2000, 5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).round(decimals=1)
    assert float((patches * kernel).sum(dim=(1, 2)).max()) < best
    shown = torch.tensor(gabor.optimum(unit)).float()[None, None].repeat(1, 3, 1, 1)
    with torch.no_grad():
        assert float(edges().module.filters(shown)[0, unit]) == pytest.approx(best, rel=1e-5)


class Sliceable:
    """Gratings in batches."""

    def __init__(self, whole: Gratings) -> None:
        self.whole = whole

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, part: slice) -> Gratings:
        whole = self.whole
        return Gratings(whole.frequency[part], whole.direction[part], whole.phase[part], whole.contrast[part])
