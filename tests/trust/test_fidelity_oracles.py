"""Infidelity: on a linear model the right map forecasts every change without error."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from pellucid.engine import look
from pellucid.errors import RequestError
from pellucid.trust.fidelity import infidelity
from tests.oracles.nets import LinearPicture, pictures
from tests.trust.linear import CLASS, linear, looked, noise, weight, worth


def falls(evidence: object, **asked: object) -> Tensor:
    """The mean squared fall: what a map of zeros misses."""
    found = infidelity(evidence, {"zeros": torch.zeros(3, 6, 8)}, **asked)  # type: ignore[arg-type]
    assert_close(torch.tensor(found.curves["zeros"]["nothing forecast"]), found.values["zeros"])
    return found.values["zeros"]


@pytest.mark.parametrize("perturbation", ["square", "superpixels", "gaussian", "noisy_baseline"])
def test_the_right_map_misses_nothing(perturbation: str) -> None:
    evidence = looked()
    if perturbation == "noisy_baseline":  # its change differs between colours, so here they weigh alike
        network = evidence.model.module
        assert isinstance(network, LinearPicture)
        network.weight.data = network.weight.detach().mean(dim=1, keepdim=True).repeat(1, 3, 1, 1)
    slopes = weight(evidence).sum(dim=0).expand(3, -1, -1)
    right = worth(evidence) if perturbation in ("square", "superpixels") else slopes
    asked = {"perturbation": perturbation, "scaling": "none", "segments": 6}
    found = infidelity(evidence, {"right": right, "tripled": 3 * right}, **asked)  # type: ignore[arg-type]
    total = falls(evidence, **asked)
    assert (total > 0.1).all()
    assert (found.values["right"] < 1e-6 * total).all()
    assert_close(found.values["tripled"], 4 * total, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("perturbation", ["square", "gaussian"])
@given(factor=st.floats(-20, 20).filter(lambda value: abs(value) > 0.05))
@settings(max_examples=8, deadline=None)
def test_the_best_scaling_forgives_any_factor(perturbation: str, factor: float) -> None:
    evidence = looked()
    values = noise(evidence)
    found = infidelity(evidence, {"map": values, "scaled": factor * values}, perturbation=perturbation, samples=12)
    assert_close(found.values["map"], found.values["scaled"], rtol=1e-3, atol=1e-4)


def test_no_other_factor_does_better_than_the_best_scaling() -> None:
    evidence = looked(batch=1)
    values = noise(evidence)
    factors = {f"{factor}": factor * values for factor in torch.linspace(-2, 2, 201).tolist()}
    taken_at_their_word = infidelity(evidence, factors, scaling="none").values.values()
    best = float(infidelity(evidence, {"map": values}).values["map"])
    assert best <= float(min(taken_at_their_word)) < 1.01 * best


def test_one_set_of_changes_serves_all_maps_and_the_seed_draws_another() -> None:
    evidence = looked()
    maps = {str(index): noise(evidence, index) for index in range(5)}
    first = infidelity(evidence, maps, samples=20)
    assert evidence.passes.forwards == 21
    again = infidelity(evidence, {"0": maps["0"]}, samples=20)
    assert evidence.passes.forwards == 21 and torch.equal(first.values["0"], again.values["0"])
    assert not torch.equal(infidelity(evidence, maps, samples=20, seed=1).values["0"], first.values["0"])


def test_a_picture_is_measured_as_if_it_were_alone() -> None:
    together = looked()
    alone = look(linear(), pictures(3, 6, 8)[1:2], CLASS)
    for perturbation in ("square", "superpixels", "gaussian", "noisy_baseline"):
        values, asked = noise(together), {"perturbation": perturbation, "samples": 9, "segments": 6}
        both = infidelity(together, {"map": values}, **asked).values["map"][1:2]  # type: ignore[arg-type]
        one = infidelity(alone, {"map": values[1:2]}, **asked).values["map"]  # type: ignore[arg-type]
        assert_close(both, one, rtol=1e-4, atol=1e-5)


def test_settings_that_do_not_exist_are_refused() -> None:
    evidence = looked()
    for asked in ({"perturbation": "squares"}, {"scaling": "best"}, {"samples": 0}, {"fill": "blurr"}):
        with pytest.raises(RequestError):
            infidelity(evidence, {"map": noise(evidence)}, **asked)  # type: ignore[arg-type]
