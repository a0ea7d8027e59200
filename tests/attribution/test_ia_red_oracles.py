"""Dropping patches between blocks: nothing changes where nothing is dropped, and chance is weighed as by counting."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

import pellucid as pl
from pellucid.attribution import ia_red
from pellucid.attribution.fitted import Lesson, fit, unfitted
from pellucid.attribution.ia_red import Course, InterpretersNet, dropped, log_chance, rewards, walked
from pellucid.engine.blocks import token_blocks
from pellucid.errors import MethodUnavailable
from pellucid.registry import Learning, find_method
from pellucid.testbed.nets.blocks import Block
from tests.guests import unchanged
from tests.oracles.asking import ask, evidence_of, values_of
from tests.oracles.nets import TinyAttention, Twin, pictures, tiny_vit
from tests.oracles.patches import SIZE, RedSeeker, coloured


def with_net(size: tuple[int, int] = (32, 48)) -> tuple[pl.VisionModel, Any, Any]:
    model = pl.wrap(tiny_vit(*size, registers=1), input_size=size)
    return model, token_blocks(model, size, "ia_red"), unfitted("ia_red", model, size).net


def test_a_policy_that_keeps_everything_gives_the_very_same_answer() -> None:
    model, blocks, net = with_net()
    inputs = pictures(1, 32, 48)
    with unchanged(model.network):
        found = dropped(model, inputs, blocks, net, lambda logits: torch.ones_like(logits, dtype=torch.bool))
    assert torch.equal(found.outputs, model.predict(inputs))
    assert found.kept.all() and found.logits.isfinite().all()


def test_tokens_that_nothing_looks_at_are_as_good_as_gone() -> None:
    """Several pictures at once, as it learns, give what each alone gives with a shorter sequence, as it explains."""
    model, blocks, net = with_net()
    inputs = pictures(3, 32, 48)
    together = walked(model, inputs, blocks, net, ia_red.likely, 3)
    alone = [dropped(model, one[None], blocks, net, ia_red.likely) for one in inputs]
    assert 0 < together.kept.float().mean() < 1
    assert torch.equal(together.kept, torch.cat([one.kept for one in alone]))
    assert_close(together.outputs, torch.cat([one.outputs for one in alone]), rtol=1e-4, atol=1e-5)
    gone = torch.cat([one.logits for one in alone])
    assert_close(together.logits[together.judged], gone[together.judged], rtol=1e-3, atol=1e-4)
    assert gone[~together.judged].isnan().all()
    found = ask("ia_red", model, inputs, 0, explainer=unfitted("ia_red", model, (32, 48)))
    passed = together.kept.sum(dim=1).unflatten(1, (4, 6))
    assert torch.equal(found.round().long(), passed)


def test_the_gradient_is_that_of_the_expected_reward() -> None:
    """Four patches: all sixteen ways to keep them are tried, and weighed by their chance."""
    size = (8, 8)
    model = pl.wrap(TinyAttention(), input_size=size)
    blocks = token_blocks(model, size, "ia_red")
    net = InterpretersNet(8, 1, 1, 2, 10, 0.5)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.ndim)) * 0.5)
    inputs = pictures(1, *size, seed=7)
    answer = model.predict(inputs).argmax(dim=1)
    expected, summed, every = torch.zeros(()), torch.zeros(()), 0.0
    for ways in itertools.product([False, True], repeat=4):
        one = walked(model, inputs, blocks, net, lambda _, ways=ways: torch.tensor([ways]), 1)
        chance = log_chance(one).exp().sum()
        right = one.outputs.argmax(dim=1) == answer
        reward = rewards(one, answer, 0.5)
        assert_close(reward, torch.where(right, 1 - (sum(ways) / 4) ** 2, torch.tensor(-0.5)))
        expected, every = expected + chance * reward.sum(), every + chance.item()
        summed = summed + chance.detach() * (reward.sum() - 0.3) * log_chance(one).sum()  # whatever the baseline
    assert every == pytest.approx(1, rel=1e-5)
    exact = torch.autograd.grad(expected, list(net.parameters()), retain_graph=True)
    for found, wanted in zip(torch.autograd.grad(summed, list(net.parameters())), exact, strict=True):
        assert_close(found, wanted, rtol=1e-3, atol=1e-6)
    evidence = evidence_of(model, inputs.expand(4000, -1, -1, -1))
    lesson = Lesson(evidence, torch.Generator().manual_seed(0))
    drawn = torch.autograd.grad(ia_red._loss(net.train(), lesson), list(net.parameters()))
    largest = max(float(one.abs().max()) for one in exact)
    for found, wanted in zip(drawn, exact, strict=True):
        assert_close(-found, wanted, rtol=0, atol=0.1 * largest)


def test_operations_are_those_that_torch_counts() -> None:
    block, tokens = Block(16, 2, 3), torch.randn(1, 11, 16)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        block(tokens)
    weights = sum(one.numel() for one in block.parameters() if one.ndim > 1)
    assert ia_red.operations(weights, 16, 11) == counter.get_total_flops()


def test_what_is_spent_falls_with_what_is_dropped() -> None:
    model, blocks, net = with_net()
    kept = torch.ones(1, 3, 24, dtype=torch.bool)
    whole = ia_red.share_of_operations(model, blocks, net, Course(torch.zeros(1, 5), torch.zeros(1, 3, 24), kept))
    assert 1 < whole < 1.2  # the interpreters' own
    none = ia_red.share_of_operations(model, blocks, net, Course(torch.zeros(1, 5), torch.zeros(1, 3, 24), ~kept))
    assert none < 0.15


def test_one_interpreter_after_the_other_joins() -> None:
    net = InterpretersNet(8, 6, 3, 2, 10, 0.5)
    assert net.before == (0, 2, 4)
    assert net.train().joined == 1 and net.eval().joined == 3
    for updates, joined in ((9, 1), (10, 2), (25, 3), (900, 3)):
        net.updates.fill_(updates)
        assert net.train().joined == joined


def test_interpreters_learn_to_keep_the_patch_that_decides_and_no_other() -> None:
    model = pl.wrap(RedSeeker(), input_size=SIZE)
    before = model.fingerprint
    plan = Learning(updates=250, learning_rate=1e-2, batch=32, weight_decay=0.0, held_out=0.0)
    fitted = fit("ia_red", model, coloured(64, 0)[0], learning=plan)
    assert model.fingerprint == before
    fresh, red = coloured(20, 1)
    evidence = evidence_of(model, fresh, None)
    found = values_of("ia_red", evidence, explainer=fitted)
    assert found[red].min() > 0.5 and found[~red].max() < 0.5
    assert any("the answer stays in 20 of 20 pictures" in note for note in evidence.notes), evidence.notes


def _relative() -> Any:
    from timm.models.beit import Beit

    return Beit(img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=5, use_rel_pos_bias=True)


@pytest.mark.parametrize(("make", "reason"), [
    (_relative, "does not run on fewer tokens|another answer"),
    (lambda: Twin("module"), "no sequence of token blocks"),
    (lambda: tiny_vit(32, 32, pool="avg"), "its head reads no class token"),
])  # fmt: skip
def test_models_that_need_all_their_tokens_are_refused(make: Any, reason: str) -> None:
    with pytest.raises(MethodUnavailable, match=reason):
        unfitted("ia_red", pl.wrap(make().eval(), input_size=(32, 32)), (32, 32))
    assert find_method("ia_red").class_agnostic
