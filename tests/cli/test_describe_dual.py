"""`pellucid describe head` and `class`, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pellucid.cli import app
from pellucid.errors import DescriptorError, RequestError

RUN = CliRunner()


def test_a_head_is_told_with_its_controls() -> None:
    found = json.loads(RUN.invoke(app, ["describe", "head", "--head", "3.2", "--json"], catch_exceptions=False).stdout)
    (one,) = found["heads"]
    assert found["error"] < 1e-4
    assert {text["text"] for text in one["texts"][:2]} == {"a forked tail", "a fanned tail"}
    assert one["beats_controls"] and one["explained"] > max(one["random"], one["shuffled"])
    said = RUN.invoke(app, ["describe", "head", "--head", "3.2"], catch_exceptions=False).stdout
    assert "random directions" in said and "shuffled texts" in said


def test_a_class_is_told_by_an_edited_list_with_its_controls(tmp_path: Path) -> None:
    path = tmp_path / "birds.yaml"
    RUN.invoke(app, ["describe", "class", "any", "--write", str(path)], catch_exceptions=False)
    path.write_text(path.read_text().replace("- barred wings", "- barred wings\n- a cone beak", 1))
    asked = ["describe", "class", "ripple swift", "--descriptors", str(path)]
    said = RUN.invoke(app, asked, catch_exceptions=False).stdout
    for words in ("a cone beak: tells", "names alone", "random words", "shuffled descriptions", "Ahead of"):
        assert words in said, said
    found = json.loads(RUN.invoke(app, [*asked, "--json"], catch_exceptions=False).stdout)
    assert found["controls"]["described"] > 0.9 and {"random_words", "shuffled", "nameless"} <= set(found["controls"])
    assert [text for text, _ in found["descriptions"]] == ["barred wings", "a cone beak", "a forked tail", "no plume"]


@pytest.mark.parametrize(("words", "error", "said"), [
    (["head", "--head", "9.9"], RequestError, "There is no layer 9, head 9"),
    (["head", "--head", "tail"], RequestError, "expected layer and head"),
    (["head", "--model", "testbed:cnn"], ValueError, "reads no texts"),
    (["class", "dodo"], DescriptorError, "there is no class 'dodo'"),
])  # fmt: skip
def test_what_cannot_be_described_is_told(words: list[str], error: type[Exception], said: str) -> None:
    result = RUN.invoke(app, ["describe", *words])
    assert isinstance(result.exception, error) and said in str(result.exception)
