"""Gates that mask patches: their chances in closed form, and a net of which the deciding patch is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

import pellucid as pl
from pellucid.attribution.diff_mask import DiffMaskNet, divergence, hard_concrete, log_open, masked_outputs
from pellucid.attribution.fitted import fit, unfitted
from pellucid.engine.blocks import block_by_block, token_blocks, token_states
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.registry import Learning
from tests.guests import unchanged
from tests.oracles.asking import ask
from tests.oracles.library_vits import of_torchvision, of_transformers
from tests.oracles.nets import TinyAttention, Twin, pictures, tiny_vit
from tests.oracles.patches import SIZE, RedSeeker, coloured


def test_the_chance_to_be_open_is_what_a_hundred_thousand_draws_give() -> None:
    logits = torch.tensor([-2.0, -0.3, 0.0, 0.5, 3.0])
    draws = hard_concrete(logits.expand(100_000, 5), torch.Generator().manual_seed(0))
    assert draws.min() == 0 and draws.max() <= 1
    assert_close((draws > 0).float().mean(dim=0), log_open(logits).exp(), rtol=0, atol=5e-3)


def test_the_divergence_is_that_of_the_distributions() -> None:
    before, after = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(1))
    softmax = pl.wrap(TinyAttention(classes=5), input_size=SIZE)
    kinds = torch.distributions.Categorical
    expected = torch.distributions.kl_divergence(kinds(logits=before), kinds(logits=after))
    assert_close(divergence(softmax, before, after), expected)
    sigmoid = pl.wrap(TinyAttention(classes=5), input_size=SIZE, activation="sigmoid")
    single = torch.distributions.Bernoulli
    each = torch.distributions.kl_divergence(single(logits=before), single(logits=after))
    assert_close(divergence(sigmoid, before, after), each.sum(dim=1), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("registers", [0, 2])
def test_a_mask_that_keeps_everything_keeps_the_answer(registers: int) -> None:
    model = pl.wrap(tiny_vit(32, 48, registers=registers), input_size=(32, 48))
    inputs, blocks = pictures(2, 32, 48), token_blocks(model, (32, 48), "diff_mask")
    net = DiffMaskNet(16, 3)
    with torch.no_grad(), unchanged(model.network):
        same = masked_outputs(model, inputs, blocks, net, torch.ones(2, 24))
        nothing = masked_outputs(model, inputs, blocks, net, torch.zeros(2, 24))
    assert_close(same, model.predict(inputs))
    assert_close(nothing[0], nothing[1])  # the same placeholder everywhere, whatever the picture


def test_states_are_what_enters_the_first_block_and_leaves_each() -> None:
    network = TinyAttention(depth=2)
    model, inputs = pl.wrap(network, input_size=SIZE), pictures(2, *SIZE)
    states, outputs = token_states(model, inputs, token_blocks(model, SIZE, "diff_mask"))
    assert_close(states[0], network.tokens(inputs).detach())
    assert_close(states[1], network.blocks[0](network.tokens(inputs)).detach())
    assert_close(outputs, network(inputs).detach())
    assert len(states) == 3


def test_gates_learn_to_keep_the_patch_that_decides_and_no_other() -> None:
    model = pl.wrap(RedSeeker(), input_size=SIZE)
    before = model.fingerprint
    shown, _ = coloured(64, 0)
    plan = Learning(updates=500, learning_rate=5e-3, batch=32, weight_decay=0.0, held_out=0.0)
    fitted = fit("diff_mask", model, shown, learning=plan)
    assert model.fingerprint == before
    fresh, red = coloured(40, 1)
    found = ask("diff_mask", model, fresh, None, explainer=fitted)
    assert found[red].min() > 0.5, found[red]
    assert found[~red].max() < 0.5, found[~red].max()
    blocks = token_blocks(model, SIZE, "diff_mask")
    with torch.no_grad():
        left = masked_outputs(model, fresh, blocks, fitted.net, (found.flatten(1) > 0.5).float())
    assert torch.equal(left.argmax(dim=1), model.predict(fresh).argmax(dim=1))


@pytest.mark.parametrize("make", [tiny_vit, of_torchvision, of_transformers])
def test_it_reads_theof_transformers_of_all_libraries(make: Any) -> None:
    torch.manual_seed(0)
    model = pl.wrap(make().eval(), input_size=(32, 32))
    inputs, blocks = pictures(2, 32, 32), token_blocks(model, (32, 32), "diff_mask")
    assert_close(block_by_block(model, inputs, blocks, lambda _, block, tokens: block(tokens)).detach(),
                 model.predict(inputs))  # fmt: skip
    assert ask("diff_mask", model, inputs, 0).shape == (2, 4, 4)


def test_a_convolutional_net_and_an_explainer_of_another_build_are_refused() -> None:
    with pytest.raises(MethodUnavailable, match="no sequence of token blocks"):
        unfitted("diff_mask", pl.wrap(Twin("module"), input_size=(24, 24)), (24, 24))
    other = unfitted("diff_mask", pl.wrap(TinyAttention(depth=2), input_size=SIZE), SIZE)
    with pytest.raises(RequestError, match="with depth 2; this model has 1"):
        ask("diff_mask", TinyAttention(), pictures(1, *SIZE), 0, explainer=other)
