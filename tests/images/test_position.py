"""A table of places and what a person would call them."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pellucid.errors import ShapeError
from pellucid.images import position

H, W = 120, 160


def box(top: float, left: float, bottom: float, right: float) -> np.ndarray:
    """True between these shares of height and width."""
    rows, columns = (np.arange(H) + 0.5) / H, (np.arange(W) + 0.5) / W
    return ((rows >= top) & (rows < bottom))[:, None] & ((columns >= left) & (columns < right))[None, :]


def disc(row: float, column: float, radius: float) -> np.ndarray:
    """A disc; places and radius in shares of the picture, the radius in those of the height."""
    rows, columns = np.mgrid[0:H, 0:W]
    return (rows - row * H) ** 2 + (columns - column * W) ** 2 < (radius * H) ** 2


PLACES: dict[str, tuple[np.ndarray, str]] = {
    "nothing": (box(0, 0, 0, 0), "nowhere"),
    "everything": (box(0, 0, 1, 1), "the whole picture"),
    "all but a strip": (box(0, 0, 0.8, 1), "most of the picture except the bottom"),
    "all but a corner": (~box(0, 0.6, 0.4, 1), "most of the picture except the upper right"),
    "all but some dust": (box(0, 0, 0.95, 1), "most of the picture"),
    "upper half": (box(0, 0, 0.5, 1), "the upper half"),
    "lower half, ragged": (box(0.52, 0, 1, 0.97), "the lower half"),
    "left half": (box(0, 0, 1, 0.5), "the left half"),
    "right half": (box(0, 0.5, 1, 1), "the right half"),
    "upper left": (disc(0.2, 0.2, 0.18), "the upper left"),
    "top": (disc(0.2, 0.5, 0.18), "the top"),
    "upper right": (disc(0.2, 0.8, 0.18), "the upper right"),
    "left": (disc(0.5, 0.2, 0.18), "the left side"),
    "centre": (disc(0.5, 0.5, 0.2), "the centre"),
    "right": (disc(0.5, 0.82, 0.18), "the right side"),
    "lower left": (disc(0.8, 0.15, 0.18), "the lower left"),
    "bottom": (disc(0.8, 0.5, 0.18), "the bottom"),
    "lower right": (disc(0.8, 0.85, 0.18), "the lower right"),
    "above the middle": (disc(0.3, 0.5, 0.2), "the upper middle"),
    "below the middle": (disc(0.7, 0.55, 0.2), "the lower middle"),
    "a spot below the middle": (disc(0.7, 0.5, 0.05), "a small spot in the lower middle"),
    "a large area": (disc(0.45, 0.5, 0.4), "a large area in the centre"),
    "a large corner": (box(0.45, 0.4, 1, 1), "a large area in the lower right"),
    "a spot in the middle": (disc(0.5, 0.5, 0.05), "a small spot in the centre"),
    "a spot beside it": (disc(0.5, 0.6, 0.05), "a small spot right of the centre"),
    "a spot above it": (disc(0.4, 0.5, 0.05), "a small spot above the centre"),
    "a spot aslant": (disc(0.6, 0.4, 0.05), "a small spot below and left of the centre"),
    "a spot well inside": (disc(0.5, 0.7, 0.05), "a small spot right of the centre"),
    "a spot in a corner": (disc(0.1, 0.9, 0.05), "a small spot in the upper right"),
    "a spot at the side": (disc(0.5, 0.9, 0.05), "a small spot on the right side"),
    "a spot at the top": (disc(0.1, 0.5, 0.05), "a small spot at the top"),
    "a single pixel": (box(0.5, 0.1, 0.505, 0.105), "a small spot on the left side"),
    "a band below": (box(0.88, 0, 1, 1), "a band along the bottom"),
    "a band above": (box(0, 0.05, 0.15, 0.95), "a band along the top"),
    "a band across": (box(0.45, 0, 0.6, 1), "a band across the middle"),
    "a low band": (box(0.6, 0, 0.8, 1), "a band across the lower part"),
    "a band at the left": (box(0, 0, 1, 0.12), "a band along the left edge"),
    "a pole": (box(0.02, 0.45, 0.98, 0.55), "a band down the middle"),
    "a frame": (~box(0.12, 0.1, 0.88, 0.9), "the border all around"),
    "two corners": (disc(0.2, 0.2, 0.15) | disc(0.8, 0.8, 0.15), "the upper left and the lower right"),
    "two eyes": (
        disc(0.2, 0.2, 0.05) | disc(0.2, 0.8, 0.05),
        "small spots in the upper left and in the upper right",
    ),
    "two spots in one corner": (disc(0.1, 0.1, 0.04) | disc(0.3, 0.2, 0.04), "two small spots in the upper left"),
    "spots everywhere": (
        disc(0.1, 0.1, 0.05) | disc(0.9, 0.1, 0.05) | disc(0.1, 0.9, 0.05) | disc(0.9, 0.9, 0.05),
        "several spots all over the picture",
    ),
    "beads on a string": (
        disc(0.9, 0.1, 0.05) | disc(0.9, 0.5, 0.05) | disc(0.9, 0.9, 0.05), "several spots along the bottom",
    ),
    "one thing in two pieces": (disc(0.2, 0.2, 0.1) | disc(0.2, 0.365, 0.1), "the upper left"),
    "a spot cut by a gap": (disc(0.5, 0.2, 0.18) & ~box(0.48, 0, 0.52, 1), "the left side"),
    "a spot cut into four": (disc(0.5, 0.5, 0.2) & ~box(0.48, 0, 0.52, 1) & ~box(0, 0.48, 1, 0.52), "the centre"),
    "a spot crossed by a line": (disc(0.2, 0.2, 0.18) | box(0.2, 0, 0.21, 1), "the upper left"),
    "two spots on a thread": (
        disc(0.2, 0.15, 0.15) | disc(0.8, 0.85, 0.15) | box(0.5, 0, 0.51, 1),
        "the upper left and the lower right",
    ),
    "a spot and its satellite": (disc(0.15, 0.15, 0.15) | disc(0.3, 0.3, 0.06), "the upper left"),
    "a large and a small spot": (
        disc(0.2, 0.2, 0.18) | disc(0.8, 0.8, 0.09), "the upper left and a small spot in the lower right",
    ),
    "two places and a crumb": (
        disc(0.2, 0.2, 0.15) | disc(0.8, 0.8, 0.15) | disc(0.8, 0.1, 0.05), "the upper left and the lower right",
    ),
    "lines alone": (box(0.2, 0.1, 0.21, 0.4) | box(0.3, 0.1, 0.31, 0.4), "two small spots in the upper left"),
    "a piece and crumbs": (disc(0.2, 0.2, 0.18) | disc(0.9, 0.9, 0.02), "the upper left"),
}  # fmt: skip


@pytest.mark.parametrize("case", PLACES)
def test_a_place_is_called_what_a_person_would_call_it(case: str) -> None:
    mask, words = PLACES[case]
    assert position.in_words(mask) == words


MIRRORED = {"left": "right", "right": "left"}
FLIPPED = {
    "upper": "lower", "lower": "upper", "top": "bottom", "bottom": "top", "above": "below", "below": "above",
}  # fmt: skip


def swapped(words: str, table: dict[str, str]) -> str:
    return re.sub("|".join(table), lambda found: table[found.group()], words)


@pytest.mark.parametrize("turn", ["mirrored", "flipped"])
@pytest.mark.parametrize("case", PLACES)
def test_the_words_turn_with_the_picture(case: str, turn: str) -> None:
    mask, words = PLACES[case]
    flip: Callable[[np.ndarray], np.ndarray] = np.fliplr if turn == "mirrored" else np.flipud
    got = position.in_words(flip(mask))
    expected = swapped(words, MIRRORED if turn == "mirrored" else FLIPPED)
    got, expected = (words.removeprefix("small spots ") for words in (got, expected))
    assert sorted(got.split(" and ")) == sorted(expected.split(" and "))


def test_only_what_the_model_saw_counts_where_it_saw_less() -> None:
    seen = box(0, 0.25, 1, 0.75)
    assert position.in_words(seen, seen) == "all that the model saw"
    assert position.in_words(box(0, 0.25, 0.8, 0.75), seen) == "most of what the model saw"
    assert position.in_words(disc(0.2, 0.5, 0.18), seen) == "the top"
    assert position.share(box(0, 0.25, 0.5, 0.75), seen) == pytest.approx(0.5)
    assert position.share_in_words(box(0, 0.25, 0.5, 0.75), seen) == "50 % of what the model saw"


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 %"), (1, "less than 1 %"), (120, "12 %"), (125, "12 %"), (999, "more than 99 %"), (1000, "100 %")],
)
def test_the_share_is_told_in_per_cent(count: int, words: str) -> None:
    mask = (np.arange(1000) < count).reshape(25, 40)
    assert position.share(mask) == count / 1000
    assert position.share_in_words(mask) == f"{words} of the picture"


@given(mask=npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=30)), dense=st.booleans())
@settings(deadline=None)
def test_every_mask_has_words(mask: np.ndarray, dense: bool) -> None:
    mask = ~mask if dense else mask
    words = position.in_words(torch.from_numpy(mask), mask | dense)
    assert re.fullmatch(r"[a-z ]+", words)
    assert len(words) < 90, words


def test_what_is_no_mask_is_refused() -> None:
    with pytest.raises(ShapeError):
        position.in_words(np.zeros(5))
    with pytest.raises(ShapeError, match="What was seen"):
        position.in_words(np.zeros((5, 5)), np.ones((4, 4)))
