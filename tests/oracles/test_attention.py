"""O7: attention with a linear read-out, where rollout, relevance and LeGrad can be written down."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pellucid.errors import MethodUnavailable
from tests.attribution.asked import ATTENTION
from tests.oracles.asking import ask, evidence_of, values_of
from tests.oracles.nets import TinyAttention, Twin, pictures, tiny_vit

CLASS, SIZE = 2, (12, 16)  # a grid of 3 x 4
INPUTS = pictures(3, *SIZE)


def with_gradient(network: TinyAttention) -> tuple[list[Tensor], list[Tensor]]:
    """Probabilities of every block and the gradient of the logit on them, by the bare formula."""
    tokens, kept = network.tokens(INPUTS), []
    for block in network.blocks:
        attention = block.attention
        probabilities = attention.probabilities(tokens)
        kept.append(probabilities)
        tokens = tokens + attention.out(probabilities @ attention.value(tokens))
    read = tokens.mean(dim=1) if network.cls is None else tokens[:, 0]
    slopes = torch.autograd.grad(network.head(read)[:, CLASS].sum(), kept)
    return [entry.detach() for entry in kept], list(slopes)


def read_by_head(flow: Tensor, network: TinyAttention) -> Tensor:
    row = flow.mean(dim=1) if network.cls is None else flow[:, 0, 1:]
    return row.unflatten(1, (3, 4))


@pytest.fixture(params=[True, False], ids=["class token", "mean of patches"])
def network(request: pytest.FixtureRequest) -> TinyAttention:
    return TinyAttention(depth=3, class_token=request.param)


def test_rollout_multiplies_half_attention_half_identity(network: TinyAttention) -> None:
    blocks, _ = with_gradient(network)
    identity = torch.eye(blocks[0].shape[-1])
    flow = identity
    for probabilities in blocks:
        flow = 0.5 * (probabilities + identity) @ flow
    assert_close(flow.sum(dim=-1), torch.ones(3, flow.shape[-1]))
    assert_close(ask("attention_rollout", network, INPUTS, CLASS), read_by_head(flow, network), rtol=1e-4, atol=1e-6)


def test_rollout_of_one_block_is_half_its_attention() -> None:
    network = TinyAttention(depth=1)
    ((probabilities,), _) = with_gradient(network)
    assert_close(ask("attention_rollout", network, INPUTS), 0.5 * read_by_head(probabilities, network))


def test_rollout_of_even_attention_is_even(network: TinyAttention) -> None:
    with torch.no_grad():
        for block in network.blocks:
            block.attention.query.weight.zero_()
    found = ask("attention_rollout", network, INPUTS)
    assert_close(found, found[:, :1, :1].expand_as(found))


def test_rollout_knows_no_class_and_can_fuse_and_discard() -> None:
    network = tiny_vit()
    inputs = pictures(2, 32, 32)
    assert_close(ask("attention_rollout", network, inputs, 0), ask("attention_rollout", network, inputs, 3))
    for fuse in ("max", "min"):
        assert ask("attention_rollout", network, inputs, fuse=fuse, discard=0.5).isfinite().all()
    sparse = ask("attention_rollout", TinyAttention(depth=1), INPUTS, discard=0.9)
    assert (sparse == 0).any() and (sparse > 0).any()


def test_relevance_of_chefer_follows_its_recurrence(network: TinyAttention) -> None:
    blocks, slopes = with_gradient(network)
    relevance = torch.eye(blocks[0].shape[-1]).expand(3, -1, -1)
    for probabilities, slope in zip(blocks, slopes, strict=True):
        relevance = relevance + (slope * probabilities).clamp(min=0) @ relevance
    expected = read_by_head(relevance - torch.eye(relevance.shape[-1]), network)
    assert_close(ask("chefer", network, INPUTS, CLASS), expected, rtol=1e-3, atol=1e-6)


def test_relevance_is_zero_where_no_gradient_arrives() -> None:
    network = TinyAttention(depth=2)
    with torch.no_grad():
        network.head.weight.zero_()
    assert_close(ask("chefer", network, INPUTS), torch.zeros(3, 3, 4))


def test_legrad_has_a_closed_form_when_the_read_out_is_linear(network: TinyAttention) -> None:
    """mean_t(tokens) . u, so d/dP_ij = u . (V_j W_o) / tokens for every query i; a negative one counts nothing."""
    tokens, expected = network.tokens(INPUTS), 0.0
    for block in network.blocks:
        attention = block.attention
        handed_on = attention.out(attention.value(tokens)) @ network.head.weight[CLASS]
        expected = expected + handed_on.clamp(min=0) / tokens.shape[1]
        tokens = tokens + attention(tokens)
    prefix = 0 if network.cls is None else 1
    expected = expected[:, prefix:].detach().unflatten(1, (3, 4))
    assert_close(ask("legrad", network, INPUTS, CLASS, last=None), expected, rtol=1e-4, atol=1e-6)


def test_legrad_can_read_the_token_that_the_head_reads() -> None:
    """One block, one head: d logit / d P_0j = u . (V_j W_o) in the class token's row, zero in every other."""
    network = TinyAttention(depth=1)
    attention = network.blocks[0].attention
    tokens = network.tokens(INPUTS)
    handed_on = attention.out(attention.value(tokens)) @ network.head.weight[CLASS]
    expected = (handed_on.clamp(min=0) / tokens.shape[1])[:, 1:].detach().unflatten(1, (3, 4))
    assert_close(ask("legrad", network, INPUTS, CLASS, pool="head"), expected, rtol=1e-4, atol=1e-6)


def test_legrad_and_chefer_can_keep_to_the_last_blocks(network: TinyAttention) -> None:
    for name in ("legrad", "chefer"):
        whole, two = ask(name, network, INPUTS, last=3), ask(name, network, INPUTS, last=2)
        assert_close(whole, ask(name, network, INPUTS, last=None))
        assert not torch.allclose(whole, two)


@pytest.mark.parametrize(
    ("name", "height", "width", "pool", "registers"),
    [(name, *shape) for name in ATTENTION for shape in [(32, 32, "token", 0), (32, 48, "token", 2), (48, 32, "avg", 0)]
     if name != "ia_red" or shape[2] == "token"],  # that one needs a class token
)  # fmt: skip
def test_maps_lie_on_the_grid_of_patches(name: str, height: int, width: int, pool: str, registers: int) -> None:
    found = ask(name, tiny_vit(height, width, pool, registers), pictures(2, height, width))
    assert found.shape == (2, height // 8, width // 8) and found.isfinite().all()
    if name != "grad_eclip":  # nothing is left of it where every patch speaks against the target, as in one of these
        assert found.flatten(1).std(dim=1).min() > 0


@pytest.mark.parametrize("name", ATTENTION)
def test_a_model_without_attention_is_refused_by_name_with_alternatives(name: str) -> None:
    with pytest.raises(MethodUnavailable, match=name) as caught:
        ask(name, Twin("module"), pictures(1, 24, 24))
    assert caught.value.method == name and caught.value.instead


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_within_windows_is_refused_with_alternatives(name: str) -> None:
    from timm.models.swin_transformer import SwinTransformer

    network = SwinTransformer(
        img_size=64, patch_size=4, embed_dim=8, depths=(2, 2), num_heads=(2, 2), window_size=4, num_classes=4
    ).eval()
    with pytest.raises(MethodUnavailable, match=name) as caught:
        ask(name, network, pictures(1, 64, 64))
    assert caught.value.instead


def test_the_attention_seen_is_that_of_the_model(network: TinyAttention) -> None:
    expected, slopes = with_gradient(network)
    evidence = evidence_of(network, INPUTS, CLASS)
    for seen, wanted in zip(evidence.attention(), expected, strict=True):
        assert_close(seen[:, 0], wanted, rtol=1e-4, atol=1e-6)
    for seen, wanted in zip(evidence.attention_gradient(), slopes, strict=True):
        assert_close(seen[:, 0], wanted, rtol=1e-3, atol=1e-6)
    assert values_of("chefer", evidence).shape == (3, 3, 4)
