"""Concepts that span what a tail reads are complete, random few are not; shares of it sum to it."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from pellucid.errors import RequestError, ShapeError
from pellucid.trust.concepts import Reader, concept_completeness, concept_shap
from pellucid.trust.concepts.shapley import shapley
from tests.trust.concepts import atoms_of, linear, mixed, orthonormal, whole

READER = Reader(hidden=24, steps=80, rate=0.03)


def world(channels: int = 64, classes: int = 4, items: int = 240) -> tuple[Tensor, Tensor, Tensor]:
    """Each item is one of a few orthonormal directions, its class, and channels that say nothing."""
    basis = orthonormal(channels, channels)
    labels = whole(0, classes, items, seed=1)
    noise = 0.02 * torch.rand(items, channels - classes, generator=torch.Generator().manual_seed(2))
    return basis[labels] + noise @ basis[classes:], labels, basis


def test_concepts_that_span_what_the_tail_reads_are_complete_and_idle_ones_are_not() -> None:
    features, labels, basis = world()
    tail = linear(basis[:4])
    found = concept_completeness(features, labels, basis[:4], tail, reader=READER, random_sets=2)
    assert found.whole == 1 and found.eta.mean > 0.97
    idle = concept_completeness(features, labels, basis[8:10], tail, reader=READER, random_sets=1)
    assert abs(idle.eta.mean) < 0.2, idle.eta
    assert found.margin.low > 0 and (found.kept, found.total) == (96, 240)


def test_without_a_class_among_the_concepts_that_class_is_lost() -> None:
    """Three of four classes have their concept, so what is left over is told from them by having none."""
    features, labels, basis = world()
    one = concept_completeness(features, labels, basis[:1], linear(basis[:4]), reader=READER, random_sets=1)
    two = concept_completeness(features, labels, basis[:2], linear(basis[:4]), reader=READER, random_sets=1)
    assert one.eta.mean < two.eta.mean < 0.9


def test_shares_sum_to_the_whole_and_an_idle_concept_has_none() -> None:
    features, labels, basis = world()
    concepts = torch.cat([basis[:3], basis[9:10]])
    found = concept_shap(features, labels, concepts, linear(basis[:4]), reader=READER)
    assert found.exact and found.trained == 32
    assert float(found.values.sum()) == pytest.approx(found.eta, abs=1e-6)
    assert float(found.values[3].abs()) < 0.12 and float(found.values[:3].min()) > 0.2, found.values


def test_shares_have_their_closed_form_in_a_game_of_weights() -> None:
    """In an additive game each player's share is what it brings; a pair that only counts together shares evenly."""
    weights = torch.tensor([1.0, 2.0, 4.0, 0.0, 0.0], dtype=torch.float64)

    def game(sets: Tensor) -> Tensor:
        return sets.double() @ weights + 3 * (sets[:, 3] & sets[:, 4]).double()

    expected = torch.tensor([1.0, 2.0, 4.0, 1.5, 1.5])
    torch.testing.assert_close(shapley(game, 5).values, expected)
    drawn = shapley(game, 5, orders=200, exact_up_to=2)
    assert not drawn.exact and float(drawn.values.sum()) == pytest.approx(10)
    assert float((drawn.values - expected).abs().max()) < 4 * float(drawn.error.max()) < 0.6


def test_the_atoms_of_a_planted_dictionary_complete_its_layer_better_than_random_directions() -> None:
    net, _, poly = mixed()
    atoms = atoms_of(net)
    answers = linear(atoms)
    labels = answers(poly).argmax(dim=1)
    small = Reader(hidden=24, steps=60, rate=0.03)
    found = concept_completeness(poly, labels, atoms, answers, reader=small, random_sets=2)
    few = concept_completeness(poly, labels, atoms[:1], answers, reader=small, random_sets=1)
    assert found.eta.mean > few.eta.mean + 0.3, (found.eta, few.eta)


def test_a_model_no_better_than_chance_is_refused() -> None:
    features, labels, basis = world()
    with pytest.raises(RequestError, match="no more than the commonest class"):
        concept_completeness(features, labels, basis[:2], lambda values: torch.zeros(len(values), 4))


@pytest.mark.untyped
def test_concepts_of_another_layer_are_refused() -> None:
    features, labels, basis = world()
    with pytest.raises(ShapeError, match="as wide as the features"):
        concept_completeness(features, labels, basis[:2, :5], linear(basis[:4]))


def test_the_answer_repeats_with_its_seed_leaves_the_tail_alone_and_is_plain_json() -> None:
    features, labels, basis = world()
    tail = torch.nn.Linear(64, 4, bias=False)
    with torch.no_grad():
        tail.weight.copy_(basis[:4])
    first, second = (
        concept_completeness(features, labels, basis[:2], tail, reader=READER, random_sets=1, seed=5) for _ in range(2)
    )
    assert first.to_dict() == second.to_dict() and tail.weight.grad is None
    assert json.loads(json.dumps(first.to_dict()))["kind"] == "Completeness"
