"""Where the truth is known: does the map point at it, and does it cover it?"""

from __future__ import annotations

import math
from collections.abc import Callable

from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.registry import metric
from pellucid.trust.ground import Ground
from pellucid.trust.measured import Maps, Measured, control, per_map

Measure = Callable[[Tensor, Tensor], tuple[float, ...]]


@metric("pointing_game", better="higher", paper="Zhang et al. 2018", needs_truth=True)
def pointing_game(maps: Maps, truth: Ground) -> Measured:
    """Whether the strongest pixel of the map lies where the answer is.

    returns: 1 hit, 0 miss; where several pixels share the maximum, their share inside. So a flat map scores the area
             of the truth, which is also what the random map is worth (exact, not drawn)
    """
    return _measured(maps, truth.mask, hits, lambda area: area, "share of hits")


@metric("strict_pointing_game", better="higher", paper="Zhang et al. 2018", needs_truth=True)
def strict_pointing_game(maps: Maps, truth: Ground) -> Measured:
    """Whether the strongest pixel of the map lies where the answer is, not a pixel beside it.

    The pointing game without its tolerance; otherwise as `pointing_game`.
    """
    return _measured(maps, truth.exact, hits, lambda area: area, "share of hits")


@metric("mask_iou", better="higher", paper="Selvaraju et al. 2017", needs_truth=True)
def mask_iou(maps: Maps, truth: Ground) -> Measured:
    """How well the strongest part of the map, cut to the true area, covers the truth.

    The cut takes as many pixels as the truth has, so no threshold is left to choose; at a tie the expected overlap
    counts. Intersection over union, 0 to 1; a flat map scores area / (2 - area), the random map's expectation.
    """
    return _measured(maps, truth.exact, overlaps, lambda area: area / (2 - area), "intersection over union")


def hits(values: Float[Tensor, "batch height width"], truth: Bool[Tensor, "batch height width"]) -> tuple[float, ...]:
    """Share of the pixels at the maximum that lie in the truth, per picture; NaN for a map that holds NaN."""
    top = values == values.amax(dim=(-2, -1), keepdim=True)
    return tuple(((top & truth).sum(dim=(-2, -1)) / top.sum(dim=(-2, -1))).tolist())


def overlaps(
    values: Float[Tensor, "batch height width"], truth: Bool[Tensor, "batch height width"]
) -> tuple[float, ...]:
    """Expected intersection over union of the truth and the strongest pixels, as many as the truth has.

    NaN for a map that holds NaN, since such a map has no order.
    """
    return tuple(_overlap(one, mask) for one, mask in zip(values.flatten(1), truth.flatten(1), strict=True))


def shared_overlap(values: Float[Tensor, "pixel"], truth: Bool[Tensor, "pixel"]) -> float:
    """How many of the strongest pixels, as many as the truth has, lie in it; at a tie the expected number.

    NaN for a map that holds NaN.
    """
    if bool(values.isnan().any()):
        return math.nan
    area = int(truth.sum())
    threshold = values.sort(descending=True).values[area - 1]
    above, tied = values > threshold, values == threshold
    share_of_tied = (area - int(above.sum())) / int(tied.sum())
    return float((above & truth).sum()) + share_of_tied * float((tied & truth).sum())


def _overlap(values: Float[Tensor, "pixel"], truth: Bool[Tensor, "pixel"]) -> float:
    inside = shared_overlap(values, truth)
    return inside / (2 * int(truth.sum()) - inside)


def _measured(maps: Maps, mask: Tensor, measure: Measure, at_random: Callable[[Tensor], Tensor], unit: str) -> Measured:
    area = mask.float().mean(dim=(-2, -1))
    values = per_map(maps, measure, mask)
    if control("random") in values:
        values[control("random")] = at_random(area)
    return Measured(
        values, order="signed, largest first", unit=unit,
        notes=(f"the truth covers {float(area.mean()):.1%} of the picture",),
    )  # fmt: skip
