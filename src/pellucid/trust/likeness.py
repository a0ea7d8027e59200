"""How alike two maps of one picture are: in value, in order, to the eye."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

_WINDOW = 7  # pixels; the window of structural similarity


def rank_correlation(
    one: Float[Tensor, "batch height width"], other: Float[Tensor, "batch height width"]
) -> Float[Tensor, "batch"]:
    """Spearman's correlation of two maps of each picture, -1 to 1; 0 where one of them is flat."""
    return correlation(ranks(one)[:, None], ranks(other)[:, None])


def correlation(
    one: Float[Tensor, "batch height width"], other: Float[Tensor, "batch height width"]
) -> Float[Tensor, "batch"]:
    """Pearson's correlation of two maps of each picture, -1 to 1; 0 where one of them is flat."""
    first, second = (values.detach().cpu().double().flatten(1) for values in (one, other))
    first, second = first - first.mean(dim=1, keepdim=True), second - second.mean(dim=1, keepdim=True)
    scale = first.norm(dim=1) * second.norm(dim=1)
    return torch.where(scale > 0, (first * second).sum(dim=1) / scale.clamp(min=1e-30), torch.zeros_like(scale))


def ranks(values: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch pixel"]:
    """Ranks of the pixels; equal values share the mean of their places."""
    return torch.stack([_shared_ranks(one) for one in values.detach().cpu().flatten(1)])


def _shared_ranks(values: Float[Tensor, "pixel"]) -> Float[Tensor, "pixel"]:
    _, place, count = values.unique(return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    return (last - (count.double() + 1) / 2)[place]


def structure(
    one: Float[Tensor, "batch height width"], other: Float[Tensor, "batch height width"]
) -> Float[Tensor, "batch"]:
    """Structural similarity of the magnitudes, each map scaled to 0..1 (Wang et al. 2004): -1 to 1, 1 for equal maps.

    Windows of 7 x 7 pixels that lie inside, all weighed the same, as scikit-image has it; smaller maps take what fits.
    """
    first, second = _scaled(one), _scaled(other)
    window = min(_WINDOW, *first.shape[-2:])
    count = window * window

    def mean(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values[:, None], window, stride=1)[:, 0]

    unbiased = count / max(count - 1, 1)
    middle, centre = mean(first), mean(second)
    vary, sway = unbiased * (mean(first**2) - middle**2), unbiased * (mean(second**2) - centre**2)
    together = unbiased * (mean(first * second) - middle * centre)
    small, smaller = 0.01**2, 0.03**2
    return (
        (2 * middle * centre + small) * (2 * together + smaller)
        / ((middle**2 + centre**2 + small) * (vary + sway + smaller))
    ).mean(dim=(-2, -1))  # fmt: skip


def histogram_entropy(values: Float[Tensor, "batch height width"], bins: int = 100) -> Float[Tensor, "batch"]:
    """Entropy in nats of the values in equal bins between the least and the greatest; 0 for a flat map."""
    flat = values.detach().cpu().double().flatten(1)
    least, most = flat.amin(dim=1, keepdim=True), flat.amax(dim=1, keepdim=True)
    place = ((flat - least) / (most - least).clamp(min=1e-300) * bins).long().clamp(max=bins - 1)
    counts = torch.zeros(len(flat), bins, dtype=torch.float64).scatter_add_(1, place, torch.ones_like(flat))
    share = counts / flat.shape[1]
    return -torch.special.xlogy(share, share).sum(dim=1)


def _scaled(values: Tensor) -> Float[Tensor, "batch height width"]:
    size = values.detach().cpu().double().abs()
    least, most = size.amin(dim=(-2, -1), keepdim=True), size.amax(dim=(-2, -1), keepdim=True)
    return (size - least) / (most - least).clamp(min=1e-300)
