"""Layers, neurons and many baselines as in Captum, to 1e-3 of the largest value."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from captum import attr
from torch import nn

from pellucid.values import Seed, Unit
from tests.oracles.asking import ask, relative
from tests.oracles.nets import Twin, pictures, tiny_vit

CLASS, STEPS, TOLERANCE = 2, 9, 1e-3
INPUTS = {"cnn": pictures(2, 37, 53, seed=40), "vit": pictures(2, 32, 32, seed=41)}
NETWORKS = {"cnn": Twin("module"), "vit": tiny_vit()}
LAYERS = [("cnn", "relu1"), ("cnn", "norm2"), ("vit", "blocks.1")]
ZEROS = {"baseline": "zero", "steps": STEPS}


@pytest.fixture(autouse=True)
def _their_warnings() -> Iterator[None]:
    """Captum warns of every hook it sets and of inputs that need gradients."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def on_grid(kind: str, values: torch.Tensor) -> torch.Tensor:
    values = values.detach().float()
    return values if kind == "cnn" else values[:, 1:].transpose(1, 2).unflatten(2, (4, 4))


def parts(kind: str, layer: str) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    network = NETWORKS[kind]
    return network, network.get_submodule(layer), INPUTS[kind].clone()


@pytest.mark.parametrize(("kind", "layer"), LAYERS)
@pytest.mark.parametrize(
    ("name", "theirs"), [("conductance", "LayerConductance"), ("internal_influence", "InternalInfluence")]
)
def test_along_the_way(name: str, theirs: str, kind: str, layer: str) -> None:
    network, module, inputs = parts(kind, layer)
    found = getattr(attr, theirs)(network, module).attribute(inputs, baselines=0.0, target=CLASS, n_steps=STEPS)
    expected = on_grid(kind, found).sum(dim=1)
    assert relative(ask(name, network, inputs, CLASS, layer, **ZEROS), expected) < TOLERANCE


@pytest.mark.parametrize("layer", ["relu1", "norm2"])
def test_layer_integrated_gradients(layer: str) -> None:
    """For convolutions: in a transformer theirs moves the class token too."""
    network, module, inputs = parts("cnn", layer)
    theirs = attr.LayerIntegratedGradients(network, module).attribute(
        inputs, baselines=0.0, target=CLASS, n_steps=STEPS, method="gausslegendre"
    )
    ours = ask("layer_integrated_gradients", network, inputs, CLASS, layer, **ZEROS)
    assert relative(ours, theirs.detach().sum(dim=1).float()) < TOLERANCE


def test_layer_gradient_times_activation_is_hires_cam() -> None:
    network, module, inputs = parts("cnn", "relu1")
    theirs = attr.LayerGradientXActivation(network, module).attribute(inputs, target=CLASS)
    assert relative(ask("hires_cam", network, inputs, CLASS, "relu1"), theirs.detach().sum(dim=1)) < TOLERANCE


@pytest.mark.parametrize("neuron", [(4, 5, 9), (0, 0, 0)])
def test_neuron_conductance(neuron: tuple[int, int, int]) -> None:
    network, module, inputs = parts("cnn", "norm2")
    theirs = attr.NeuronConductance(network, module).attribute(
        inputs, neuron, baselines=0.0, target=CLASS, n_steps=STEPS, method="gausslegendre"
    )
    ours = ask("neuron_conductance", network, inputs, CLASS, "norm2", neurons=[neuron], **ZEROS)
    assert relative(ours, theirs.detach().float()) < TOLERANCE


def test_a_neuron_itself_is_a_target() -> None:
    """Captum has a class of its own for each; here any method takes a unit of a layer."""
    network, module, inputs = parts("cnn", "norm2")
    unit = Unit("norm2", 4, (5, 9))
    theirs = attr.NeuronGradient(network, module).attribute(inputs, (4, 5, 9))
    assert relative(ask("gradient", network, inputs, unit), theirs.detach()) < TOLERANCE
    theirs = attr.NeuronIntegratedGradients(network, module).attribute(inputs, (4, 5, 9), baselines=0.0, n_steps=STEPS)
    ours = ask("integrated_gradients", network, inputs, unit, most_steps=STEPS, **ZEROS)
    assert relative(ours, theirs.detach().float()) < TOLERANCE


@pytest.mark.parametrize("kind", NETWORKS)
def test_expected_gradients(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They draw a place on the way from the global generator; here it is told to draw ours."""
    network, inputs, samples = NETWORKS[kind], INPUTS[kind], 6
    drawn = torch.rand(samples, generator=Seed(0).child("way").generator()).double()
    places = ((torch.arange(samples) + drawn) / samples).repeat(len(inputs)).numpy()
    monkeypatch.setattr(np.random, "uniform", lambda low, high, count: places[:count])
    reference = pictures(1, *inputs.shape[2:], seed=42)
    theirs = attr.GradientShap(network).attribute(
        inputs.clone(), baselines=reference, n_samples=samples, stdevs=0.0, target=CLASS
    )
    ours = ask("expected_gradients", network, inputs, CLASS, references=reference, samples=samples)
    assert relative(ours, theirs.detach().float()) < TOLERANCE
