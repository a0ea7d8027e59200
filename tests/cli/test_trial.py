"""`pellucid trial` prints what the library found, with a guessing narrator beside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pellucid.cli import app
from pellucid.errors import RequestError

runner = CliRunner()
ASKED = ["trial", "self-explanations", "--model", "testbed:cnn", "--narrator", "honest", "--scenes", "6"]


def test_an_honest_narrator_stands_above_the_guessing_one() -> None:
    answer = runner.invoke(app, [*ASKED, "--json"])
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    honest, guessing = found["trials"]
    assert (honest["speaker"], guessing["speaker"]) == ("honest", "guessing")
    assert set(honest["agrees"]) == {"occlusion", "lime"} and honest["read"] == 6
    own = honest["scores"]["speaker"]
    assert own["comprehensiveness"] > honest["scores"]["random"]["comprehensiveness"]
    assert own["comprehensiveness"] > guessing["scores"]["speaker"]["comprehensiveness"]
    assert own["sufficiency"] < guessing["scores"]["speaker"]["sufficiency"]


def test_a_narrator_that_does_not_exist_is_refused() -> None:
    done = runner.invoke(app, ["trial", "self-explanations", "--model", "testbed:cnn", "--narrator", "oracle"])
    assert isinstance(done.exception, RequestError) and "names no narrator" in str(done.exception)


def test_descriptions_stand_beside_those_of_other_pictures() -> None:
    answer = runner.invoke(app, ["trial", "descriptions", "--scenes", "4", "--judge", "truth", "--json"])
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    assert found["beats_controls"] and len(found["cards"]) == 4
    assert found["means"]["hallucination"]["own"] < found["means"]["hallucination"]["dealt"]


def test_reasons_are_told_with_what_becomes_of_planted_ones() -> None:
    answer = runner.invoke(app, ["trial", "rationales", "--explainer", "parrot", "--scenes", "3", "--questions", "1"])
    assert answer.exit_code == 0, answer.output
    assert "does not follow the evidence" in answer.output and "were found out" in answer.output


def test_an_edit_is_kept_and_the_next_round_starts_from_it(tmp_path: Path) -> None:
    asked = ["recipe", "review", "scene:7", "--store", str(tmp_path / "reviews.jsonl")]
    first = runner.invoke(app, [*asked, "--edited", "a moss bird with barred teal wings", "--by", "anna"])
    assert first.exit_code == 0 and "anna's edit" in first.output, first.output
    second = runner.invoke(app, [*asked, "--json"])
    found = json.loads(second.stdout)
    assert found["draft"] == "a moss bird with barred teal wings" and found["round"] == 2 and not found["changes"]


def test_names_of_planted_units_stand_beside_those_of_shuffled_responses() -> None:
    asked = ["trial", "naming", "--scene-seed", "1041", "--scenes", "40"]
    answer = runner.invoke(app, [*asked, "--net", "mixed", "--method", "milan", "--json"])
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    (way,) = found["ways"]
    assert (way["name"], found["units"], found["pictures"]) == ("milan", 12, 40)
    first, controls = way["first"], (way["shuffled"], way["by_lot"])
    assert first["low"] > max(one["mean"] for one in controls)
    assert way["beats_controls"] is (first["low"] > max(one["high"] for one in controls))
    assert first["mean"] == pytest.approx(1 - len(way["missed"]) / 12)
    told = runner.invoke(app, [*asked, "--net", "path", "--method", "cos_cubed"]).output
    assert "True concept first, of 3 units of planted_path" in told and "with words by lot" in told
    assert "cos_cubed, best of 20" in told and "cos_cubed, its own first" in told


def test_a_way_of_naming_that_does_not_exist_is_refused() -> None:
    done = runner.invoke(app, ["trial", "naming", "--method", "guess"])
    assert isinstance(done.exception, RequestError) and "there are soft_wpmi" in str(done.exception)
