"""Overlap at every threshold: the truth, flat maps, a staircase; and nets that are not known to read the feature."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import pellucid as pl
from pellucid.errors import RequestError
from pellucid.stories.cases import feature_scenes
from pellucid.stories.contest import benchmark
from pellucid.subject import VisionModel, wrap
from pellucid.testbed import scenes
from pellucid.testbed.fields import HUES
from pellucid.testbed.palette import HUE_COLOURS
from pellucid.testbed.truth import causal
from pellucid.trust.ground import Ground
from pellucid.trust.thresholds import threshold_iou_curve


def ground() -> Ground:
    mask = torch.zeros(2, 8, 10, dtype=torch.bool)
    mask[0, 2:4, 2:6], mask[1, :, :5] = True, True
    return Ground(mask, mask)


TRUTH = ground()


def take(values: Tensor, truth: Ground = TRUTH, steps: int = 50) -> list[float]:
    return threshold_iou_curve({"map": values}, truth, steps=steps).values["map"].tolist()


def test_the_truth_scores_one_its_negative_and_a_flat_map_what_they_cover() -> None:
    assert take(TRUTH.exact.float()) == [1.0, 1.0]
    assert take(3 * TRUTH.exact.float() - 7) == [1.0, 1.0]
    assert take(torch.full((2, 8, 10), 0.3)) == pytest.approx([0.1, 0.5])
    assert take(-TRUTH.exact.float()) == [0.0, 0.0]


def test_a_staircase_gives_the_mean_of_its_steps() -> None:
    """Values 1 on half of the truth, .5 on the rest of it and on as much beside: IoU 1/2 above .5, 2/3 below."""
    values = torch.zeros(2, 8, 10)
    values[0, 2, 2:6], values[0, 3, 2:6], values[0, 4, 2:6] = 1.0, 0.5, 0.5
    values[1] = TRUTH.exact[1].float()
    found = threshold_iou_curve({"map": values}, TRUTH, steps=10)
    assert found.values["map"].tolist() == pytest.approx([(0.5 + 2 / 3) / 2, 1.0])
    curves = found.curves["map"]
    assert curves["best"] == pytest.approx((2 / 3 + 1) / 2) and curves["best_threshold"] < 0.5
    assert np.shape(curves["iou"]) == (1, 2, 10)


def test_a_broken_map_has_no_value_and_no_threshold_is_refused() -> None:
    broken = torch.rand(2, 8, 10)
    broken[0, 0, 0] = float("nan")
    found = take(broken)
    assert found[0] != found[0] and found[1] == found[1]
    with pytest.raises(RequestError, match="at least 1 threshold"):
        take(broken, steps=0)


def test_a_map_of_the_features_colour_finds_the_planted_feature() -> None:
    drawn = scenes(2, 8, task="bib6", flat=True)
    exact = torch.from_numpy(causal(drawn))
    truth = Ground(exact, exact)
    cream = np.array([0xFC, 0xF3, 0xE0]) / 255
    paint = (0.55 * HUE_COLOURS[drawn.labels] + 0.45 * cream)[:, :, None, None]
    distance = np.abs(drawn.tensor().numpy() - paint).max(axis=1)
    found = take(torch.from_numpy((distance < 0.02).astype(np.float32)), truth)
    assert min(found) > 0.95


# -- nets that are judged by it ---------------------------------------------------------------------------------------


def knowing(count: int, wrong: int) -> VisionModel:
    """A black box that knows these scenes by heart, but for some."""
    drawn = scenes(2, count, task="bib6")
    labels = drawn.labels.copy()
    labels[:wrong] = (labels[:wrong] + 1) % 6
    known = {picture.numpy().tobytes(): int(label) for picture, label in zip(drawn.tensor(), labels, strict=True)}

    def answer(pictures: Tensor) -> Tensor:
        said = [known.get(one.contiguous().numpy().tobytes(), 0) for one in pictures]
        return 5 * torch.eye(6)[said]

    return wrap(
        answer, labels=[f"{hue} bib" for hue in HUES], input_size=(64, 64), preprocess=pl.load("testbed:cnn").preprocess
    )


def test_a_net_that_is_right_takes_part_and_its_truth_is_the_feature() -> None:
    cases = feature_scenes(knowing(20, 0), 20, 2, "bib6")
    part = cases.part([0, 1])
    assert part.truth is not None
    assert torch.equal(part.truth.exact, torch.from_numpy(scenes(2, 2, task="bib6").mask("bib")))
    board = benchmark(
        knowing(20, 0), "testbed:bib6", scenes=20, seed=2, methods=["random"], metrics=["threshold_iou_curve"]
    )
    assert board.entry("oracle").values["threshold_iou_curve"] == pytest.approx([1.0] * len(board.pictures))


def test_a_net_below_ninety_nine_percent_is_refused() -> None:
    with pytest.raises(RequestError, match=r"95.0% of the 20 scenes right"):
        feature_scenes(knowing(20, 1), 20, 2, "bib6")
    with pytest.raises(RequestError, match="planted features of task 'wing3'"):
        feature_scenes(pl.load("testbed:cnn"), 20, 2, "wing3")
    with pytest.raises(RequestError, match="does not classify"):
        feature_scenes(pl.load("testbed:cnn"), 5, 2, "bib6")
