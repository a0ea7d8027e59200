"""Where the truth is known: what the truth itself, a flat map and a map of elsewhere must score."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

import pellucid as pl
from pellucid.errors import RequestError, ShapeError
from pellucid.results import Score, Truth
from pellucid.subject import wrap
from pellucid.testbed.truth import grown
from pellucid.trust.ground import Ground
from pellucid.trust.localisation import hits, overlaps
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


def measured(values: Tensor, metric: str, truth: object = TRUTH, inputs: Tensor = INPUTS) -> Score:
    model = wrap(Twin(), input_size=SIZE)
    heat = replace(pl.attribute(model, inputs, "random", target=1), values=values)
    return pl.evaluate(model, inputs, heat, metric, truth=truth)[0]


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
    score = measured(torch.zeros(2, *SIZE), "mask_iou")
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
def test_a_truth_that_is_missing_empty_or_of_another_size_is_refused(metric: str) -> None:
    values, empty = TRUTH.float(), TRUTH.clone()
    empty[1] = False
    with pytest.raises(RequestError, match="truth="):
        measured(values, metric, None)
    with pytest.raises(RequestError, match="picture 1 is empty"):
        measured(values, metric, empty)
    with pytest.raises(ShapeError):
        measured(values, metric, TRUTH[:, :-1])
    with pytest.raises(RequestError, match="1 truths for 2 pictures"):
        measured(values, metric, Truth(TRUTH[0].numpy()))


def test_measuring_leaves_the_model_as_it_was() -> None:
    network = Twin("in-place module").train()
    with unchanged(network):
        model = wrap(network, input_size=SIZE)
        pl.evaluate(model, INPUTS, pl.attribute(model, INPUTS, "edge", target=1), ALL, truth=TRUTH)
