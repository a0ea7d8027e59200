"""The engine against plain autograd, closed forms and counted passes."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from pellucid.engine import Ablate, Add, Replace, look
from pellucid.errors import MethodUnavailable
from pellucid.subject import wrap
from pellucid.values import (
    Activation,
    Attention,
    AttentionGradient,
    BiasGradient,
    Class,
    Contrast,
    Gradient,
    InputGradient,
    Probability,
    Rule,
    Unit,
)
from tests.nets import ACTIVATIONS, Shared, TinyViT, Twin, Unshared

SIZE = (13, 17)


def pictures(count: int, size: tuple[int, int] = SIZE, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def test_all_natural_needs_cost_one_forward_and_one_backward() -> None:
    model = wrap(Twin(), input_size=SIZE)
    needs = [Activation, Gradient, InputGradient, BiasGradient]
    evidence = look(model, pictures(3), needs=needs, layers=["first", "second"])
    evidence.input_gradient(), evidence.gradient("first"), evidence.gradient("second"), evidence.activation("second")
    list(evidence.bias_terms()), evidence.score(), evidence.output(), evidence.probabilities()
    assert (evidence.passes.forwards, evidence.passes.backwards) == (1, 1)


def test_each_backward_rule_adds_one_backward_and_no_forward() -> None:
    evidence = look(
        wrap(Twin(), input_size=SIZE), pictures(2), needs=[InputGradient, Rule("guided"), Rule("deconvnet")]
    )
    evidence.input_gradient(), evidence.input_gradient("guided"), evidence.input_gradient("deconvnet")
    evidence.input_gradient("guided")
    assert (evidence.passes.forwards, evidence.passes.backwards) == (1, 3)


def test_gradients_are_those_of_autograd() -> None:
    net, inputs = Twin().eval(), pictures(3)
    evidence = look(wrap(net, input_size=SIZE), inputs, Class(2), layers=["second"])
    leaf = inputs.clone().requires_grad_()
    hidden = net.second(net.relu(net.norm(net.first(leaf))))
    logits = net.head(net.relu(hidden).mean((2, 3)))
    expected = torch.autograd.grad(logits[:, 2].sum(), [leaf, hidden])
    assert_close(evidence.input_gradient(), expected[0])
    assert_close(evidence.gradient("second"), expected[1])
    assert_close(evidence.activation("second"), hidden.detach())


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("rule", [None, "guided", "deconvnet"])
def test_every_kind_of_relu_gives_the_map_of_its_module_twin(kind: str, rule: str | None) -> None:
    reference = look(wrap(Twin("module"), input_size=SIZE), pictures(2), 1, layers=["first", "second"])
    evidence = look(wrap(Twin(kind), input_size=SIZE), pictures(2), 1, layers=["first", "second"])
    assert_close(evidence.input_gradient(rule), reference.input_gradient(rule))
    for layer in ("first", "second"):
        assert_close(evidence.activation(layer), reference.activation(layer))
        assert_close(evidence.gradient(layer), reference.gradient(layer))


def test_a_module_that_runs_twice_is_addressed_by_call() -> None:
    shared, unshared = wrap(Shared(), input_size=SIZE), wrap(Unshared(), input_size=SIZE)
    for address, twin in (("conv#1", "conv"), ("conv#2", "again")):
        one, other = look(shared, pictures(2), 0, layers=[address]), look(unshared, pictures(2), 0, layers=[twin])
        assert_close(one.gradient(address), other.gradient(twin))
        assert_close(one.activation(address), other.activation(twin))
    with pytest.warns(UserWarning, match="runs 2 times"):
        assert shared.layers["conv"].name == "conv#2"


@pytest.mark.parametrize("fused", [True, False])
def test_attention_and_its_gradient_agree_with_the_written_out_formula(fused: bool) -> None:
    net = TinyViT(fused=fused).eval()
    inputs = pictures(2, (12, 16))
    evidence = look(wrap(net, input_size=(12, 16)), inputs, 1, needs=[Attention, AttentionGradient, Gradient])
    attention, gradient = evidence.attention(), evidence.attention_gradient()
    assert len(attention) == 2 and attention[0].shape == (2, 3, 13, 13)
    assert_close(attention[0].sum(-1), torch.ones(2, 3, 13))
    with torch.no_grad():
        assert_close(evidence.output(), net(inputs), rtol=1e-5, atol=1e-6)
    # A small change of one probability moves the score by gradient times change.
    step, query, key = 1e-2, 0, 5
    block = net.blocks[1]
    with torch.no_grad():
        tokens = net.patch(inputs).flatten(2).transpose(1, 2)
        tokens = torch.cat([net.cls.expand(2, -1, -1), tokens], dim=1) + net.pos
        tokens = net.blocks[0](tokens)
        q, k, v = block.qkv(block.norm1(tokens)).reshape(2, 13, 3, 3, 4).permute(2, 0, 3, 1, 4)
        likely = (q @ k.transpose(-2, -1) * 4**-0.5).softmax(-1)
        scores = []
        for sign in (1, -1):
            changed = likely.clone()
            changed[:, 1, query, key] += sign * step
            mixed = (changed @ v).transpose(1, 2).reshape(2, 13, 12)
            hidden = tokens + block.proj(mixed)
            scores.append(net.head(net.norm(hidden + block.mlp(block.norm2(hidden)))[:, 0])[:, 1])
    assert_close(gradient[1][:, 1, query, key], (scores[0] - scores[1]) / (2 * step), rtol=2e-2, atol=1e-4)


def test_a_block_read_early_is_the_head_on_the_mean_of_its_tokens() -> None:
    net, inputs = TinyViT(blocks=3).eval(), pictures(2, (12, 16))
    early = look(wrap(net, input_size=(12, 16)), inputs, 1).early_attention_gradients()
    tokens = net.patch(inputs).flatten(2).transpose(1, 2)
    tokens = torch.cat([net.cls.expand(2, -1, -1), tokens], dim=1) + net.pos
    assert len(early) == 3
    for block, found in zip(net.blocks, early, strict=True):
        q, k, v = block.qkv(block.norm1(tokens)).reshape(2, 13, 3, 3, 4).permute(2, 0, 3, 1, 4)
        likely = (q @ k.transpose(-2, -1) * 4**-0.5).softmax(-1)
        hidden = tokens + block.proj((likely @ v).transpose(1, 2).reshape(2, 13, 12))
        tokens = hidden + block.mlp(block.norm2(hidden))
        score = net.head(net.norm(tokens.mean(dim=1)))[:, 1].sum()
        assert_close(found, torch.autograd.grad(score, likely, retain_graph=True)[0])


def test_targets_at_the_output_and_inside() -> None:
    net, inputs = Twin().eval(), pictures(2)
    model = wrap(net, input_size=SIZE)
    with torch.no_grad():
        logits = net(inputs)
        hidden = net.second(net.relu(net.norm(net.first(inputs))))
    assert_close(look(model, inputs, Contrast(3, 1)).score(), logits[:, 3] - logits[:, 1])
    assert_close(look(model, inputs, Probability(2)).score(), logits.softmax(1)[:, 2])
    assert_close(look(model, inputs, Unit("second", 4)).score(), hidden[:, 4].mean((1, 2)))
    assert_close(look(model, inputs, Unit("second", 4, (2, 3))).score(), hidden[:, 4, 2, 3])
    assert_close(
        look(model, inputs, [Class(1), Unit("second", 0)]).score(), torch.stack([logits[0, 1], hidden[1, 0].mean()])
    )
    assert_close(look(model, inputs).score(), logits.amax(1))
    assert look(model, inputs).targets == tuple(Class(int(best)) for best in logits.argmax(1))


def test_ablating_and_replacing_equal_the_model_rebuilt_by_hand() -> None:
    net, inputs = Twin().eval(), pictures(2)
    evidence = look(wrap(net, input_size=SIZE), inputs, 1)
    layer = evidence.layers["second"]
    with torch.no_grad():
        hidden = net.second(net.relu(net.norm(net.first(inputs))))
        without = hidden.clone()
        without[:, [0, 3]] = 0
        expected = net.head(net.relu(without).mean((2, 3)))[:, 1]
        moved = net.head(net.relu(hidden + 0.5).mean((2, 3)))[:, 1]
    with evidence.edited(Ablate(layer, [0, 3])) as changed:
        assert_close(changed.score(), expected)
    with evidence.edited(Add(layer, torch.full((8,), 0.5))) as changed:
        assert_close(changed.score(), moved)
    with evidence.edited(Replace(layer, without)) as changed:
        assert_close(changed.score(), expected)
    assert_close(next(evidence.tail_scores("second", iter([without]))), expected)


def test_editing_token_layers_leaves_the_class_token_alone() -> None:
    evidence = look(wrap(TinyViT(), input_size=(12, 16)), pictures(2, (12, 16)), 1)
    layer = evidence.layers["blocks.0"]
    same = evidence.activation(layer)
    with evidence.edited(Replace(layer, same)) as unchanged:
        assert_close(unchanged.score(), evidence.score())


def test_streams_keep_their_order_whatever_the_memory() -> None:
    net, inputs = Twin().eval(), pictures(2)
    points = [inputs * factor for factor in torch.linspace(0, 1, 11)]
    with torch.no_grad():
        expected = torch.stack([net(point)[:, 1] for point in points])
    for memory in (4e-6, 1e-4, None):
        evidence = look(wrap(net, input_size=SIZE), inputs, 1, memory=memory)
        assert_close(torch.stack(list(evidence.scores_at(iter(points)))), expected)
        assert evidence.passes.forwards == len(points)
        gradients = list(evidence.gradients_at(points))
        assert len(gradients) == 11 and gradients[3].shape == inputs.shape


def test_out_of_memory_halves_the_batch_and_goes_on() -> None:
    largest: list[int] = []

    class Crowded(Twin):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > 3:
                raise torch.OutOfMemoryError("out of memory")
            largest.append(len(x))
            return super().forward(x)

    evidence = look(wrap(Crowded(), input_size=SIZE), pictures(1), 1)
    points = [pictures(1) * factor for factor in torch.linspace(0, 1, 9)]
    expected = torch.stack([Twin().eval()(point)[:, 1].detach() for point in points])
    assert_close(torch.stack(list(evidence.scores_at(points))), expected)
    assert max(largest) <= 3


def test_a_black_box_has_scores_but_no_gradients() -> None:
    weights = torch.tensor([[1.0, 0, 0], [0, 2, 0]])
    model = wrap(lambda inputs: (inputs.mean((2, 3)) @ weights.T).numpy(), input_size=SIZE)
    evidence = look(model, pictures(2), 1)
    assert_close(evidence.score(), 2 * pictures(2)[:, 1].mean((1, 2)))
    with pytest.raises(MethodUnavailable, match="black box"):
        evidence.input_gradient()


def test_guided_refuses_a_model_without_activations() -> None:
    linear = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(MethodUnavailable, match="no ReLU"):
        look(wrap(linear, input_size=SIZE), pictures(1), 0).input_gradient("guided")


def test_bfloat16_gives_float32_close_to_the_float32_model() -> None:
    exact = look(wrap(Twin(), input_size=SIZE), pictures(2), 1)
    coarse = look(wrap(Twin().bfloat16(), input_size=SIZE), pictures(2), 1)
    assert coarse.input_gradient().dtype == torch.float32
    likeness = torch.cosine_similarity(coarse.input_gradient().flatten(1), exact.input_gradient().flatten(1))
    assert float(likeness.min()) > 0.97, likeness


def test_a_batch_gives_what_its_pictures_give_one_by_one() -> None:
    model, inputs = wrap(Twin(), input_size=SIZE), pictures(4)
    together = look(model, inputs, [0, 1, 2, 3])
    for index in range(4):
        alone = look(model, inputs[index : index + 1], index)
        assert_close(together.input_gradient()[index : index + 1], alone.input_gradient(), rtol=1e-5, atol=1e-6)


def test_nothing_is_kept_when_the_evidence_is_gone() -> None:
    model = wrap(Twin(), input_size=SIZE)
    evidence = look(model, pictures(2), 1, needs=[Gradient, InputGradient, Rule("guided")], layers=["second"])
    evidence.gradient("second")
    graph = weakref.ref(evidence._recording.leaf)
    gc.disable()
    try:
        del evidence
        assert graph() is None, "a reference cycle keeps the graph alive"
    finally:
        gc.enable()


def test_the_backward_stops_at_the_deepest_layer_needed() -> None:
    net = Twin()
    reached: list[str] = []
    handles = [
        getattr(net, name).register_full_backward_hook(lambda module, given, taken, name=name: reached.append(name))
        for name in ("first", "second")
    ]
    look(wrap(net, input_size=SIZE), pictures(1), 1, layers=["second"], needs=[Gradient]).gradient("second")
    for handle in handles:
        handle.remove()
    assert "first" not in reached, reached
