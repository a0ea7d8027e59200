"""Gates of a sentence: open they are the plain net, shut they hide a channel, and another question must matter."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from pellucid.errors import RequestError
from pellucid.language import grounding
from pellucid.testbed import nets, scenes
from pellucid.testbed.asked_places import about_birds, about_parts, swapped
from pellucid.testbed.nets import Answerer, Segmenter
from pellucid.testbed.nets.words import talk_words
from pellucid.testbed.train.grounding import begin_with, overlap_and_entropy

TAIL, WINGS = "what colour is the tail ?", "what colour are the wings ?"


@cache
def untaught() -> Answerer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        net = Answerer(talk_words())
    known, _ = nets.load("segmenter")
    assert isinstance(known, Segmenter)
    begin_with(net, known)
    return net.eval()


def test_with_all_gates_open_the_features_are_those_of_the_backbone_bit_for_bit() -> None:
    """Acceptance of the card: identity gates give the backbone's output."""
    net, known = untaught(), nets.load("segmenter")[0]
    pictures = scenes(3600, 2).tensor()
    numbers = net.words.encode([TAIL, WINGS])
    with torch.no_grad():
        found = net.ground(pictures, numbers, opened=(0, 1, 2))
        expected = net.head(known.features(pictures))[:, 0]  # type: ignore[operator]
    assert torch.equal(found.logits, expected) and all((stage == 1).all() for stage in found.gates)


def test_a_channel_whose_gate_is_shut_matters_through_its_mean_alone() -> None:
    """Its map is hidden; its mean still tells the gates, unless they do not weigh it."""
    net = Answerer(talk_words()).eval()
    numbers, pictures = net.words.encode([TAIL]), scenes(3600, 1).tensor()
    with torch.no_grad():
        net.gates[2].excite.bias[5] = -1e4
        net.gates[2].squeeze.weight[:, 5] = 0
        before = net.ground(pictures, numbers)
        net.down3[1][1].bias[5] += 3.0
        after = net.ground(pictures, numbers)
    assert float(before.gates[2][0, 5]) == 0 and torch.equal(before.logits, after.logits)


def test_where_an_answer_is_seen_is_the_part_that_shows_it() -> None:
    drawn = scenes(3600, 10)
    for one in about_parts(drawn):
        if "tail" in one.text:
            assert (one.mask == drawn[one.scene].mask("tail")[0]).all()
    flocks = scenes(3600, 5, mode="flock")
    for one in about_birds(flocks):
        assert any((one.mask == plane).all() for plane in flocks[one.scene].instances[0])


def test_the_other_question_is_about_another_part() -> None:
    asked = about_parts(scenes(3600, 10))
    assert all(other != one.text for one, other in zip(asked, swapped(asked), strict=True))


def test_the_loss_of_a_perfect_mask_is_nothing_and_of_its_opposite_is_large() -> None:
    wanted = torch.from_numpy(scenes(3600, 1).mask("body"))
    right = torch.where(wanted, 50.0, -50.0)
    assert float(overlap_and_entropy(right, wanted)) < 1e-4 < 10 < float(overlap_and_entropy(-right, wanted))


def test_the_same_question_twice_is_no_comparison() -> None:
    with pytest.raises(RequestError, match="same"):
        grounding.ground(untaught(), scenes(3600, 1).frames()[0], TAIL, instead=TAIL)


def test_a_net_that_was_never_taught_does_not_listen() -> None:
    found = grounding.trial(untaught(), scenes(3600, 12), scenes(3600, 12, mode="flock"))
    assert not found.parts.listens and "explain nothing" in str(found.parts)
    assert np.isfinite(found.which.own.mean) and found.to_dict()["listens"] == {"parts": False, "which": False}


def test_the_mask_follows_the_question_on_fresh_scenes() -> None:
    """Acceptance of the card: "where is the coral bird ?" among several overlaps by .8 or nearly so on few scenes."""
    found = grounding.trial(grounding.opened(), scenes(3601, 20), scenes(3601, 20, mode="flock"))
    assert found.parts.listens and found.which.listens, str(found)
    assert found.parts.own.mean > 0.85 and found.which.own.mean > 0.75, str(found)


def test_another_question_moves_gates_and_mask() -> None:
    found = grounding.ground(grounding.opened(), scenes(3601, 1).frames()[0], TAIL, instead=WINGS)
    assert found.overlap < 0.1 < found.moved and f"“{TAIL}”" in str(found)
