"""Relevance as a picture: what stands out is known where one thing lies on an even ground."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pellucid.attribution.salient import context_saliency
from tests.oracles.asking import ask
from tests.oracles.nets import PatchDetector, Twin, pictures


def cluster(rows: int = 40, columns: int = 40, row: int = 12, column: int = 25, side: int = 4) -> Tensor:
    values = torch.full((rows, columns), 0.1)
    values[row : row + side, column : column + side] = 1.0
    return values


def test_an_even_map_has_nothing_that_stands_out() -> None:
    for value in (0.0, 0.7):
        assert not context_saliency(torch.full((30, 50), value)).any()


@pytest.mark.parametrize("shape", [(40, 40), (30, 60)])
def test_a_cluster_stands_out_and_the_ground_does_less_the_further_away(shape: tuple[int, int]) -> None:
    found = context_saliency(cluster(*shape))
    row, column = divmod(int(found.argmax()), shape[1])
    assert 11 <= row <= 16 and 24 <= column <= 29, (row, column)
    assert found.max() < 1 and found.min() >= 0
    near, middle, far = (float(found[14, at]) for at in (26, 19, 4))
    assert near > middle > far and far < 0.1 * near


def test_a_turned_map_gives_the_turned_answer() -> None:
    values = cluster().double() + 0.3 * torch.rand(40, 40, generator=torch.Generator().manual_seed(1))
    found = context_saliency(values)
    assert_close(context_saliency(values.rot90()), found.rot90(), rtol=1e-4, atol=1e-5)
    assert_close(context_saliency(values.flip(1)), found.flip(1), rtol=1e-4, atol=1e-5)


def test_the_scale_of_the_values_does_not_count() -> None:
    assert_close(context_saliency(1000 * cluster()), context_saliency(cluster()), rtol=1e-4, atol=1e-6)


def test_one_pixel_of_many_equal_ones_stands_out_less_than_one_alone() -> None:
    """A texture is like itself everywhere."""
    texture, alone = torch.zeros(40, 40), torch.zeros(40, 40)
    texture[::4, ::4] = 1
    alone[20, 20] = 1
    assert context_saliency(alone)[20, 20] > 1.5 * context_saliency(texture)[20, 20]


def test_what_decides_stands_out() -> None:
    """O6: relevance lies on one window, and so does the area that stands out."""
    network, inputs = PatchDetector(20, 8, 9), pictures(2, 48, 48).abs()
    found = ask("salient_relevance", network, inputs, 0, composite="zero")
    assert found.shape == (2, 48, 48)
    for one in found:
        row, column = divmod(int(one.argmax()), 48)
        assert 18 <= row <= 31 and 6 <= column <= 19, (row, column)
        assert one[20:29, 8:17].mean() > 5 * one[:, 30:].mean()


@pytest.mark.parametrize(("size", "grid", "expected"), [((37, 53), 64, (37, 53)), ((36, 54), 27, (18, 27))])
def test_the_map_has_as_many_cells_as_asked_for(size: tuple[int, int], grid: int, expected: tuple[int, int]) -> None:
    assert ask("salient_relevance", Twin("module"), pictures(2, *size), grid=grid).shape == (2, *expected)


def test_a_model_without_positive_relevance_gives_zeros() -> None:
    network = PatchDetector(20, 8, 9)
    found = ask("salient_relevance", network, -pictures(1, 48, 48).abs(), 0, composite="zero")
    assert not found.any()


def test_fewer_neighbours_than_patches_are_no_error() -> None:
    assert context_saliency(cluster(5, 6, 1, 1, 2), neighbours=1000).isfinite().all()
