"""Pairs, marked pictures, bags and films from the command line, offline and on the testbed's nets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import pellucid as pl
from pellucid.cli import app
from pellucid.cli.pictures import FRESH
from pellucid.errors import RequestError
from pellucid.testbed import scenes


def run(*words: str) -> dict[str, object]:
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_a_pair_of_birds_is_compared_point_to_point(tmp_path: Path) -> None:
    out = tmp_path / "pair.json"
    told = run("pair", "scene:7", "scene:19", "--embedding", "flatten", "--point", "30,30", "--out", str(out))
    found = pl.open(out)
    assert told["likeness"] == pytest.approx(found.likeness, abs=1e-3) and abs(float(str(told["gap"]))) < 1e-5
    assert found.asked == ((0, 30, 30),) and found.layer == "features"


def test_a_pair_is_compared_by_the_picture_side_of_a_dual_encoder(tmp_path: Path) -> None:
    told = run("pair", "scene:7", "scene:19", "--model", "testbed:dual", "--out", str(tmp_path / "pair.png"))
    assert told["layer"] == "image.norm" and abs(float(str(told["gap"]))) < 1e-5
    assert (tmp_path / "pair.png").stat().st_size > 1000


def test_a_point_that_is_none_is_refused() -> None:
    done = CliRunner().invoke(app, ["pair", "scene:7", "scene:19", "--point", "here"])
    assert isinstance(done.exception, RequestError) and "2 whole numbers" in str(done.exception)


def test_a_picture_is_segmented_by_marked_ones(tmp_path: Path) -> None:
    out = tmp_path / "few.json"
    marked = [word for at in (19, 20) for word in ("--support", f"scene:{at}=wing,tail")]
    told = run("few-shot", "scene:7", *marked, "--out", str(out))
    rows, found = told["classes"], pl.open(out)
    assert isinstance(rows, list) and [row["name"] for row in rows] == ["wing", "tail"]
    assert rows[0]["inside"] > 0.5 > 10 * rows[0]["area"]
    assert rows[0]["inside"] == pytest.approx(found.inside("wing"), abs=1e-3)


def test_a_mask_is_a_picture_that_is_white_where_marked(tmp_path: Path) -> None:
    drawn = scenes(FRESH, [19])
    for name, pixels in (("bird", drawn.pixels[0]), ("mask", drawn.objects[0])):
        Image.fromarray(np.asarray(pixels, dtype=np.uint8) * (255 if name == "mask" else 1)).save(
            tmp_path / f"{name}.png"
        )
    words = f"{tmp_path / 'bird.png'}={tmp_path / 'mask.png'}"
    run("few-shot", "scene:7", "--support", words, "--class", "bird", "--out", str(tmp_path / "few.json"))
    found = pl.open(tmp_path / "few.json")
    assert found.classes == ("bird",) and np.array_equal(found.marked[0] == 1, drawn.objects[0])


def test_a_support_picture_without_mask_is_refused() -> None:
    done = CliRunner().invoke(app, ["few-shot", "scene:7", "--support", "scene:19"])
    assert isinstance(done.exception, RequestError) and "PICTURE=MASK" in str(done.exception)


def test_a_bag_tells_which_pictures_decide(tmp_path: Path) -> None:
    told = run("bag", "bag:0", "--out", str(tmp_path / "bag.png"))
    rows = told["instances"]
    assert isinstance(rows, list) and told["answer"] == "a plume"
    most = max(rows, key=lambda row: row["attention"])
    assert most["name"] == "scene-3000-3" and most["adds"] == max(row["adds"] for row in rows)
    assert (tmp_path / "bag.png").stat().st_size > 1000


def test_a_film_is_written_as_strip_and_as_film(tmp_path: Path) -> None:
    told = run("clip", "clip:3", "--methods", "grad_cam,hires_cam", "--out", str(tmp_path / "clips"))
    maps = told["maps"]
    assert isinstance(maps, list) and [row["target"] for row in maps] == ["up", "up"]
    assert {path.name for path in (tmp_path / "clips").iterdir()} == {
        "grad_cam.png", "grad_cam.gif", "hires_cam.png", "hires_cam.gif",
    }  # fmt: skip
    assert sum(maps[0]["over_time"][2:6]) > 0.7  # it flies from frame 2 to frame 5
