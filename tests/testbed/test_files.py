"""Scenes as files: what is written can be painted again to the byte, read by others, and continued."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from pycocotools import mask as runs
from pycocotools.coco import COCO

from pellucid.errors import FileError, SceneError
from pellucid.testbed import BIRD_PARTS, captions, export, files, open_folder, read_scenes, scenes, truth
from pellucid.testbed.files import to_png
from pellucid.testbed.scene import Scenes

# COCO's tools were written for NumPy before 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SETTINGS = [
    {},
    {"size": 40, "mode": "flock"},
    {"task": "side"},
    {"task": "count"},
    {"mode": "parts_missing"},
    {"shortcut": "background", "strength": 0.5},
    {"shortcut": "tag", "jpeg": 70},
]


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "images").iterdir())}


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("settings", SETTINGS)
def test_what_is_read_back_paints_the_same_files(tmp_path: Path, settings: dict[str, object]) -> None:
    done = export(tmp_path / "birds", count=6, seed=5, **settings)
    assert (done.count, done.painted) == (6, 6)
    back, drawn = read_scenes(tmp_path / "birds"), scenes(5, 6, **settings)
    assert back.world == drawn.world and back.seed == 5
    assert {name: values.dtype for name, values in back.fields.items()} == {
        name: values.dtype for name, values in drawn.fields.items()
    }
    written = pictures(tmp_path / "birds")
    assert list(written) == [f"{index:06d}.png" for index in range(6)]
    assert [to_png(pixels) for pixels in back.pixels] == list(written.values())
    assert np.array_equal(back.parts, drawn.parts) and np.array_equal(back.birds, drawn.birds)


@pytest.mark.parametrize("settings", SETTINGS)
def test_coco_reads_masks_boxes_and_captions(tmp_path: Path, settings: dict[str, object]) -> None:
    export(tmp_path, count=5, seed=5, **settings)
    drawn, ours = scenes(5, 5, **settings), open_folder(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs, told = COCO(tmp_path / "annotations.json"), COCO(tmp_path / "captions.json")
    assert {entry["name"] for entry in theirs.cats.values()} == {"bird", *(f"bird/{part}" for part in BIRD_PARTS)}
    names = {number: entry["name"] for number, entry in theirs.cats.items()}
    for at, picture in enumerate(ours):
        entries = theirs.loadAnns(theirs.getAnnIds(imgIds=[at]))
        assert len(entries) == len(picture.instances) > 0
        for entry, instance in zip(entries, picture.instances, strict=True):
            mask = theirs.annToMask(entry).astype(bool)
            part = names[entry["category_id"]].removeprefix("bird/")
            parts = BIRD_PARTS if part == "bird" else (part,)
            assert np.array_equal(mask, drawn.mask(*parts, bird=entry["bird"])[at])
            assert np.array_equal(mask, instance.mask())
            assert entry["area"] == mask.sum() and entry["iscrowd"] == 0
            assert list(runs.toBbox(theirs.annToRLE(entry))) == entry["bbox"]
        assert np.array_equal(picture.frame().pixels, drawn.pixels[at])
        said = tuple(drawn.told(style)[at] for style in captions.STYLES)
        assert picture.captions == said
        assert tuple(entry["caption"] for entry in told.loadAnns(told.getAnnIds(imgIds=[at]))) == said


def test_a_line_says_what_is_known_of_a_scene(tmp_path: Path) -> None:
    export(tmp_path, count=4, seed=6, shortcut="frame", strength=0.0)
    drawn = scenes(6, 4, shortcut="frame", strength=0.0)
    lines = [json.loads(line) for line in (tmp_path / "scenes.jsonl").read_text().splitlines()]
    for at, line in enumerate(lines):
        assert (line["label"], line["name"]) == (drawn.labels[at], drawn.names[at])
        assert line["fields"] == drawn.attributes[at]
        assert (line["cue"], line["aligned"]) == (drawn.cue[at], drawn.aligned[at])
        (bird,) = line["birds"]
        assert bird["box"] == drawn.boxes[at].tolist()
        assert bird["whole_box"] == drawn.bird_boxes(whole=True)[at, 0].tolist()
        assert len(line["twins"]) == 4, "each class has four neighbours at one part's distance"


@pytest.mark.parametrize("settings", [*SETTINGS, {"task": "bib6"}, {"task": "body_tail12"}, {"task": "xor"}])
def test_the_twins_of_a_line_are_of_the_class_it_names(tmp_path: Path, settings: dict[str, object]) -> None:
    export(tmp_path, count=4, seed=7, **settings)
    drawn = scenes(7, 4, **settings)
    for at, line in enumerate((tmp_path / "scenes.jsonl").read_text().splitlines()):
        twins = json.loads(line)["twins"]
        assert twins
        for record in twins:
            other = truth.twin(drawn[at], **record["fields"])
            label = other.bird_labels[0, record["bird"]] if "bird" in record else other.true_labels[0]
            assert label == record["label"] != drawn[at].bird_labels[0, record.get("bird", 0)] or drawn.task.flock


def test_an_export_that_was_stopped_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    whole = everything(tmp_path / "whole") if export(tmp_path / "whole", count=11, seed=8) else {}
    painted: list[int] = []
    original = files._write_pictures

    def stopping(root: Path, drawn: Scenes) -> None:
        if painted and drawn.index[0] >= 8 and len(painted) < 12:
            original(root, drawn[:1])  # a picture without its line
            painted.extend([-1] * 12)
            raise KeyboardInterrupt
        painted.extend(drawn.index.tolist())
        original(root, drawn)

    with patch.object(files, "BATCH", 4), patch.object(files, "_write_pictures", stopping):
        with pytest.raises(KeyboardInterrupt):
            export(tmp_path / "stopped", count=11, seed=8)
        with (tmp_path / "stopped" / "scenes.jsonl").open("a") as journal:
            journal.write('{"seed": 8, "ind')  # cut off in the middle
        done = export(tmp_path / "stopped", count=11, seed=8)
    assert done.painted == 3
    assert [index for index in painted if index >= 0] == list(range(11)), "nothing is painted twice"
    assert everything(tmp_path / "stopped") == whole


def test_an_export_can_grow_and_mends_what_is_lost(tmp_path: Path) -> None:
    export(tmp_path / "once", count=7, seed=9)
    export(tmp_path / "twice", count=3, seed=9)
    assert export(tmp_path / "twice", count=7, seed=9).painted == 4
    (tmp_path / "twice" / "images" / "000001.png").unlink()
    assert export(tmp_path / "twice", count=7, seed=9).painted == 0
    assert everything(tmp_path / "once") == everything(tmp_path / "twice")


def test_no_more_than_one_batch_is_held(tmp_path: Path) -> None:
    sizes: list[int] = []
    original = files._write_pictures

    def watching(root: Path, drawn: Scenes) -> None:
        sizes.append(len(drawn))
        original(root, drawn)

    with patch.object(files, "BATCH", 5), patch.object(files, "_write_pictures", watching):
        export(tmp_path, count=17, seed=9, size=16)
    assert sizes == [5, 5, 5, 2]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    export(tmp_path / "mine", count=3, seed=9)
    for wrong in ({"seed": 10}, {"seed": 9, "size": 32}, {"seed": 9, "task": "xor"}):
        with pytest.raises(FileError, match="other scenes"):
            export(tmp_path / "mine", count=3, **wrong)  # type: ignore[arg-type]
    with pytest.raises(FileError, match="3 scenes already"):
        export(tmp_path / "mine", count=2, seed=9)
    (tmp_path / "yours" / "images").mkdir(parents=True)
    with pytest.raises(FileError, match="Name an empty folder"):
        export(tmp_path / "yours", count=2)
    with pytest.raises(SceneError):
        export(tmp_path / "none", count=0)
    with pytest.raises(SceneError):
        export(tmp_path / "none", count=1, mode="crowd")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "line", ["nonsense", "[1, 2]", '{"seed": 1}', '{"seed": 1, "world": {"size": 2}, "fields": {}}']
)
def test_damaged_lines_are_refused_by_file(tmp_path: Path, line: str) -> None:
    (tmp_path / "scenes.jsonl").write_text(line + "\n")
    with pytest.raises(FileError, match=r"scenes\.jsonl"):
        read_scenes(tmp_path)


def test_a_folder_without_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="testbed export"):
        read_scenes(tmp_path)


def test_the_readme_names_the_command_that_makes_the_folder_again(tmp_path: Path) -> None:
    export(tmp_path / "a", count=2, seed=4, task="count", size=32)
    assert (
        "pellucid testbed export DIR --n 2 --seed 4 --size 32 --task count"
        in (tmp_path / "a" / "README.md").read_text()
    )
    export(tmp_path / "b", count=2, seed=4, camera=0.5)
    said = (tmp_path / "b" / "README.md").read_text()
    assert 'pl.testbed.export("DIR", count=2, seed=4, camera=0.5)' in said and "--camera" not in said
