"""Sentences about units, concepts, comparisons and turned answers: each verdict is known before the test runs."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import pellucid as pl
from pellucid.errors import RequestError
from pellucid.language import templates
from pellucid.language.templates import Topic
from pellucid.results import Claim, Claims
from pellucid.subject import VisionModel
from pellucid.testbed import Scenes, captions, truth
from pellucid.values import Class

KINDS = ("unit_fires", "concept_present", "more_than", "flips_if_removed")


@cache
def model() -> VisionModel:
    return pl.load("testbed:cnn")


@cache
def scene() -> Scenes:
    """A bird with a plume, which decides its species."""
    drawn = pl.testbed.scenes(31, 20)
    return drawn[[int(np.flatnonzero(drawn.fields["crest"])[0])]]


def mask(part: str) -> np.ndarray:
    return scene().mask(part)[0]


@cache
def topic() -> Topic:
    (frame,) = scene().frames()
    return Topic(model(), frame, Class(int(scene().labels[0])), seed=0)


def corner() -> np.ndarray:
    where = np.zeros((64, 64), dtype=bool)
    where[:4, :4] = True
    return where


@cache
def claims() -> dict[str, Claim]:
    around = grown("crest")
    return {
        "unit_fires": templates.fires(topic(), "features.0", 3, "the plume", around),
        "concept_present": templates.shows(
            topic(), f"a {hue()} bird", [f"a {other} bird" for other in ("coral", "teal", "plum") if other != hue()],
            encoder="testbed:dual",
        ),
        "more_than": templates.outweighs(topic(), around, corner()),
        "flips_if_removed": templates.flips(topic(), around),
    }  # fmt: skip


def grown(part: str) -> np.ndarray:
    return truth.grown(mask(part)[None], 3)[0]


def hue() -> str:
    return captions.facts(scene().fields)[0]["body_hue"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_said_was_tested_and_is_true(kind: str) -> None:
    claim = claims()[kind]
    assert claim.verdict == "verified" and claim.predicate.removeprefix("not_") == kind
    assert "{" not in claim.text and claim.figures


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_figures_come_back_from_disk(kind: str) -> None:
    claim = claims()[kind]
    again = Claim.from_dict(json.loads(json.dumps(claim.to_dict()))).recheck(model())
    assert (again.verdict, again.text) == (claim.verdict, claim.text)
    assert {name: again.measured[name] for name in claim.measured} == dict(claim.measured)


def test_a_plume_outweighs_an_empty_corner_and_its_removal_turns_the_answer() -> None:
    assert claims()["more_than"].predicate == "more_than"
    turned = claims()["flips_if_removed"]
    assert turned.predicate == "flips_if_removed" and turned.measured["label_after"] != turned.measured["label"]
    stays = templates.flips(topic(), corner())
    assert stays.predicate == "not_flips_if_removed" and "stays" in stays.text


@pytest.mark.parametrize("kind", ["more_than", "flips_if_removed", "concept_present"])
def test_the_opposite_is_refuted(kind: str) -> None:
    claim = claims()[kind]
    wrong_hue = "a moss bird" if hue() != "moss" else "a blue bird"
    turned = {
        "more_than": {"mask": claim.arguments.get("other_mask"), "other_mask": claim.arguments.get("mask")},
        "flips_if_removed": {"mask": corner()},
        "concept_present": {"concept": wrong_hue, "against": [f"a {hue()} bird"]},
    }[kind]
    wrong = replace(claim, arguments={**claim.arguments, **turned})
    assert wrong.recheck(model()).verdict == "refuted"


def test_an_encoder_is_no_witness_of_its_own_sentence() -> None:
    said = templates.shows(topic(), "a moss bird", ["a blue bird"], encoder="testbed:dual", writer="testbed:dual")
    assert said.verdict == "unverifiable" and "no witness of its own" in said.text


def test_a_concept_without_rivals_is_refused() -> None:
    with pytest.raises(RequestError, match="what it could be instead"):
        templates.shows(topic(), "a moss bird", [], encoder="testbed:dual")


def test_a_unit_that_is_not_there_is_refused() -> None:
    with pytest.raises(RequestError, match="there is no 999"):
        templates.fires(topic(), "features.0", 999, "the plume", corner())


def test_claims_are_a_tuple_that_can_be_asked_by_verdict() -> None:
    story = pl.explain(model(), scene().frames()[0], methods=["layer_cam", "gradient_x_input"])
    assert isinstance(story.claims, tuple)
    wrong = replace(story, claims=Claims((replace(story.claims[0], verdict="refuted"), *story.claims[1:])))
    assert wrong.claims.refuted == (wrong.claims[0],)
    assert wrong.claims.verified == wrong.claims[1:] and not wrong.claims.unverifiable
    assert wrong.claims.of(predicate=story.claims[1].predicate) == (story.claims[1],)
    with pytest.raises(RequestError, match="is no verdict"):
        wrong.claims.of("true")
