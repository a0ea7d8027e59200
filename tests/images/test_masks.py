"""Sets of pixels, counted by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pellucid.errors import RequestError, ShapeError
from pellucid.images import masks
from pellucid.values import Seed

some_masks = npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


@given(height=st.integers(1, 20), width=st.integers(1, 20), fraction=st.floats(0, 1), seed=st.integers(0, 99))
@settings(deadline=None)
def test_the_chosen_area_is_exact_and_holds_the_highest_values(
    height: int, width: int, fraction: float, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(0, 5, (height, width)).astype(float)
    chosen = masks.threshold_area(values, fraction, seed)
    assert chosen.sum() == round(fraction * height * width)
    if 0 < chosen.sum() < chosen.size:
        assert values[chosen].min() >= values[~chosen].max()


def test_ties_are_broken_by_the_seed_not_by_position() -> None:
    flat = np.zeros((40, 40))
    first, again, other = (masks.threshold_area(flat, 0.25, seed) for seed in (1, Seed(1), 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    quarters = [first[:20, :20].mean(), first[:20, 20:].mean(), first[20:, :20].mean(), first[20:, 20:].mean()]
    assert max(abs(share - 0.25) for share in quarters) < 0.08, quarters


def test_a_tensor_is_a_map_too() -> None:
    values = torch.arange(12.0).reshape(3, 4).requires_grad_()
    assert np.flatnonzero(masks.threshold_area(values, 0.25)).tolist() == [9, 10, 11]


def test_pieces_come_largest_first_and_touch_at_corners() -> None:
    mask = np.array([[1, 0, 0, 1, 1], [0, 1, 0, 1, 1], [0, 0, 0, 0, 1]], bool)
    assert [int(piece.sum()) for piece in masks.connected(mask)] == [5, 2]
    assert [int(piece.sum()) for piece in masks.connected(mask, diagonal=False)] == [5, 1, 1]
    assert masks.connected(np.zeros((3, 3), bool)) == []


@given(mask=some_masks)
def test_the_pieces_add_up_to_the_mask(mask: np.ndarray) -> None:
    pieces = masks.connected(mask)
    np.testing.assert_array_equal(sum(pieces, np.zeros(mask.shape, int)), mask.astype(int))


def test_overlap_is_counted_in_pixels() -> None:
    one, other = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    one[:2], other[1:3] = True, True
    assert masks.iou(one, other) == pytest.approx(4 / 12)
    assert masks.iou(one, one) == 1
    assert masks.iou(one, ~one) == 0
    assert masks.iou(one & ~one, one & ~one) == 1


def test_growing_adds_a_square_or_a_diamond() -> None:
    dot = np.zeros((9, 9), bool)
    dot[4, 4] = True
    assert masks.dilate(dot, 2).sum() == 25
    assert masks.dilate(dot, 2, diagonal=False).sum() == 13
    np.testing.assert_array_equal(masks.dilate(dot, 0), dot)


@given(mask=some_masks)
def test_run_lengths_survive_json(mask: np.ndarray) -> None:
    runs = json.loads(json.dumps(masks.encode(mask)))
    np.testing.assert_array_equal(masks.decode(runs), mask)


def test_run_lengths_are_cocos() -> None:
    """Column by column, zeros first."""
    mask = np.array([[1, 1, 0], [0, 1, 0]], bool)
    assert masks.encode(mask) == {"size": [2, 3], "counts": [0, 1, 1, 2, 2]}


def test_what_is_no_mask_is_refused() -> None:
    with pytest.raises(RequestError, match="fraction"):
        masks.threshold_area(np.zeros((3, 3)), 1.5)
    with pytest.raises(RequestError, match="NaN"):
        masks.threshold_area(np.full((3, 3), np.nan), 0.5)
    with pytest.raises(ShapeError, match="height width"):
        masks.connected(np.zeros(5))
    with pytest.raises(ShapeError, match="second mask"):
        masks.iou(np.zeros((3, 3)), np.zeros((3, 4)))
    with pytest.raises(ShapeError, match="run lengths"):
        masks.decode({"size": [2, 2], "counts": [5]})
