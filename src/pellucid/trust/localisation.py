"""Where the truth is known: does the map point at it, and does it cover it?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.trust.ground import EMPTY, Ground
from pellucid.trust.measured import Maps, Measured, control, where_judged
from pellucid.trust.removal import not_finite

Measure = Callable[[Tensor, Tensor], Tensor | tuple[float, ...]]
_SUBSETS = ("all", "difficult")
_ORDER = "signed, largest first"


@metric("pointing_game", better="higher", paper="Zhang et al. 2018", needs_truth=True)
def pointing_game(maps: Maps, truth: Ground, *, subset: str = "all") -> Measured:
    """Whether the strongest pixel of the map lies where the answer is.

    subset:  `all` pictures, or the `difficult` ones of the paper: boxes of what is asked for cover less than a quarter
             of the picture, and a distractor shows
    returns: 1 hit, 0 miss; where several pixels share the maximum, their share inside. So a flat map scores the area
             of the truth, which is also what the random map is worth (exact, not drawn). A map of zeros points nowhere
             and misses

    Raises RequestError for the difficult ones where no distractors are known.
    """
    return _pointing(maps, truth, truth.mask, subset)


@metric("strict_pointing_game", better="higher", paper="Zhang et al. 2018", needs_truth=True)
def strict_pointing_game(maps: Maps, truth: Ground, *, subset: str = "all") -> Measured:
    """Whether the strongest pixel of the map lies where the answer is, not a pixel beside it.

    The pointing game without its tolerance; otherwise as `pointing_game`.
    """
    return _pointing(maps, truth, truth.exact, subset)


@metric("mask_iou", better="higher", paper="Selvaraju et al. 2017", needs_truth=True)
def mask_iou(maps: Maps, truth: Ground, *, cut: str | float = "area") -> Measured:
    """How well the strongest part of the map covers the truth.

    cut:     what counts as strong. `area` takes as many pixels as the truth has, so no threshold is left to choose; at
             a tie the expected overlap counts. `mean_std` takes what exceeds the map's mean by its standard deviation,
             `otsu` what lies above the threshold that parts its values best (Otsu 1979), a number from 0 to 1 what
             reaches that share of the way from its least to its greatest value (0.15 to 0.5 are usual). What one
             threshold marks depends on values, not on ranks: of a truth of more than half of the picture nothing
             exceeds mean and deviation
    returns: intersection over union, 0 to 1. By area a flat map scores area / (2 - area), the random map's expectation.
             A map of zeros marks nothing: 0
    """
    if cut == "area":
        found = _measured(maps, truth, truth.exact, overlaps, lambda area: area / (2 - area), "intersection over union")
        return replace(found, order=_ORDER)
    found = _measured(
        maps, truth, truth.exact, lambda values, mask: _marked_overlaps(values, mask, cut), None,
        "intersection over union",
    )  # fmt: skip
    return replace(found, order=f"marked from {cut} on")


def hits(values: Float[Tensor, "batch height width"], truth: Bool[Tensor, "batch height width"]) -> tuple[float, ...]:
    """Share of the pixels at the maximum that lie in the truth, per picture; 0 for a map of zeros, NaN for NaN."""
    top = values == values.amax(dim=(-2, -1), keepdim=True)
    shares = (top & truth).sum(dim=(-2, -1)) / top.sum(dim=(-2, -1))
    return tuple(torch.where(blank(values), 0.0, shares).tolist())


def overlaps(
    values: Float[Tensor, "batch height width"], truth: Bool[Tensor, "batch height width"]
) -> tuple[float, ...]:
    """Expected intersection over union of the truth and the strongest pixels, as many as the truth has.

    0 for a map of zeros; NaN for a map that holds NaN, since such a map has no order, and for an empty truth.
    """
    shares = tuple(_overlap(one, mask) for one, mask in zip(values.flatten(1), truth.flatten(1), strict=True))
    return tuple(0.0 if nothing else share for nothing, share in zip(blank(values).tolist(), shares, strict=True))


def shared_overlap(values: Float[Tensor, "pixel"], truth: Bool[Tensor, "pixel"], count: int | None = None) -> float:
    """How many of the strongest pixels lie in the truth; at a tie the expected number.

    count: how many are strongest; None is as many as the truth has. NaN for a map that holds NaN
    """
    count = int(truth.sum()) if count is None else count
    if bool(values.isnan().any()) or not count:
        return math.nan
    threshold = values.sort(descending=True).values[count - 1]
    above, tied = values > threshold, values == threshold
    share_of_tied = (count - int(above.sum())) / int(tied.sum())
    return float((above & truth).sum()) + share_of_tied * float((tied & truth).sum())


def blank(values: Float[Tensor, "batch height width"]) -> Bool[Tensor, "batch"]:
    """Whether a map is zero everywhere, so that it marks nothing."""
    return (values == 0).flatten(1).all(dim=1)


def fixed_pixel(truth: Bool[Tensor, "picture height width"]) -> Float[Tensor, "picture"]:
    """What a constant guess hits: for each picture the pixel that lies in the truth of most of the others.

    Several pixels that are best share the hit; NaN for a single picture, of which there are no others.
    """
    if len(truth) < 2:
        return torch.full((len(truth),), torch.nan)
    others = truth.sum(dim=0) - truth.long()
    return torch.tensor(hits(1.0 + others, truth))  # no map of zeros, which would point nowhere


def _overlap(values: Float[Tensor, "pixel"], truth: Bool[Tensor, "pixel"]) -> float:
    inside = shared_overlap(values, truth)
    return inside / (2 * int(truth.sum()) - inside)


def _marked_overlaps(
    values: Float[Tensor, "batch height width"], truth: Bool[Tensor, "batch height width"], cut: str | float
) -> Float[Tensor, "batch"]:
    marked = torch.stack([_marked(one, cut) for one in values.double()]) & ~blank(values)[:, None, None]
    shared, either = (pixels.flatten(1).sum(dim=1) for pixels in (marked & truth, marked | truth))
    return torch.where(not_finite(values), torch.nan, shared / either)


def _marked(values: Float[Tensor, "height width"], cut: str | float) -> Bool[Tensor, "height width"]:
    """The pixels from which on a map is strong. Raises RequestError for a cut that there is not."""
    least, most = float(values.min()), float(values.max())
    if cut == "mean_std":
        return values > values.mean() + values.std(correction=0)
    if cut == "otsu":
        return values >= _otsu(values.flatten())
    if isinstance(cut, str) or not 0 <= cut <= 1:
        raise RequestError(f"cut={cut!r}; expected area, mean_std, otsu, or a number from 0 to 1.")
    return values >= least + cut * (most - least)


def _otsu(values: Float[Tensor, "pixel"]) -> float:
    """From which value on a map is strong if both sides are to differ most: the variance between them, without bins."""
    rising, total, count = values.sort().values, values.sum(), len(values)
    below = torch.arange(1, count, dtype=values.dtype)
    sums = rising.cumsum(dim=0)[:-1]
    between = below * (count - below) * ((total - sums) / (count - below) - sums / below) ** 2
    parts = rising[1:] > rising[:-1]  # equal values stay together
    return float(rising[1:][parts][between[parts].argmax()]) if parts.any() else float(rising[0])


def _pointing(maps: Maps, truth: Ground, mask: Bool[Tensor, "batch height width"], subset: str) -> Measured:
    if subset not in _SUBSETS:
        raise RequestError(f"subset={subset!r}; expected {' or '.join(_SUBSETS)}.")
    easy = {"it is not among the difficult ones": ~truth.difficult} if subset == "difficult" else {}
    found = _measured(maps, truth, mask, hits, lambda area: area, "share of hits", easy)
    return replace(found, order=_ORDER)


def _measured(
    maps: Maps, truth: Ground, mask: Tensor, measure: Measure, at_random: Callable[[Tensor], Tensor] | None, unit: str,
    missing: dict[str, Tensor] | None = None,
) -> Measured:  # fmt: skip
    """The measure of every map; of the random one its expectation, where that is known for a truth of that area."""
    area = mask.float().mean(dim=(-2, -1))
    found = where_judged(
        maps, {**(missing or {}), EMPTY: truth.empty}, measure, mask, unit=unit,
        notes=(f"the truth covers {float(area.mean()):.1%} of the picture",),
    )  # fmt: skip
    values, random = dict(found.values), control("random")
    if at_random is not None and random in values:
        values[random] = torch.where(values[random].isnan(), torch.nan, at_random(area))
    return replace(found, values=values)
