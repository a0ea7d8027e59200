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


def test_two_classes_are_told_apart_with_controls() -> None:
    asked = ["describe", "difference", "ripple swift", "ripple wren", "--among", "3"]
    found = json.loads(RUN.invoke(app, [*asked, "--json"], catch_exceptions=False).stdout)
    ((first, second, apart),) = found["differences"]
    assert (first, second) == ("a forked tail", "a fanned tail") and apart > 0.95
    assert found["coverage"] > 0.95 and "with as many random words" in found["beside"]["controls"]
    turned = ["describe", "difference", "ripple wren", "ripple swift", "--among", "3"]
    said = RUN.invoke(app, turned, catch_exceptions=False).stdout
    assert "a fanned tail / a forked tail: AUROC" in said and "Right at the second look" in said


def test_descriptions_that_fit_each_picture_and_the_control_of_ensembling_stand_below_a_class() -> None:
    asked = ["describe", "class", "ripple swift", "--fitting", "2", "--ensembling"]
    found = json.loads(RUN.invoke(app, [*asked, "--json"], catch_exceptions=False).stdout)
    texts = found["matching"]["texts"]
    assert texts and all(len(one) == 2 and one[0]["share"] >= one[1]["share"] for one in texts)
    assert {"selected", "random", "meaningless", "assigned"} <= set(found["ensembling"])
    said = RUN.invoke(app, asked, catch_exceptions=False).stdout
    assert "barred wings " in said and "with the best of another picture of the class" in said
    assert len(found["matched"]) == len(texts) and "those of the list" in said


@pytest.mark.parametrize(("words", "error", "said"), [
    (["head", "--head", "9.9"], RequestError, "There is no layer 9, head 9"),
    (["head", "--head", "tail"], RequestError, "expected layer and head"),
    (["head", "--model", "testbed:cnn"], ValueError, "reads no texts"),
    (["class", "dodo"], DescriptorError, "there is no class 'dodo'"),
    (["difference", "ripple swift", "ripple swift"], RequestError, "compared with itself"),
])  # fmt: skip
def test_what_cannot_be_described_is_told(words: list[str], error: type[Exception], said: str) -> None:
    result = RUN.invoke(app, ["describe", *words])
    assert isinstance(result.exception, error) and said in str(result.exception)
