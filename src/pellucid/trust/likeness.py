"""How alike two maps of one picture are: in value, in order, to the eye."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pellucid.errors import RequestError

_WINDOW = 7  # pixels; the window of structural similarity
_USUAL = 224  # pixels a side, for which the cells of HOG are stated
_CELL, _ORIENTATIONS = 16, 12


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


def magnitude_correlation(
    one: Float[Tensor, "batch height width"], other: Float[Tensor, "batch height width"]
) -> Float[Tensor, "batch"]:
    """Spearman's correlation of the magnitudes, -1 to 1: the maps without their signs."""
    return rank_correlation(one.abs(), other.abs())


def hog(one: Float[Tensor, "batch height width"], other: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch"]:
    """Pearson's correlation of the histograms of oriented gradients (HOG) of the magnitudes, each map scaled to 0..1.

    12 orientations in square cells of 16 pixels where the shorter side has 224, of as many as that is for smaller maps;
    every cell's histogram is divided by its length. 0 where one of the maps has no slope at all.

    Dalal and Triggs, CVPR 2005, with the settings of Adebayo et al. 2018.
    """
    return correlation(*(_oriented(_scaled(values))[:, None] for values in (one, other)))


@dataclass(frozen=True)
class Likeness:
    """A way to compare two maps of each picture, 1 for equal ones, and what it is called beside a figure."""

    measure: Callable[[Tensor, Tensor], Float[Tensor, "batch"]]
    words: str


LIKENESSES: Mapping[str, Likeness] = {
    "spearman": Likeness(rank_correlation, "rank correlation"),
    "absolute_spearman": Likeness(magnitude_correlation, "rank correlation of the magnitudes"),
    "pearson": Likeness(correlation, "Pearson's correlation"),
    "ssim": Likeness(structure, "structural similarity"),
    "hog": Likeness(hog, "correlation of the histograms of oriented gradients"),
}
"""By name, ways to compare two maps of each picture."""


def likeness(name: str) -> Likeness:
    """The way of that name. Raises RequestError."""
    if name not in LIKENESSES:
        raise RequestError(f"alike={name!r}; expected one of {', '.join(LIKENESSES)}.")
    return LIKENESSES[name]


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


def _oriented(values: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch entry"]:
    """The histograms of all cells, one after the other: central differences, unsigned angles, L2 in every cell."""
    down, across = torch.gradient(functional.pad(values[:, None], (1, 1, 1, 1), mode="replicate")[:, 0], dim=(-2, -1))
    down, across = down[:, 1:-1, 1:-1], across[:, 1:-1, 1:-1]
    angle = torch.atan2(down, across) % torch.pi
    place = (angle / torch.pi * _ORIENTATIONS).long().clamp(max=_ORIENTATIONS - 1)
    strength = functional.one_hot(place, _ORIENTATIONS).movedim(-1, 1) * torch.hypot(down, across)[:, None]
    side = max(2, round(_CELL * min(min(values.shape[-2:]), _USUAL) / _USUAL))
    side = min(side, *values.shape[-2:])
    cells = functional.avg_pool2d(strength, side)
    return functional.normalize(cells, dim=1, eps=1e-12).flatten(1)
