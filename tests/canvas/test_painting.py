"""Blocks of a PNG sheet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from pellucid.canvas import painting


@pytest.mark.parametrize(
    ("words", "drawn"), [("Gradient × input", "Gradient x input"), ("−0.07", "-0.07"), ("café", "cafe"), ("猫", "?")]
)
def test_words_are_written_in_letters_the_font_has(words: str, drawn: str) -> None:
    assert painting.writable(words) == drawn


@settings(max_examples=30, deadline=None)
@given(some.text(max_size=60), some.integers(20, 300), some.integers(1, 3))
def test_any_words_fit_their_block(words: str, width: int, lines: int) -> None:
    block = painting.text(words, 20, width, lines=lines)
    assert block.width == width and block.height <= 27 * lines


def test_words_that_fit_on_a_line_are_not_cut() -> None:
    assert painting.text("one two", 20, 400).height == 27
    assert painting.text("one two", 20, 45).height == 54


def test_rows_and_columns_add_up() -> None:
    one, other = painting.text("a", 20, 100), painting.text("b", 40, 50)
    assert painting.row([one, other], 10).size == (160, max(one.height, other.height))
    assert painting.column([one, other], 10).size == (100, one.height + other.height + 10)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (8, 8)])
def test_a_plate_fits_its_place(shape: tuple[int, int]) -> None:
    plate = painting.plate(np.zeros((*shape, 3), dtype=np.uint8), 120, 90)
    assert plate.width <= 120 and plate.height <= 90 and min(plate.size) >= 1
