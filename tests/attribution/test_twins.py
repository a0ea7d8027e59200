"""A ReLU is a ReLU: as a module, in place, or as a function. Every method sees the same net."""

from __future__ import annotations

import pytest
import torch

from tests.attribution.asked import CONVOLUTIONAL, QUICK
from tests.oracles.asking import ask, relative
from tests.oracles.nets import Twin, pictures

INPUTS = pictures(2, 37, 53, seed=40)


@pytest.mark.parametrize("spelling", ["in place", "function"])
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_the_spelling_of_relu_changes_nothing(name: str, spelling: str) -> None:
    """At norm2, whose output an in-place ReLU overwrites: what is kept has to be the value before."""
    layered = {"layer": "norm2"} if "cam" in name else {}
    expected, found = (
        ask(name, Twin(kind), INPUTS, 2, **layered, **QUICK.get(name, {})) for kind in ("module", spelling)
    )
    assert relative(found, expected) < 1e-6


def test_the_layer_before_an_in_place_relu_keeps_its_negative_values() -> None:
    from tests.oracles.asking import evidence_of

    activation = evidence_of(Twin("in place"), INPUTS).activation("norm2")
    assert (activation < 0).any()
    assert torch.equal(activation, evidence_of(Twin("module"), INPUTS).activation("norm2"))
