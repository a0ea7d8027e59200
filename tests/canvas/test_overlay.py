"""A map over its picture: what is drawn, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from pellucid.canvas.overlay import hatch, outline, overlay
from pellucid.errors import MapError, ShapeError


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def greys(pixels: np.ndarray) -> np.ndarray:
    """Where a picture has no colour."""
    return (np.ptp(pixels.astype(int), axis=-1)) <= 1


sizes = some.integers(1, 19)
values = some.floats(-(2.0**100), 2.0**100, width=32)


@settings(max_examples=60, deadline=None)
@given(height=sizes, width=sizes, signed=some.booleans(), seed=some.integers(0, 99), exponent=some.integers(-38, 30))
def test_any_finite_map_is_drawn_at_the_size_of_its_picture(
    height: int, width: int, signed: bool, seed: int, exponent: int
) -> None:
    map_ = np.random.default_rng(seed).normal(size=(height, width)) * 10.0**exponent
    drawn = overlay(noise(height, width), map_, signed=signed)
    assert drawn.pixels.shape == (height, width, 3) and drawn.pixels.dtype == np.uint8
    assert drawn.legend


@settings(max_examples=40, deadline=None)
@given(height=sizes, width=sizes, value=values, signed=some.booleans())
def test_a_flat_map_is_drawn_without_colour(height: int, width: int, value: float, signed: bool) -> None:
    drawn = overlay(noise(height, width), np.full((height, width), value), signed=signed)
    assert drawn.state == "flat" and greys(drawn.pixels).all()
    assert "flat" in drawn.legend[0]


def test_an_unsigned_map_below_zero_shows_nothing_and_says_so() -> None:
    drawn = overlay(noise(9, 7), -np.random.default_rng(1).uniform(1, 2, (9, 7)), signed=False)
    assert drawn.state == "nothing" and greys(drawn.pixels).all()
    assert "nothing above zero" in drawn.legend[0]


def test_a_signed_map_below_zero_is_blue() -> None:
    drawn = overlay(noise(9, 7), -np.random.default_rng(1).uniform(1, 2, (9, 7)), signed=True)
    assert drawn.state == "drawn" and (drawn.pixels[..., 2] > drawn.pixels[..., 0]).all()


def test_what_raised_the_answer_is_red_and_what_lowered_it_blue() -> None:
    map_ = np.zeros((8, 8))
    map_[:, :3], map_[:, 5:] = 1, -1
    drawn = overlay(np.full((8, 8, 3), 128, dtype=np.uint8), map_, signed=True).pixels.astype(int)
    assert (drawn[:, :3, 0] > drawn[:, :3, 2] + 60).all() and (drawn[:, 5:, 2] > drawn[:, 5:, 0] + 60).all()
    assert greys(drawn[:, 3:5]).all()


@pytest.mark.parametrize("factor", [1e-30, 3.0, 1e20])
def test_the_unit_of_a_map_does_not_change_its_picture(factor: float) -> None:
    map_ = np.random.default_rng(2).normal(size=(11, 13))
    once = overlay(noise(11, 13), map_, signed=True).pixels
    assert np.abs(once.astype(int) - overlay(noise(11, 13), map_ * factor, signed=True).pixels).max() <= 1


def test_what_every_pixel_has_hides_nothing_of_an_unsigned_map_and_moves_the_middle_of_a_signed_one() -> None:
    picture, map_ = noise(6, 7), np.arange(42.0).reshape(6, 7)
    raised = overlay(picture, map_ + 500, signed=False)
    assert np.abs(raised.pixels.astype(int) - overlay(picture, map_, signed=False).pixels).max() <= 1
    assert raised.limit == pytest.approx(500 + np.percentile(map_, 99.5))
    assert not greys(overlay(picture, map_ + 500, signed=True).pixels)[0, 0], "it raised the answer there too"


def test_negating_a_signed_map_swaps_red_and_blue() -> None:
    map_ = np.random.default_rng(3).normal(size=(11, 13))
    grey = np.full((11, 13, 3), 100, dtype=np.uint8)
    one, other = (overlay(grey, sign * map_, signed=True).pixels.astype(int) for sign in (1, -1))
    up = map_ > 0.8
    assert (one[up, 0] > one[up, 2]).all() and (other[up, 2] > other[up, 0]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_map_with_values_that_are_no_numbers_is_refused(bad: float) -> None:
    map_ = np.ones((5, 5))
    map_[2, 2] = bad
    with pytest.raises(MapError, match="finite"):
        overlay(noise(5, 5), map_, signed=False)


@pytest.mark.untyped
def test_a_map_of_another_size_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\[5, 6\].*\[5, 5\]"):
        overlay(noise(5, 5), np.ones((5, 6)), signed=False)


def test_what_the_model_never_saw_is_never_coloured() -> None:
    map_, seen = np.random.default_rng(4).uniform(size=(40, 60)), np.zeros((40, 60), dtype=bool)
    seen[5:30, 10:50] = True
    drawn = overlay(noise(40, 60), map_, signed=False, seen=seen)
    assert greys(drawn.pixels[~seen]).all() and not greys(drawn.pixels[seen]).all()
    assert drawn.unseen == pytest.approx(1 - 25 * 40 / (40 * 60))
    assert drawn.legend[-1].startswith("hatched")


def test_a_strong_value_that_was_not_seen_does_not_set_the_scale() -> None:
    map_, seen = np.random.default_rng(5).uniform(size=(20, 20)), np.ones((20, 20), dtype=bool)
    seen[0] = False
    other = map_.copy()
    other[0] = 1e6
    assert (
        overlay(noise(20, 20), map_, signed=False, seen=seen).pixels
        == overlay(noise(20, 20), other, signed=False, seen=seen).pixels
    ).all()


def test_the_picture_is_left_as_it_was() -> None:
    pixels = noise(6, 6)
    before = pixels.copy()
    overlay(pixels, np.random.default_rng(0).normal(size=(6, 6)), signed=True)
    hatch(pixels), outline(pixels, np.ones((6, 6), dtype=bool))
    assert (pixels == before).all()


def test_an_outlined_part_keeps_its_colours_and_the_rest_loses_them() -> None:
    pixels, mask = noise(30, 30), np.zeros((30, 30), dtype=bool)
    mask[8:20, 8:20] = True
    drawn = outline(pixels, mask, 2)
    assert (drawn[10:18, 10:18] == pixels[10:18, 10:18]).all()
    assert (drawn[8, 8:20] == 255).all() and greys(drawn[~mask]).all()
