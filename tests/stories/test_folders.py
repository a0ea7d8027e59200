"""The benchmark on a user's own folder: masks lie where they were drawn, only what the model gets right is judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import pellucid as pl
from pellucid.errors import FileError, PellucidError, RequestError
from pellucid.stories.contest import Contest, benchmark
from pellucid.stories.folders import coco_cases, folder_cases
from pellucid.subject import VisionModel
from pellucid.testbed.files import export
from pellucid.values import Class

SIDE = 32
METHODS, METRICS = ("gradient_x_input", "occlusion"), ("mask_iou", "relevance_mass", "background_mass")


class Brightest(nn.Module):
    """Whether red or blue lies in the picture: the sum of what is above the other."""

    def forward(self, inputs: Tensor) -> Tensor:
        red, blue = inputs[:, 0], inputs[:, 2]
        return torch.stack([(red - blue).clamp(min=0).sum((-2, -1)), (blue - red).clamp(min=0).sum((-2, -1))], dim=1)


def model() -> VisionModel:
    preprocess = pl.Preprocess(size=(SIDE, SIDE), resize=(SIDE, SIDE), fit="stretch", mean=(0, 0, 0), std=(1, 1, 1))
    return pl.wrap(Brightest(), preprocess=preprocess, labels=["red thing", "blue thing"])


def picture(colour: int, box: tuple[int, int, int, int]) -> Image.Image:
    pixels = np.zeros((2 * SIDE, 2 * SIDE, 3), np.uint8)
    left, top, right, bottom = box
    pixels[top:bottom, left:right, colour] = 250
    return Image.fromarray(pixels)


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Four pictures: red, blue, one marked as what it is not, one of a kind the model does not know."""
    kinds = [(0, 1), (2, 2), (0, 2), (2, 3)]
    images, annotations = [], []
    (tmp_path / "images").mkdir()
    for at, (colour, category) in enumerate(kinds):
        box = (8 + 4 * at, 12, 28 + 4 * at, 40)
        picture(colour, box).save(tmp_path / "images" / f"{at}.png")
        images.append({"id": at, "file_name": f"{at}.png", "width": 2 * SIDE, "height": 2 * SIDE})
        annotations.append({"id": at, "image_id": at, "category_id": category, "iscrowd": 0,
                            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]})  # fmt: skip
    categories = [{"id": at, "name": name} for at, name in enumerate(["red thing", "blue thing", "cloud"], start=1)]
    (tmp_path / "annotations.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return tmp_path


def test_the_mask_of_a_box_lies_where_the_box_was_drawn_and_only_what_is_right_is_kept(coco: Path) -> None:
    cases = coco_cases(model(), coco, 100)
    assert cases.names == ("0.png", "1.png") and cases.total == 3
    part = cases.part([0, 1])
    assert part.truth is not None and [target.index for target in part.targets] == [0, 1]  # type: ignore[attr-defined]
    expected = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    expected[6:20, 4:14] = True
    assert torch.equal(part.truth.exact[0], expected)
    assert part.truth.background is not None and torch.equal(part.truth.background[0], ~expected)


def test_a_coco_folder_makes_a_board_on_which_the_truth_stands_first(coco: Path) -> None:
    board = benchmark(model(), f"coco:{coco}", methods=METHODS, metrics=METRICS)
    assert len(board.pictures) == 2 and board.total == 3
    assert board.standings("mask_iou")[0].name == "oracle"
    # Only the box is brighter in red than in blue, so all of gradient x input lies in it, but for the soft edge that
    # halving the picture leaves.
    assert board.entry("gradient_x_input").values["relevance_mass"] == pytest.approx((1.0, 1.0), abs=0.03)
    assert board.entry("gradient_x_input").values["background_mass"] == pytest.approx((0.0, 0.0), abs=0.03)


def test_a_map_may_point_as_far_beside_the_answer_as_is_published(coco: Path) -> None:
    part = coco_cases(model(), coco, 100).part([0])
    assert part.truth is not None
    reach = 15 * SIDE / 224  # 2.1 pixels
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    inside = part.truth.exact[0].nonzero()
    distance = ((rows[..., None] - inside[:, 0]) ** 2 + (columns[..., None] - inside[:, 1]) ** 2).float().sqrt()
    assert torch.equal(part.truth.mask[0], distance.amin(dim=-1) < reach)


def test_what_else_is_marked_distracts_and_another_class_of_the_model_is_the_rival(coco: Path) -> None:
    record = json.loads((coco / "annotations.json").read_text())
    mark = {"image_id": 0, "iscrowd": 0, "bbox": [50, 50, 10, 10]}
    record["annotations"] += [
        {**mark, "id": 8, "category_id": 2},
        {**mark, "id": 9, "category_id": 1, "bbox": [0, 0, 6, 6]},
    ]
    (coco / "annotations.json").write_text(json.dumps(record))
    truth = coco_cases(model(), coco, 100).part([0, 1]).truth
    assert truth is not None and truth.rival is not None and truth.distractors is not None
    assert truth.rivals == (Class(1), None) and truth.boxes[0] == ((4, 6, 14, 20), (0, 0, 3, 3))
    expected = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    expected[25:30, 25:30] = True
    assert torch.equal(truth.rival[0], expected) and torch.equal(truth.distractors[0], expected)
    assert truth.difficult.tolist() == [True, False]


def test_a_picture_on_whose_input_nothing_of_the_answer_is_left_is_counted_and_left_out(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for name, box in {"a": (10, 10, 40, 30), "b": (4, 4, 9, 9)}.items():
        picture(2, box).save(tmp_path / "images" / f"{name}.png")
        shown = box if name == "a" else (0, 0, 0, 0)
        picture(1, shown).convert("L").point(lambda value: 255 if value else 0).save(tmp_path / "masks" / f"{name}.png")
    cases = folder_cases(model(), tmp_path, 10)
    assert cases.names == ("a.png",) and cases.total == 2 and "1 left out" in cases.title
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(RequestError, match="whose answer its input shows"):
        folder_cases(model(), tmp_path, 10)


@pytest.mark.parametrize("metrics", ["default", "all"])
def test_measures_that_need_to_know_more_than_masks_stay_off_a_board_of_masks(coco: Path, metrics: str) -> None:
    cases = coco_cases(model(), coco, 10)
    asked = Contest.prepare(model(), cases, methods=["gradient"], metrics=metrics, cap=500, seed=0).metrics
    measured = {metric.name for metric in asked}
    assert {"mask_iou", "background_mass"} <= measured
    assert not measured & {"part_deletion_correlation", "class_discrimination", "distractor_mass"}
    with pytest.raises(RequestError, match="leaving out each part"):
        benchmark(model(), f"coco:{coco}", methods=["gradient"], metrics=["part_deletion_correlation"])


def test_masks_beside_pictures_are_enough(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    box = (10, 10, 40, 30)
    picture(2, box).save(tmp_path / "images" / "a.png")
    picture(1, box).convert("L").point(lambda value: 255 if value else 0).save(tmp_path / "masks" / "a.png")
    board = benchmark(model(), f"folder:{tmp_path}", methods=METHODS, metrics=METRICS)
    assert board.entry("gradient_x_input").values["relevance_mass"] == pytest.approx((1.0,), abs=0.03)


def test_exported_scenes_are_read_back_with_their_truth(tmp_path: Path) -> None:
    export(tmp_path, count=4, seed=5)
    cases = folder_cases(pl.load("testbed:cnn"), tmp_path, 3)
    assert cases.total == 3 and set(cases.names) <= {"scene 0", "scene 1", "scene 2"}
    part = cases.part([0])
    assert part.truth is not None and bool((part.truth.exact & ~part.truth.mask).any()) is False
    scenes = pl.testbed.scenes(5, [int(cases.names[0].split()[-1])])
    assert (part.batch.frames[0].pixels == scenes.pixels[0]).all()


def test_folders_without_answers_are_refused_by_name(coco: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="No category of .* is a class of"):
        coco_cases(pl.load("testbed:cnn"), coco, 10)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileError, match="neither scenes.jsonl nor the folders images and masks"):
        folder_cases(model(), empty, 10)
    with pytest.raises(PellucidError, match="nowhere"):
        benchmark(model(), f"coco:{tmp_path / 'nowhere'}", methods=METHODS)
    (empty / "images").mkdir()
    (empty / "masks").mkdir()
    picture(0, (1, 1, 9, 9)).save(empty / "images" / "b.png")
    picture(0, (1, 1, 9, 9)).resize((10, 10)).save(empty / "masks" / "b.png")
    with pytest.raises(FileError, match="10 x 10 pixels, its picture 64 x 64"):
        folder_cases(model(), empty, 10).part([0])
