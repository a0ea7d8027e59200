"""What is said of parts and changes is verified where it is so, refuted where it is not, and can be checked again."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import pellucid as pl
from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.language import things
from pellucid.subject import VisionModel
from pellucid.testbed import scenes
from pellucid.testbed.twins import twin


@cache
def model() -> VisionModel:
    return pl.load("testbed:cnn")


@cache
def frame() -> Frame:
    return scenes(7, [7]).frames()[0]  # moss, barred teal wings, a fanned plum tail, at the shore


@pytest.mark.parametrize(("word", "verdict"), [("plum", "verified"), ("amber", "refuted")])
def test_a_colour_is_verified_where_it_is_so_and_refuted_where_not(word: str, verdict: str) -> None:
    claim = things.like(frame(), "tail_hue", word, writer="someone")
    assert claim.verdict == verdict and f"“{word}”" in claim.text
    again = claim.recheck(model())
    assert (again.verdict, again.measured) == (claim.verdict, claim.measured)


def test_the_witness_does_not_judge_itself() -> None:
    assert things.like(frame(), "tail_hue", "plum", writer="witness").verdict == "unverifiable"


def test_a_part_is_found_where_the_renderer_painted_it() -> None:
    assert things.there(frame(), "tail").verdict == "verified"
    mask = things.parts_of(frame())["tail"]
    truth = scenes(7, [7]).mask("tail")[0]
    assert (mask & truth).sum() / (mask | truth).sum() > 0.7


def test_a_plume_that_is_not_there_is_not_found() -> None:
    bald = twin(scenes(7, [7]), crest="none").frames()[0]
    assert things.there(bald, "crest").verdict == "refuted"


def test_a_change_holds_one_way_and_not_the_other() -> None:
    other = twin(scenes(7, [7]), tail="forked").frames()[0]
    assert things.changed(frame(), other, "tail", "fanned", "forked", writer="vlm").verdict == "verified"
    assert things.changed(other, frame(), "tail", "fanned", "forked", writer="vlm").verdict == "refuted"
    assert things.changed(frame(), frame(), "tail", "fanned", "forked", writer="vlm").verdict == "refuted"


def test_a_recoloured_square_is_told_and_an_unchanged_one_is_not() -> None:
    plain = np.full((32, 32, 3), 245, dtype=np.uint8)
    painted, mask = plain.copy(), np.zeros((32, 32), dtype=bool)
    mask[:8, :8] = True
    painted[mask] = (50, 90, 190)
    one, other = Frame(plain, "before"), Frame(painted, "after")
    assert things.recoloured(one, other, mask, "white", "blue").verdict == "verified"
    assert things.recoloured(one, other, mask, "white", "red").verdict == "refuted"
    assert things.recoloured(one, other, ~mask, "white", "blue").verdict == "refuted"


def test_a_picture_whose_sides_do_not_fit_is_refused() -> None:
    with pytest.raises(RequestError, match="multiples of 4"):
        things.parts_of(Frame(np.zeros((30, 30, 3), dtype=np.uint8), "odd"))
