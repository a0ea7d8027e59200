"""`pellucid describe unit`, `layer` and `image` say what the library says."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from pellucid.cli import app

runner = CliRunner()


def test_a_unit_is_described_with_its_controls() -> None:
    asked = [
        "describe",
        "unit",
        "6",
        "--model",
        "testbed:planted_mixed",
        "--layer",
        "mono",
        "--pictures",
        "80",
        "--json",
    ]
    answer = runner.invoke(app, asked)
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    assert set(found["controls"]) == {"units", "shuffled responses", "random words"}
    (unit,) = found["units"]
    assert unit["unit"] == 6 and unit["best"][0] == "barred wings" and len(unit["exemplars"]) == 9
    assert found["notes"]


def test_a_picture_is_described_in_claims_with_their_agreement() -> None:
    answer = runner.invoke(app, ["describe", "image", "scene:7", "--json"])
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    assert [claim["test"] for claim in found["claims"]][-1] == "removal"
    assert found["agreement"]["numbers"] == 1 and found["agreement"]["wrong"] == []


def test_an_encoder_without_words_is_refused() -> None:
    answer = runner.invoke(app, ["describe", "image", "--encoder", "testbed:dual"])
    assert answer.exit_code != 0 and "An encoder needs words" in str(answer.exception)


def test_units_for_and_against_an_answer_are_tried_beside_units_by_lot() -> None:
    answer = runner.invoke(app, ["describe", "importance", "scene:7", "--count", "2", "--json"])
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    assert [claim["arguments"]["sign"] for claim in found["claims"]] == [1, 1, -1, -1]
    assert set(found["beside"]["controls"]) == {"as many units by lot", "chosen by shuffled gradients"}
    named = ["describe", "importance", "scene:7", "--count", "1", "--named", "--pictures", "80"]
    said = runner.invoke(app, named).stdout
    assert "units that count as much have no name" in said and "chosen by shuffled gradients" in said
