"""Numbers and names as a reader writes them."""

from __future__ import annotations

import pytest

from pellucid.canvas.words import figures, listed, number, percent, shortened, title


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0%"), (1, "100%"), (0.634, "63%"), (0.9999, "over 99.9%"), (0.9971, "99.7%"), (0.0001, "under 0.1%"),
     (0.004, "0.4%"), (float("nan"), "unknown")],
)  # fmt: skip
def test_per_cent_never_rounds_to_certainty(share: float, words: str) -> None:
    assert percent(share) == words


def test_methods_have_the_names_of_their_field() -> None:
    assert title("grad_cam_pp") == "Grad-CAM++" and title("occlusion") == "Occlusion"


def test_lists_and_long_words_read_well() -> None:
    assert listed(["a", "b", "c"]) == "a, b and c" and listed(["a"]) == "a" and listed([]) == ""
    assert shortened("a long label of many words", 16) == "a long label…"
    assert len(shortened("x" * 99, 20)) == 20


def test_figures_are_written_with_three_digits() -> None:
    assert figures({"before_it": 0.63412, "hits": 7, "sure": True, "at": [1, 2.5]}) == {
        "before it": "0.634", "hits": "7", "sure": "yes", "at": "1, 2.5",
    }  # fmt: skip
    assert number(1234567.0) == "1.23e+06"
