"""Nets that answer for every place, measured against the masks and boxes of the scenes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pellucid as pl
from pellucid.errors import LoadError
from pellucid.testbed import PART_IDS, nets, scenes
from pellucid.testbed.nets import Detections, Detector, Segmenter
from pellucid.testbed.train import PLANS, accuracies
from pellucid.testbed.train.detection import Birds, average_precision, birds_of
from pellucid.testbed.train.segmentation import overlaps

FRESH_SEED = 4000


def found(*birds: tuple[tuple[float, float, float, float], float, int]) -> Detections:
    boxes, scores, labels = zip(*birds, strict=True) if birds else ((), (), ())
    return Detections(torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores), torch.tensor(labels, dtype=torch.long))


def test_the_segmenter_meets_its_card_on_fresh_scenes() -> None:
    net, card = nets.load("segmenter")
    figures = accuracies("segmenter", net, FRESH_SEED, 300)
    assert figures["mean_overlap"] == pytest.approx(card.accuracy["mean_overlap"], abs=0.015)
    assert figures.keys() == card.accuracy.keys()
    assert card.labels == tuple(PART_IDS)[:12]


def test_the_segmenter_answers_for_every_pixel_at_any_side_of_a_multiple_of_four() -> None:
    net, _ = nets.load("segmenter")
    assert isinstance(net, Segmenter)
    with torch.no_grad():
        assert net(torch.rand(2, 3, 64, 64)).shape == (2, 12, 64, 64)
        assert net(torch.rand(1, 3, 40, 72)).shape == (1, 12, 40, 72)


def test_overlap_of_a_labelling_with_itself_is_one_and_with_half_of_it_a_half() -> None:
    truth = np.array([[[0, 0, 7, 7]]], dtype=np.uint8)
    assert overlaps(truth, truth) == {0: 1.0, 7: 1.0}
    half = np.array([[[0, 0, 7, 0]]], dtype=np.uint8)
    assert overlaps(half, truth) == {0: pytest.approx(2 / 3), 7: pytest.approx(1 / 2)}


def test_the_detector_meets_its_card_on_fresh_flocks() -> None:
    net, card = nets.load("detector")
    count = 150
    for word, share in accuracies("detector", net, FRESH_SEED, count).items():
        assert share == pytest.approx(card.accuracy[word], abs=0.03), word


def test_the_detector_finds_the_birds_where_they_are() -> None:
    net, card = nets.load("detector")
    assert isinstance(net, Detector) and card.size == 128
    drawn = scenes(FRESH_SEED, 20, **PLANS["detector"].settings)
    seen, truth = net.detect(drawn.tensor()), birds_of(drawn)
    counts = [len(birds.boxes) for birds in seen]
    assert np.mean(np.array(counts) == drawn.counts) > 0.8
    for birds in seen:
        assert birds.scores.tolist() == sorted(birds.scores.tolist(), reverse=True)
        assert (birds.scores >= 0.3).all() and (birds.boxes[:, 2:] > birds.boxes[:, :2]).all()
    assert len(truth.boxes) == 20


def test_average_precision_of_the_truth_is_one_of_half_of_it_a_half_and_of_nothing_zero() -> None:
    box, other = (0.0, 0.0, 10.0, 10.0), (20.0, 20.0, 40.0, 40.0)
    truth = Birds(torch.tensor([[box, other]]), torch.tensor([[3, 5]]))
    assert average_precision([found((box, 0.9, 3), (other, 0.8, 5))], truth, None) == 1
    assert average_precision([found((box, 0.9, 3))], truth, None) == 0.5
    assert average_precision([found()], truth, None) == 0
    assert average_precision([found((box, 0.9, 4))], truth, 3) == 0
    assert average_precision([found((box, 0.9, 3), (other, 0.8, 3))], truth, 3) == 1  # the second is less sure


def test_a_bird_found_twice_counts_once_and_a_sure_mistake_costs() -> None:
    box, nowhere = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)
    truth = Birds(torch.tensor([[box]]), torch.tensor([[3]]))
    assert average_precision([found((box, 0.9, 3), (box, 0.8, 3))], truth, 3) == 1
    assert average_precision([found((nowhere, 0.9, 3), (box, 0.8, 3))], truth, 3) == 0.5
    shifted = (0.0, 0.0, 10.0, 4.9)
    assert average_precision([found((shifted, 0.9, 3))], truth, 3) == 0  # overlap just below one half


def test_nets_that_name_no_classes_say_how_to_open_them() -> None:
    for name in ("vae", "captioner"):
        with pytest.raises(LoadError, match=rf"testbed.nets.load\('{name}'\)"):
            pl.load(f"testbed:{name}")
