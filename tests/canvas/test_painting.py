"""Blocks of a PNG sheet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from pellucid.canvas import painting, scales

LETTERS = "éèüßñçøæœşșłžĐÅ" + "αβγΩλή" + "абвЖщёЯї" + "→←↑↓" + "“”„‘’«»" + "×–−—…·²≤≥≈≠µ°€√∞ươạ✓✗"


def glyph(letter: str, size: int = 40) -> bytes:
    return painting.text(letter, size, 2 * size).tobytes()


def test_every_letter_of_a_label_is_drawn_as_itself() -> None:
    """No two alike, none blank, and none the box of a letter that is missing."""
    drawn = {letter: glyph(letter) for letter in LETTERS}
    assert glyph("é") != glyph("e")
    assert len(set(drawn.values())) == len(LETTERS)
    assert glyph(" ") not in drawn.values()
    assert not [letter for letter in LETTERS if drawn[letter] == glyph("\ue123")]


@pytest.mark.parametrize("letter", ["猫", "ᚠ", "ש", "\ue123", "🐈"])
def test_a_letter_that_is_missing_is_a_box_and_not_dropped(letter: str) -> None:
    block = np.asarray(painting.text(letter, 40, 80).convert("L")) < 128
    rows, columns = np.flatnonzero(block.any(axis=1)), np.flatnonzero(block.any(axis=0))
    assert len(rows) > 20 and len(columns) > 12  # about as large as a capital
    box = block[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    for edge in (box[0], box[-1], box[:, 0], box[:, -1]):
        assert edge.mean() > 0.8  # closed all around,
    assert not box[5:-5, 5:-5].any()  # and open inside
    assert painting.text(f"a{letter}b", 40, 200).tobytes() != painting.text("ab", 40, 200).tobytes()


@pytest.mark.parametrize(
    ("words", "drawn"), [("cafe\u0301", "café"), ("black\ufe0f\u200b cat", "black cat"), ("猫 −0.07 ×", "猫 −0.07 ×")]
)
def test_accents_join_their_letters_and_what_is_invisible_takes_no_room(words: str, drawn: str) -> None:
    assert painting.writable(words) == drawn


def test_the_font_is_small_and_comes_with_its_licence() -> None:
    assert painting._FONT.stat().st_size < 150_000
    licence = (painting._FONT.parent / "OFL.txt").read_text()
    assert "The Inter Project Authors" in licence and "SIL OPEN FONT LICENSE" in licence


def test_a_block_is_the_same_whenever_it_is_drawn() -> None:
    first = painting.png(painting.text("Où est le chat? “Здесь” → 猫", 24, 300))
    painting._font.cache_clear()
    assert painting.png(painting.text("Où est le chat? “Здесь” → 猫", 24, 300)) == first


@settings(max_examples=30, deadline=None)
@given(some.text(max_size=60), some.integers(20, 300), some.integers(1, 3))
def test_any_words_fit_their_block(words: str, width: int, lines: int) -> None:
    block = painting.text(words, 20, width, lines=lines)
    assert block.width == width and block.height <= 27 * lines


def test_words_that_fit_on_a_line_are_not_cut() -> None:
    assert painting.text("one two", 20, 400).height == 27
    assert painting.text("one two", 20, 45).height == 54


def test_no_word_is_left_over_on_a_line_of_its_own() -> None:
    """The last line of two is about as long as the first, in as many lines as it takes anyway."""
    words = "It does better than a random map (+0.48), the centre of the picture (+0.21) and the edges (+0.40)."
    width = round(painting._font(24).getlength(words)) - 20  # all but the last word would fit
    block = np.asarray(painting.text(words, 24, width).convert("L")) < 200
    lines = [np.flatnonzero(part.any(axis=0)).max() for part in np.split(block, 2)]
    assert block.shape[0] == 66 and lines[1] > 0.8 * lines[0]


def test_what_is_cut_off_is_cut_between_words() -> None:
    cut = painting.text("The quick brown fox jumps over", 24, 200, lines=1)
    assert cut.tobytes() == painting.text("The quick …", 24, 200).tobytes()


def test_the_ends_of_a_scale_never_run_into_each_other() -> None:
    wide, narrow = (painting.scale_bar(scales.TUG, width) for width in (600, 300))
    assert narrow.height > wide.height
    drawn = np.asarray(narrow.convert("L"))[16:] < 200
    above, below = drawn[:26], drawn[26:]
    assert above[:, -40:].sum() == 0 and below[:, :10].sum() == 0


def test_rows_and_columns_add_up() -> None:
    one, other = painting.text("a", 20, 100), painting.text("b", 40, 50)
    assert painting.row([one, other], 10).size == (160, max(one.height, other.height))
    assert painting.column([one, other], 10).size == (100, one.height + other.height + 10)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (8, 8)])
def test_a_plate_fits_its_place(shape: tuple[int, int]) -> None:
    plate = painting.plate(np.zeros((*shape, 3), dtype=np.uint8), 120, 90)
    assert plate.width <= 120 and plate.height <= 90 and min(plate.size) >= 1
