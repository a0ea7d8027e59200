"""Where the tokens of a transformer got their content from, read in its attention and the gradient on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NoReturn, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.errors import MethodUnavailable
from pellucid.registry import method
from pellucid.values import Attention, AttentionGradient

_Entry = TypeVar("_Entry")
_INSTEAD = ("grad_cam", "layer_cam", "occlusion")


@method("attention_rollout", needs=[Attention], paper="Abnar & Zuidema 2020", class_agnostic=True)
def attention_rollout(evidence: Evidence, *, fuse: str = "mean", discard: float = 0.0) -> Float[Tensor, "batch h w"]:
    """How much of each patch has flowed into what the head reads, following attention through all blocks.

    fuse:    how the heads of a block become one: `mean`, `max` or `min`
    discard: part of the weakest links of each block to leave out, 0 to below 1; links to the class token stay
    returns: parts of one: a row of the product of (attention + identity) / 2 over the blocks; the same for every class

    Raises MethodUnavailable for models without attention between all tokens.
    """
    blocks = _known(evidence.attention, "attention_rollout")
    identity = torch.eye(blocks[0].shape[-1]).to(blocks[0])
    flow = identity
    for attention in blocks:
        links = _strongest(_FUSE[fuse](attention), discard, evidence.token_grid.prefix) + identity
        flow = links / links.sum(dim=-1, keepdim=True) @ flow
    return _read_by_head(evidence, flow)


@method("chefer", needs=[Attention, AttentionGradient], paper="Chefer et al. 2021")
def chefer(evidence: Evidence, *, last: int | None = None) -> Float[Tensor, "batch h w"]:
    """How much each patch counts for the target, following the attention that the target asks for more of.

    In every block the attention, times its positive gradient, averaged over heads, passes the relevance on.

    last:    only the last so many blocks; None takes all
    returns: relevance of each patch to what the head reads, 0 where no gradient arrives

    Raises MethodUnavailable for models without attention between all tokens.
    """
    blocks = _known(evidence.attention, "chefer")
    relevance = torch.eye(blocks[0].shape[-1]).to(blocks[0]).expand(len(evidence.inputs), -1, -1)
    for attention, slope in _last(zip(blocks, evidence.attention_gradient(), strict=True), last):
        relevance = relevance + (slope * attention).clamp(min=0).mean(dim=1) @ relevance
    return _read_by_head(evidence, relevance - torch.eye(relevance.shape[-1]).to(relevance))


@method("legrad", needs=[Attention, AttentionGradient], paper="Bousselham et al. 2024", cost=2)
def legrad(
    evidence: Evidence, *, last: int | None = 2, pool: Literal["mean", "head"] = "mean"
) -> Float[Tensor, "batch h w"]:
    """Which patches would raise the target if they were attended to more, block by block.

    The model's head reads each block's own tokens; the positive gradient of that reading on the block's attention is
    averaged over heads and queries, and summed over blocks.

    last:    only the last so many blocks, as in the published code; None takes all
    pool:    `mean`, as in the published code, lets the head read the mean of the block's tokens; `head` lets it read
             the token it usually reads, such as the class token. On the testbed's ViT the maximum hits the deciding
             part in 20 of 40 scenes with the first and in 29 with the second

    Raises MethodUnavailable for models without attention between all tokens.
    """
    slopes = _known(lambda: evidence.early_attention_gradients(pool), "legrad")
    felt = sum(slope.clamp(min=0).mean(dim=(1, 2)) for slope in _last(slopes, last))
    assert isinstance(felt, Tensor)
    return _on_grid(evidence, felt)


_FUSE: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda attention: attention.mean(dim=1),
    "max": lambda attention: attention.amax(dim=1),
    "min": lambda attention: attention.amin(dim=1),
}


def _known(ask: Callable[[], tuple[Tensor, ...]], name: str) -> tuple[Tensor, ...]:
    """What the engine says of attention, its refusal in the method's own name."""
    try:
        return ask()
    except MethodUnavailable as error:
        _refuse(name, error)


def _refuse(name: str, error: MethodUnavailable) -> NoReturn:
    raise MethodUnavailable(name, error.reason, error.instead or _INSTEAD) from error


def _last(blocks: Iterable[_Entry], count: int | None) -> list[_Entry]:
    listed = list(blocks)
    return listed if count is None else listed[-count:]


def _strongest(attention: Float[Tensor, "batch token token"], discard: float, prefix: int) -> Tensor:
    """The links without the weakest part `discard` of them; those to the class token always stay."""
    count = int(discard * attention.shape[-1] ** 2)
    if count == 0:
        return attention
    weakest = attention.flatten(1).argsort(dim=1, stable=True)[:, :count]
    kept = torch.ones_like(attention).flatten(1).scatter(1, weakest, 0).reshape(attention.shape)
    kept[:, :, : min(prefix, 1)] = 1
    return attention * kept


def _read_by_head(evidence: Evidence, flow: Float[Tensor, "batch token token"]) -> Float[Tensor, "batch h w"]:
    """What the tokens that the head reads hold of each patch: the class token's row, or the mean over patches."""
    prefix = evidence.token_grid.prefix
    last = evidence.layers.blocks[-1]
    # A head that reads the class token alone leaves the last block's patches without gradient.
    by_class_token = prefix > 0 and last in evidence.layers.silent
    return _on_grid(evidence, flow[:, 0] if by_class_token else flow[:, prefix:].mean(dim=1))


def _on_grid(evidence: Evidence, tokens: Float[Tensor, "batch token"]) -> Float[Tensor, "batch h w"]:
    grid = evidence.token_grid
    return tokens[:, grid.prefix :].unflatten(1, (grid.rows, grid.columns))
