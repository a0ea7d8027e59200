"""Where a vision-language model looked for each word it says, at several scales, less what is the words' before it.

Liang et al., Explaining multimodal LLMs via intra-modal token interactions, 2025: multi-scale explanation aggregation
(MSEA) on the side of the picture, activation ranking correlation (ARC) on the side of the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import interpolate

from pellucid import hooks
from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.images.scales import fused, together, views
from pellucid.results.token_maps import TokenMaps
from pellucid.testbed.nets import VisionLanguage

BASES = ("activation", "gradient", "attention")
SCALES = (0.5, 1.0, 1.5)
TOP = 20


def token_maps(
    net: VisionLanguage, frame: Frame, text: str | None = None, *, base: str = "gradient",
    scales: Sequence[float] = SCALES, fuse: str = "normalised", top: int = TOP, block: int | None = None,
    beta: float | None = None, writer: str = "the model",
) -> TokenMaps:  # fmt: skip
    """A map for every word of a text about a picture, with and without what is the context's.

    text:   None lets the net tell
    base:   `activation`, what the picture's last states say for the word through the head; `gradient`, gradient times
            activation of the picture's states after a block, positive part; `attention` of that block, mean over heads,
            from the place where the word is said
    scales: of the picture, see `images.scales`; fuse: `mean`, or `normalised`: each scale's maps in parts of the word's
            greatest, in units of those of the scale nearest to 1
    top:    how many of the words that could stand in a place are ranked; block: of the decoder, None is the middle one
    beta:   how much of the context's map is taken off; None is the least squares scale

    One forward for each window of a scale, and for `gradient` a backward per word. Raises RequestError, SceneError.
    """
    if base not in BASES or fuse not in ("mean", "normalised") or top < 1:
        raise RequestError(f"base={base!r}, fuse={fuse!r}, top={top}; expected {', '.join(BASES)}; mean or normalised; "
                           f"1 or more.")  # fmt: skip
    at = len(net.blocks) // 2 if block is None else block
    if not 0 <= at < len(net.blocks):
        raise RequestError(f"block={at}; the net has {len(net.blocks)} blocks, 0 to {len(net.blocks) - 1}.")
    picture = frame.tensor()
    said = net.generate(picture)[0] if text is None else text
    words = tuple(said.replace(",", " , ").replace("?", " ? ").split())
    numbers = net.words.encode([said])[:, :-1]
    size = (picture.shape[2], picture.shape[3])
    found: list[Tensor] = []
    for scale in scales:
        parts = [view.back(_enlarged(_maps(net, view.of(picture), numbers, base, at), size))
                 for view in views(size, scale)]  # fmt: skip
        found.append(together(parts))
    maps = fused(torch.stack(found), scales, fuse)
    with torch.no_grad():
        ranked = relevance(net(picture, numbers)[0, : len(words)], top)
    cleaned, share = without_context(maps, ranked, beta)
    return TokenMaps(words, maps, cleaned, ranked, share, frame, base, tuple(scales), writer)


def relevance(logits: Float[Tensor, "word vocabulary"], top: int) -> Float[Tensor, "word word"]:
    """The rank correlation of what could have been said in each place with every place before it, [t, j]; else 0.

    Spearman's, over the union of both places' `top` likeliest words; a word that is not among them ranks top + 1.
    """
    count, most = len(logits), min(top, logits.shape[1])
    order = logits.topk(most, dim=1).indices
    ranks = torch.full(logits.shape, most + 1.0, dtype=torch.float64)
    ranks.scatter_(1, order, torch.arange(1, most + 1, dtype=torch.float64).expand(count, -1))
    found = torch.zeros(count, count)
    for later in range(count):
        for earlier in range(later):
            union = (ranks[later] <= most) | (ranks[earlier] <= most)
            found[later, earlier] = _correlation(ranks[later, union], ranks[earlier, union])
    return found


def without_context(
    maps: Float[Tensor, "word height width"], ranked: Float[Tensor, "word word"], beta: float | None = None
) -> tuple[Float[Tensor, "word height width"], Float[Tensor, "word"]]:
    """Each word's map less what words before it that mean something else looked at, and how much of that was taken.

    Their interference is the sum of their maps, each by 1 less its relevance; of it the share is taken off that leaves
    the least squares (or `beta`), and what falls below 0 is 0.
    """
    weights = (1 - ranked).clamp(min=0) * torch.ones_like(ranked).tril(-1)
    interference = torch.einsum("tj,jhw->thw", weights.to(maps), maps)
    square = (interference**2).sum(dim=(1, 2))
    least = (maps * interference).sum(dim=(1, 2)) / square.clamp(min=torch.finfo(square.dtype).tiny)
    share = torch.where(square > 0, least if beta is None else torch.full_like(least, beta), 0)
    return (maps - share[:, None, None] * interference).clamp(min=0), share


# -- inside ---------------------------------------------------------------------------------------------------------


def _maps(
    net: VisionLanguage, picture: Float[Tensor, "1 3 height width"], numbers: Int64[Tensor, "1 word"], base: str,
    block: int,
) -> Float[Tensor, "word rows columns"]:  # fmt: skip
    """One map per word on the grid of the picture's tokens, 0 upward."""
    count, kept = net.image_tokens, dict[str, Tensor]()
    last, middle, seen = f"blocks.{len(net.blocks) - 1}", f"blocks.{block}", f"blocks.{block}.attn.attn_drop"

    def keep(name: str, _call: int, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
        if name == middle and base == "gradient":
            kept[name] = output.detach().requires_grad_()
            return kept[name]
        kept[name] = output.detach()
        return None

    said = numbers[0, 1:].tolist()
    watched = {"activation": [last], "gradient": [middle], "attention": [seen]}[base]
    with hooks.guest(net), torch.inference_mode(False), torch.set_grad_enabled(base == "gradient"):
        with hooks.watched(net, watched, keep):
            logits = net(picture.clone(), numbers)[0]
        if base == "activation":
            states = net.norm(kept[last][0, :count])
            found = net.head.weight[said] @ states.T
        elif base == "attention":
            found = kept[seen][0].mean(dim=0)[count : count + len(said), :count]
        else:
            states = kept[middle]
            slopes = [torch.autograd.grad(logits[at, word], states, retain_graph=True)[0][0, :count]
                      for at, word in enumerate(said)]  # fmt: skip
            found = (torch.stack(slopes) * states[0, :count]).sum(dim=2)
    return found.detach().clamp(min=0).unflatten(1, net.tower.grid)


def _enlarged(maps: Float[Tensor, "word rows columns"], size: tuple[int, int]) -> Float[Tensor, "word height width"]:
    return interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def _correlation(one: Float[Tensor, "word"], other: Float[Tensor, "word"]) -> float:
    """Pearson's of ranks; of ranks that are all alike, 1 where both agree, else 0."""
    if bool((one == other).all()):
        return 1.0
    first, second = one - one.mean(), other - other.mean()
    size = float(first.norm() * second.norm())
    return float(first @ second) / size if size > 0 else 0.0
