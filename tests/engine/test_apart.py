"""Passes apart from the shared one: over many points at once, in a layer, twice back, after a step of learning."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from pellucid.engine import look
from pellucid.engine.flow import through
from pellucid.engine.steps import after_step
from pellucid.errors import MethodUnavailable
from pellucid.subject import wrap
from pellucid.values import Class
from tests.oracles.nets import Twin, pictures

INPUTS = pictures(2, 13, 17)
NET = Twin("in place")
MODEL = wrap(NET, input_size=(13, 17))
POINTS = [INPUTS * factor for factor in (0.2, 0.5, 0.9, 1.4, 2.0)]


def test_layers_planned_together_cost_one_forward_and_one_backward() -> None:
    evidence = look(MODEL, INPUTS, Class(1))
    evidence.keep(["conv1", "relu2"], gradients=True)
    assert evidence.passes.cost == 0
    evidence.gradient("conv1"), evidence.gradient("relu2"), evidence.activation("conv1")
    assert (evidence.passes.forwards, evidence.passes.backwards) == (1, 1)


@pytest.mark.parametrize("memory", [None, 0.0001])
def test_reading_at_points_is_reading_at_each_alone(memory: float | None) -> None:
    """Also where memory takes no more than one point at a time, and with another target for every picture."""
    evidence = look(MODEL, INPUTS, [Class(0), Class(3)], memory=memory)
    evidence.keep(["relu1"], gradients=True)
    before = evidence.passes.cost
    found = list(evidence.read_at(iter(POINTS), lambda asked: asked.gradient("relu1") * asked.activation("relu1")))
    assert len(found) == len(POINTS) and evidence.passes.cost - before == 3 * len(POINTS)
    for point, values in zip(POINTS, found, strict=True):
        alone = look(MODEL, point, [Class(0), Class(3)])
        assert_close(values, alone.gradient("relu1") * alone.activation("relu1"), rtol=1e-4, atol=1e-7)


def test_a_layers_gradient_at_other_activations_is_that_of_autograd() -> None:
    evidence = look(MODEL, INPUTS, Class(2))
    output = evidence.activation("relu1")
    changed = [output * factor for factor in (0.1, 1.0, 3.0)]
    for given, found in zip(changed, evidence.layer_gradients_at("relu1", changed), strict=True):
        leaf = given.clone().requires_grad_()
        score = NET.head(torch.relu(NET.norm2(NET.conv2(leaf))).mean(dim=(2, 3)))[:, 2].sum()
        assert_close(found, torch.autograd.grad(score, leaf)[0], rtol=1e-4, atol=1e-7)


def test_one_of_the_pictures_alone_is_the_same_question() -> None:
    evidence = look(MODEL, INPUTS)
    for place in range(2):
        alone = evidence.alone(place)
        assert_close(alone.score(), evidence.score()[place : place + 1])
        assert alone.targets == evidence.targets[place : place + 1]


def test_what_comes_through_neurons_and_the_others_is_the_whole_gradient() -> None:
    evidence = look(MODEL, INPUTS, Class(1))
    layer = evidence.layers["norm1"]
    some = (torch.rand(layer.channels, *layer.grid, generator=torch.Generator().manual_seed(3)) < 0.3).float()
    parts = through(evidence, layer, some) + through(evidence, layer, 1 - some)
    assert_close(parts, evidence.input_gradient(), rtol=1e-4, atol=1e-7)


def test_a_step_of_learning_raises_the_class_and_is_counted() -> None:
    evidence = look(MODEL, INPUTS, Class(1))
    before, scores = evidence.probabilities()[:, 1], []
    counted = evidence.passes.cost
    for place, after in enumerate(after_step(evidence, 0.05)):
        scores.append(after.probabilities()[0, 1])
        assert after.targets == evidence.targets[place : place + 1]
    assert (torch.stack(scores) > before).all()
    assert evidence.passes.cost - counted == 3 + 1


def test_a_model_that_cannot_be_copied_takes_no_step() -> None:
    network = Twin("module")
    network.lost = torch.ones(2, requires_grad=True) * 2  # torch copies no tensor that stands inside a graph
    evidence = look(wrap(network, input_size=(13, 17)), INPUTS, Class(1))
    with pytest.raises(MethodUnavailable, match="copied"):
        next(after_step(evidence, 0.1))
