"""The PNG of one picture: the same bytes each time, with every letter of its labels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pellucid.canvas import painting
from pellucid.results import Explanation
from pellucid.results.sheet import explanation_png
from tests.results.making import small_scene


@pytest.fixture(scope="module")
def scene() -> Explanation:
    return small_scene()


def named(story: Explanation, label: str) -> Explanation:
    first = replace(story.predictions[0], label=label)
    return replace(story, predictions=(first, *story.predictions[1:]), target_name=label)


def test_a_sheet_is_drawn_the_same_each_time(scene: Explanation) -> None:
    first = explanation_png(scene)
    painting._font.cache_clear()
    assert explanation_png(scene) == first


def test_an_accent_in_a_label_is_on_the_sheet(scene: Explanation) -> None:
    sheets = {explanation_png(named(scene, label)) for label in ("épée", "epee", "эпее", "猫猫猫猫")}
    assert len(sheets) == 4
