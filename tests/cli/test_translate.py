"""`pellucid translate`: a translator in a file is asked from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import pellucid as pl
from pellucid.cli import app
from pellucid.language import translate

RUN = CliRunner()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Hardly taught: what it says is no matter here."""
    corpus = translate.Corpus.of_scenes(950, 40, style="name")
    made = translate.fit(pl.load("testbed:cnn"), corpus, lesson=translate.Lesson(steps=3, batch=8), judged=0)
    return str(translate.save(made, tmp_path_factory.mktemp("translators") / "cnn.translator"))


def asked(*words: str) -> str:
    answer = RUN.invoke(app, ["translate", *words])
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_words_come_with_the_port_and_say_when_controls_are_missing(file: str) -> None:
    found = json.loads(asked("words", file, "scene:7", "--count", "20", "--json"))
    assert found["port"] == "what head reads, pooled"
    assert {"word", "share", "blind", "lift", "believed"} <= set(found["ranked"][0])
    assert "Controls were not measured" in asked("words", file, "scene:7", "--count", "20")


def test_sentences_are_the_likeliest_and_drawn_ones(file: str) -> None:
    found = json.loads(asked("sentences", file, "scene:7", "--count", "3", "--json"))
    assert len(found["drawn"]) == 3
    assert isinstance(found["likeliest"], str)


def test_a_map_of_a_phrase_is_painted(file: str, tmp_path: Path) -> None:
    out = tmp_path / "map.png"
    found = json.loads(
        asked("map", file, "meadow", "scene:7", "--after", "a ripple swift in a", "-o", str(out), "--json")
    )
    assert len(found["values"]) == 8
    assert out.read_bytes().startswith(b"\x89PNG")
