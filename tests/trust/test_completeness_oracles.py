"""Completeness: what a map promises to sum to, and by how much it misses."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

import pellucid as pl
from pellucid.engine import look
from pellucid.subject import wrap
from pellucid.trust.completeness import completeness
from pellucid.values import Class
from tests.oracles.nets import Pixels, pictures
from tests.trust.linear import CLASS, linear, looked, noise, worth


def test_the_worth_of_pixels_accounts_for_everything_and_twice_of_it_misses_once() -> None:
    evidence = looked()
    value = worth(evidence)
    found = completeness(evidence, {"worth": value, "twice": 2 * value, "zeros": 0 * value}, {}, baseline="mean")
    assert_close(found.values["worth"], torch.zeros(3), atol=1e-4, rtol=0)
    assert_close(found.values["twice"], torch.ones(3), atol=1e-4, rtol=0)
    assert_close(found.values["zeros"], torch.ones(3))
    assert evidence.passes.forwards == 2


def test_methods_are_taken_by_their_own_promise() -> None:
    model, inputs = linear(), pictures(2, 6, 8)
    heats = pl.attribute(model, inputs, ["integrated_gradients", "gradient_x_input"], target=CLASS)
    scores = {score.method: score for score in pl.evaluate(model, inputs, heats, "completeness")}
    assert max(scores["integrated_gradients"].values) < 1e-4
    assert all(value != value for value in scores["gradient_x_input"].values)
    assert "gradient_x_input" in scores["integrated_gradients"].notes[0]


def test_nothing_to_account_for_cannot_be_missed() -> None:
    model = wrap(Pixels(lambda inputs: inputs[:, 0, 0, 0] * 0 + 3), input_size=(6, 8), activation="none")
    evidence = look(model, pictures(2, 6, 8), Class(0))
    found = completeness(evidence, {"map": noise(evidence)}, {}, baseline="black")
    assert found.values["map"].isnan().all() and set(found.skipped) == {0, 1}


@pytest.mark.parametrize("fill", ["black", "blur"])
def test_the_baseline_that_is_named_is_the_one_that_counts(fill: str) -> None:
    evidence = looked()
    found = completeness(
        evidence, {"right": worth(evidence, fill), "other": worth(evidence, "mean")}, {}, baseline=fill
    )
    assert_close(found.values["right"], torch.zeros(3), atol=5e-3, rtol=0)
    assert (found.values["other"] > 0.02).all()
