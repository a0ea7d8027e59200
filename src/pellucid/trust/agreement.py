"""How far explanations of one decision agree: where they do not, at most one of them can be right."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from scipy.stats import wasserstein_distance_nd
from torch import Tensor
from torch.nn import functional

from pellucid.engine.perturb import ranking
from pellucid.registry import metric
from pellucid.trust.likeness import correlation, ranks
from pellucid.trust.measured import Maps, Measured, is_control
from pellucid.values.seed import Seed

_OTHERS = "agreement is no proof: maps may share a fault"


@metric("rank_agreement", better="higher", paper="Krishna et al. 2022", range=(-1.0, 1.0))
def rank_agreement(maps: Maps) -> Measured:
    """How alike this map and the others order the pixels: the mean rank correlation with every other method's map.

    Spearman, -1 to 1. A map measured alone has nobody to agree with and no value.
    """
    ordered = {name: ranks(values)[:, None] for name, values in maps.items()}
    return _with_others(ordered, correlation, "rank correlation")


@metric("top_agreement", better="higher", paper="Krishna et al. 2022")
def top_agreement(maps: Maps, *, top: float = 0.1) -> Measured:
    """How many of the strongest pixels this map shares with the others, on average.

    top: the part of the picture that counts as strongest. 0 to 1; two random maps share `top`
    """

    strongest = {name: _strongest(values, top) for name, values in maps.items()}

    def shared(one: Tensor, other: Tensor) -> Tensor:
        return (one & other).flatten(1).sum(dim=1) / _count(one, top)

    return _with_others(strongest, shared, "share of the strongest pixels")


@metric("sign_agreement", better="higher", paper="Krishna et al. 2022")
def sign_agreement(maps: Maps, *, top: float = 0.1) -> Measured:
    """How many of the strongest pixels the maps share with the same sign, on average.

    top: the part of the picture that counts as strongest, by magnitude. Maps without signs have one sign only.
    """

    def shared(one: Tensor, other: Tensor) -> Tensor:
        both = _strongest(one.abs(), top) & _strongest(other.abs(), top) & (one.sign() == other.sign())
        return both.flatten(1).sum(dim=1) / _count(one, top)

    return _with_others(maps, shared, "share of the strongest pixels")


@metric("transport_distance", better="lower", paper="Rubner et al. 2000")
def transport_distance(maps: Maps, *, cells: int = 8) -> Measured:
    """How far the positive part of this map has to be carried to become another method's, on average.

    cells: both maps are first summed over a grid of at most so many cells a side
    returns: the least mean distance (earth mover's), in parts of the picture's diagonal, 0 to 1; maps
             without a positive part are left out

    Rubner et al., The Earth Mover's Distance as a Metric for Image Retrieval, IJCV 2000.
    """

    def carried(one: Tensor, other: Tensor) -> Tensor:
        height, width = one.shape[-2:]
        sides = (min(cells, height), min(cells, width))
        down, along = ((torch.arange(count).double() + 0.5) / count for count in sides)
        places = torch.cartesian_prod(down * height, along * width) / math.hypot(height, width)
        first, second = (_summed(values, sides) for values in (one, other))
        return torch.tensor([_carried(mine, theirs, places) for mine, theirs in zip(first, second, strict=True)])

    return _with_others(maps, carried, "parts of the picture's diagonal")


def _summed(values: Float[Tensor, "batch height width"], sides: tuple[int, int]) -> Float[Tensor, "batch cell"]:
    """The positive part over a grid of cells."""
    return functional.adaptive_avg_pool2d(values.detach().cpu().double().relu()[:, None], sides).flatten(1)


def _carried(one: Float[Tensor, "cell"], other: Float[Tensor, "cell"], places: Float[Tensor, "cell 2"]) -> float:
    if not float(one.sum()) or not float(other.sum()):
        return math.nan
    return float(wasserstein_distance_nd(places.numpy(), places.numpy(), one.numpy(), other.numpy()))


def _strongest(values: Float[Tensor, "batch height width"], top: float) -> Bool[Tensor, "batch height width"]:
    """The strongest pixels, as many as `top` of the picture; ties are broken by chance, not by place."""
    return ranking(values, Seed(0)) < _count(values, top)


def _count(values: Tensor, top: float) -> int:
    return max(1, round(top * values[0].numel()))


def _with_others(maps: Maps, measure: Callable[[Tensor, Tensor], Tensor], unit: str) -> Measured:
    """The mean of `measure` of each map with every other map that is no control."""
    rivals = [name for name in maps if not is_control(name)]
    pairs: dict[tuple[str, str], Tensor] = {}
    for name in maps:
        for rival in rivals:
            if name != rival and (rival, name) not in pairs:
                pairs[name, rival] = measure(maps[name], maps[rival]).float()
    values: dict[str, Tensor] = {}
    for name, own in maps.items():
        rows = [pairs[key] for key in pairs if name in key and any(other in rivals for other in key if other != name)]
        values[name] = torch.stack(rows).nanmean(dim=0) if rows else torch.full((len(own),), torch.nan)
    return Measured(values, unit=unit, notes=(_OTHERS,))
