"""Sobol indices and HSIC where the variance and the kernels are known, and C-LIME where the slope is."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from pellucid.attribution.sensitivity import dependence, total_indices
from tests.oracles.asking import ask, relative
from tests.oracles.nets import LinearPicture, Pixels, Twin, pictures
from tests.oracles.test_games import QUARTERS, quarter_means


def test_total_indices_of_a_sum_are_shares_of_the_variance() -> None:
    """f = sum of a_i m_i with independent uniform m_i: each index is a_i² over the sum of squares."""
    network, inputs = LinearPicture(6, 9), pictures(2, 6, 9)
    terms = (network.weight[2] * inputs).sum(dim=1).detach()
    weights = terms.unflatten(1, (3, 2)).unflatten(3, (3, 3)).sum(dim=(2, 4))
    expected = weights.square() / weights.square().sum(dim=(1, 2), keepdim=True)
    found = ask("sobol", network, inputs, 2, grid=3, samples=1024, baseline="zero")
    assert_close(found, expected, atol=0.01, rtol=0.03)


def test_total_indices_of_a_product_count_the_interaction_for_both() -> None:
    """f = m1 m2 of two uniform masks: V = 1/9 - 1/16 = 7/144, E[V(f|m2)] = 1/36, so each total index is 4/7."""
    network = Pixels(lambda inputs: quarter_means(inputs)[:, 0] * quarter_means(inputs)[:, 3])
    found = ask("sobol", network, torch.ones(1, 3, 4, 6), 0, grid=2, samples=2048, baseline="zero")
    assert_close(found[0], torch.tensor([[4 / 7, 0], [0, 4 / 7]]), atol=0.01, rtol=0.02)


def test_total_indices_of_one_that_stands_still_are_zero() -> None:
    assert torch.equal(total_indices(torch.ones(1, 4 * 5), 4), torch.zeros(1, 3))


def test_hsic_of_the_one_cell_that_decides_has_a_closed_form() -> None:
    """Of n masks half show the cell: the answer takes two values, whose distance is the median of unequal ones.

    The Gaussian kernel between them is q = exp(-1/2), so HSIC is (1 - q) / 4 times n² / (n - 1)². That of a cell that
    decides nothing is smaller by the square of its correlation with the one that does.
    """
    network = Pixels(lambda inputs: quarter_means(inputs)[:, 2])
    found = ask("hsic", network, torch.ones(1, 3, 4, 6), 0, grid=2, samples=256, baseline="zero")[0].flatten()
    closed = (1 - math.exp(-0.5)) / 4 * (256 / 255) ** 2
    assert float(found[2]) == pytest.approx(closed, rel=1e-4)
    assert found[[0, 1, 3]].max() < 0.03 * closed


def test_hsic_equals_the_trace_of_centred_kernels() -> None:
    """n = 40, three cells, against the matrices written out."""
    generator = torch.Generator().manual_seed(1)
    signs = (torch.rand(40, 3, generator=generator) < 0.5).double() * 2 - 1
    answers = signs[:, 0] + signs[:, 1] * signs[:, 2] + 0.3 * torch.randn(40, generator=generator).double()
    distance = (answers[:, None] - answers[None]).abs()
    wide = distance[distance > 0].median()
    centring = torch.eye(40).double() - 1 / 40
    gram = torch.exp(-distance.square() / (2 * wide**2))
    expected = [
        float(torch.trace(centring @ (0.5 * torch.outer(cell, cell)) @ centring @ gram) / 39**2) for cell in signs.T
    ]
    assert_close(dependence(signs, answers), torch.tensor(expected).double())


def test_both_give_zeros_where_nothing_changes() -> None:
    network = Twin("module")
    with torch.no_grad():
        network.head.weight.zero_()
    for name in ("sobol", "hsic"):
        found = ask(name, network, pictures(1, 16, 16), grid=3, samples=8)
        assert torch.equal(found, torch.zeros(1, 3, 3)), name


def test_c_lime_recovers_a_slope() -> None:
    network, inputs = LinearPicture(4, 6), pictures(2, 4, 6)
    found = ask("c_lime", network, inputs, 2, segments=QUARTERS, samples=20)
    slope = network.weight[2].sum(dim=0).detach()
    expected = torch.stack([slope[QUARTERS == patch].mean() for patch in range(4)])[QUARTERS]
    assert relative(found, expected.expand_as(found)) < 1e-4


def test_c_lime_with_a_segment_per_pixel_is_smoothgrad_by_steins_identity() -> None:
    """f = sum of x² + 3x: mirrored noise cancels the curvature, so both are 2x + 3 at any width of the noise."""
    inputs = pictures(1, 3, 4)
    network = Pixels(lambda x: (x.square() + 3 * x).sum(dim=(1, 2, 3)))
    pixels = torch.arange(12).view(3, 4)
    found = ask("c_lime", network, inputs, 0, segments=pixels, samples=64, noise=0.4)
    assert relative(found, (2 * inputs + 3).sum(dim=1)) < 1e-4
    smooth = ask("smoothgrad", network, inputs, 0, samples=400, noise=0.4).sum(dim=1)
    assert relative(smooth, found) < 0.1
