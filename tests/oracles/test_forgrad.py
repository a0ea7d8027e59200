"""FORGrad on gradients whose frequencies are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from pellucid.attribution.forgrad import cutoffs_for, faithfulness_of_cutoffs, low_pass
from pellucid.values import Call
from tests.oracles.asking import ask, evidence_of, values_of
from tests.oracles.nets import LinearPicture, Twin, pictures

SIDE = 32
INPUTS = pictures(3, SIDE, SIDE)


def wave(rows: int, columns: int) -> Tensor:
    place = torch.arange(SIDE) / SIDE
    return torch.cos(2 * math.pi * (rows * place[:, None] + columns * place[None, :]))


def planted(weight: Tensor) -> nn.Module:
    network = LinearPicture(SIDE, SIDE, classes=2)
    with torch.no_grad():
        network.weight.copy_(weight.expand(2, 3, -1, -1))
    return network


def test_only_frequencies_up_to_the_cutoff_stay() -> None:
    """Waves of 2, 5 (3 down, 4 across) and 11 cycles: the cut-off is a circle in the plane of frequencies."""
    network = planted(wave(2, 0) + wave(3, 4) + wave(0, 11))
    for cutoff, left in ((1, 0 * wave(1, 1)), (2, wave(2, 0)), (4.9, wave(2, 0)), (5, wave(2, 0) + wave(3, 4))):
        found = ask("forgrad", network, INPUTS, 0, cutoff=cutoff)
        assert_close(found, left.expand(3, 3, -1, -1), rtol=1e-4, atol=1e-5)
    assert_close(
        ask("forgrad", network, INPUTS, 0, cutoff=100), ask("gradient", network, INPUTS, 0), atol=1e-5, rtol=1e-4
    )


def test_magnitude_is_taken_before_or_after() -> None:
    """A plain wave vanishes below its frequency; its magnitude has a mean of 2 / pi and stays."""
    network = planted(wave(8, 0))
    assert_close(ask("forgrad", network, INPUTS, 0, cutoff=3), torch.zeros(3, 3, SIDE, SIDE), atol=1e-5, rtol=0)
    found = ask("forgrad", network, INPUTS, 0, cutoff=3, filtered="magnitude")
    assert_close(found, wave(8, 0).abs().mean().expand(3, 1, SIDE, SIDE), rtol=1e-3, atol=1e-4)


def test_a_filtered_map_keeps_its_mean_and_odd_sizes() -> None:
    values = pictures(2, 37, 53)
    assert_close(low_pass(values, 3).mean(dim=(2, 3)), values.mean(dim=(2, 3)), rtol=1e-3, atol=1e-5)
    assert_close(low_pass(values, math.inf), values, rtol=1e-4, atol=1e-5)
    assert_close(low_pass(low_pass(values, 4), 4), low_pass(values, 4), rtol=1e-4, atol=1e-5)


def test_cutoffs_are_halvings_of_the_highest_frequency() -> None:
    assert cutoffs_for((224, 300)) == [3.5, 7, 14, 28, 56, 112, math.inf]
    assert cutoffs_for((3, 3))[-1] == math.inf and len(cutoffs_for((3, 3))) == 2


def test_each_picture_gets_the_cutoff_at_which_its_map_is_most_faithful() -> None:
    network = Twin("module")
    inputs = pictures(3, 37, 53)
    evidence = evidence_of(network, inputs, 2)
    gains = faithfulness_of_cutoffs(evidence)
    found = values_of("forgrad", evidence)
    tried = cutoffs_for((37, 53))
    assert gains.shape == (3, len(tried))
    for at, place in enumerate(gains.argmax(dim=1).tolist()):
        assert_close(found[at], low_pass(ask("gradient", network, inputs, 2), tried[place])[at])
    assert "keeps frequencies" in evidence.notes[-1]


def test_faithfulness_is_the_area_between_insertion_and_deletion() -> None:
    """O1 read as a plain number: every curve is a partial sum of the pixels' summands in the order of the map."""
    network = LinearPicture(SIDE, SIDE)
    weight = network.weight.detach()[1].double()
    summands = (weight * INPUTS.double()).sum(dim=1).flatten(1)
    target = Call(lambda output: output[:, 1], name="logit")
    found = faithfulness_of_cutoffs(
        evidence_of(network, INPUTS, target), cutoffs=[5, math.inf], steps=4, baseline="zero"
    )
    for column, cutoff in enumerate((5, math.inf)):
        order = low_pass(weight, cutoff).abs().amax(dim=0).flatten().argsort(descending=True)
        parts = torch.stack([summands[:, order[: SIDE**2 * step // 4]].sum(dim=1) for step in range(5)])
        both = parts - (parts[-1] - parts)  # the score with them alone, less the score without them
        assert_close(found[:, column].double(), torch.trapezoid(both, dim=0) / 4, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("base", ["guided_backprop", "gradient_x_input"])
def test_other_maps_can_be_filtered(base: str) -> None:
    network = Twin("module")
    found = ask("forgrad", network, INPUTS, 2, base=base, cutoff=4)
    assert_close(found, low_pass(ask(base, network, INPUTS, 2), 4))
