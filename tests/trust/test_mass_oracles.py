"""Mass, boxes and pixel ranks: what the truth itself, a flat map and hand-drawn maps must score."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.registry import find_metric
from pellucid.trust.detection import auc, average_precision, box_iou, box_localisation
from pellucid.trust.ground import Ground
from pellucid.trust.mass import (
    background_mass,
    boxed,
    distractor_mass,
    energy_pointing_game,
    inside_outside,
    relevance_mass,
    relevance_rank,
)
from pellucid.trust.measured import Measured

HEIGHT, WIDTH = 9, 13


def ground(**more: object) -> Ground:
    mask = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
    mask[0, 2:5, 3:7] = True
    mask[1, 1:8, 10:12] = True
    return Ground(mask, mask, **more)  # type: ignore[arg-type]


TRUTH = ground()
LOCALISING = (
    "pointing_game", "mask_iou", "relevance_mass", "relevance_rank", "energy_pointing_game", "inside_outside",
    "pixel_average_precision", "pixel_auc", "box_localisation",
)  # fmt: skip


def value(measured: Measured, at: int = 0) -> float:
    return float(measured.values["map"][at])


def take(name: str, values: Tensor, truth: Ground = TRUTH) -> Measured:
    return find_metric(name).function({"map": values}, truth)


@pytest.mark.parametrize("name", LOCALISING)
def test_the_truth_as_a_map_scores_one_on_every_measure_of_place(name: str) -> None:
    assert take(name, TRUTH.exact.float()).values["map"].tolist() == [1.0, 1.0]
    assert take(name, 1e-20 * TRUTH.exact.float()).values["map"].tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("relevance_mass", "area"), ("energy_pointing_game", "area"), ("relevance_rank", "area"), ("pixel_auc", 0.5),
     ("pixel_average_precision", "area"), ("inside_outside", 0.5)],
)  # fmt: skip
def test_a_flat_map_scores_what_chance_gives(name: str, expected: str | float) -> None:
    found = take(name, torch.full((2, HEIGHT, WIDTH), 2.0)).values["map"].tolist()
    area = TRUTH.share.tolist()
    assert found == pytest.approx(area if expected == "area" else [expected] * 2)


def test_negative_values_are_no_evidence_and_nothing_scores_nothing() -> None:
    values = torch.zeros(2, HEIGHT, WIDTH)
    values[0, 2, 3], values[0, 0, 0], values[0, 8, 8] = 3.0, 1.0, -50.0
    assert value(relevance_mass({"map": values}, TRUTH)) == pytest.approx(0.75)
    assert value(relevance_mass({"map": -TRUTH.exact.float()}, TRUTH)) == 0.0
    assert value(inside_outside({"map": torch.zeros(2, HEIGHT, WIDTH)}, TRUTH)) == 0.0


def test_the_boxes_that_are_known_count_and_else_the_box_around_the_mask() -> None:
    known = ground(boxes=(((0, 0, 2, 3),), ()))
    covered = boxed(known)
    assert int(covered[0].sum()) == 6 and bool(covered[0, 2, 1]) and not bool(covered[0, 3, 1])
    assert torch.equal(covered[1], TRUTH.exact[1])  # a rectangle is its own box
    assert value(energy_pointing_game({"map": covered.float()}, known)) == 1.0


def test_background_and_distractors_are_measured_where_they_are_and_refused_where_they_are_unknown() -> None:
    background = ~TRUTH.exact
    distractors = torch.zeros_like(background)
    distractors[0, 0, 0] = True
    known = ground(background=background, distractors=distractors)
    values = torch.rand(2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    inside = relevance_mass({"map": values}, known).values["map"]
    outside = background_mass({"map": values}, known).values["map"]
    assert (inside + outside).tolist() == pytest.approx([1.0, 1.0])
    found = distractor_mass({"map": values}, known)
    on_things = values[0, 0, 0] + (values[0] * TRUTH.exact[0]).sum()
    assert value(found) == pytest.approx(float(values[0, 0, 0] / on_things))
    assert np.isnan(value(found, 1)) and found.skipped == {1: "it has no distractors"}
    with pytest.raises(RequestError, match="needs to know the background"):
        background_mass({"map": values}, TRUTH)


def test_a_map_gains_nothing_on_distractors_by_spreading_over_the_background() -> None:
    distractors = torch.zeros_like(TRUTH.exact)
    distractors[:, -1, -1] = True
    assert not bool((distractors & TRUTH.exact).any())
    known = ground(background=~TRUTH.exact & ~distractors, distractors=distractors)
    flat, nothing = torch.ones(2, HEIGHT, WIDTH), torch.zeros(2, HEIGHT, WIDTH)
    on_things = (distractors | TRUTH.exact).float()
    maps = {"flat": flat, "things": on_things, "nothing": nothing, "truth": TRUTH.exact.float()}
    found = distractor_mass(maps, known)
    share = 1 / (1 + TRUTH.exact.flatten(1).sum(dim=1).float())
    for name in ("flat", "things", "nothing"):
        assert found.values[name].tolist() == pytest.approx(share.tolist())
    assert found.values["truth"].tolist() == [0, 0]


@pytest.mark.parametrize("levels", [2, 5, 10_000])
def test_pixel_ranks_agree_with_scikit_learn_ties_included(levels: int) -> None:
    generator = torch.Generator().manual_seed(levels)
    values = torch.randint(levels, (HEIGHT * WIDTH,), generator=generator).float()
    truth = torch.rand(HEIGHT * WIDTH, generator=generator) < 0.2
    assert average_precision(values, truth) == pytest.approx(average_precision_score(truth.numpy(), values.numpy()))
    assert auc(values, truth) == pytest.approx(roc_auc_score(truth.numpy(), values.numpy()))


def test_the_rank_of_strength_counts_ties_with_their_share() -> None:
    values = torch.zeros(2, HEIGHT, WIDTH)
    values[0, 2, 3:7] = 1.0  # four of the twelve for sure; eight more out of 113 equal ones, 8 of them inside
    assert value(relevance_rank({"map": values}, TRUTH)) == pytest.approx((4 + 8 * 8 / 113) / 12)


def test_a_box_is_found_from_half_an_overlap_on() -> None:
    values = torch.zeros(2, HEIGHT, WIDTH)
    values[0, 2:5, 3:5] = 1.0  # half of the box
    assert value(box_localisation({"map": values}, TRUTH)) == 1.0
    values[0, 2:5, 4] = 0.1  # below the threshold: a quarter is left
    assert value(box_localisation({"map": values}, TRUTH)) == 0.0
    assert value(box_localisation({"map": values}, TRUTH, threshold=0.05)) == 1.0
    assert box_iou((0, 0, 4, 3), (2, 0, 6, 3)) == pytest.approx(1 / 3) and box_iou((0, 0, 1, 1), (1, 0, 2, 1)) == 0.0
