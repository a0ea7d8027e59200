"""Concepts that span what a tail reads are complete, random few are not; shares of it sum to it."""

from __future__ import annotations

import json
from typing import Any

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


def test_shapleys_kernel_finds_the_shares_of_games_with_pairs_and_holds_the_total() -> None:
    """Of a game of single worths and pairs, a pair's worth is halved; ten players are more than all coalitions try."""
    generator = torch.Generator().manual_seed(21)
    alone, pairs = torch.randn(10, generator=generator).double(), torch.randn(10, 10, generator=generator).double()
    pairs = (pairs + pairs.T).fill_diagonal_(0.0) / 5

    def game(sets: Tensor) -> Tensor:
        there = sets.double()
        return 3 + there @ alone + ((there @ pairs) * there).sum(dim=1) / 2

    expected = alone + pairs.sum(dim=1) / 2
    found = shapley(game, 10, orders=60, estimator="kernel", seed=1)
    # A coalition and its opposite cancel what pairs add: the line is exact, whatever is drawn.
    torch.testing.assert_close(found.values.double(), expected, atol=1e-5, rtol=1e-5)
    assert not found.exact and float(found.values.sum()) == pytest.approx(float(game(torch.ones(1, 10)) - 3), abs=1e-5)

    def cubed(sets: Tensor) -> Tensor:
        return game(sets) ** 3 / 50

    exact = shapley(cubed, 10, exact_up_to=10)
    rough = shapley(cubed, 10, orders=60, estimator="kernel", seed=1)
    assert float(((rough.values - exact.values) / rough.error).abs().max()) < 5 and bool((rough.error > 0).all())


@pytest.mark.untyped
def test_another_estimator_is_refused_by_name() -> None:
    features, labels, basis = world()
    asked: dict[str, Any] = {"estimator": "lots"}
    with pytest.raises(RequestError, match="estimator='lots'"):
        concept_shap(features, labels, basis[:2], linear(basis[:4]), **asked)


def test_more_than_eight_concepts_are_shared_out_by_the_kernel_at_the_published_width() -> None:
    features, labels, basis = world(channels=16)
    found = concept_shap(
        features, labels, basis[:10], linear(basis[:4]), reader=Reader(500, steps=30, rate=0.01), orders=3,
        estimator="kernel",
    )  # fmt: skip
    assert not found.exact and found.values[:4].min() > found.values[4:].max()
    assert found.eta == pytest.approx(1.0, abs=0.05)
