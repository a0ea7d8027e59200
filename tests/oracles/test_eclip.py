"""What patches hand on through attention: closed forms of O7, sums that must hold, and the published recomputation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from pellucid.attribution.eclip import at_scales, handed_on, to_one
from pellucid.errors import MethodUnavailable, ParameterError
from tests.oracles.asking import ask, evidence_of, relative
from tests.oracles.nets import TinyAttention, pictures, seeded, tiny_vit

CLASS, SIZE = 2, (12, 16)  # a grid of 3 x 4
INPUTS = pictures(3, *SIZE)


@pytest.fixture(params=[True, False], ids=["class token", "mean of patches"])
def network(request: pytest.FixtureRequest) -> TinyAttention:
    return TinyAttention(depth=1, class_token=request.param)


def handed(network: TinyAttention, links: str) -> Tensor:
    """By hand: w = W_o' u is what each channel is worth, each value gives w . v_i times its link."""
    attention, tokens = network.blocks[0].attention, network.tokens(INPUTS)
    worth = attention.value(tokens) @ (attention.out.weight.T @ network.head.weight[CLASS])
    probabilities = attention.probabilities(tokens)
    query, key = attention.query(tokens), attention.key(tokens)
    alike = functional.cosine_similarity(query[:, :, None], key[:, None], dim=-1)
    patches = alike if network.cls is None else alike[:, :, 1:]
    low, high = patches.amin(dim=-1, keepdim=True), patches.amax(dim=-1, keepdim=True)
    weights = {"attention": probabilities, "loosened": (alike - low) / (high - low), "equal": torch.ones_like(alike)}
    rows = weights[links].mean(dim=1) if network.cls is None else weights[links][:, 0]
    return (rows * worth).detach()


@pytest.mark.parametrize("links", ["loosened", "attention", "equal"])
def test_grad_eclip_has_a_closed_form_when_the_read_out_is_linear(network: TinyAttention, links: str) -> None:
    tokens = handed(network, links)
    expected = tokens[:, 0 if network.cls is None else 1 :].unflatten(1, (3, 4)).clamp(min=0)
    assert_close(ask("grad_eclip", network, INPUTS, CLASS, links=links), expected, rtol=1e-4, atol=1e-6)


def test_with_the_true_attention_the_tokens_add_up_to_what_the_output_is_worth(network: TinyAttention) -> None:
    """sum_i P_i (w . v_i) = w . o, the whole of what attention gives to the target, here logit less residual."""
    tokens = network.tokens(INPUTS)
    read = tokens.mean(dim=1) if network.cls is None else tokens[:, 0]
    expected = (network(INPUTS) - network.head(read))[:, CLASS].detach()
    found = handed_on(evidence_of(network, INPUTS, CLASS), 0, "attention", "grad_eclip")
    assert_close(found.sum(dim=1), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("pool", "registers"), [("token", 0), ("token", 2), ("avg", 0)])
def test_the_sum_holds_for_many_heads_too(pool: str, registers: int) -> None:
    evidence = evidence_of(tiny_vit(pool=pool, registers=registers).double(), pictures(2, 32, 32), 1)
    for place, (mixture, slope) in enumerate(zip(evidence.attended(), evidence.attended_gradient(), strict=True)):
        reads = slice(0, 1) if pool == "token" else slice(None)
        expected = (slope * mixture.output)[:, :, reads].sum(dim=(1, 2, 3))
        found = handed_on(evidence, place, "attention", "grad_eclip").sum(dim=1)
        assert relative(found, expected) < 1e-5


def test_patches_of_a_mean_are_all_asked() -> None:
    """The last block of a net that averages patches: every patch's query hands on its part."""
    network = tiny_vit(pool="avg")
    slopes = evidence_of(network, pictures(1, 32, 32), 1).attended_gradient()[-1]
    assert (slopes.abs().sum(dim=(1, 3)) > 0).all()
    first = evidence_of(tiny_vit(), pictures(1, 32, 32), 1).attended_gradient()[-1]
    assert (first[:, :, 1:] == 0).all() and (first[:, :, 0] != 0).any()


# -- heads as one ---------------------------------------------------------------------------------------------------


def published(network: Any, inputs: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Equations of the published adaptation to ViT classifiers on a timm net: logits and map, heads as one."""
    tokens = network._pos_embed(network.patch_embed(inputs))
    tokens = network.blocks[:-1](network.norm_pre(tokens))
    block = network.blocks[-1]
    query, key, value = block.attn.qkv(block.norm1(tokens)).chunk(3, dim=-1)
    mixed = (query @ key.transpose(1, 2) / query.shape[-1] ** 0.5).softmax(dim=-1) @ value
    after = tokens + block.attn.proj(mixed)
    logits = network.forward_head(network.norm(after + block.mlp(block.norm2(after))))
    (slope,) = torch.autograd.grad(logits[:, target].sum(), mixed)
    alike = functional.cosine_similarity(query[:, :1], key[:, 1:], dim=-1)
    low, high = alike.amin(dim=1, keepdim=True), alike.amax(dim=1, keepdim=True)
    weights = (alike - low) / (high - low)
    rows = ((slope[:, :1] * value[:, 1:]).sum(dim=-1) * weights).clamp(min=0)
    return logits.detach(), rows.unflatten(1, (4, 4)).detach()


def test_heads_as_one_give_the_published_map() -> None:
    network, inputs = tiny_vit(), pictures(3, 32, 32)
    logits, expected = published(network, inputs, 1)
    evidence = evidence_of(network, inputs, 1)
    assert_close(evidence.with_one_head(2).output(), logits, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(evidence.output(), logits, atol=1e-3)
    found = ask("grad_eclip", network, inputs, 1, single_head_compat=True)
    assert relative(found, expected) < 1e-4
    assert relative(ask("grad_eclip", network, inputs, 1), expected) > 1e-3


def test_one_head_is_as_one_already(network: TinyAttention) -> None:
    plain, joined = (ask("grad_eclip", network, INPUTS, CLASS, single_head_compat=joined) for joined in (False, True))
    assert_close(plain, joined, rtol=1e-4, atol=1e-6)


class Written(nn.Module):
    """Attention of several heads in one of three spellings; equal seeds give equal weights."""

    def __init__(self, spelling: str, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.spelling, self.heads = spelling, heads
        self.joint = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        if self.spelling == "module":
            return self.joint(tokens, tokens, tokens, need_weights=False)[0]
        joint = functional.linear(tokens, self.joint.in_proj_weight, self.joint.in_proj_bias)
        query, key, value = joint.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if self.spelling == "fused":
            mixed = functional.scaled_dot_product_attention(query, key, value)
        else:
            links = torch.matmul(query, key.transpose(2, 3)) * query.shape[-1] ** -0.5
            mixed = torch.matmul(functional.dropout(functional.softmax(links, dim=-1), 0.0, training=False), value)
        return self.joint.out_proj(mixed.transpose(1, 2).flatten(2))


class WrittenBlock(nn.Module):
    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.attention = Written(spelling)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.attention(tokens)


class WrittenNet(nn.Module):
    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.embed, self.cls = nn.Conv2d(3, 8, 4, stride=4), nn.Parameter(torch.zeros(1, 1, 8))
        self.blocks = nn.Sequential(WrittenBlock(spelling), WrittenBlock(spelling))
        self.head = nn.Linear(8, 4)
        seeded(self, 9)

    def forward(self, inputs: Tensor) -> Tensor:
        patches = self.embed(inputs).flatten(2).transpose(1, 2)
        return self.head(self.blocks(torch.cat([self.cls.expand(len(patches), -1, -1), patches], dim=1))[:, 0])


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("name", ["grad_eclip", "mmel"])
def test_it_does_not_matter_how_attention_is_written(name: str, joined: bool) -> None:
    options: dict[str, Any] = {"single_head_compat": True} if joined and name == "grad_eclip" else {}
    fused, plain, module = (
        ask(name, WrittenNet(spelling), INPUTS, CLASS, **options) for spelling in ("fused", "plain", "module")
    )
    assert_close(fused, plain, rtol=1e-4, atol=1e-6)
    assert_close(fused, module, rtol=1e-4, atol=1e-6)
    assert fused.max() > 0


# -- several blocks and scales --------------------------------------------------------------------------------------


def test_mmel_of_one_block_and_one_scale_is_grad_eclip() -> None:
    network, inputs = tiny_vit(), pictures(3, 32, 32)
    expected = to_one(ask("grad_eclip", network, inputs, 1))
    assert_close(ask("mmel", network, inputs, 1, last=1, scales=1), expected)


def test_mmel_weighs_blocks_by_what_their_own_tokens_say() -> None:
    """At a high temperature all blocks count alike, at a low one the best alone."""
    network, inputs = tiny_vit(), pictures(3, 32, 32)
    maps = torch.stack([to_one(ask("grad_eclip", network, inputs, 1, block=block)) for block in range(3)])
    assert_close(ask("mmel", network, inputs, 1, scales=1, temperature=1e6), maps.mean(dim=0), rtol=1e-4, atol=1e-5)
    early = torch.stack(evidence_of(network, inputs, 1).early_scores())
    best = maps[early.argmax(dim=0), torch.arange(3)]
    assert_close(ask("mmel", network, inputs, 1, scales=1, temperature=1e-4), best, rtol=1e-3, atol=1e-4)


def test_the_last_blocks_own_tokens_give_the_score() -> None:
    evidence = evidence_of(tiny_vit(), pictures(3, 32, 32), 1)
    assert_close(evidence.early_scores()[-1], evidence.score(), rtol=1e-5, atol=1e-6)


def test_scales_keep_an_even_map_and_spread_a_point() -> None:
    even = torch.full((1, 4, 6), 0.3)
    assert_close(at_scales(even, 3, 0.5), even)
    point = torch.zeros(1, 4, 4)
    point[0, 0, 0] = 1
    assert_close(at_scales(point, 1, 0.5), point)
    # half the size: an average of 1/4, upsampled to 1/4 at the corner; weights 1 and 1/2
    assert at_scales(point, 2, 0.5)[0, 0, 0] == pytest.approx((1 + 0.5 * 0.25) / 1.5)


# -- what is not there ----------------------------------------------------------------------------------------------


def test_a_comparison_that_cannot_be_read_is_refused_unless_it_is_not_needed() -> None:
    """Likenesses that are no products of queries and keys."""

    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.likeness, self.value = nn.Linear(8, 13), nn.Linear(8, 8)

        def forward(self, tokens: Tensor) -> Tensor:
            return tokens + (self.likeness(tokens)[:, None].softmax(dim=-1) @ self.value(tokens)[:, None])[:, 0]

    network = WrittenNet("plain")
    network.blocks = nn.Sequential(Mixing(), Mixing())
    seeded(network, 3)
    with pytest.raises(MethodUnavailable, match="grad_eclip") as caught:
        ask("grad_eclip", network, INPUTS, CLASS)
    assert caught.value.instead
    assert ask("grad_eclip", network, INPUTS, CLASS, links="attention").isfinite().all()


def test_a_block_that_is_not_there_is_refused() -> None:
    with pytest.raises(ParameterError, match="0 to 2"):
        ask("grad_eclip", tiny_vit(), pictures(1, 32, 32), block=3)
