"""What flows through layers and neurons, on nets where it can be written down."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from pellucid.engine.flow import through
from tests.oracles.asking import ask, evidence_of, relative
from tests.oracles.nets import PooledConv, Twin, pictures, tiny_vit

CLASS = 2
NETWORK, POOLED, INPUTS = Twin("module"), PooledConv(), pictures(2, 37, 53)
SUMMANDS = POOLED.head.weight.detach()[CLASS][:, None, None] * POOLED.features(INPUTS).detach()
SUMMANDS = SUMMANDS / SUMMANDS[0, 0].numel()


@pytest.mark.parametrize("name", ["conductance", "layer_integrated_gradients"])
def test_before_a_linear_head_every_cell_carries_its_summand(name: str) -> None:
    """O3: from zeros the layer rises from nothing to its output, the gradient is the same all along."""
    found = ask(name, POOLED, INPUTS, CLASS, "relu", baseline="zero", steps=60)
    assert relative(found, SUMMANDS.sum(dim=1)) < 2e-3  # the rule's ends lie a little inside of the way


def test_internal_influence_before_a_linear_head_is_its_weights() -> None:
    found = ask("internal_influence", POOLED, INPUTS, CLASS, "relu", steps=3)
    weight = POOLED.head.weight.detach()[CLASS].sum() / SUMMANDS[0, 0].numel()
    assert_close(found, weight.expand_as(found), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["conductance", "internal_influence"])
def test_channels_of_a_partition_sum_to_the_whole(name: str) -> None:
    parts = [
        ask(name, NETWORK, INPUTS, CLASS, "relu1", steps=4, channels=part) for part in ([0, 3, 5], [1, 2, 4, 6, 7])
    ]
    whole = ask(name, NETWORK, INPUTS, CLASS, "relu1", steps=4)
    assert_close(parts[0] + parts[1], whole, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("layer", ["norm1", "relu2"])
def test_what_flows_through_a_whole_layer_sums_to_the_rise_of_the_target(layer: str) -> None:
    rise = (NETWORK(INPUTS) - NETWORK(torch.zeros_like(INPUTS))).detach()[:, CLASS]
    for name in ("conductance", "layer_integrated_gradients"):
        found = ask(name, NETWORK, INPUTS, CLASS, layer, baseline="zero", steps=60).sum(dim=(1, 2))
        assert relative(found, rise) < 0.02, (name, found, rise)


def test_through_all_neurons_comes_the_whole_gradient() -> None:
    whole = ask("integrated_gradients", NETWORK, INPUTS, CLASS, baseline="zero", steps=6, most_steps=6)
    found = ask("neuron_conductance", NETWORK, INPUTS, CLASS, "relu1", baseline="zero", steps=6)
    assert_close(found, whole, rtol=1e-4, atol=1e-7)
    parts = [ask("neuron_conductance", NETWORK, INPUTS, CLASS, "relu1", baseline="zero", steps=6, channels=part)
             for part in ([0, 1, 2], [3, 4, 5, 6, 7])]  # fmt: skip
    assert_close(parts[0] + parts[1], whole, rtol=1e-4, atol=1e-7)


def test_what_comes_through_a_neuron_stays_in_its_field_of_view() -> None:
    """A neuron of the first convolution (3 x 3, stride 2, padding 1) sees three rows and columns of pixels."""
    found = ask("neuron_conductance", NETWORK, INPUTS, CLASS, "conv1", baseline="zero", steps=2, neurons=[(4, 5, 9)])
    inside = torch.zeros(37, 53, dtype=torch.bool)
    inside[9:12, 17:20] = True
    assert not found[:, :, ~inside].any() and found[:, :, inside].any()


def test_through_the_patches_of_a_transformer_comes_what_the_class_token_does_not_carry() -> None:
    network, inputs = tiny_vit(), pictures(1, 32, 32)
    evidence = evidence_of(network, inputs, 1)
    layer = evidence.layers["blocks.0"]
    tokens = network.blocks[0](
        network.norm_pre(network._pos_embed(network.patch_embed(leaf := inputs.requires_grad_())))
    )
    rest = network.forward_head(network.norm(network.blocks[1:](cut := tokens.detach().requires_grad_())))[:, 1]
    slope = torch.autograd.grad(rest.sum(), cut)[0]
    slope[:, 0] = 0
    (expected,) = torch.autograd.grad(tokens, leaf, grad_outputs=slope)
    assert_close(through(evidence, layer, torch.ones(16, 4, 4)), expected, rtol=1e-3, atol=1e-6)
