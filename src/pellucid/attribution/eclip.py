"""What attention hands to the token that is read, weighed by the target's gradient there (Grad-ECLIP and MMEL)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pellucid.attribution.attention import by_class_token, on_grid, place_of
from pellucid.engine import Evidence
from pellucid.engine.maps import upsampled
from pellucid.errors import MethodUnavailable
from pellucid.hooks import Attended as Mixture
from pellucid.registry import method
from pellucid.values import Attended, AttendedGradient, Attention, Blocks

_INSTEAD = ("chefer", "grad_cam", "layer_cam")
_NEEDS = (Attention, Attended, AttendedGradient)


def _passes(*, single_head_compat: bool = False, **_: Any) -> float:
    return 3 if single_head_compat else 0


@method("grad_eclip", needs=_NEEDS, paper="Zhao et al. 2024", cost=_passes)
def grad_eclip(
    evidence: Evidence, *, block: int = -1, links: Literal["loosened", "attention", "equal"] = "loosened",
    single_head_compat: bool = False,
) -> Float[Tensor, "batch h w"]:  # fmt: skip
    """What each patch's value adds to the target, where it is like what the reading token asks for.

    The gradient on what attention gives to the class token says what each channel is worth; a patch's value is weighed
    by it, and by how close its key is to the class token's query.

    block:  whose attention, counted from 0, or from the end as -1
    links:  `loosened`, the cosine of query and key over all heads brought to 0..1 among the patches; `attention`, the
            model's own probabilities; `equal`, one for each patch
    single_head_compat: let the block's heads compare and mix as one, as the published code does; the model then answers
            otherwise, and the gradient is of that answer. One forward and one backward more
    returns: zero or more, in target units where `links` is `attention`

    Raises MethodUnavailable for models without attention between all tokens, ParameterError for a block that is not
    there.
    """
    mixtures = _known(evidence, "grad_eclip")
    place = place_of(block, len(mixtures), "grad_eclip")
    asked = evidence.with_one_head(place) if single_head_compat else evidence
    return on_grid(evidence, handed_on(asked, place, links, "grad_eclip")).clamp(min=0)


@method("mmel", needs=(*_NEEDS, Blocks), paper="Multi-Modal Explainable Learning 2025", cost=1)
def mmel(
    evidence: Evidence, *, last: int = 4, scales: int = 3, gamma: float = 0.5, temperature: float = 1.0
) -> Float[Tensor, "batch h w"]:
    """Grad-ECLIP of several blocks at several scales, blocks that agree with the target counting more.

    last:        how many blocks, from the end
    scales:      each of half the size of the one before; their maps are added
    gamma:       what a scale counts of the one before
    temperature: of the softmax over blocks: how sharply those are preferred whose own tokens give most of the target
    returns:     zero or more, 1 where every block and scale has its maximum

    Raises MethodUnavailable for models without attention between all tokens, or with more than one in a block.
    """
    count, blocks = len(_known(evidence, "mmel")), len(evidence.layers.blocks)
    if count != blocks:
        reason = f"its {blocks} blocks hold {count} attentions; one each is needed."
        raise MethodUnavailable("mmel", reason, ("grad_eclip", "chefer"))
    aligned = torch.stack(evidence.early_scores()[-last:], dim=1)
    aligned = aligned / aligned.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    shares = (aligned / temperature).softmax(dim=1)
    found: Tensor = torch.zeros(())
    for share, place in zip(shares.unbind(dim=1), range(max(0, count - last), count), strict=True):
        fine = on_grid(evidence, handed_on(evidence, place, "loosened", "mmel")).clamp(min=0)
        found = found + share[:, None, None] * at_scales(to_one(fine), scales, gamma)
    return found


def handed_on(evidence: Evidence, place: int, links: str, name: str) -> Float[Tensor, "batch token"]:
    """What each token's value gives to the tokens that the head reads, in target units times its link, signed.

    With the model's own attention for links, and over all tokens, this sums to what attention's output is worth.
    """
    mixture, slope = evidence.attended()[place], evidence.attended_gradient()[place]
    reads = slice(0, 1) if by_class_token(evidence) else slice(None)
    worth = torch.einsum("bhqc,bhkc->bhqk", slope[:, :, reads], mixture.value)
    if links == "attention":
        return (worth * mixture.probabilities[:, :, reads]).sum(dim=(1, 2))
    if links == "equal":
        return worth.sum(dim=(1, 2))
    return (worth.sum(dim=1) * _loosened(mixture, reads, evidence.token_grid.prefix, name)).sum(dim=1)


def to_one(maps: Float[Tensor, "batch h w"]) -> Float[Tensor, "batch h w"]:
    """Each map divided by its largest value; zeros stay."""
    return maps / maps.amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)


def at_scales(maps: Float[Tensor, "batch h w"], scales: int, gamma: float) -> Float[Tensor, "batch h w"]:
    """The weighted mean of maps and of their averages over cells of 2, 4, ... places; cells beyond the map are left."""
    size, total, weights = (int(maps.shape[-2]), int(maps.shape[-1])), torch.zeros_like(maps), 0.0
    for scale in range(scales):
        side = min(2**scale, *size)
        coarse = functional.avg_pool2d(maps[:, None], side, ceil_mode=True, count_include_pad=False)[:, 0]
        total, weights = total + gamma**scale * upsampled(coarse, size), weights + gamma**scale
    return total / weights


def _loosened(mixture: Mixture, reads: slice, prefix: int, name: str) -> Float[Tensor, "batch query token"]:
    """Cosine of query and key, heads joined, from 0 for the least alike patch to 1 for the most alike."""
    if mixture.query is None or mixture.key is None:
        reason = "how it compares queries with keys is written in a way that is not known here."
        raise MethodUnavailable(name, reason, _INSTEAD)
    query, key = (functional.normalize(_joined(part), dim=-1) for part in (mixture.query, mixture.key))
    alike = query[:, reads] @ key.transpose(1, 2)
    patches = alike[..., prefix:]
    low, high = patches.amin(dim=-1, keepdim=True), patches.amax(dim=-1, keepdim=True)
    return (alike - low) / (high - low).clamp(min=torch.finfo(alike.dtype).eps)


def _joined(heads: Float[Tensor, "batch head token channel"]) -> Float[Tensor, "batch token width"]:
    return heads.transpose(1, 2).flatten(2)


def _known(evidence: Evidence, name: str) -> tuple[Mixture, ...]:
    try:
        return evidence.attended()
    except MethodUnavailable as error:
        raise MethodUnavailable(name, error.reason, error.instead or _INSTEAD) from error
