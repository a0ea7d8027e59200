"""Attention of one block, and flows through several, whose largest can be written down or found by trying all cuts."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pellucid.attribution.max_flow import largest_flows
from pellucid.errors import ParameterError
from tests.oracles.asking import ask
from tests.oracles.nets import TinyAttention, pictures, tiny_vit
from tests.oracles.test_attention import with_gradient

SIZE = (12, 16)  # a grid of 3 x 4
INPUTS = pictures(3, *SIZE)


def on_grid(rows: Tensor, network: TinyAttention) -> Tensor:
    return rows[:, 0 if network.cls is None else 1 :].unflatten(1, (3, 4))


def attention_of(network: TinyAttention) -> list[Tensor]:
    from tests.oracles.test_attention import INPUTS as SAME

    assert torch.equal(SAME, INPUTS)
    return with_gradient(network)[0]


@pytest.fixture(params=[True, False], ids=["class token", "mean of patches"])
def network(request: pytest.FixtureRequest) -> TinyAttention:
    return TinyAttention(depth=3, class_token=request.param)


def read(links: Tensor, network: TinyAttention) -> Tensor:
    return on_grid(links.mean(dim=1) if network.cls is None else links[:, 0], network)


@pytest.mark.parametrize("block", [0, 1, 2, -1, -3])
def test_raw_attention_is_the_row_of_the_block(network: TinyAttention, block: int) -> None:
    expected = read(attention_of(network)[block], network)
    assert_close(ask("raw_attention", network, INPUTS, block=block), expected, rtol=1e-4, atol=1e-6)


def test_a_patch_can_be_the_one_that_asks(network: TinyAttention) -> None:
    """Row 1, column 2 of a 3 x 4 grid is patch 6, after the class token where there is one."""
    blocks = attention_of(network)
    asking = 6 + (network.cls is not None)
    expected = on_grid(blocks[-1][:, asking], network)
    assert_close(ask("raw_attention", network, INPUTS, query=(1, 2)), expected, rtol=1e-4, atol=1e-6)


def test_heads_are_chosen_and_fused() -> None:
    network, inputs = tiny_vit(), pictures(2, 32, 32)
    first, second = (ask("raw_attention", network, inputs, heads=[head]) for head in (0, 1))
    assert not torch.allclose(first, second)
    assert_close(ask("raw_attention", network, inputs), (first + second) / 2)
    assert_close(ask("raw_attention", network, inputs, fuse="max"), first.maximum(second))
    assert_close(ask("raw_attention", network, inputs, heads=(0, 1), fuse="min"), first.minimum(second))


def test_flow_through_one_block_is_half_its_attention() -> None:
    network = TinyAttention(depth=1)
    expected = 0.5 * read(attention_of(network)[0], network)
    assert_close(ask("attention_flow", network, INPUTS), expected, rtol=0, atol=2e-6)


def test_flow_through_two_blocks_is_the_sum_of_the_narrower_pipes(network: TinyAttention) -> None:
    """Every way from the top to a patch leads over one token of its own, so the ways do not share a pipe."""
    two = TinyAttention(depth=2, class_token=network.cls is not None)
    blocks = attention_of(two)
    identity = torch.eye(blocks[0].shape[-1])
    low, high = ((0.5 * (block + identity)) for block in blocks)
    row = high.mean(dim=1) if two.cls is None else high[:, 0]
    expected = torch.minimum(row[:, :, None], low).sum(dim=1)
    assert_close(ask("attention_flow", two, INPUTS), on_grid(expected, two), rtol=0, atol=2e-5)


def test_the_largest_flow_is_the_least_cut() -> None:
    """Three blocks of three tokens: all 2^10 ways to part source from sink are tried."""
    generator = torch.Generator().manual_seed(3)
    blocks = [torch.rand(3, 3, generator=generator) for _ in range(3)]
    for sink in range(3):
        assert float(largest_flows(blocks[-1][1], blocks[:-1], [sink])) == pytest.approx(
            least_cut(blocks, 1, sink), abs=1e-5
        )


def least_cut(blocks: list[Tensor], source: int, sink: int) -> float:
    free = [(level, token) for level in range(4) for token in range(3)]
    free = [node for node in free if node not in ((3, source), (0, sink))]
    best = float("inf")
    for sides in product((False, True), repeat=len(free)):
        above = {(3, source)} | {node for node, side in zip(free, sides, strict=True) if side}
        cut = sum(
            float(blocks[level][i, j])
            for level in range(3) for i in range(3) for j in range(3)
            if (level + 1, i) in above and (level, j) not in above
        )  # fmt: skip
        best = min(best, cut)
    return best


def test_no_flow_is_larger_than_one_or_than_what_leads_to_the_patch(network: TinyAttention) -> None:
    blocks = attention_of(network)
    widths = (0.5 * (blocks[0] + torch.eye(blocks[0].shape[-1]))).sum(dim=1)
    found = ask("attention_flow", network, INPUTS)
    assert (found <= on_grid(widths, network) + 1e-4).all() and found.max() <= 1 + 1e-4 and found.min() > 0


def test_flow_is_computed_for_as_many_patches_as_are_asked_for() -> None:
    network = TinyAttention(depth=3)
    whole, some = ask("attention_flow", network, INPUTS), ask("attention_flow", network, INPUTS, top=3)
    assert ((some > 0).flatten(1).sum(dim=1) == 3).all()
    assert_close(some[some > 0], whole[some > 0])


@pytest.mark.parametrize("name", ["raw_attention", "attention_flow"])
def test_what_is_not_there_is_refused_by_name(name: str) -> None:
    network = tiny_vit()
    wrong = {"query": (4, 0)} | ({} if name == "attention_flow" else {"block": 3, "heads": [0, 2]})
    for keyword, value in wrong.items():
        with pytest.raises(ParameterError, match=keyword) as caught:
            ask(name, network, pictures(1, 32, 32), **{keyword: value})
        assert "0 to" in str(caught.value) or "4 x 4" in str(caught.value)
