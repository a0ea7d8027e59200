"""XRAI on a linear model, where integrated gradients are known; weight of evidence of a logistic one, in bits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from pellucid.images import superpixels
from tests.oracles.asking import ask, evidence_of, relative, values_of
from tests.oracles.nets import LinearPicture, PatchDetector, Pixels, pictures


def published(attribution: np.ndarray, regions: list[np.ndarray], least: float) -> np.ndarray:
    """The loop as the paper writes it, with sets and means anew in every round."""
    painted, covered, left = np.full(attribution.shape, -np.inf), np.zeros(attribution.shape, bool), list(regions)
    while left:
        left = [region for region in left if (region & ~covered).sum() >= least]
        if not left:
            break
        gains = [attribution[region & ~covered].mean() for region in left]
        new = left[int(np.argmax(gains))] & ~covered
        painted[new] = max(gains)
        covered |= new
    if not covered.all():
        painted[~covered] = attribution[~covered].mean()
    return painted


def test_xrai_is_the_published_ranking_of_integrated_gradients_from_black_and_white() -> None:
    """On w.x from black, 0, and from white, 1: w x and w (x - 1), of whose mean each pixel keeps the largest colour."""
    network, inputs = LinearPicture(48, 64), pictures(2, 48, 64).sigmoid()
    found = ask("xrai", network, inputs, 2, steps=3)
    attribution = (network.weight[2] * (inputs - 0.5)).amax(dim=1).detach()
    for index, one in enumerate(attribution.double().numpy()):
        regions = superpixels.by_edges(inputs[index])
        expected = published(one, regions, 50 / 224**2 * one.size)
        assert relative(found[index], torch.from_numpy(expected).float()) < 1e-4
    assert_close(found.sum(dim=(1, 2)), attribution.sum(dim=(1, 2)), rtol=1e-4, atol=1e-2)


def test_xrai_marks_the_region_that_a_detector_reads() -> None:
    network = PatchDetector(top=12, left=20, side=16)
    inputs = torch.full((1, 3, 48, 64), 0.2)
    inputs[:, :, 12:28, 20:36] = 0.9
    found = ask("xrai", network, inputs, 0, steps=4)[0]
    inside = torch.zeros(48, 64, dtype=torch.bool)
    inside[10:30, 18:38] = True
    assert found[inside].max() == found.max() and found[~inside].max() < 0.1 * found.max()


def test_xrai_takes_two_paths_of_gradients() -> None:
    evidence = evidence_of(LinearPicture(), pictures(1))
    values_of("xrai", evidence, steps=5)
    assert (evidence.passes.forwards, evidence.passes.backwards) == (10, 10)


def on_flat_ground() -> torch.Tensor:
    """Two pictures of noise within a frame of one colour."""
    inputs = torch.full((2, 3, 24, 30), 0.25)
    inputs[:, :, 2:-2, 2:-2] = pictures(2, 20, 26).sigmoid()
    return inputs


def test_weight_of_evidence_of_a_logistic_model_is_its_linear_part_in_bits() -> None:
    """The rim has one colour, so that its covariance vanishes: a region gives sum of w (x - rim) / ln 2."""
    weight = 0.01 * pictures(1, 24, 30, seed=5)
    inputs = on_flat_ground()
    network = Pixels(lambda x: (weight * x).sum(dim=(1, 2, 3)))
    found = ask("regional_multiscale", network, inputs, 0, samples=1, cuts=(6, 15), smoothing=0)
    expected = torch.zeros_like(found)
    for count in (6, 15):
        for index, picture in enumerate(inputs):
            labels = torch.as_tensor(superpixels.merged(picture, count))
            terms = (weight[0] * (picture - 0.25)).sum(dim=0)
            sums = torch.zeros(count).index_add_(0, labels.flatten(), terms.flatten())
            expected[index] += sums[labels] / math.log(2) / 2
    assert relative(found, expected) < 2e-3


def test_a_certain_answer_carries_finitely_many_bits() -> None:
    network = Pixels(lambda x: 1e4 * x[:, 0, 8, 8] - 50)
    found = ask("regional_multiscale", network, on_flat_ground().abs() + 0.1, 0, samples=1, cuts=(4,))
    assert found.isfinite().all() and found.max() < 45


def test_fills_are_drawn_from_the_colours_of_the_rim() -> None:
    """A model that reads the mean of a region sees the rim's mean there, on average over many draws."""
    inputs = on_flat_ground()
    rim = pictures(2, 24, 30, seed=9)
    inputs = torch.where(torch.nn.functional.pad(torch.zeros(20, 26), (2, 2, 2, 2), value=1.0) > 0, rim, inputs)
    network = Pixels(lambda x: x[:, 1, 12, 15])
    evidence = evidence_of(network, inputs, lambda output: output[:, 0])
    found = values_of("regional_multiscale", evidence, samples=400, cuts=(2,), smoothing=0)
    expected = inputs[:, 1, 12, 15] - rim_mean(inputs)
    assert found[:, 12, 15].tolist() == pytest.approx(expected.tolist(), abs=0.2)


def rim_mean(inputs: torch.Tensor) -> torch.Tensor:
    frame = torch.ones(24, 30, dtype=torch.bool)
    frame[1:-1, 1:-1] = False
    return inputs[:, 1][:, frame].mean(dim=1)
