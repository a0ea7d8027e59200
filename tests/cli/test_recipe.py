"""`pellucid recipe` parses, calls one recipe and shows it; what cannot be asked is refused in a sentence."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from pellucid.cli import app
from pellucid.errors import RequestError, SceneError


def test_the_same_picture_twice_differs_in_nothing() -> None:
    done = CliRunner().invoke(app, ["recipe", "difference", "scene:7", "scene:7", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["claims"] == [] and found["trail"][-1] == "No difference was found."


def test_a_changed_tail_is_told() -> None:
    done = CliRunner().invoke(app, ["recipe", "difference", "scene:7", "scene:7;tail=forked"])
    assert done.exit_code == 0 and "changed from “fanned” to “forked”" in done.output, done.output


@pytest.mark.parametrize(("asked", "error"), [("scene:x", RequestError), ("scene:7;hat=red", SceneError)])
def test_what_is_no_scene_is_refused(asked: str, error: type[Exception]) -> None:
    done = CliRunner().invoke(app, ["recipe", "clues", asked])
    assert isinstance(done.exception, error)
