"""Pictures cut into patches whose outlines are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.errors import RequestError, ShapeError
from pellucid.images import Frame, superpixels
from pellucid.images.masks import connected
from pellucid.values import Preprocess


def quarters(height: int = 48, width: int = 60) -> np.ndarray:
    """Four flat colours in a two by two pattern."""
    colours = np.array([[[200, 40, 40], [40, 200, 40]], [[40, 40, 200], [220, 220, 60]]], np.uint8)
    return np.kron(colours, np.ones((height // 2, width // 2, 1), np.uint8))


def test_patches_follow_the_colours() -> None:
    labels = superpixels.slic(quarters(), 16, sigma=0)
    for label in range(labels.max() + 1):
        colours = np.unique(quarters()[labels == label], axis=0)
        assert len(colours) == 1, f"patch {label} has {len(colours)} colours"


@given(height=st.integers(1, 50), width=st.integers(1, 50), count=st.integers(1, 80))
@settings(max_examples=40, deadline=None)
def test_patches_are_numbered_without_gaps_and_hang_together(height: int, width: int, count: int) -> None:
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    labels = superpixels.slic(pixels, count)
    assert labels.shape == (height, width)
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    for label in range(labels.max() + 1):
        assert len(connected(labels == label)) == 1, f"patch {label} falls apart"


def test_frame_pixels_and_model_input_give_the_same_patches_each_time() -> None:
    frame, preprocess = Frame(quarters()), Preprocess(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    labels = superpixels.slic(frame, 20)
    np.testing.assert_array_equal(superpixels.slic(quarters(), 20), labels)
    np.testing.assert_array_equal(superpixels.slic(frame.input(preprocess), 20, preprocess=preprocess), labels)
    assert 10 <= labels.max() + 1 <= 30


@given(height=st.integers(1, 60), width=st.integers(1, 60), rows=st.integers(1, 70), columns=st.integers(1, 70))
@settings(deadline=None)
def test_grid_cells_are_equal_to_within_a_pixel(height: int, width: int, rows: int, columns: int) -> None:
    labels = superpixels.grid(height, width, rows, columns)
    down, across = min(rows, height), min(columns, width)
    assert np.array_equal(np.unique(labels), np.arange(down * across))
    heights, widths = np.bincount(labels[:, 0] // across), np.bincount(labels[0])
    assert np.ptp(heights) <= 1
    assert np.ptp(widths) <= 1


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(RequestError, match="0 patches"):
        superpixels.slic(quarters(), 0)
    with pytest.raises(RequestError, match="0 rows"):
        superpixels.grid(5, 5, 0, 2)
    with pytest.raises(ShapeError, match="uint8"):
        superpixels.slic(quarters().astype(float), 5)
    with pytest.raises(ShapeError, match="one picture"):
        superpixels.slic(torch.zeros(1, 3, 8, 8), 5)
