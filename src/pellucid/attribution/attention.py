"""Where the tokens of a transformer got their content from, read in its attention and the gradient on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NoReturn, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.attribution.max_flow import largest_flows
from pellucid.engine import Evidence
from pellucid.errors import MethodUnavailable, ParameterError
from pellucid.registry import method
from pellucid.values import Attention, AttentionGradient

_Entry = TypeVar("_Entry")
_INSTEAD = ("grad_cam", "layer_cam", "occlusion")


@method("raw_attention", needs=[Attention], paper="Abnar & Zuidema 2020", class_agnostic=True)
def raw_attention(
    evidence: Evidence, *, block: int = -1, heads: Sequence[int] | None = None, fuse: str = "mean",
    query: tuple[int, int] | None = None,
) -> Float[Tensor, "batch h w"]:  # fmt: skip
    """How much of each patch one block mixes into what the head reads, as the block itself weighs it.

    block:   which, counted from 0, or from the end as -1
    heads:   which of its heads, counted from 0; None is all
    fuse:    how these heads become one: `mean`, `max` or `min`
    query:   the token that attends, as (row, column) on the grid of patches; None is what the head reads
    returns: parts of one, which the other tokens share; the same for every class

    Raises MethodUnavailable for models without attention between all tokens, ParameterError for a block, head or patch
    that is not there.
    """
    blocks = _known(evidence.attention, "raw_attention")
    attention = blocks[place_of(block, len(blocks), "raw_attention")]
    if heads is not None:
        attention = attention[:, chosen_heads(heads, attention.shape[1], "raw_attention")]
    asking = _asking(evidence, query, "raw_attention")
    return on_grid(evidence, FUSE[fuse](attention)[:, asking].mean(dim=1))


@method("attention_rollout", needs=[Attention], paper="Abnar & Zuidema 2020", class_agnostic=True)
def attention_rollout(evidence: Evidence, *, fuse: str = "mean", discard: float = 0.0) -> Float[Tensor, "batch h w"]:
    """How much of each patch has flowed into what the head reads, following attention through all blocks.

    fuse:    how the heads of a block become one: `mean`, `max` or `min`
    discard: part of the weakest links of each block to leave out, 0 to below 1; links to the class token stay
    returns: parts of one: a row of the product of (attention + identity) / 2 over the blocks; the same for every class

    Raises MethodUnavailable for models without attention between all tokens.
    """
    blocks = _known(evidence.attention, "attention_rollout")
    flow = torch.eye(blocks[0].shape[-1]).to(blocks[0])
    for attention in blocks:
        flow = _halfway(_strongest(FUSE[fuse](attention), discard, evidence.token_grid.prefix)) @ flow
    return _read_by_head(evidence, flow)


def _no_pass(**_: Any) -> float:
    """None beyond the shared forward; said by a function, since what takes its time elsewhere is no part of a panel."""
    return 0


@method("attention_flow", needs=[Attention], paper="Abnar & Zuidema 2020", class_agnostic=True, cost=_no_pass)
def attention_flow(
    evidence: Evidence, *, fuse: str = "mean", top: int = 64, query: tuple[int, int] | None = None
) -> Float[Tensor, "batch h w"]:
    """How much could flow from each patch to what the head reads, if links of attention were pipes of that width.

    The largest flow through (attention + identity) / 2 of all blocks, from the token that is read down to one patch.

    fuse:    how the heads of a block become one: `mean`, `max` or `min`
    top:     how many patches get one, those of the largest rollout; each is a problem of its own, solved on the CPU
    query:   the token that asks, as (row, column) on the grid of patches; None is what the head reads
    returns: 0 to 1, 0 for patches beyond `top`; the same for every class

    Raises MethodUnavailable for models without attention between all tokens, ParameterError for a patch that is not
    there.
    """
    blocks = _known(evidence.attention, "attention_flow")
    pipes = [_halfway(FUSE[fuse](attention)) for attention in blocks]
    prefix = evidence.token_grid.prefix
    row = pipes[-1][:, _asking(evidence, query, "attention_flow")].mean(dim=1)
    rolled = row[:, None]
    for pipe in reversed(pipes[:-1]):
        rolled = rolled @ pipe
    found = torch.zeros(row.shape)
    for picture, reached in enumerate(rolled[:, 0, prefix:].cpu()):
        sinks = (prefix + reached.argsort(descending=True, stable=True)[:top]).tolist()
        found[picture, sinks] = largest_flows(row[picture], [pipe[picture] for pipe in pipes[:-1]], sinks).to(found)
    if top < row.shape[1] - prefix:
        evidence.note(f"attention_flow: computed for the {top} patches of largest rollout; the others are 0.")
    return on_grid(evidence, found.to(row))


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
    return on_grid(evidence, felt)


FUSE: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda attention: attention.mean(dim=1),
    "max": lambda attention: attention.amax(dim=1),
    "min": lambda attention: attention.amin(dim=1),
}


def place_of(block: int, count: int, method: str) -> int:
    """Which of `count` blocks, counted from 0, is meant by a number that may count from the end."""
    if not -count <= block < count:
        raise ParameterError(method, "block", block, f"one of its {count} blocks, 0 to {count - 1}, or -1 for the last")
    return block % count


def chosen_heads(heads: Sequence[int], count: int, method: str) -> list[int]:
    """These heads. Raises ParameterError, in the name of the method, for one that is not there."""
    if max(heads) >= count:
        raise ParameterError(method, "heads", list(heads), f"some of its {count} heads, 0 to {count - 1}")
    return list(heads)


def _asking(evidence: Evidence, query: tuple[int, int] | None, method: str) -> list[int]:
    """The tokens whose rows of attention are read, all with the same weight."""
    grid = evidence.token_grid
    if query is None:
        patches = range(grid.prefix, grid.prefix + grid.patches)
        return [0] if by_class_token(evidence) else list(patches)
    row, column = query
    if row >= grid.rows or column >= grid.columns:
        expected = f"(row, column) on its grid of {grid.rows} x {grid.columns} patches, counted from 0"
        raise ParameterError(method, "query", query, expected)
    return [grid.prefix + row * grid.columns + column]


def _halfway(attention: Float[Tensor, "batch token token"]) -> Float[Tensor, "batch token token"]:
    """Attention and what stays where it is, half each."""
    links = attention + torch.eye(attention.shape[-1]).to(attention)
    return links / links.sum(dim=-1, keepdim=True)


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
    first = by_class_token(evidence)
    return on_grid(evidence, flow[:, 0] if first else flow[:, evidence.token_grid.prefix :].mean(dim=1))


def by_class_token(evidence: Evidence) -> bool:
    """Whether the head reads the class token alone."""
    # A head that reads the class token alone leaves the last block's patches without gradient.
    return evidence.token_grid.prefix > 0 and evidence.layers.blocks[-1] in evidence.layers.silent


def on_grid(evidence: Evidence, tokens: Float[Tensor, "batch token"]) -> Float[Tensor, "batch h w"]:
    """One value per token, class token and registers left out."""
    grid = evidence.token_grid
    return tokens[:, grid.prefix :].unflatten(1, (grid.rows, grid.columns))
