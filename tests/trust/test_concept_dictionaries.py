"""Activations that are sums of orthogonal codes: the dictionary that made them is perfect in every respect."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pellucid.errors import RequestError, ShapeError
from pellucid.trust.concepts import (
    AttributeProbes,
    approximation,
    edit_control,
    feature_meanings,
    feature_occlusion,
    least_squares_dictionary,
    mean_dictionary,
    over_splitting,
    swap_edit,
)
from tests.trust.concepts import atoms_of, mixed, normal, orthonormal, whole

VALUES, CHANNELS = 3, 12


def world(items: int = 300, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two attributes of three values each: attributes, one-hot codes, atoms, activations."""
    attributes = whole(0, VALUES, items, 2, seed=seed)
    codes = torch.nn.functional.one_hot(attributes, VALUES).flatten(1).float()
    atoms = orthonormal(2 * VALUES, CHANNELS)
    return attributes, codes, atoms, codes @ atoms


def decide(values: Tensor) -> Tensor:
    """The value of the first attribute, as the atoms show it."""
    return (values @ orthonormal(2 * VALUES, CHANNELS)[:VALUES].T).argmax(dim=1)


def right_by(attributes: Tensor):
    """How much higher the true value of the first attribute is than the mean of the others."""
    atoms = orthonormal(2 * VALUES, CHANNELS)[:VALUES]

    def answer(values: Tensor) -> Tensor:
        scores = values @ atoms.T
        return scores.gather(1, attributes[:, :1])[:, 0] - scores.mean(dim=1)

    return answer


def test_what_is_known_rebuilds_what_it_made() -> None:
    attributes, _, _, activations = world(900)
    exact = least_squares_dictionary(activations, attributes).reconstruct(attributes)
    assert_close(exact, activations, rtol=1e-4, atol=1e-4)
    nearly = mean_dictionary(activations, attributes).reconstruct(attributes)
    assert float((nearly - activations).norm(dim=1).mean()) < 0.1


def test_means_take_a_companion_for_themselves_where_least_squares_does_not() -> None:
    """The second attribute follows the first in nine of ten items."""
    attributes, _, atoms, _ = world(2000)
    follows = torch.rand(2000, generator=torch.Generator().manual_seed(3)) < 0.9
    linked = torch.stack([attributes[:, 0], torch.where(follows, attributes[:, 0], attributes[:, 1])], dim=1)
    activations = torch.nn.functional.one_hot(linked, VALUES).flatten(1).float() @ atoms
    own = least_squares_dictionary(activations, linked).vectors[0] @ atoms[VALUES:].T
    companion = mean_dictionary(activations, linked).vectors[0] @ atoms[VALUES:].T
    assert float((own - own.mean(dim=0)).abs().max()) < 0.01 < 0.3 < float(companion.abs().max())


def test_the_dictionary_that_made_them_approximates_perfectly_and_a_random_one_does_not() -> None:
    attributes, codes, _, activations = world()
    found = approximation(activations, activations.clone(), right_by(attributes), codes=codes)
    assert found.sufficiency.mean == pytest.approx(1) and found.necessity.mean == pytest.approx(1)
    assert found.variance == pytest.approx(1) and (found.active, found.dead) == (2, 0)
    assert abs(found.shuffled_sufficiency) < 0.2
    strange = (activations @ orthonormal(2, CHANNELS, seed=9).T) @ orthonormal(2, CHANNELS, seed=9)
    poor = approximation(activations, strange, right_by(attributes))
    assert poor.sufficiency.high < 0.6 and poor.necessity.high < 0.6 and poor.variance < 0.5


def test_half_of_every_code_keeps_half_and_its_loss_costs_half() -> None:
    attributes, _, _, activations = world()
    half = activations.mean(dim=0) + (activations - activations.mean(dim=0)) / 2
    found = approximation(activations, half, right_by(attributes))
    assert found.sufficiency.mean == pytest.approx(0.5, abs=1e-5) == found.necessity.mean
    assert found.variance == pytest.approx(0.75, abs=1e-5)


def test_edits_by_what_is_known_do_what_the_true_change_does_and_nothing_else() -> None:
    attributes, codes, atoms, activations = world()
    after = attributes.clone()
    after[:, 0] = (after[:, 0] + 1) % VALUES
    after[:20] = attributes[:20]
    other_codes = torch.nn.functional.one_hot(after, VALUES).flatten(1).float()
    true = other_codes @ atoms
    probes = AttributeProbes.fitted(activations, attributes)
    known = least_squares_dictionary(activations, attributes)
    for edited in (
        known.edit(activations, 0, attributes[:, 0], after[:, 0]),
        swap_edit(activations, codes, other_codes, atoms, true, swaps=2),
    ):
        found = edit_control(activations, edited, true, decide, attribute=0, probes=probes)
        assert found.control.mean == 1 and found.untouched == 0 and found.margin.low > 0
        assert found.magnitude.mean == pytest.approx(1, abs=1e-4) and found.missed.mean < 1e-3
        assert found.cross_talk is not None and found.cross_talk.mean == 0
        assert (found.kept, found.total) == (280, 300)


def test_swaps_in_a_random_dictionary_miss_and_move_other_things() -> None:
    attributes, codes, _, activations = world()
    after = attributes.clone()
    after[:, 0] = (after[:, 0] + 1) % VALUES
    true = torch.nn.functional.one_hot(after, VALUES).flatten(1).float() @ orthonormal(2 * VALUES, CHANNELS)
    strange = orthonormal(2 * VALUES, CHANNELS, seed=8)
    edited = swap_edit(activations, codes, torch.roll(codes, 1, dims=0), strange, true)
    found = edit_control(activations, edited, true, decide)
    assert found.control.mean < 0.8 and found.missed.mean > 0.5 and found.cross_talk is None


def test_no_swap_leads_away_from_the_target() -> None:
    activations, atoms = normal(20, 6), normal(9, 6, seed=1)
    codes, others, target = normal(20, 9, seed=2).relu(), normal(20, 9, seed=3).relu(), normal(20, 6, seed=4)
    before = (activations - target).norm(dim=1)
    for swaps in (1, 3, 20):
        after = (swap_edit(activations, codes, others, atoms, target, swaps=swaps) - target).norm(dim=1)
        assert bool((after <= before + 1e-5).all())
        before = after


def test_codes_of_single_values_mean_those_and_joined_ones_mean_both() -> None:
    attributes, codes, _, _ = world()
    joined = (codes[:, 0] + codes[:, 1])[:, None]
    dead = torch.zeros(len(codes), 1)
    found = feature_meanings(torch.cat([codes, joined, dead], dim=1), attributes, weights=torch.ones(8))
    assert [meaning.f1 for meaning in found.meanings[:7] if meaning] == [1.0] * 7
    assert [(meaning.attribute, meaning.values) for meaning in found.meanings[3:7] if meaning] == [
        (1, (0,)), (1, (1,)), (1, (2,)), (0, (0, 1)),
    ]  # fmt: skip
    assert (found.kept, found.total, found.monosemantic, found.weighed) == (7, 8, 1.0, 1.0)
    assert found.margin.low > 0 and found.meanings[7] is None and "never active" in found.skipped["unit 7"]


def test_units_that_fire_by_chance_mean_little_more_than_shuffled_ones() -> None:
    attributes, _, _, _ = world()
    found = feature_meanings(normal(300, 12).relu() * (normal(300, 12, seed=1) > 1), attributes)
    assert abs(found.margin.mean) < 0.05 and found.monosemantic == 0


def test_an_attribute_split_among_four_units_is_counted_and_found_together() -> None:
    present = whole(0, 2, 400) == 1
    which = whole(0, 4, 400, seed=1)
    split = torch.nn.functional.one_hot(which, 4).float() * present[:, None]
    always = torch.ones(400, 1)
    found = over_splitting(torch.cat([split, always], dim=1), present)
    assert found.which == (0, 1, 2, 3) and found.together == 1 and found.best < 0.55 and found.shuffled < 0.1
    one = over_splitting(present[:, None].float(), present)
    assert (one.units, one.best, one.together) == (1, 1, 1)


def test_one_direction_loses_the_weak_attribute_and_two_that_are_right_keep_it() -> None:
    def one_direction(values: Tensor, seed: int) -> Tensor:
        centred = values - values.mean(dim=0)
        axis = torch.linalg.svd(centred, full_matrices=False).Vh[0]
        along = centred @ axis
        return torch.stack([along, -along], dim=1).relu()

    lossy = feature_occlusion(one_direction, ratios=(1, 16), overlap=0.0)
    assert lossy.weak[1].mean < lossy.weak[0].mean and lossy.weak[1].mean < lossy.shuffled[1] + 0.1
    assert lossy.strong[1].mean > 0.95

    def by_least_squares(values: Tensor, seed: int) -> Tensor:
        """The two differences between its four clusters, which are known here: a dictionary without fault."""
        basis = torch.linalg.svd(values, full_matrices=False).Vh[:2]
        flat = values @ basis.T
        far = flat[flat.norm(dim=1).argmax()]
        corners = [flat[(flat - far).norm(dim=1).argmin()]]
        for _ in range(3):
            apart = torch.stack([(flat - corner).norm(dim=1) for corner in corners]).amin(dim=0)
            corners.append(flat[apart.argmax()])
        by_length = sorted(corners, key=lambda corner: float(corner.norm()))
        directions = torch.stack(by_length[1:3])
        return (flat @ torch.linalg.inv(directions) - 0.5).relu()

    clean = feature_occlusion(by_least_squares, ratios=(2, 16), overlap=0.5, noise=0.01)
    assert min(entry.mean for entry in clean.weak) > 0.99 and min(entry.mean for entry in clean.strong) > 0.99


def test_features_of_the_planted_net_mean_themselves() -> None:
    net, mono, poly = mixed()
    codes = mono.amax(dim=(2, 3))
    attributes = (codes > 0).long()
    own = feature_meanings(codes, attributes, union=1)
    assert own.kept > 6 and own.mean.mean == 1
    pooled = poly.mean(dim=(2, 3))
    dense = feature_meanings(pooled.relu(), attributes, union=1)
    assert dense.mean.mean < own.mean.mean
    rebuilt = mono.mean(dim=(2, 3)) @ atoms_of(net)
    sides = ((pooled - pooled.mean(dim=0)) @ atoms_of(net)[0]).sign()
    whole_layer = approximation(pooled, rebuilt, lambda values: values @ atoms_of(net)[0] * sides)
    assert whole_layer.variance == pytest.approx(1, abs=1e-5) == whole_layer.sufficiency.mean


@pytest.mark.untyped
def test_what_does_not_fit_is_refused() -> None:
    attributes, _, _, activations = world(30)
    with pytest.raises(ShapeError):
        approximation(activations, activations[:, :3], right_by(attributes))
    with pytest.raises(RequestError, match="nothing to keep"):
        approximation(activations, activations, lambda values: torch.zeros(len(values)))
    with pytest.raises(ShapeError, match="attributes"):
        mean_dictionary(activations, attributes[:5])
