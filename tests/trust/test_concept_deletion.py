"""With a linear tail every concept has its worth in closed form, and so have all curves and correlations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pellucid.errors import RequestError, ShapeError
from pellucid.trust.concepts import Decomposition, all_of, compare_estimators, concept_curves, concept_mu_fidelity
from pellucid.trust.concepts.estimators import integrated_gradients, occlusion, rise, sobol_total
from tests.trust.concepts import atoms_of, linear, mixed, normal


def parts(residual: str = "kept", places: tuple[int, ...] = (2, 3)) -> tuple[Decomposition, Tensor]:
    """Five concepts in seven channels with something left over, and what each is worth to class 1."""
    codes, directions = normal(4, 5, *places, seed=1).abs(), normal(5, 7, seed=2)
    weight = normal(3, 7, seed=3)
    activations = torch.einsum("ik...,kc->ic...", codes, directions) + 0.3 * normal(4, 7, *places, seed=4)
    amount = codes.flatten(2).mean(dim=2) if places else codes
    return Decomposition(activations, codes, directions, linear(weight), 1, residual), amount * (directions @ weight[1])


@pytest.mark.parametrize("places", [(), (2, 3)])
def test_all_estimates_are_the_worth_where_the_tail_is_linear(places: tuple[int, ...]) -> None:
    held, worth = parts(places=places)
    found = all_of(held)
    for name in ("occlusion", "gradient_x_input", "integrated_gradients", "smoothgrad"):
        assert_close(found[name], worth, rtol=1e-4, atol=1e-4, msg=name)
    assert float((found["rise"] - worth).abs().max()) < 0.35 * float(worth.abs().max())
    share = worth.square() / worth.square().sum(dim=1, keepdim=True)
    assert float((sobol_total(held, designs=256) - share).abs().max()) < 0.06


def test_rise_is_the_worth_when_every_subset_was_shown() -> None:
    held, worth = parts()
    assert_close(rise(held, masks=4000), worth, rtol=0.1, atol=0.06)


def test_the_order_of_worth_gives_the_exact_curves() -> None:
    held, worth = parts()
    found = concept_curves(held, worth)
    ordered = worth.sort(dim=1, descending=True).values
    whole = held.answers(torch.ones(1, 4, 5))[0]
    lost = torch.cat([torch.zeros(4, 1), ordered.cumsum(dim=1)], dim=1)
    assert_close(torch.tensor(found.deleted), (whole[:, None] - lost).mean(dim=0), rtol=1e-4, atol=1e-4)
    rest = whole - worth.sum(dim=1)
    assert_close(torch.tensor(found.inserted), (rest[:, None] + lost).mean(dim=0), rtol=1e-4, atol=1e-4)
    assert found.margin_deletion.low > 0 and found.margin_insertion.low > 0


def test_no_order_is_better_than_that_of_worth_and_none_worse_than_its_reverse() -> None:
    held, worth = parts()
    best, worst, drawn = (concept_curves(held, order) for order in (worth, -worth, normal(4, 5, seed=8)))
    assert best.deletion.mean < drawn.deletion.mean < worst.deletion.mean
    assert best.insertion.mean > drawn.insertion.mean > worst.insertion.mean
    assert best.deletion.mean <= best.random_deletion.mean <= worst.deletion.mean


def test_without_the_residual_the_curves_end_at_the_answer_to_nothing() -> None:
    held, worth = parts("dropped")
    assert concept_curves(held, worth).deleted[-1] == pytest.approx(0, abs=1e-5)
    kept, _ = parts("kept")
    assert abs(concept_curves(kept, worth).deleted[-1]) > 0.01


def test_worth_foretells_every_subset_and_noise_does_not() -> None:
    held, worth = parts()
    found = concept_mu_fidelity(held, worth, subsets=64)
    assert_close(found.values, torch.ones(4, dtype=torch.float64), rtol=1e-4, atol=1e-4)
    assert found.margin.low > 0 and abs(found.random.mean) < 0.9
    assert concept_mu_fidelity(held, -worth, subsets=64).fidelity.mean == pytest.approx(-1, abs=1e-3)
    flat = concept_mu_fidelity(held, torch.ones(5) * 0, subsets=16)
    assert (flat.kept, flat.total, len(flat.skipped)) == (0, 4, 4)


def test_where_concepts_only_count_together_no_single_estimate_says_all() -> None:
    """f = a AND b as a product: occlusion gives all of it to both, the integral gives half to each."""
    codes = torch.ones(2, 2)
    held = Decomposition(codes.clone(), codes, torch.eye(2), lambda values: values[:, :1] * values[:, 1:])
    assert_close(occlusion(held), torch.ones(2, 2))
    assert_close(integrated_gradients(held), torch.full((2, 2), 0.5), rtol=1e-4, atol=1e-4)


def test_the_planted_atoms_order_their_own_class() -> None:
    """The logit of feature k reads atom k, whose own code therefore comes first wherever it is there at all."""
    net, mono, poly = mixed()
    atoms = atoms_of(net)
    there = mono[:, 0].flatten(1).mean(dim=1) > 0
    held = Decomposition(poly[there], mono[there], atoms, linear(atoms), 0)
    table = compare_estimators(held, {"occlusion": occlusion(held), "noise": normal(int(there.sum()), 12)})
    assert table.curves["occlusion"].deletion.mean < table.curves["noise"].deletion.mean
    assert table.fidelity["occlusion"].fidelity.mean == pytest.approx(1, abs=1e-3)
    assert table.to_dict()["curves"]["noise"]["kind"] == "ConceptCurves"


def test_another_residual_is_refused() -> None:
    with pytest.raises(RequestError, match="kept or dropped"):
        parts("gone")


@pytest.mark.untyped
def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="directions"):
        Decomposition(normal(4, 7), normal(4, 5), normal(6, 7), linear(normal(3, 7)))
    held, _ = parts()
    with pytest.raises(ShapeError, match="importance"):
        concept_curves(held, torch.ones(6))
