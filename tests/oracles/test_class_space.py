"""Tokens read by the head: what each says follows from the net's own norm and head, and the last one read is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import MethodUnavailable, ParameterError, TargetError
from tests.oracles.asking import ask, evidence_of
from tests.oracles.nets import TinyAttention, Twin, pictures, tiny_vit

CLASS, SIZE = 2, (12, 16)  # a grid of 3 x 4
INPUTS = pictures(3, *SIZE)


def after(network: Any, inputs: Tensor, block: int) -> Tensor:
    """Tokens of a timm net after a block."""
    tokens = network.norm_pre(network._pos_embed(network.patch_embed(inputs)))
    return network.blocks[: block + 1](tokens)


@pytest.mark.parametrize("block", [0, 1, 2])
@pytest.mark.parametrize(("pool", "registers"), [("token", 0), ("token", 3), ("avg", 0)])
def test_every_patch_goes_through_norm_and_head(pool: str, registers: int, block: int) -> None:
    network, inputs = tiny_vit(32, 48, pool, registers), pictures(2, 32, 48)
    tokens = after(network, inputs, block)
    said = network.head(network.fc_norm(network.norm(tokens))).detach()
    prefix = registers + (pool == "token")
    expected = said[:, prefix:, CLASS].unflatten(1, (4, 6))
    assert_close(ask("class_embedding", network, inputs, CLASS, block=block), expected, rtol=1e-4, atol=1e-5)
    own = said[..., CLASS : CLASS + 1]
    ranks = 1 - (said > own).sum(dim=-1)[:, prefix:].unflatten(1, (4, 6)) / 5
    assert_close(ask("class_embedding", network, inputs, CLASS, block=block, measure="rank"), ranks)


@pytest.mark.parametrize("registers", [0, 3])
def test_the_class_token_after_the_last_block_says_what_the_model_says(registers: int) -> None:
    evidence = evidence_of(tiny_vit(registers=registers), pictures(2, 32, 32))
    said = evidence.token_outputs(evidence.layers.blocks[-1])
    assert said.shape == (2, 17 + registers, 5)
    assert_close(said[:, 0], evidence.output(), rtol=1e-5, atol=1e-6)


@pytest.mark.untyped  # of a token per picture the head is asked of many: more come out than went in
@pytest.mark.parametrize("spec", ["testbed:vit", "testbed:dual"])
def test_the_nets_of_the_testbed_are_read(spec: str) -> None:
    """The dual encoder reads class token and mean of the patches: each token alone is both at once."""
    model = pl.load(spec)
    inputs = torch.as_tensor(pl.testbed.scenes(4, 2).tensor())
    evidence = evidence_of(model, inputs, 1)
    said = evidence.token_outputs(evidence.layers.blocks[-1])
    assert said.shape == (2, 65, evidence.output().shape[1]) and said.isfinite().all()
    if spec == "testbed:vit":
        assert_close(said[:, 0], evidence.output(), rtol=1e-4, atol=1e-4)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    network, inputs = tiny_vit(), pictures(2, 32, 32)
    whole = ask("class_embedding", network, inputs)
    monkeypatch.setattr("pellucid.engine.evidence._TOKENS_AT_ONCE", 40)
    assert_close(ask("class_embedding", network, inputs), whole)


def test_over_all_classes_ranks_have_a_known_mean() -> None:
    """Ranks 0 to K-1 each come once: the mean of 1 - rank / K is (K + 1) / 2K, with ties too."""
    network, inputs = tiny_vit(), pictures(2, 32, 32)
    maps = torch.stack([ask("class_embedding", network, inputs, one, measure="rank") for one in range(5)])
    assert_close(maps.mean(dim=0), torch.full((2, 4, 4), 0.6))
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.zero_()
    assert_close(ask("class_embedding", network, inputs, measure="rank"), torch.full((2, 4, 4), 0.6))


def test_a_head_set_by_hand_gives_known_ranks() -> None:
    """Class k reads channel k alone: its rank at a patch is that of the channel among the first four."""
    network = TinyAttention(depth=2)
    with torch.no_grad():
        network.head.weight.copy_(torch.eye(8)[:4])
    tokens = network.blocks(network.tokens(INPUTS))[:, 1:].detach()
    order = tokens[..., :4].argsort(dim=-1, descending=True)
    expected = 1 - (order == CLASS).int().argmax(dim=-1).unflatten(1, (3, 4)) / 4
    assert_close(ask("class_embedding", network, INPUTS, CLASS, measure="rank"), expected)


def test_a_contrast_is_a_difference_of_what_patches_say() -> None:
    network, inputs = tiny_vit(), pictures(2, 32, 32)
    this, that = (ask("class_embedding", network, inputs, one) for one in (1, 3))
    assert_close(ask("class_embedding", network, inputs, pl.Contrast(1, 3)), this - that, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_read_is_refused() -> None:
    network, inputs = tiny_vit(), pictures(1, 32, 32)
    with pytest.raises(TargetError, match="reads a layer"):
        ask("class_embedding", network, inputs, pl.Unit("blocks.1", 3))
    with pytest.raises(TargetError, match="no class"):
        ask("class_embedding", network, inputs, pl.Contrast(1, 3), measure="rank")
    with pytest.raises(ParameterError, match="0 to 2"):
        ask("class_embedding", network, inputs, block=-4)
    with pytest.raises(MethodUnavailable, match="class_embedding") as caught:
        ask("class_embedding", Twin("module"), pictures(1, 24, 24))
    assert caught.value.instead
