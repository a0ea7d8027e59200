"""`pellucid describe characteristics` says what the library measured."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from pellucid.cli import app
from pellucid.results import Claim

runner = CliRunner()
FEW = ["--pictures", "8"]


def test_units_and_patches_are_told_as_claims() -> None:
    asked = ["describe", "characteristics", "2", "--patch", "scene:7@3,4", *FEW, "--json"]
    answer = runner.invoke(app, asked)
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    names = [one["name"] for one in found["readings"]]
    assert names == ["Unit 2 of features.3", "The prototype at 3, 4 of scene-7-7 in features.3"]
    for one in found["readings"]:
        assert set(one["importance"]) == {"hue", "saturation", "contrast", "texture", "shape"}
        assert Claim.from_dict(one["claim"]).text == one["text"]


def test_a_class_is_told_in_a_sentence() -> None:
    answer = runner.invoke(app, ["describe", "characteristics", "--class", "ripple swift", *FEW])
    assert answer.exit_code == 0 and "The class “ripple swift”:" in answer.output, answer.output


def test_what_names_nothing_is_refused() -> None:
    assert "units by number" in str(runner.invoke(app, ["describe", "characteristics"]).exception)
    assert "is no place" in str(runner.invoke(app, ["describe", "characteristics", "--patch", "scene:7"]).exception)
