"""Polygons and compressed runs, against COCO's own tools in every pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco

from pellucid.errors import RequestError
from pellucid.images import masks
from pellucid.images.outlines import fill, run_lengths

# COCO's tools were written for NumPy before 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def filled_by_coco(polygons: list[list[float]], height: int, width: int) -> np.ndarray:
    return coco.decode(coco.merge(coco.frPyObjects(polygons, height, width))).astype(bool)


CORNERS = {
    "anywhere": lambda draw, height, width, count: draw.uniform(-10, 70, (count, 2)),
    "inside": lambda draw, height, width, count: draw.random((count, 2)) * [width, height],
    "on whole pixels": lambda draw, height, width, count: draw.integers(-3, 63, (count, 2)).astype(float),
    "on the rim": lambda draw, height, width, count: draw.integers(0, 2, (count, 2)) * [float(width), float(height)],
    "closed by hand": lambda draw, height, width, count: np.tile(draw.uniform(0, 60, (count, 2)), (2, 1))[: count + 1],
}


@pytest.mark.parametrize("kind", CORNERS)
def test_polygons_are_filled_as_coco_fills_them(kind: str) -> None:
    draw = np.random.default_rng(sum(map(ord, kind)))
    for _ in range(300):
        height, width = (int(side) for side in draw.integers(1, 60, 2))
        polygons = [
            CORNERS[kind](draw, height, width, draw.integers(3, 12)).ravel().tolist()
            for _ in range(draw.integers(1, 4))
        ]
        difference = fill(polygons, height, width) != filled_by_coco(polygons, height, width)
        assert not difference.any(), f"{difference.sum()} pixels of {height} x {width}: {polygons}"


def test_a_rectangle_fills_the_pixels_it_covers() -> None:
    mask = fill([[2, 1, 6, 1, 6, 4, 2, 4]], 6, 9)
    expected = np.zeros((6, 9), dtype=bool)
    expected[1:4, 2:6] = True
    assert np.array_equal(mask, expected)


@given(arrays.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))))
@settings(max_examples=150, deadline=None)
def test_compressed_runs_are_read_as_coco_writes_them(mask: np.ndarray) -> None:
    written = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    assert run_lengths(written) == run_lengths(written.decode()) == masks.encode(mask)["counts"]


def test_long_runs_take_several_characters() -> None:
    mask = np.zeros((3000, 2000), dtype=bool)
    mask[1234:2345, 777:1999] = True
    written = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    assert np.array_equal(masks.decode({"size": [3000, 2000], "counts": run_lengths(written)}), mask)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("5~", "characters"),
        ("52P", "cut off"),
        ("ppppppp", "characters"),
        ("\u4e2d", "characters"),
        ("o" * 20, "characters"),
    ],
)
def test_damaged_runs_are_refused(text: str, problem: str) -> None:
    with pytest.raises(RequestError, match=problem):
        run_lengths(text)
