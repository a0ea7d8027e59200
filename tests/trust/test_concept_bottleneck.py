"""Attributes at places and in directions of their own: a model that is right is right in all three ways."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pellucid.errors import ShapeError
from pellucid.testbed import attributes, planted
from pellucid.trust.concepts import (
    concept_confusion,
    concept_existence,
    concept_global_importance,
    concept_location,
    concept_maps,
)
from tests.trust.concepts import atoms_of, mixed, normal, orthonormal, whole

CONCEPTS, CHANNELS, SIDE = 6, 16, 4


def world(items: int = 80) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Presence, regions (each concept has a cell of its own), activations, directions."""
    present = torch.rand(items, CONCEPTS, generator=torch.Generator().manual_seed(0)) < 0.4
    present[torch.arange(items), whole(0, CONCEPTS, items, seed=5)] = True
    cells = torch.zeros(CONCEPTS, SIDE * SIDE, dtype=torch.bool)
    cells[torch.arange(CONCEPTS), 2 * torch.arange(CONCEPTS)] = True
    places = present[:, :, None] & cells
    directions = orthonormal(CONCEPTS, CHANNELS)
    activations = torch.einsum("ikp,kc->icp", places.float(), directions).unflatten(2, (SIDE, SIDE))
    return present, places.unflatten(2, (SIDE, SIDE)), activations, directions


def test_a_model_that_is_right_is_right_in_all_three_ways() -> None:
    present, regions, activations, directions = world()
    weights = torch.eye(CONCEPTS)
    scores = concept_maps(activations, directions).flatten(2).amax(dim=2)
    existence = concept_existence(scores, weights, scores.argmax(dim=1), present, top=2)
    assert existence.existence.mean == 1 and existence.kept == 80
    location = concept_location(activations, directions, regions, asked=existence.chosen)
    assert location.location.mean == 1 and location.strict == 1 and location.margin.low > 0
    importance = concept_global_importance(weights, 0.3 + 0.5 * weights)
    assert importance.classes.mean == pytest.approx(1) and importance.whole == pytest.approx(1)
    assert importance.concepts.mean == pytest.approx(1) and importance.p < 0.02


def test_under_shuffled_names_as_many_exist_as_there_are_at_all() -> None:
    present, _, activations, directions = world(400)
    scores = concept_maps(activations, directions).flatten(2).amax(dim=2) + 0.5
    found = concept_existence(scores, torch.ones(1, CONCEPTS), torch.zeros(400, dtype=torch.int64), present, top=2)
    assert sum(found.shuffled) / len(found.shuffled) == pytest.approx(found.prevalence, abs=0.03)
    assert found.margin.low > 0.4


def test_weights_turned_round_correlate_as_much_the_other_way() -> None:
    truth = torch.rand(5, 7, generator=torch.Generator().manual_seed(1))
    against = concept_global_importance(1 - 2 * truth, truth)
    assert against.classes.mean == pytest.approx(-1) and against.p == 1
    torch.testing.assert_close(against.per_concept_ranked, torch.full((7,), -1.0).double())
    noise = concept_global_importance(normal(40, 30), normal(40, 30, seed=1))
    assert abs(noise.classes.mean) < 0.1 and noise.p > 0.02


def test_a_class_whose_weights_are_all_the_same_has_no_correlation_and_is_counted() -> None:
    weights = normal(3, 5)
    weights[1] = 2
    found = concept_global_importance(weights, normal(3, 5, seed=1))
    assert (found.kept, found.total) == (2, 3) and "class 1" in found.skipped
    assert found.to_dict()["per_class"][1] is None


def test_a_decision_for_which_nothing_speaks_has_no_value() -> None:
    scores = torch.tensor([[-1.0, -2.0], [1.0, -1.0]])
    found = concept_existence(
        scores, torch.ones(1, 2), torch.zeros(2, dtype=torch.int64), torch.ones(2, 2, dtype=torch.bool), top=2
    )
    assert (found.kept, found.total) == (1, 2) and "no concept" in found.skipped["item 0"]
    assert found.chosen.tolist() == [[False, False], [True, False]]


def test_flat_maps_are_right_as_often_as_the_region_is_large() -> None:
    regions = torch.zeros(600, 1, 4, 4, dtype=torch.bool)
    regions[:, :, :2, :2] = True
    found = concept_location(torch.ones(600, 3, 4, 4), torch.ones(1, 3), regions)
    assert found.area == 0.25 and found.location.low < 0.25 < found.location.high


def test_absent_concepts_count_against_the_strict_share_alone() -> None:
    _, regions, activations, directions = world()
    found = concept_location(activations, directions, regions)
    assert found.location.mean == 1 and found.strict == pytest.approx(found.kept / found.total) and found.strict < 1


def test_a_concept_learned_under_anothers_name_stands_off_the_diagonal() -> None:
    present, _, activations, directions = world(200)
    scores = concept_maps(activations, directions).flatten(2).amax(dim=2)[:, [1, 0, 2, 3, 4, 5]]
    assert concept_confusion(scores, present).argmax(dim=1).tolist() == [1, 0, 2, 3, 4, 5]


def test_planted_atoms_are_found_at_their_place_more_often_than_random_directions() -> None:
    net, mono, poly = mixed()
    regions = mono > 0.5 * mono.amax(dim=(2, 3), keepdim=True).clamp(min=1e-6)
    found = concept_location(poly, atoms_of(net), regions)
    assert found.location.mean > 0.7 and found.margin.low > 0.3, (found.location, found.random, found.area)


def test_the_planted_hues_show_where_their_paint_is() -> None:
    """Channels as directions: a unit of the planted net peaks inside the pixels on which it truly fires."""
    net = planted.hues()
    scenes = net.stimuli(3, 12)
    with torch.no_grad():
        activations = net.module.detect(net.pictures(scenes))
    units = net.units[:6]
    regions = torch.stack([torch.from_numpy(unit.where(scenes)) for unit in units if unit.where], dim=1)
    directions = torch.eye(activations.shape[1])[[unit.index for unit in units]]
    assert concept_location(activations, directions, regions).location.mean == 1


@pytest.mark.untyped
def test_tables_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="weights"):
        concept_global_importance(normal(3, 5), normal(3, 4))
    with pytest.raises(ShapeError, match="present"):
        concept_existence(
            normal(3, 5), normal(2, 5), torch.zeros(3, dtype=torch.int64), torch.ones(3, 4, dtype=torch.bool)
        )


def test_the_table_of_the_testbed_is_a_truth_for_these_measures() -> None:
    """The attributes of rendered scenes, with themselves as scores: what is said to be there is there."""
    scenes = planted.mixed().stimuli(7, 40)
    present = torch.from_numpy(attributes.table(scenes, ("wing", "tail")).values)
    weights = torch.ones(1, present.shape[1])
    found = concept_existence(present.float(), weights, torch.zeros(40, dtype=torch.int64), present, top=2)
    assert found.existence.mean == 1 and found.margin.low > 0
