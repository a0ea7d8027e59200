"""The same probe pictures tell the same story; shuffled ones agree by chance; easy and hard concepts are told apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid import testbed
from pellucid.errors import RequestError
from pellucid.testbed import attributes, nets
from pellucid.trust.concepts import concept_learnability, fidelity_by_count, probe_set_agreement
from pellucid.trust.concepts.probe_sets import normalised_average_precision
from tests.trust.concepts import normal, whole


def test_the_same_probe_set_agrees_in_all_and_another_by_chance() -> None:
    one = normal(30, 40)
    same = probe_set_agreement(one, one.clone(), top=10, vectors=(normal(40, 6), normal(40, 6)))
    assert same.overlap.mean == 1 and same.order.mean == pytest.approx(1) and same.margin.low > 0
    assert same.cosine is not None and same.cosine.mean == pytest.approx(1)
    other = probe_set_agreement(one, normal(30, 40, seed=1), top=10)
    assert other.overlap.low < 0.25 < other.overlap.high and other.shuffled == pytest.approx(0.25, abs=0.02)
    assert abs(other.order.mean) < 0.1 and other.margin.low < 0.03


def test_explanations_that_do_not_vary_have_no_order_and_are_counted() -> None:
    one = normal(4, 12)
    one[0] = 1
    found = probe_set_agreement(one, one, top=3)
    assert (found.kept, found.total) == (3, 4)
    with pytest.raises(RequestError, match="top=20"):
        probe_set_agreement(one, one, top=20)


def test_average_precision_of_a_guess_is_the_prevalence_and_of_a_perfect_reader_one() -> None:
    draw = np.random.default_rng(0)
    for share in (0.05, 0.5):
        present = draw.random(20_000) < share
        assert normalised_average_precision(draw.random(20_000), present, 0.1) == pytest.approx(0.1, abs=0.015)
        assert normalised_average_precision(present.astype(float), present, 0.1) == pytest.approx(1)
    assert np.isnan(normalised_average_precision(draw.random(5), np.ones(5, dtype=bool), 0.1))


def test_a_concept_that_is_not_in_the_features_is_harder_than_the_class_it_explains() -> None:
    features = normal(300, 6)
    labels = (features[:, 0] > 0).long()
    present = torch.stack([features[:, 0] > 0.1, whole(0, 2, 300, seed=4) == 1, torch.ones(300) > 0], dim=1)
    explains = torch.tensor([[True, True, False], [True, True, True]])
    found = concept_learnability(features, present, labels, explains)
    assert float(found.concepts[0]) > 0.95 and float(found.concepts[1]) < 0.35
    assert found.harder[1] == (0, 1) and 2 not in found.harder
    assert found.shuffled < 0.3 and (found.kept, found.total) == (2, 3) and "concept 2" in found.skipped


def test_the_testbeds_net_knows_what_decides_and_not_the_colour_of_the_body() -> None:
    net, _ = nets.load("cnn")
    scenes = testbed.scenes(11, 160)
    present = torch.from_numpy(attributes.table(scenes, ("wing", "body_hue")).values)
    with torch.no_grad():
        features = net.pool(net.features(net.normalise(scenes.tensor()))).flatten(1)
        decisions = net.head(features).argmax(dim=1)
    found = concept_learnability(features, present, decisions, torch.ones(12, present.shape[1], dtype=torch.bool))
    assert float(found.concepts[:3].min()) > 0.9 and float(found.concepts[3:].max()) < 0.4, found.concepts


def test_as_many_concepts_are_needed_as_decide() -> None:
    """Three of forty concepts decide; the fourth to the last add nothing."""
    scores = normal(600, 40)
    decisions = ((scores[:, 5] > 0).long() + 2 * (scores[:, 11] > 0).long()) % 4
    found = fidelity_by_count(scores, decisions, counts=(1, 2, 8, 64), slack=0.03)
    assert found.counts == (1, 2, 8, 40) and found.enough == 2 and found.readable
    assert found.fidelity[0].mean < 0.7 < 0.9 < found.fidelity[1].mean and found.random[1] < 0.6
    assert found.shuffled < 0.45


def test_more_than_people_read_is_said_to_be_so() -> None:
    scores = normal(900, 48)
    found = fidelity_by_count(scores, (scores.sum(dim=1) > 0).long(), counts=(8, 32), slack=0.01, draws=1)
    assert found.enough == 48 and not found.readable
    with pytest.raises(RequestError, match="nothing to foretell"):
        fidelity_by_count(scores, torch.zeros(900, dtype=torch.int64))
