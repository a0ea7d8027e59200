"""Where the truth is known: what the truth itself, a flat map and a map of elsewhere must score."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from skimage.filters import threshold_otsu
from torch import Tensor

import pellucid as pl
from pellucid.errors import RequestError, ShapeError
from pellucid.results import Score, Truth
from pellucid.subject import wrap
from pellucid.testbed.truth import grown
from pellucid.trust.ground import Ground
from pellucid.trust.localisation import fixed_pixel, hits, overlaps
from pellucid.trust.measured import CONTROLS
from tests.guests import unchanged
from tests.nets import Twin
from tests.oracles.nets import pictures

SIZE = (10, 12)
INPUTS = pictures(2, *SIZE)
ALL = ("pointing_game", "strict_pointing_game", "mask_iou")
TRUTH = torch.zeros(2, *SIZE, dtype=torch.bool)
TRUTH[0, 2:5, 3:7] = True  # 12 of 120 pixels
TRUTH[1, 6:10, 0:6] = True  # 24 of 120 pixels
AREA = (0.1, 0.2)


def measured(
    values: Tensor, metric: str, truth: object = TRUTH, inputs: Tensor = INPUTS, **parameters: Any
) -> Score:  # fmt: skip
    model = wrap(Twin(), input_size=SIZE)
    heat = replace(pl.attribute(model, inputs, "random", target=1), values=values)
    return pl.evaluate(model, inputs, heat, metric, truth=truth, **parameters)[0]


@pytest.mark.parametrize("metric", ALL)
def test_the_truth_itself_scores_one_and_everything_else_nothing(metric: str) -> None:
    assert measured(TRUTH.float(), metric).values == (1.0, 1.0)
    assert measured((~TRUTH).float(), metric).values == (0.0, 0.0)
    assert measured(-TRUTH.float(), metric).values == (0.0, 0.0)


def test_a_flat_map_hits_with_the_share_of_the_truth() -> None:
    score = measured(torch.full((2, *SIZE), 3.0), "pointing_game")
    assert score.values == pytest.approx(AREA) and score.random == pytest.approx(AREA)


def test_a_pixel_beside_the_truth_hits_only_with_tolerance() -> None:
    beside = torch.zeros(2, *SIZE)
    beside[0, 1, 3] = beside[1, 9, 6] = 1.0
    known = Ground(torch.from_numpy(grown(TRUTH.numpy())), TRUTH)
    assert measured(beside, "pointing_game", known).values == (1.0, 1.0)
    assert measured(beside, "strict_pointing_game", known).values == (0.0, 0.0)


def test_a_flat_map_overlaps_as_a_random_one_is_expected_to() -> None:
    score = measured(torch.full((2, *SIZE), -2.0), "mask_iou")
    expected = tuple(area / (2 - area) for area in AREA)
    assert score.values == pytest.approx(expected) and score.random == pytest.approx(expected)


def test_a_maximum_shared_by_several_pixels_hits_with_their_share_inside() -> None:
    values = torch.zeros(2, *SIZE)
    values[0, 2, 3] = values[0, 4, 6] = values[0, 9, 9] = 5.0  # two inside, one outside
    values[1, 9, 0] = 1e-6
    assert measured(values, "pointing_game").values == pytest.approx((2 / 3, 1.0))


@pytest.mark.parametrize("shift", range(5))
def test_a_shifted_truth_overlaps_by_what_it_still_shares(shift: int) -> None:
    values = TRUTH.float().roll(shift, dims=2)
    inside = (3 * max(0, 4 - shift), 4 * (6 - shift))
    expected = tuple(shared / (2 * area - shared) for shared, area in zip(inside, (12, 24), strict=True))
    assert measured(values, "mask_iou").values == pytest.approx(expected)


def test_at_a_tie_the_mean_overlap_over_all_ways_to_break_it_counts() -> None:
    values = torch.tensor([[[3.0, 2.0, 2.0, 2.0, 1.0]]])
    truth = torch.tensor([[[True, True, False, True, False]]])
    shared = [
        sum(bool(truth[0, 0, place]) for place in sorted(order, key=lambda place: -float(values[0, 0, place]))[:3])
        for order in permutations(range(5))
    ]
    mean = sum(shared) / len(shared)
    assert overlaps(values, truth) == pytest.approx((mean / (2 * 3 - mean),))


def test_random_maps_hit_and_overlap_as_announced() -> None:
    many = torch.rand(3000, *SIZE, generator=torch.Generator().manual_seed(0))
    truth = TRUTH[1].expand(3000, -1, -1)
    hit, iou = (torch.tensor(measure(many, truth)) for measure in (hits, overlaps))
    assert abs(float(hit.mean()) - AREA[1]) < 4 * float(hit.std()) / 3000**0.5
    assert float(iou.mean()) == pytest.approx(AREA[1] / (2 - AREA[1]), abs=0.01)


@pytest.mark.parametrize("metric", ALL)
def test_only_the_ranking_of_a_map_counts(metric: str) -> None:
    values = torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(1))
    assert measured(values, metric).values == measured((4 * values).exp() - 9, metric).values


@pytest.mark.parametrize("metric", ALL)
def test_every_score_carries_the_controls(metric: str) -> None:
    model = wrap(Twin(), input_size=SIZE)
    score = measured(TRUTH.float(), metric)
    for control in ("centre", "edge"):
        heat = pl.attribute(model, INPUTS, control, target=1)
        assert getattr(score, control) == pl.evaluate(model, INPUTS, heat, metric, truth=TRUTH)[0].values
    assert set(score.controls(0)) == set(CONTROLS)
    assert score.spread == () and score.better == "higher"
    assert "15.0%" in score.notes[0]


@pytest.mark.parametrize("metric", ALL)
def test_a_map_that_is_no_number_scores_no_number(metric: str) -> None:
    values = TRUTH.float()
    values[0] = math.nan
    first, second = measured(values, metric).values
    assert math.isnan(first) and second == 1.0


def test_a_truth_on_the_picture_is_laid_on_the_model_input() -> None:
    model, frame = pl.load("testbed:cnn"), pl.testbed.scenes(7, 1).frames()[0]
    mask = np.zeros((frame.height, frame.width), dtype=bool)
    mask[8:24, 32:56] = True
    heat = pl.attribute(model, frame, "random")
    heat = replace(heat, values=torch.from_numpy(mask)[None].float())
    for metric in ALL:
        assert pl.evaluate(model, frame, heat, metric, truth=Truth(mask))[0].values == (1.0,)
        assert pl.evaluate(model, [frame], heat, metric, truth=[Truth(mask)])[0].values == (1.0,)
        elsewhere = Truth(np.roll(mask, 24, axis=0))
        assert pl.evaluate(model, frame, heat, metric, truth=elsewhere)[0].values == (0.0,)


def test_masks_may_be_arrays_and_one_picture_needs_no_batch() -> None:
    values = TRUTH.float()
    assert measured(values, "mask_iou", TRUTH.numpy()).values == (1.0, 1.0)
    assert measured(values[:1], "mask_iou", TRUTH[0].numpy(), INPUTS[:1]).values == (1.0,)


@pytest.mark.parametrize("metric", ALL)
def test_a_truth_that_is_missing_empty_everywhere_or_of_another_size_is_refused(metric: str) -> None:
    values = TRUTH.float()
    with pytest.raises(RequestError, match="truth="):
        measured(values, metric, None)
    with pytest.raises(RequestError, match="truth of every picture is empty"):
        measured(values, metric, torch.zeros_like(TRUTH))
    with pytest.raises(ShapeError):
        measured(values, metric, TRUTH[:, :-1])
    with pytest.raises(RequestError, match="1 truths for 2 pictures"):
        measured(values, metric, Truth(TRUTH[0].numpy()))


@pytest.mark.parametrize("metric", ALL)
def test_a_map_of_zeros_points_nowhere_and_marks_nothing(metric: str) -> None:
    assert measured(torch.zeros(2, *SIZE), metric).values == (0.0, 0.0)


@pytest.mark.parametrize("metric", ALL)
def test_a_picture_whose_truth_is_empty_is_left_out_and_said(metric: str) -> None:
    empty = TRUTH.clone()
    empty[1] = False
    score = measured(TRUTH.float(), metric, empty)
    assert score.values[0] == 1.0 and math.isnan(score.values[1]) and math.isnan(score.random[1])
    assert "picture 1 was left out: its truth is empty" in score.notes


@pytest.mark.parametrize(
    ("cut", "expected"), [("mean_std", 1.0), ("otsu", 1.0), (0.4, 1.0), (0.6, 0.5), (0.05, 0.5), ("area", 1.0)]
)
def test_a_cut_marks_what_is_above_it(cut: str | float, expected: float) -> None:
    """Half of the truth at 1 and half at .5; as many pixels beside it at .1."""
    values = torch.zeros(2, *SIZE)
    values[0, 2:5, 3:5], values[0, 2:5, 5:7], values[0, 5:8, 3:7] = 1.0, 0.5, 0.1
    values[1, 6:10, 0:3], values[1, 6:10, 3:6], values[1, 6:10, 6:12] = 1.0, 0.5, 0.1
    assert measured(values, "mask_iou", cut=cut).values == pytest.approx((expected, expected))
    assert measured(TRUTH.float(), "mask_iou", cut=cut).values == (1.0, 1.0)
    assert measured(torch.zeros(2, *SIZE), "mask_iou", cut=cut).values == (0.0, 0.0)


def test_otsu_parts_values_where_the_variance_between_them_is_largest() -> None:
    values = torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(4)) ** 4
    for one, mask, found in zip(values, TRUTH, measured(values, "mask_iou", cut="otsu").values, strict=True):
        parted = {float(cut): (one < cut, one >= cut) for cut in one.unique()[1:]}
        best = max(parted, key=lambda cut: math.prod(float(side.sum()) for side in parted[cut])
                   * float(one[parted[cut][0]].mean() - one[parted[cut][1]].mean()) ** 2)  # fmt: skip
        marked = parted[best][1]
        assert found == pytest.approx(float((marked & mask).sum() / (marked | mask).sum()))
        assert int((marked ^ (one > threshold_otsu(one.numpy()))).sum()) <= 1  # theirs parts 256 bins


def test_a_cut_that_there_is_not_is_refused() -> None:
    for cut in ("best", 1.5):
        with pytest.raises(RequestError, match="expected area, mean_std, otsu"):
            measured(TRUTH.float(), "mask_iou", cut=cut)


def test_the_difficult_pictures_are_those_of_small_objects_beside_others() -> None:
    others = torch.zeros_like(TRUTH)
    others[:, 0, 0] = True
    large = TRUTH.clone()
    large[0, :, :7] = True  # 70 of 120 pixels
    score = measured(large.float(), "pointing_game", Ground(large, large, distractors=others), subset="difficult")
    assert math.isnan(score.values[0]) and score.values[1] == 1.0
    assert "picture 0 was left out: it is not among the difficult ones" in score.notes
    alone = Ground(TRUTH, TRUTH, distractors=torch.zeros_like(TRUTH))
    assert all(map(math.isnan, measured(TRUTH.float(), "pointing_game", alone, subset="difficult").values))
    with pytest.raises(RequestError, match="needs to know the distractors"):
        measured(TRUTH.float(), "pointing_game", subset="difficult")
    with pytest.raises(RequestError, match="all or difficult"):
        measured(TRUTH.float(), "pointing_game", subset="hard")


def test_the_fixed_pixel_is_the_one_that_hits_most_often_elsewhere() -> None:
    masks = torch.tensor([[[True, True, False]], [[True, False, False]], [[False, True, True]]])
    # Without the first: one hit each, so a third of three pixels, of which it has two. Without the second: the middle,
    # twice, which it has not. Without the third: the left, twice, which it has not.
    assert fixed_pixel(masks).tolist() == pytest.approx([2 / 3, 0.0, 0.0])
    assert math.isnan(float(fixed_pixel(masks[:1])[0]))


def test_measuring_leaves_the_model_as_it_was() -> None:
    network = Twin("in-place module").train()
    with unchanged(network):
        model = wrap(network, input_size=SIZE)
        pl.evaluate(model, INPUTS, pl.attribute(model, INPUTS, "edge", target=1), ALL, truth=TRUTH)
