"""Relevance looked at as a picture: which areas of it stand out from their surroundings."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pellucid.attribution.relevance import composite_of
from pellucid.engine import Evidence
from pellucid.registry import method
from pellucid.values import Rule

Map = Float[Tensor, "h w"]

_SCALES = (1.0, 0.8, 0.5, 0.3)  # of the map at which patches are compared
_FINER = (1.0, 0.5, 0.25)  # of each of these, where patches like it are looked for
_PATCH, _STEP = 7, 3  # half of a patch lies on its neighbour
_NEARNESS = 3.0  # how much more a distance in place counts than one in values
_FOCUS = 0.8  # from this part of the largest value on, a place draws the eye


@method("salient_relevance", needs=[Rule("relevance")], paper="Li et al. 2019")
def salient_relevance(
    evidence: Evidence, *, grid: int = 64, neighbours: int = 64, composite: str = "auto"
) -> Float[Tensor, "batch h w"]:
    """Which areas of the map of relevance stand out, whatever single pixels do.

    A place stands out where even the patches most like its own differ, or lie far away; places near those that stand
    out most keep their value, others lose by their distance.

    grid:       cells along the longer side of the relevance that is looked at; the map has as many
    neighbours: how many patches most like its own each patch is compared with
    composite:  as of `lrp`
    returns:    0 to below 1; 0 everywhere where relevance is even, or nowhere positive

    Raises MethodUnavailable where the model runs an operation that no rule is known for.
    """
    relevance = evidence.relevance(composite_of(evidence, composite)).values.sum(dim=1).clamp(min=0)
    cells = _cells((int(relevance.shape[-2]), int(relevance.shape[-1])), min(grid, max(relevance.shape[-2:])))
    coarse = functional.adaptive_avg_pool2d(relevance[:, None], cells)[:, 0]
    return torch.stack([context_saliency(one, neighbours) for one in coarse])


def context_saliency(values: Map, neighbours: int = 64) -> Map:
    """How much each place of a map differs from what it is most like (Goferman et al. 2012).

    values: zero or more; their scale does not count
    """
    peak = values.max()
    if not bool(peak > values.min()):
        return torch.zeros_like(values)
    values = values / peak
    size = (int(values.shape[0]), int(values.shape[1]))
    found = [_upsampled(_standing_out(values, scale, neighbours), size) for scale in _SCALES]
    whole = torch.stack(found).mean(dim=0)
    return whole * (1 - _to_focus(whole)).clamp(min=0)


def _standing_out(values: Map, scale: float, neighbours: int) -> Float[Tensor, "rows columns"]:
    """1 - exp(-d), where d is the mean distance to the patches most alike, at one scale."""
    own, places, shape = _patches(values, scale)
    others = [_patches(values, scale * finer) for finer in _FINER]
    patches, there = torch.cat([one[0] for one in others]), torch.cat([one[1] for one in others])
    apart = torch.cdist(own, patches, compute_mode="donot_use_mm_for_euclid_dist")
    apart = apart / apart.max().clamp(min=torch.finfo(apart.dtype).tiny)
    distance = apart / (1 + _NEARNESS * torch.cdist(places, there, compute_mode="donot_use_mm_for_euclid_dist"))
    distance[:, : len(own)].fill_diagonal_(torch.inf)  # a patch is not compared with itself
    count = min(neighbours, distance.shape[1] - 1)
    nearest = distance.topk(count, dim=1, largest=False).values
    return (1 - torch.exp(-nearest.mean(dim=1))).reshape(shape)


def _patches(
    values: Map, scale: float
) -> tuple[Float[Tensor, "patch value"], Float[Tensor, "patch 2"], tuple[int, int]]:
    """Patches of the map at a scale, where they lie in parts of the longer side, and their rows and columns."""
    sides = _side(scale * values.shape[0]), _side(scale * values.shape[1])
    smaller = functional.adaptive_avg_pool2d(values[None, None], sides)
    around = functional.pad(smaller, [_PATCH // 2] * 4, mode="replicate")
    patches = functional.unfold(around, _PATCH, stride=_STEP)[0].T
    rows, columns = ((side - 1) // _STEP + 1 for side in sides)
    longest = max(values.shape)
    ends = [side / longest for side in values.shape]
    lines = [torch.linspace(0, end, count).to(values) for end, count in zip(ends, (rows, columns), strict=True)]
    return patches, torch.cartesian_prod(*lines), (rows, columns)


def _side(length: float) -> int:
    """The nearest length on which patches fit from end to end, the same from either."""
    return _STEP * max(1, round((length - 1) / _STEP)) + 1


def _cells(size: tuple[int, int], longest: int) -> tuple[int, int]:
    rows, columns = (max(1, round(side * longest / max(size))) for side in size)
    return rows, columns


def _upsampled(values: Float[Tensor, "rows columns"], size: tuple[int, int]) -> Map:
    """From the middles of patches, of which the first and the last lie on the edge."""
    return functional.interpolate(values[None, None], size=size, mode="bilinear", align_corners=True)[0, 0]


def _to_focus(values: Map) -> Map:
    """The distance to the nearest place that draws the eye, in parts of the longer side."""
    rows, columns = values.shape
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).to(values) / max(values.shape)
    foci = places[values.flatten() >= _FOCUS * values.max()]
    return torch.cdist(places, foci).amin(dim=1).reshape(rows, columns)
