"""Narrators and the measure of words, as commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import pellucid as pl
from pellucid.cli import app
from tests.language.servers import Liar, serving

run = CliRunner()


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bird") / "bird.png"
    (frame,) = pl.testbed.scenes(31, 1).frames()
    place.write_bytes(frame.png_bytes())
    return place


def explained(picture: Path, out: Path, narrator: str) -> pl.Explanation:
    done = run.invoke(
        app,
        ["explain", str(picture), "--model", "testbed:cnn", "--methods", "layer_cam", "--out", str(out),
         "--narrator", narrator, "--json"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    story = pl.open(out / "bird.json")
    assert isinstance(story, pl.Explanation)
    return story


def test_explain_has_its_findings_retold_by_templates(picture: Path, tmp_path: Path) -> None:
    story = explained(picture, tmp_path, "templates")
    assert story.narration is not None and story.narration.faithful["coverage"] == 1.0
    assert "narrator’s words" in (tmp_path / "bird.html").read_text(encoding="utf-8")


def test_explain_strikes_what_a_server_invents(picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Liar(1.0)) as server:
        monkeypatch.setenv("PELLUCID_NARRATOR_URL", server.url)
        story = explained(picture, tmp_path, "chat:liar")
    assert story.narration is not None and story.narration.claims.refuted and not story.narration.claims.verified
    assert "<s>" in (tmp_path / "bird.html").read_text(encoding="utf-8")


def test_a_server_that_refuses_leaves_a_note_and_the_page_is_made(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Liar(0.0), troubles=("403",)) as server:
        monkeypatch.setenv("PELLUCID_NARRATOR_URL", server.url)
        story = explained(picture, tmp_path, "chat:small")
    assert story.narration is None and any("status 403" in note for note in story.notes)


def test_a_narrator_that_is_none_is_refused_at_once(picture: Path, tmp_path: Path) -> None:
    done = run.invoke(app, ["explain", str(picture), "-m", "testbed:cnn", "--out", str(tmp_path), "--narrator", "bard"])
    assert done.exit_code == 2 or isinstance(done.exception, pl.PellucidError)
    assert not (tmp_path / "bird.json").exists()


def test_the_measure_of_words_prints_its_shares() -> None:
    done = run.invoke(app, ["testbed", "words", "--scenes", "12", "--lies", "0.5", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["lies_caught"]["count"] == found["lied"] > 0 and found["scenes"] == 12
    assert 0 <= found["verified_true"]["low"] <= found["verified_true"]["mean"] <= 1
