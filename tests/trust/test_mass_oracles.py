"""Mass, boxes and pixel ranks: what the truth itself, a flat map and hand-drawn maps must score."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from pellucid.engine import look
from pellucid.errors import RequestError
from pellucid.registry import Metric, find_metric, metrics
from pellucid.subject import wrap
from pellucid.trust.detection import auc, average_precision, box_iou, box_thresholds
from pellucid.trust.ground import Ground
from pellucid.trust.mass import (
    background_mass,
    distractor_mass,
    energy_pointing_game,
    inside_outside,
    relevance_mass,
    relevance_rank,
)
from pellucid.trust.measured import Measured, scores_of
from pellucid.values import Class
from tests.nets import Twin

HEIGHT, WIDTH = 9, 13


def ground(**more: object) -> Ground:
    mask = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
    mask[0, 2:5, 3:7] = True
    mask[1, 1:8, 10:12] = True
    return Ground(mask, mask, **more)  # type: ignore[arg-type]


TRUTH = ground()
SEEN = look(wrap(Twin(), input_size=(HEIGHT, WIDTH)), torch.zeros(2, 3, HEIGHT, WIDTH), [Class(1), Class(0)])


def value(measured: Measured, at: int = 0) -> float:
    return float(measured.values["map"][at])


def take(name: str, values: Tensor, truth: Ground = TRUTH, **parameters: object) -> Measured:
    function = find_metric(name).function
    offered = {"evidence": SEEN, "remake": lambda targets: {"map": (0.0 if truth.rival is None else 1.0 * truth.rival)}}
    seen = {name: given for name, given in offered.items() if name in inspect.signature(function).parameters}
    return function(maps={"map": values}, truth=truth, **seen, **parameters)


@pytest.mark.parametrize(
    "entry", [entry for entry in metrics().values() if entry.needs_truth], ids=lambda one: one.name
)
def test_the_truth_as_a_map_has_the_best_value_of_every_measure_that_knows_it(entry: Metric) -> None:
    other = torch.zeros_like(TRUTH.exact)
    other[:, -1, :3] = True
    known = ground(
        background=~TRUTH.exact & ~other, distractors=other, rival=other, rivals=(Class(2), Class(2)),
        parts={"own": TRUTH.exact, "other": other},
        effects={"own": torch.tensor([3.0, 2.0]), "other": torch.tensor([0.5, -1.0])},
    )  # fmt: skip
    best = entry.oracle(known).float() if entry.oracle else known.exact.float()
    expected = pytest.approx([entry.range[1] if entry.better == "higher" else 0.0] * 2)
    assert take(entry.name, best, known).values["map"].tolist() == expected
    assert take(entry.name, 1e-20 * best, known).values["map"].tolist() == expected


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
    covered = known.boxed
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
    assert value(take("box_localisation", values)) == 1.0
    values[0, 2:5, 4] = 0.1  # below the threshold: a quarter is left
    assert value(take("box_localisation", values)) == 0.0
    assert value(take("box_localisation", values, threshold=0.05)) == 1.0
    assert box_iou((0, 0, 4, 3), (2, 0, 6, 3)) == pytest.approx(1 / 3) and box_iou((0, 0, 1, 1), (1, 0, 2, 1)) == 0.0


def test_a_box_counts_only_where_the_class_is_among_the_first() -> None:
    """ILSVRC's rule by hand: the place of each picture's target in the model's ranking decides from which top on."""
    ranking = SEEN.output().argsort(dim=-1, descending=True).tolist()
    places = [row.index(label) for row, label in zip(ranking, (1, 0), strict=True)]
    values = TRUTH.exact.float()
    assert max(places) > 0
    for top in range(1, len(ranking[0]) + 1):
        found = take("box_localisation", values, top=top).values["map"].tolist()
        assert found == [float(place < top) for place in places]
        assert take("box_localisation", 1 - values, top=top).values["map"].tolist() == [0.0, 0.0]
    with pytest.raises(RequestError, match=f"expected 1 to {len(ranking[0])}"):
        take("box_localisation", values, top=0)


def test_the_threshold_of_boxes_is_chosen_on_some_pictures_and_used_on_others() -> None:
    """What surrounds the object stands at .4, so every level up to .4 draws the box too large."""
    values = TRUTH.exact.float()
    values[0, :, :8][values[0, :, :8] == 0] = 0.4
    values[1, :, 6:][values[1, :, 6:] == 0] = 0.4
    maps = {"map": values, "truth": TRUTH.exact.float()}
    assert box_thresholds(maps, TRUTH, levels=(0.15, 0.3, 0.45, 0.6)) == {"map": 0.45, "truth": 0.15}
    assert take("box_localisation", values).values["map"].tolist() == [0.0, 0.0]
    chosen = {"map": box_thresholds(maps, TRUTH)["map"]}
    assert take("box_localisation", values, threshold=chosen).values["map"].tolist() == [1.0, 1.0]
    with pytest.raises(RequestError, match="threshold names another"):
        take("box_localisation", values, threshold={"another": 0.5})
    with pytest.raises(RequestError, match="levels is empty"):
        box_thresholds(maps, TRUTH, levels=())


@pytest.mark.parametrize(("k", "expected"), [(1, 1.0), (4, 1.0), (8, 0.5), (None, 4 / 12), (HEIGHT * WIDTH, 12 / 117)])
def test_of_the_k_strongest_pixels_those_on_the_truth_count(k: int | None, expected: float) -> None:
    values = torch.rand(2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3)) / 2
    values[0, 2, 3:7], values[0, 8, 0:13] = 2.0, 1.0  # four inside before all, then thirteen outside
    assert value(take("relevance_rank", values, k=k)) == pytest.approx(expected)


def test_evidence_that_is_clipped_away_is_said() -> None:
    values = torch.zeros(2, HEIGHT, WIDTH)
    values[:, 2, 3], values[0, 0, 0] = 3.0, -1.0  # a quarter of the first map, nothing of the second
    found = take("relevance_mass", values)
    assert found.clipped["map"].tolist() == [0.25, 0.0]
    (score,) = scores_of(find_metric("relevance_mass"), found)
    assert "12.5% of this map's evidence is below 0 and was left out" in score.notes
    (score,) = scores_of(find_metric("relevance_mass"), take("relevance_mass", values.abs()))
    assert not any("below 0 and" in note for note in score.notes)
