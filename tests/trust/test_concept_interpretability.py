"""One-hot attributes through their own basis lose nothing; noise and random directions lose most."""

from __future__ import annotations

import pytest
import torch

from pellucid.errors import RequestError
from pellucid.trust.concepts import concept_library, inherent_interpretability
from tests.trust.concepts import normal, orthonormal, whole


def one_hot(items: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Three attributes of four values each, one beside the other, and the first of them as the label."""
    values = whole(0, 4, items, 3)
    return torch.nn.functional.one_hot(values).flatten(1).float(), values[:, 0]


def test_attributes_through_their_own_basis_keep_everything_however_few_may_speak() -> None:
    features, labels = one_hot()
    found = inherent_interpretability(features, labels, torch.eye(12), random_sets=1)
    assert found.accuracy == 1 and [entry.mean for entry in found.retention] == [1.0] * 7
    assert found.score.mean == pytest.approx(0.95) and found.above_chance.mean == pytest.approx(0.95)
    assert found.margin.low > 0 and found.random[0] < 0.94


def test_heads_that_learned_shuffled_labels_keep_nothing() -> None:
    features, labels = one_hot(1200)
    found = inherent_interpretability(features, labels, torch.eye(12), sparsities=(0.0, 0.5, 0.9), random_sets=2)
    assert all(abs(area) < 0.12 for area in found.shuffled), found.shuffled


def test_a_representation_that_knows_nothing_has_no_figure_above_chance_and_says_so() -> None:
    labels = (whole(0, 4, 80) == 0).long()
    found = inherent_interpretability(torch.zeros(80, 4), labels, torch.eye(4), sparsities=(0.0, 0.5), random_sets=1)
    assert torch.isnan(torch.tensor(found.above_chance.mean)) and "above_chance" in found.skipped
    assert found.to_dict()["above_chance"]["mean"] is None


def test_a_library_of_pieces_finds_the_directions_they_are_made_of() -> None:
    directions = orthonormal(5, 12)
    pieces = directions[whole(0, 5, 150)] * (1 + whole(1, 4, 150, 1, seed=2)) + 0.02 * normal(150, 12)
    library = concept_library(pieces, 5)
    assert float((library @ directions.T).amax(dim=0).min()) > 0.99
    with pytest.raises(RequestError, match="count=0"):
        concept_library(pieces, 0)


def test_sparsities_that_do_not_rise_and_labels_of_one_kind_are_refused() -> None:
    features, labels = one_hot(40)
    with pytest.raises(RequestError, match="rising shares"):
        inherent_interpretability(features, labels, torch.eye(12), sparsities=(0.5, 0.2))
    with pytest.raises(RequestError, match="nothing to tell apart"):
        inherent_interpretability(features, labels * 0, torch.eye(12))
