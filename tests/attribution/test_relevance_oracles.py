"""Relevance shared out by rules, against closed forms, conservation and what Zhang and Bach promise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import pellucid as pl
from pellucid.engine.relevance import COMPOSITES
from pellucid.errors import MethodUnavailable, ParameterError
from tests.oracles.asking import ask, evidence_of, relative
from tests.oracles.nets import LinearPicture, PooledConv, Twin, pictures, relu_mlp, seeded, tiny_vit


def unbiased(network: Any) -> Any:
    """The same network without a constant in it."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    return network


def deep(seed: int = 8) -> nn.Module:
    return unbiased(seeded(nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 10, 3, stride=2), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 4),
    ), seed))  # fmt: skip


def total(values: Tensor) -> Tensor:
    return values.flatten(1).sum(dim=1)


def test_without_constants_the_plainest_rule_is_gradient_times_input() -> None:
    inputs = pictures(3, 13, 17)
    assert relative(ask("lrp", deep(), inputs, composite="zero"), ask("gradient_x_input", deep(), inputs)) < 1e-5


def test_a_linear_model_shares_out_what_each_pixel_adds() -> None:
    network, inputs = LinearPicture(), pictures(2)
    assert relative(ask("lrp", network, inputs, composite="zero"), network.weight[2].detach() * inputs) < 1e-6


@pytest.mark.parametrize("composite", [name for name in COMPOSITES if "attention" not in name])
def test_relevance_is_conserved_where_nothing_is_constant(composite: str) -> None:
    evidence = evidence_of(deep().double(), pictures(2, 16, 16).double())
    reached = total(evidence.relevance(composite).values.double())
    torch.testing.assert_close(reached, evidence.score().double(), rtol=2e-3, atol=1e-4)


def test_what_constants_keep_is_what_is_missing() -> None:
    """z = w x + b hands on only w x; with two layers the rest stands in the flows."""
    evidence = evidence_of(relu_mlp(), pictures(2, 5, 7))
    found = evidence.relevance("zero")
    last, first = found.flows
    torch.testing.assert_close(last.arrived, evidence.score(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first.arrived, last.handed_on, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(total(found.values), first.handed_on, rtol=1e-4, atol=1e-5)
    assert evidence.model.network is not None
    head: Any = evidence.model.network.get_submodule("head")
    torch.testing.assert_close(last.arrived - last.handed_on, head.bias[2].detach().expand(2), rtol=1e-3, atol=1e-4)


def test_one_convolution_by_hand() -> None:
    """One channel, one place: z_plus, alpha 2 beta 1, flat and squared weights as Montavon et al. 2019 write them."""
    weight = torch.tensor([[[[2.0, -1.0]]]]).expand(1, 3, 1, 2) * torch.tensor([1.0, 0.5, 2.0]).view(1, 3, 1, 1)
    conv = nn.Conv2d(3, 1, (1, 2), bias=False)
    with torch.no_grad():
        conv.weight.copy_(weight)
    network = nn.Sequential(conv, nn.ReLU(), nn.Flatten())
    inputs = torch.tensor([3.0, 1.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2).contiguous()
    shares = weight[0] * inputs[0]
    score = float(shares.sum())
    above, below = shares.clamp(min=0), shares.clamp(max=0)
    expected = {
        "zero": shares,
        "epsilon_plus": above / above.sum() * score,
        "epsilon_alpha2_beta1": (2 * above / above.sum() - below / below.sum()) * score,
        "epsilon_plus_flat": torch.full_like(shares, score / 6),
    }
    for composite, values in expected.items():
        assert relative(ask("lrp", network, inputs, 1, composite=composite)[0], values) < 1e-5, composite


def test_the_box_rule_gives_nothing_to_a_pixel_at_the_end_that_adds_least() -> None:
    conv = nn.Conv2d(3, 1, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([1.0, 2.0, -1.0]).view(1, 3, 1, 1))
    inputs = torch.tensor([[[[0.0, 1.0]], [[0.5, 1.0]], [[1.0, 0.0]]]])  # low, low, high are what adds least
    found = ask("lrp", nn.Sequential(conv, nn.Flatten(), nn.ReLU()), inputs, 1, composite="epsilon_gamma_box")[0]
    assert found[:, :, 0].abs().max() == 0
    torch.testing.assert_close(found[:, 0, 1], torch.tensor([1.0, 1.0, 1.0]) * 3 / (1 + 2 * 0.5 + 1))


def test_a_batch_norm_counts_as_part_of_the_layer_before_it() -> None:
    """Merged by hand the net gives the same relevance, and a gradient that knows of no merging."""
    network, inputs = Twin("module"), pictures(3, 16, 20)
    merged = Twin("module")
    for name in ("norm1", "norm2"):
        merged.add_module(name, nn.Identity())
    with torch.no_grad():
        for conv, norm, mine in (
            (network.conv1, network.norm1, merged.conv1),
            (network.conv2, network.norm2, merged.conv2),
        ):
            assert norm.running_mean is not None and norm.running_var is not None
            slope = norm.weight / (norm.running_var + norm.eps).sqrt()
            mine.weight.copy_(conv.weight * slope[:, None, None, None])
            assert mine.bias is not None and conv.bias is not None
            mine.bias.copy_((conv.bias - norm.running_mean) * slope + norm.bias)
    for composite in COMPOSITES:
        ours, theirs = (ask("lrp", one, inputs, composite=composite) for one in (network, merged.eval()))
        assert relative(ours, theirs) < 1e-4, composite
    evidence = evidence_of(network, inputs)
    evidence.relevance("epsilon_plus")
    assert relative(evidence.input_gradient(), ask("gradient", network, inputs)) < 1e-5


@pytest.mark.parametrize("spelling", ["module", "function", "in place"])
def test_how_a_rectifier_is_written_makes_no_difference(spelling: str) -> None:
    inputs = pictures(2, 15, 18)
    assert relative(ask("lrp", Twin(spelling), inputs), ask("lrp", Twin("module"), inputs)) < 1e-6


def test_excitation_is_a_chance_over_the_pixels_that_a_rectified_net_reads() -> None:
    """Of the sign of the target, nowhere negative, and nothing lost but what reads the border."""
    network, inputs = PooledConv(), pictures(4, 12, 14).abs()
    score = evidence_of(network, inputs).score()
    values = ask("excitation_backprop", network, inputs)
    torch.testing.assert_close(total(values), score, rtol=1e-3, atol=1e-4)
    assert bool((values * score.sign()[:, None, None, None] >= -1e-6).all())


class Written(nn.Module):
    """A layer norm and a gate as operators, as many models write them."""

    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.first, self.gate, self.head = nn.Linear(12, 10), nn.Linear(10, 10), nn.Linear(10, 4, bias=False)
        self.spelling = spelling
        seeded(self, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        values = self.first(inputs.flatten(1))
        if self.spelling == "module":
            values = functional.layer_norm(values, (10,))
        else:
            centred = values - values.mean(dim=-1, keepdim=True)
            values = centred / torch.sqrt(centred.pow(2).mean(dim=-1, keepdim=True) + 1e-5)
        return self.head(values * self.gate(values).sigmoid())


def test_a_norm_holds_its_deviation_and_a_gate_only_says_how_much_passes() -> None:
    inputs = pictures(2, 2, 2)
    written, module = Written("operators"), Written("module")
    assert relative(ask("lrp", written, inputs, composite="zero"), ask("lrp", module, inputs, composite="zero")) < 1e-4
    with torch.no_grad():
        values = module.first(inputs.flatten(1))
        centred = values - values.mean(dim=-1, keepdim=True)
        scale = (centred.square().mean(dim=-1, keepdim=True) + 1e-5).rsqrt()
        gate = module.gate(centred * scale).sigmoid()
        handed = module.head.weight[2] * gate * scale
        expected = (handed - handed.mean(dim=-1, keepdim=True)) @ module.first.weight * inputs.flatten(1)
    assert relative(ask("lrp", module, inputs, composite="zero").flatten(1), expected) < 1e-4


def test_attention_gets_half_of_the_product_or_nothing() -> None:
    """With attention held fixed the last block is linear in its tokens: relevance is that of the fixed weights."""
    from tests.oracles.nets import TinyAttention

    network, inputs = TinyAttention(), pictures(2, 8, 12)
    tokens = network.tokens(inputs).detach().requires_grad_()
    block: Any = network.blocks[0]
    weights = block.attention.probabilities(tokens).detach()
    fixed = tokens + block.attention.out(weights @ block.attention.value(tokens))
    score = network.head(fixed[:, 0])[:, 2].sum()
    (slope,) = torch.autograd.grad(score, tokens)
    found = evidence_of(network, inputs).relevance("attention_values")
    embedded = found.flows[-1]
    assert embedded.operation == "conv2d"
    patches = (tokens * slope)[:, 1:].sum(dim=(1, 2))
    torch.testing.assert_close(embedded.arrived, patches.detach(), rtol=1e-4, atol=1e-5)


def test_half_and_half_is_conserved_through_attention_without_constants() -> None:
    """Through the product and the values; the softmax absorbs, so only the share of the values is promised."""
    network = unbiased(tiny_vit(32, 32))
    evidence = evidence_of(network, pictures(2, 32, 32))
    for composite in ("attention", "attention_values", "epsilon"):
        found = evidence.relevance(composite)
        assert found.values.isfinite().all() and found.flows[0].operation == "linear"
        torch.testing.assert_close(found.flows[0].arrived, evidence.score(), rtol=1e-4, atol=1e-5)


def test_many_composites_cost_one_forward_and_a_backward_each_beside_a_gradient() -> None:
    evidence = evidence_of(Twin("module"), pictures(2, 16, 16))
    evidence.relevance("epsilon_plus")
    evidence.relevance("epsilon_plus")
    evidence.relevance("zero")
    before = evidence.passes.backwards
    evidence.input_gradient()
    assert (evidence.passes.forwards, before, evidence.passes.backwards) == (1, 2, 3)


def test_resampled_and_relevance_do_not_disturb_each_other() -> None:
    inputs = pictures(2, 16, 16)
    evidence = evidence_of(Twin("module"), inputs)
    evidence.relevance("epsilon_plus")
    for rule in ("guided", "deconvnet", "resampled"):
        alone = evidence_of(Twin("module"), inputs).input_gradient(rule=rule)
        assert relative(evidence.input_gradient(rule=rule), alone) < 1e-5, rule
    channels = [("norm2", 3), ("norm2", 5)]
    apart = evidence_of(Twin("module"), inputs).channel_gradient(channels, rule="resampled")
    assert relative(evidence.channel_gradient(channels, rule="resampled"), apart) < 1e-5


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.fft.rfft(inputs.flatten(1)).abs()[:, :1].expand(-1, 12))


def test_an_operation_without_a_rule_is_named() -> None:
    with pytest.raises(MethodUnavailable, match="fft_rfft"):
        ask("lrp", Odd(), pictures(1, 2, 2))
    with pytest.raises(ParameterError, match="epsilon_plus"):
        pl.attribute(Twin("module"), pictures(1, 16, 16), method="lrp", composite="epsilon_pluss")


def test_the_map_says_how_much_of_the_target_it_holds() -> None:
    (heat,) = pl.attribute(Twin("module"), pictures(1, 16, 16), method="lrp")
    (check,) = [check for check in heat.checks[0] if check.name == "conservation"]
    assert check.passed is None and check.value is not None
