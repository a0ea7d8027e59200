"""Sentences about regions are held against scenes that are painted anew, not against the blur that made them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

import pellucid as pl
from pellucid.cli import app
from pellucid.errors import RequestError
from pellucid.results import Claim, Explanation
from pellucid.stories.claiming import REGIONAL, carried, carries, claiming, lost_without_the_rest
from pellucid.testbed.effects import effect
from pellucid.testbed.truth import place_of
from pellucid.values import Class


def test_a_region_carries_the_effects_of_what_lies_in_it_by_the_share_that_does() -> None:
    model, scene = pl.load("testbed:cnn"), pl.testbed.scenes(31, 1)
    found = effect(model.predict, scene, fields=["wing", "beak"])
    wing, beak = place_of(scene, "wing")[0], place_of(scene, "beak")[0]
    drops = {name: float(values[0]) for name, values in found.drops.items()}
    assert carried(scene, found, wing & ~beak) == pytest.approx(drops["wing"], rel=0.1)
    assert carried(scene, found, wing | beak) == pytest.approx(sum(drops.values()))
    rows = np.flatnonzero(wing.any(axis=1))
    upper = wing.copy()
    upper[rows[len(rows) // 2] :] = False
    share = float(upper.sum() / wing.sum())
    assert carried(scene, replace(found, drops={"wing": found.drops["wing"]}), upper) == pytest.approx(
        share * drops["wing"]
    )
    assert carried(scene, found, np.zeros_like(wing)) == 0


def test_sentences_of_explanations_are_true_and_the_same_of_another_place_are_not() -> None:
    model, scene = pl.load("testbed:cnn"), pl.testbed.scenes(32, 1)
    story = pl.explain(model, scene.frames()[0])
    assert isinstance(story, Explanation)
    said = [claim for claim in story.claims.verified if claim.predicate in REGIONAL]
    assert {claim.predicate for claim in said} == set(REGIONAL)
    assert all(carries(model, scene, claim) for claim in said)
    away = [np.roll(np.asarray(claim.arguments["mask"]), 32, axis=1) for claim in said]
    moved = [
        replace(claim, arguments={**claim.arguments, "mask": mask}) for claim, mask in zip(said, away, strict=True)
    ]
    assert not any(carries(model, scene, claim) for claim in moved)


def test_a_region_is_not_enough_where_the_answer_goes_with_the_rest() -> None:
    model, scene = pl.load("testbed:cnn"), pl.testbed.scenes(32, 1)
    target, parts = Class(int(scene.labels[0])), [place_of(scene, name)[0] for name in ("wing", "tail", "crest")]
    wing, all_three = (
        Claim("It says so.", "region_suffices", "survival", arguments={"target": target, "mask": mask})
        for mask in (parts[0], np.logical_or.reduce(parts))
    )
    assert lost_without_the_rest(model, scene, wing)
    assert not lost_without_the_rest(model, scene, all_three)


def test_the_measure_of_claims_prints_its_shares() -> None:
    done = CliRunner().invoke(app, ["testbed", "claims", "--scenes", "6", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    told = sum(row["count"] for table in (found["asserted"], found["denied"]) for row in table.values())
    assert 6 * len(REGIONAL) - 2 <= told == found["true"]["count"] and found["named"]["count"] == 6
    # Of 15 and more sentences of which 99 % are true, three are false once in a thousand times.
    assert found["true"]["mean"] >= 0.8


def test_models_that_know_no_species_are_refused() -> None:
    with pytest.raises(RequestError, match="does not name the testbed's species"):
        claiming(pl.load("testbed:digits"), count=1)
    with pytest.raises(RequestError, match="--scenes 0"):
        claiming(pl.load("testbed:cnn"), count=0)
