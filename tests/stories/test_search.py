"""The search for a more faithful map: it finds what is better, stays within its budget, and believes what it saw."""

from __future__ import annotations

import numpy as np
import pytest

import pellucid as pl
from pellucid.errors import RequestError
from pellucid.registry import find_method
from pellucid.stories.search import Arm, _Beliefs  # pyright: ignore[reportPrivateUsage]
from tests.guests import unchanged


def arm(name: str, baseline: str, passes: float = 10) -> Arm:
    return Arm(find_method(name), None, {"baseline": baseline}, passes)


def test_a_baseline_that_always_wins_is_soon_chosen_almost_always() -> None:
    beliefs = _Beliefs(np.random.default_rng(0))
    arms = [arm("occlusion", "mean"), arm("occlusion", "blur")]
    chosen = []
    for _ in range(200):
        one = beliefs.choose(arms)
        beliefs.learn(one, better=one.parameters["baseline"] == "mean")
        chosen.append(one.parameters["baseline"])
    assert chosen[100:].count("mean") > 95


def test_of_equal_chances_the_cheaper_map_is_tried_first() -> None:
    beliefs = _Beliefs(np.random.default_rng(1))
    arms = [arm("rise", "mean", 400), arm("occlusion", "mean", 10)]
    assert [beliefs.choose(arms).method.name for _ in range(50)].count("occlusion") > 45


@pytest.mark.parametrize("name", ["testbed:cnn", "testbed:vit"])
def test_the_search_never_shows_less_than_the_panel_and_keeps_the_budget(name: str) -> None:
    model, frame = pl.load(name), pl.testbed.scenes(903, 1).frames()[0]
    assert model.module is not None
    with unchanged(model.module):
        story = pl.explain(model, frame, faithfulness_target=1.0, budget=700)
    plain = pl.explain(model, frame, budget=350)
    assert story.choice.table[0]["score"] >= plain.choice.table[0]["score"] - 1e-6
    assert story.cost["passes"] <= 700
    (said,) = [note for note in story.notes if "search" in note]
    assert "below the target of 1.00" in said and "white" in said


def test_a_target_that_is_reached_already_costs_no_search() -> None:
    frame = pl.testbed.scenes(903, 1).frames()[0]
    story = pl.explain("testbed:cnn", frame, faithfulness_target=-0.5, budget=700)
    (said,) = [note for note in story.notes if "search" in note]
    assert "tried 0 more maps in 0 passes and reached" in said


def test_a_target_no_map_can_have_is_refused() -> None:
    frame = pl.testbed.scenes(903, 1).frames()[0]
    for wrong in (1.5, float("nan"), True):
        with pytest.raises(RequestError, match="expected a number from -1 to 1"):
            pl.explain("testbed:cnn", frame, faithfulness_target=wrong)
