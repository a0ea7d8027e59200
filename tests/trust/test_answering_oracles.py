"""Which changes a map foretells, told from passes that were made for its score."""

from __future__ import annotations

import pytest
import torch

import pellucid as pl
from pellucid.engine import Evidence, look
from pellucid.images import Frame
from pellucid.results import Choice, Explanation
from pellucid.subject import wrap
from pellucid.testbed import scenes
from pellucid.trust.answering import LARGE, SLIGHTLY, SMALL, Foretold, foretold_by_passes, grey_slopes
from pellucid.trust.faithfulness import perturbation_curves
from pellucid.trust.measured import control, controls
from tests.oracles.nets import LinearPicture, pictures

HEIGHT, WIDTH, CLASS = 14, 21, 2
FRACTIONS = (0.0, 0.05, 0.1, 0.2, 0.5, 0.8, 1.0)


def told(evidence: Evidence, values: torch.Tensor) -> dict[str, Foretold]:
    maps = {"asked": values, **{control(name): one for name, one in controls(evidence).items()}}
    curves = perturbation_curves(evidence, maps, fractions=FRACTIONS, fills=("zero", "black"))
    before = evidence.passes.cost
    found = foretold_by_passes(evidence, maps, curves, "asked", grey_slopes(evidence))
    assert evidence.passes.cost - before <= 3  # the gradient, asked for the first time; nothing else
    return {one.changes: one for one in found}


def test_contributions_of_a_linear_model_foretell_all_that_is_taken_and_nothing_beside() -> None:
    inputs = pictures(1, HEIGHT, WIDTH)
    evidence = look(wrap(LinearPicture(HEIGHT, WIDTH), input_size=(HEIGHT, WIDTH), activation="none"), inputs, CLASS)
    gradient = evidence.input_gradient()
    found = told(evidence, (gradient * inputs).sum(dim=1))
    assert found[SMALL].share.mean == pytest.approx(1.0, abs=1e-5)
    assert found[LARGE].share.mean == pytest.approx(1.0, abs=1e-5)
    map_, slopes = (gradient * inputs).sum(dim=1).flatten(), gradient.sum(dim=1).flatten()
    cosine = float(map_ @ slopes / map_.norm() / slopes.norm())
    assert found[SLIGHTLY].share.mean == pytest.approx(max(0.0, cosine) ** 2, abs=1e-6)


def test_slopes_of_a_linear_model_foretell_slight_changes_and_a_map_turned_round_none() -> None:
    inputs = pictures(1, HEIGHT, WIDTH)
    evidence = look(wrap(LinearPicture(HEIGHT, WIDTH), input_size=(HEIGHT, WIDTH), activation="none"), inputs, CLASS)
    slopes = evidence.input_gradient().sum(dim=1)
    assert told(evidence, slopes)[SLIGHTLY].share.mean == pytest.approx(1.0)
    turned = told(evidence, -(evidence.input_gradient() * inputs).sum(dim=1))
    assert all(turned[kind].share.mean <= 1e-9 for kind in (SMALL, LARGE))


def test_the_sentence_names_the_question_that_the_map_answers() -> None:
    rows = (
        {"changes": "one thing happens", "mean": 0.6, "low": -0.1, "high": 0.9, "count": 9},
        {"changes": "another happens", "mean": 0.5, "low": 0.2, "high": 0.7, "count": 9},
        {"changes": "a third happens", "mean": 0.001, "low": 0.001, "high": 0.001, "count": 1},
    )
    choice = Choice("grad_cam", "because", foretells=rows)
    assert choice.question == (
        "Ask it what happens when another happens: it foretells 50% of that, next to nothing when a third happens and "
        "nothing for sure when one thing happens."
    )
    assert "no kind of change for sure" in Choice("grad_cam", "because", foretells=rows[:1]).question
    assert not Choice("grad_cam", "because").question


@pytest.mark.parametrize("net", ["testbed:cnn", "testbed:vit"])
def test_explain_says_it_without_a_pass_more_than_planned(net: str) -> None:
    frame: Frame = scenes(3000, [12]).frames()[0]
    story = pl.explain(pl.load(net), frame, methods=["gradient", "grad_cam"], budget=250)
    assert isinstance(story, Explanation)
    assert [row["changes"] for row in story.choice.foretells] == [SMALL, LARGE, SLIGHTLY]
    assert story.cost["passes"] <= story.cost["planned"]
    assert story.choice.question
