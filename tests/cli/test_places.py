"""Detectors and segmenters on the command line: a page per box, a page per region."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

import pellucid as pl
from pellucid.cli import main
from pellucid.values import Box, Pixels


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["pellucid", *map(str, arguments)])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


def saved(pictures: pl.testbed.Scenes, path: Path) -> Path:
    Image.fromarray(pictures.frames()[0].pixels).save(path)
    return path


def test_every_box_of_a_detector_has_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = pl.testbed.scenes(77, 1, mode="flock", size=128)
    out = tmp_path / "out"
    code = typed(
        monkeypatch, "explain", saved(scenes, tmp_path / "flock.png"), "--model", "testbed:detector", "--target",
        "every", "--methods", "layer_cam", "--budget", "60", "--out", out, "--json",
    )  # fmt: skip
    assert code == 0
    done = json.loads(capsys.readouterr().out)["done"]
    assert [one["target"] for one in done] == [
        "crowned willow swift at 15, 80, 58, 113",
        "ripple wren at 83, 85, 116, 109",
    ]
    assert sorted(path.name for path in out.glob("*.html")) == [
        "flock-1-crowned-willow-swift.html", "flock-2-ripple-wren.html", "index.html",
    ]  # fmt: skip
    story = pl.open(out / "flock-2-ripple-wren.json")
    assert isinstance(story, pl.Explanation) and isinstance(story.target, Box)
    left, top, right, bottom = (round(side) for side in story.target.sides)
    values = story.chosen.values[0].clamp(min=0)
    assert float(values[top:bottom, left:right].sum() / values.sum()) > 0.9


def test_every_region_of_a_segmenter_has_its_page_and_one_class_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = saved(pl.testbed.scenes(5, 1), tmp_path / "bird.png")
    common = ("--model", "testbed:segmenter", "--methods", "layer_cam", "--budget", "60", "--json")
    assert typed(monkeypatch, "explain", picture, *common, "--target", "every", "--out", tmp_path / "every") == 0
    done = json.loads(capsys.readouterr().out)["done"]
    assert "wing in 82 pixels" in [one["target"] for one in done] and len(done) == 10
    story = pl.open(tmp_path / "every" / "bird-3-wing.json")
    assert isinstance(story, pl.Explanation) and isinstance(story.target, Pixels)
    assert typed(monkeypatch, "explain", picture, *common, "--target", "wing", "--out", tmp_path / "one") == 0
    assert [one["target"] for one in json.loads(capsys.readouterr().out)["done"]] == ["wing"]


def test_a_picture_in_which_nothing_is_found_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (128, 128), (90, 120, 160)).save(tmp_path / "sky.png")
    code = typed(monkeypatch, "explain", tmp_path / "sky.png", "--model", "testbed:detector", "--target", "every",
                 "--out", tmp_path / "out")  # fmt: skip
    assert code == 1
    assert "detector finds nothing in it" in capsys.readouterr().err


def test_every_means_nothing_to_a_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = saved(pl.testbed.scenes(5, 1), tmp_path / "bird.png")
    code = typed(monkeypatch, "explain", picture, "--model", "testbed:cnn", "--target", "every", "--out", tmp_path)
    assert code == 2 or "every" in capsys.readouterr().err
