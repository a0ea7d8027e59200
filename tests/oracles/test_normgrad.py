"""NormGrad against the weight gradient of a virtual layer that is really put in; over layers; after a real step."""

from __future__ import annotations

import copy
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from pellucid.attribution.layers import combined, reference_layers
from pellucid.attribution.normgrad import class_sensitivity
from pellucid.errors import MethodUnavailable
from pellucid.subject import wrap
from pellucid.values import Unit
from tests.oracles.asking import ask, evidence_of, values_of
from tests.oracles.nets import PooledConv, Twin, pictures, tiny_vit
from tests.parity.peers import resnet

CLASS = 2
NETWORK, INPUTS = Twin("module"), pictures(3, 37, 53)
LAYER = "relu1"
AGGREGATES = {
    "norm": lambda terms: terms.norm(dim=1),
    "sum": lambda terms: terms.sum(dim=1),
    "max": lambda terms: terms.abs().amax(dim=1),
    "filter_norm": lambda terms: terms.clamp(min=0).norm(dim=1),
}


def both() -> tuple[Tensor, Tensor]:
    """The layer's activation and gradient, in double precision."""
    net = copy.deepcopy(NETWORK).double()
    activation = net.relu1(net.norm1(net.conv1(INPUTS.double()))).detach().requires_grad_()
    score = net.head(net.relu2(net.norm2(net.conv2(activation))).mean(dim=(2, 3)))[:, CLASS]
    (gradient,) = torch.autograd.grad(score.sum(), activation)
    return activation.detach(), gradient


def terms(identity: str) -> Tensor:
    """Every place's summand of the virtual layer's weight gradient, [batch weight h w], written out."""
    activation, gradient = both()
    batch, channels, height, width = activation.shape
    if identity == "bias":
        return gradient
    if identity == "scaling":
        return gradient * activation
    side = 3 if identity.endswith("3x3") else 1
    seen = functional.unfold(activation, side, padding=side // 2).view(batch, channels, side**2, height, width)
    if identity == "depthwise3x3":
        return (gradient[:, :, None] * seen).flatten(1, 2)
    return (gradient[:, :, None, None] * seen[:, None]).flatten(1, 3)


@pytest.mark.parametrize(
    ("identity", "aggregate"), list(product(["bias", "scaling", "conv1x1", "conv3x3", "depthwise3x3"], AGGREGATES))
)
def test_the_map_is_the_size_of_each_places_summand(identity: str, aggregate: str) -> None:
    found = ask("normgrad", NETWORK, INPUTS, CLASS, LAYER, identity=identity, aggregate=aggregate)
    assert_close(found.double(), AGGREGATES[aggregate](terms(identity)), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("identity", ["conv1x1", "conv3x3", "depthwise3x3"])
def test_summands_add_up_to_the_weight_gradient_of_a_convolution_put_in(identity: str) -> None:
    """The convolution hands on what it gets; its own weight gradient comes from autograd."""
    activation, _ = both()
    channels, side = activation.shape[1], 3 if identity.endswith("3x3") else 1
    apart = identity.startswith("depthwise")
    net = copy.deepcopy(NETWORK).double()
    put_in = nn.Conv2d(channels, channels, side, padding=side // 2, bias=False, groups=channels if apart else 1)
    weight = torch.zeros_like(put_in.weight).double()
    weight[range(channels), 0 if apart else range(channels), side // 2, side // 2] = 1
    weight.requires_grad_()
    given = functional.conv2d(activation[:1], weight, padding=side // 2, groups=put_in.groups)
    assert torch.equal(given, activation[:1])
    score = net.head(net.relu2(net.norm2(net.conv2(given))).mean(dim=(2, 3)))[0, CLASS]
    (expected,) = torch.autograd.grad(score, weight)
    assert_close(terms(identity)[0].sum(dim=(1, 2)), expected.flatten(), rtol=1e-10, atol=1e-12)


def test_layers_are_brought_to_one_size_and_range_and_multiplied() -> None:
    names = ["conv1", "relu2"]
    parts = []
    for name in names:
        larger = functional.interpolate(
            ask("normgrad", NETWORK, INPUTS, CLASS, name)[:, None], (37, 53), mode="bilinear"
        )
        low, high = larger.amin(dim=(2, 3), keepdim=True), larger.amax(dim=(2, 3), keepdim=True)
        parts.append(((larger - low) / (high - low))[:, 0])
    asked = {how: ask("normgrad_layers", NETWORK, INPUTS, CLASS, layers=names, combine=how)
             for how in ("product", "geometric_mean", "sum")}  # fmt: skip
    assert_close(asked["product"], parts[0] * parts[1], rtol=1e-4, atol=1e-6)
    assert_close(asked["geometric_mean"], (parts[0] * parts[1]).sqrt(), rtol=1e-4, atol=1e-4)
    assert_close(asked["sum"], (parts[0] + parts[1]) / 2, rtol=1e-4, atol=1e-6)


def test_weights_decide_between_layers_and_a_flat_map_counts_as_nothing() -> None:
    ramp, flat = torch.arange(12.0).view(1, 3, 4), torch.full((1, 3, 4), 7.0)
    weighted = combined([ramp, ramp.flip(2)], (3, 4), "sum", torch.tensor([[3.0, 1.0]]))
    assert_close(weighted, (3 * ramp + ramp.flip(2)) / 4 / 11)
    assert not combined([ramp, flat], (3, 4), "product").any()
    assert_close(combined([ramp, ramp], (3, 4), "sum", torch.zeros(1, 2)), ramp / 11)


def test_class_sensitivity_is_the_correlation_of_the_maps_of_the_first_and_the_last_class() -> None:
    """O3: with `scaling` and `sum` the map is the class activation map, whose correlation can be written down."""
    network = PooledConv()
    features, outputs = network.features(INPUTS).detach(), network(INPUTS).detach()
    evidence = evidence_of(network, INPUTS)
    read = lambda asked: [values_of("normgrad", asked, "relu", identity="scaling", aggregate="sum")]
    found = class_sensitivity(evidence, read)[:, 0]
    for at, picture in enumerate(features):
        pair = torch.stack([outputs[at].argmax(), outputs[at].argmin()])
        maps = torch.einsum("kc,chw->khw", network.head.weight.detach()[pair], picture).flatten(1)
        assert float(found[at]) == pytest.approx(float(torch.corrcoef(maps.double())[0, 1]), abs=1e-4)


def test_a_layer_blind_to_the_class_weighs_nothing() -> None:
    """O3: behind the last layer the gradient is the same everywhere, so NormGrad's map is one for all classes."""
    network = PooledConv()
    only = ask("normgrad_layers", network, INPUTS, layers=["conv", "relu"], weights="sensitivity", combine="sum")
    evidence = evidence_of(network, INPUTS)
    shares = 1 - class_sensitivity(
        evidence, lambda one: [values_of("normgrad", one, name) for name in ("conv", "relu")]
    )
    assert float(shares[:, 1].abs().max()) < 1e-5 and float(shares[:, 0].min()) > 0.001
    assert_close(
        only, combined([ask("normgrad", network, INPUTS, CLASS, "conv")], (37, 53), "sum"), rtol=1e-2, atol=1e-2
    )


def test_reference_layers_of_a_resnet_are_those_of_the_paper() -> None:
    tree = wrap(resnet(), input_size=(64, 64)).layers_at((64, 64))
    names = [layer.name for layer in reference_layers(tree, tree["layer4"])]
    assert names == ["layer2.0", "layer3.0", "layer4.0", "layer4"]


def test_reference_layers_of_a_transformer_spread_over_its_depth() -> None:
    tree = wrap(tiny_vit(), input_size=(32, 32)).layers_at((32, 32))
    chosen = reference_layers(tree, tree.chosen("normgrad_layers"))
    assert len(chosen) > 1 and chosen[-1] == tree.default
    assert [layer.index for layer in chosen] == sorted(layer.index for layer in chosen)
    assert {layer.name for layer in chosen} - {tree.default.name} <= set(tree.blocks)


def test_without_a_step_meta_saliency_is_the_map_itself() -> None:
    assert_close(
        ask("meta_normgrad", NETWORK, INPUTS, CLASS, LAYER, rate=0.0), ask("normgrad", NETWORK, INPUTS, CLASS, LAYER)
    )


@pytest.mark.parametrize("rate", [0.05, -0.05])
def test_meta_saliency_is_the_map_of_a_model_that_took_the_step(rate: float) -> None:
    """The step is taken here by torch's own optimiser on the cross-entropy, one picture at a time."""
    expected = []
    for picture in INPUTS[:, None]:
        student = copy.deepcopy(NETWORK)
        optimiser = torch.optim.SGD(student.parameters(), lr=rate if rate > 0 else -rate, maximize=rate < 0)
        functional.cross_entropy(student(picture), torch.tensor([CLASS])).backward()
        optimiser.step()
        expected.append(ask("normgrad", student, picture, CLASS, LAYER))
    found = ask("meta_normgrad", NETWORK, INPUTS, CLASS, LAYER, rate=rate)
    assert_close(found, torch.cat(expected), rtol=1e-4, atol=1e-7)
    plain = ask("normgrad", NETWORK, INPUTS, CLASS, LAYER)
    assert float((found - plain).abs().max()) > 1e-3 * float(plain.max()), "the step changed nothing"


def test_the_model_is_as_before_the_step() -> None:
    network = Twin("in place").train()
    before = {name: (entry, entry.clone()) for name, entry in network.state_dict(keep_vars=True).items()}
    ask("meta_normgrad", network, INPUTS, CLASS, LAYER, rate=1.0)
    assert network.training and all(parameter.requires_grad for parameter in network.parameters())
    for name, entry in network.state_dict(keep_vars=True).items():
        assert entry is before[name][0] and torch.equal(entry, before[name][1]) and entry.grad is None, name


def test_a_target_inside_the_model_cannot_be_learned() -> None:
    with pytest.raises(MethodUnavailable, match="relu1"):
        ask("meta_normgrad", NETWORK, INPUTS, Unit("relu1", 0), LAYER)
