"""A user's folder in COCO's format: read as COCO's own tools read it, and refused by name where it is wrong."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as runs
from pycocotools.coco import COCO

from pellucid.errors import AnnotationError, RequestError
from pellucid.images import masks, open_folder

# COCO's tools were written for NumPy before 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

HEIGHT, WIDTH = 30, 40


def blob(seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.hypot(rows - draw.uniform(5, 25), columns - draw.uniform(5, 35)) < draw.uniform(3, 9)


def annotations() -> dict[str, Any]:
    """Two pictures with polygons, both kinds of runs, a crowd and a thing of which there is only the box."""
    packed = runs.encode(np.asfortranarray(blob(2).astype(np.uint8)))
    images = [{"id": 7, "file_name": "a.png", "height": HEIGHT, "width": WIDTH},
              {"id": 9, "file_name": "sub/b.png", "height": HEIGHT, "width": WIDTH}]  # fmt: skip
    marks = [
        {"bbox": [3.0, 2.0, 14.0, 9.5], "segmentation": [[3, 2, 17, 3, 9.5, 11.5], [20, 5, 30, 5, 25, 15]]},
        {"bbox": [0, 0, 5, 5], "segmentation": masks.encode(blob(1)), "iscrowd": 1, "category_id": 5},
        {"bbox": [1, 1, 5, 5], "segmentation": {"size": [HEIGHT, WIDTH], "counts": packed["counts"].decode()}},
        {"bbox": [10.5, 4.25, 12, 8], "image_id": 9, "category_id": 5},
    ]
    common = {"image_id": 7, "category_id": 2, "iscrowd": 0}
    entries = [common | {"id": number, "area": 1.0} | mark for number, mark in enumerate(marks, start=1)]
    kinds = [{"id": 2, "name": "bird", "supercategory": "animal"}, {"id": 5, "name": "tree"}]
    return {"images": images, "annotations": entries, "categories": kinds}


def write(folder: Path, content: Any, name: str = "annotations.json") -> Path:
    (folder / "images" / "sub").mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(3).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for place in ("a.png", "sub/b.png"):
        Image.fromarray(pixels).save(folder / "images" / place)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return folder


def by_coco(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(path)


def test_masks_and_boxes_are_those_of_cocos_tools(tmp_path: Path) -> None:
    folder, theirs = open_folder(write(tmp_path, annotations())), by_coco(tmp_path / "annotations.json")
    assert [(one.name, one.group) for one in folder.categories] == [("bird", "animal"), ("tree", "")]
    compared = 0
    for picture in folder:
        for instance in picture.instances:
            entry = theirs.anns[instance.number]
            left, top, width, height = entry["bbox"]
            assert instance.box == (left, top, left + width, top + height)
            assert instance.crowd == bool(entry["iscrowd"])
            if "segmentation" in entry:
                assert np.array_equal(instance.mask(), theirs.annToMask(entry).astype(bool))
                compared += 1
    assert compared == 3


def test_a_picture_knows_what_is_in_it(tmp_path: Path) -> None:
    folder = open_folder(write(tmp_path, annotations()))
    first, second = folder
    assert (len(folder), first.labels, second.labels) == (2, ("bird", "tree"), ("tree",))
    assert np.array_equal(first.mask("tree"), blob(1))
    assert np.array_equal(first.mask(), first.mask("bird") | blob(1))
    assert first.boxes("tree") == ((0, 0, 5, 5),) and len(first.boxes()) == 3
    assert second.captions == () and second.name == "sub/b.png"
    assert folder.showing("tree") == (first, second) and folder.showing("bird") == (first,)
    frame = first.frame()
    assert frame.pixels.shape == (HEIGHT, WIDTH, 3) and frame.name == "a.png"


def test_a_thing_without_an_outline_is_its_box(tmp_path: Path) -> None:
    """Pixels whose middle lies in 10.5..22.5 by 4.25..12.25."""
    mask = open_folder(write(tmp_path, annotations()))[1].mask("tree")
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 11, 10, 21)
    assert mask.sum() == 8 * 12


def test_a_thing_without_a_box_gets_that_of_its_outline(tmp_path: Path) -> None:
    content = annotations()
    del content["annotations"][1]["bbox"]
    (instance,) = open_folder(write(tmp_path, content))[0].of("tree")
    left, top, right, bottom = map(int, instance.box)
    rows, columns = np.nonzero(blob(1))
    assert (left, top, right, bottom) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_captions_are_found_beside_the_instances(tmp_path: Path) -> None:
    write(tmp_path, annotations(), "annotations/instances_val.json")
    said = [{"id": 1, "image_id": 9, "caption": "a tree "}, {"id": 2, "image_id": 9, "caption": "green"}]
    write(tmp_path, {"images": [], "annotations": said}, "annotations/captions_val.json")
    assert open_folder(tmp_path)[1].captions == ("a tree", "green")
    write(tmp_path, {"images": [], "annotations": [said[0] | {"image_id": 3}]}, "said.json")
    with pytest.raises(AnnotationError, match=r"annotation 1: there is no picture 3"):
        open_folder(tmp_path, captions=tmp_path / "said.json")


def test_pictures_lie_in_the_folder_the_annotations_are_named_after(tmp_path: Path) -> None:
    write(tmp_path, annotations(), "annotations/instances_val2017.json")
    (tmp_path / "images").rename(tmp_path / "val2017")
    assert open_folder(tmp_path)[0].frame().pixels.shape == (HEIGHT, WIDTH, 3)


def test_of_several_annotation_files_one_must_be_named(tmp_path: Path) -> None:
    write(tmp_path, annotations(), "annotations/instances_a.json")
    write(tmp_path, annotations(), "annotations/instances_b.json")
    with pytest.raises(AnnotationError, match=r"several annotation files: annotations.instances_a"):
        open_folder(tmp_path)
    assert len(open_folder(tmp_path, annotations="instances_b.json")) == 2


def test_text_in_other_scripts_and_numbers_as_text_are_read(tmp_path: Path) -> None:
    content = annotations()
    content["images"][0]["id"] = "первый"
    for entry in content["annotations"][:3]:
        entry["image_id"] = "первый"
    content["categories"][0]["name"] = "птица"
    assert open_folder(write(tmp_path, content))[0].labels == ("птица", "tree")


Spoil = Callable[[dict[str, Any]], Any]


def put(*keys: str | int, value: Any) -> Spoil:
    def change(content: dict[str, Any]) -> None:
        inner: Any = content
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value

    return change


BAD: dict[str, tuple[Spoil, str]] = {
    "no pictures": (lambda content: content.pop("images"), "no list 'images'"),
    "pictures are no list": (put("images", value={}), "no list 'images'"),
    "missing picture": (put("images", 1, "file_name", value="sub/c.png"), "picture sub/c.png: there is no such file"),
    "absolute path": (put("images", 0, "file_name", value="/etc/passwd"), "leads out of the folder"),
    "path with a drive": (put("images", 0, "file_name", value="C:\\a.png"), "leads out of the folder"),
    "path upwards": (put("images", 0, "file_name", value="../images/a.png"), "leads out of the folder"),
    "no name": (put("images", 0, "file_name", value=None), "needs an `id` and a `file_name`"),
    "the same picture twice": (put("images", 1, "id", value=7), "two pictures have the id 7"),
    "the same file twice": (put("images", 1, "file_name", value="a.png"), "2 entries name this file"),
    "no size": (lambda content: content["images"][0].pop("height"), "height and width are None and 40"),
    "size below one": (put("images", 0, "width", value=-40), "expected whole numbers above 0"),
    "huge picture": (put("images", 0, "width", value=10**7), "300 million; the limit is 100"),
    "unknown category": (put("annotations", 0, "category_id", value=3), "annotation 1: there is no category 3"),
    "unknown picture": (put("annotations", 3, "image_id", value=8), "annotation 4: there is no picture 8"),
    "two categories of one number": (put("categories", 1, "id", value=2), "two categories have that id"),
    "nothing marked": (
        lambda content: content["annotations"][3].pop("bbox"),
        "annotation 4: it has neither a `bbox` nor a `segmentation`",
    ),
    "box of three": (put("annotations", 0, "bbox", value=[1, 2, 3]), "expected four numbers"),
    "box of words": (put("annotations", 0, "bbox", value=["a", 2, 3, 4]), "expected four numbers"),
    "box without end": (put("annotations", 0, "bbox", value=[1, 2, float("inf"), 4]), "expected four numbers"),
    "box turned inside out": (put("annotations", 0, "bbox", value=[1, 2, -3, 4]), "the width -3"),
    "polygon of two": (put("annotations", 0, "segmentation", value=[[1, 2, 3, 4]]), "three corners or more"),
    "polygon of odd length": (put("annotations", 0, "segmentation", value=[[1, 2, 3, 4, 5, 6, 7]]), "a polygon is"),
    "polygon not nested": (put("annotations", 0, "segmentation", value=[1, 2, 3, 4, 5, 6]), "a polygon is 1"),
    "polygon that is no number": (
        put("annotations", 0, "segmentation", value=[[1, 2, 3, 4, 5, float("nan")]]),
        "a polygon is",
    ),
    "polygon far away": (put("annotations", 0, "segmentation", value=[[1, 2, 9e8, 4, 5, 6]]), "far outside"),
    "runs of another size": (
        put("annotations", 1, "segmentation", "size", value=[WIDTH, HEIGHT]),
        r"run lengths are of a picture of size \[40, 30\]",
    ),
    "runs of another length": (
        put("annotations", 1, "segmentation", "counts", value=[100, 5]),
        "add up to 105 pixels; the picture has 1200",
    ),
    "runs below zero": (put("annotations", 1, "segmentation", "counts", value=[1300, -100]), "fall below 0"),
    "runs of halves": (put("annotations", 1, "segmentation", "counts", value=[0.5]), "not whole numbers"),
    "runs of nothing": (put("annotations", 1, "segmentation", "counts", value=None), "a list of counts or a text"),
    "outline of words": (put("annotations", 1, "segmentation", value="round"), "expected polygons or run lengths"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_annotation_file_is_refused_by_name(tmp_path: Path, what: str) -> None:
    spoil, problem = BAD[what]
    content = copy.deepcopy(annotations())
    spoil(content)
    write(tmp_path, content)
    with pytest.raises(AnnotationError, match=problem) as told:
        open_folder(tmp_path)
    assert str(tmp_path / "annotations.json") in str(told.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "not JSON"), ("{", "not JSON"), ("[1]", "holds a list"), ("[" * 100_000, "not JSON"), ("\xff", "not JSON")],
)
def test_a_file_that_is_no_annotation_file_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    write(tmp_path, {})
    (tmp_path / "annotations.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(AnnotationError, match=problem):
        open_folder(tmp_path)


def test_compressed_runs_that_are_damaged_are_refused_when_read(tmp_path: Path) -> None:
    content = annotations()
    for counts, problem in (("52P", "cut off"), ("5", "add up to 5 pixels")):
        content["annotations"][2]["segmentation"]["counts"] = counts
        folder = open_folder(write(tmp_path, content))
        with pytest.raises(AnnotationError, match=problem) as told:
            folder[0].mask("bird")
        assert "annotation 3" in str(told.value)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "mine", annotations())
    inside, outside = tmp_path / "mine" / "images" / "a.png", tmp_path / "secret.png"
    inside.rename(outside)
    inside.symlink_to(outside)
    with pytest.raises(AnnotationError, match="leads out of the folder"):
        open_folder(tmp_path / "mine")


def test_a_picture_of_another_size_than_marked_is_refused(tmp_path: Path) -> None:
    content = annotations()
    content["images"][1] |= {"height": WIDTH, "width": HEIGHT}
    folder = open_folder(write(tmp_path, content))
    with pytest.raises(AnnotationError, match="marked as 30 x 40 pixels, and has 40 x 30"):
        folder[1].frame()


def test_an_empty_folder_and_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="holds no annotation file"):
        open_folder(tmp_path)
    with pytest.raises(AnnotationError, match="no such folder"):
        open_folder(tmp_path / "nowhere")
    with pytest.raises(AnnotationError, match="no such file"):
        open_folder(tmp_path, annotations="instances.json")


def test_an_unknown_category_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"marked as 'brid'. Nearest: bird"):
        open_folder(write(tmp_path, annotations())).showing("brid")
