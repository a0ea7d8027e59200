"""Where the truth is known: does the map point at it, and does it cover it?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.errors import RequestError, ShapeError
from pellucid.registry import metric
from pellucid.results import Heatmaps, Score
from pellucid.trust.faithfulness import check_belongs, controls


@metric("pointing_game", better="higher", paper="Zhang et al. 2018", needs_truth=True)
def pointing_game(evidence: Evidence, heat: Heatmaps, *, truth: Bool[Tensor, "batch height width"]) -> Score:
    """Whether the strongest pixel of the map lies where the answer is.

    truth:   the true place at model input size, grown by whatever tolerance is wanted
    returns: 1 hit, 0 miss; where several pixels share the maximum, their share inside. So a flat map scores the area
             of the truth, which is also what the random map is worth (exact, not drawn)
    """
    return _measured(evidence, heat, truth, "pointing_game", hits)


@metric("mask_iou", better="higher", paper="Selvaraju et al. 2017", needs_truth=True)
def mask_iou(evidence: Evidence, heat: Heatmaps, *, truth: Bool[Tensor, "batch height width"]) -> Score:
    """How well the strongest part of the map, cut to the true area, covers the truth.

    The cut takes as many pixels as the truth has, so no threshold is left to choose; at a tie the expected overlap
    counts. Intersection over union, 0 to 1; a flat map scores area / (2 - area), the random map's expectation.
    """
    return _measured(evidence, heat, truth, "mask_iou", overlaps)


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


def _overlap(values: Float[Tensor, "pixel"], truth: Bool[Tensor, "pixel"]) -> float:
    if bool(values.isnan().any()):
        return math.nan
    area = int(truth.sum())
    threshold = values.sort(descending=True).values[area - 1]
    above, tied = values > threshold, values == threshold
    share_of_tied = (area - int(above.sum())) / int(tied.sum())
    inside = float((above & truth).sum()) + share_of_tied * float((tied & truth).sum())
    return inside / (2 * area - inside)


_EXPECTED_AT_RANDOM = {"pointing_game": lambda area: area, "mask_iou": lambda area: area / (2 - area)}


def _measured(evidence: Evidence, heat: Heatmaps, truth: Tensor | np.ndarray, name: str, measure) -> Score:  # type: ignore[no-untyped-def]
    check_belongs(evidence, heat)
    mask = checked_truth(truth, (len(evidence.inputs), *evidence.size))
    beside = {key: measure(values.cpu(), mask) for key, values in controls(evidence).items()}
    area = mask.float().mean(dim=(-2, -1)).tolist()
    return Score(
        metric=name,
        method=heat.method,
        values=measure(heat.one_channel.cpu(), mask),
        random=tuple(_EXPECTED_AT_RANDOM[name](share) for share in area),
        centre=beside["centre"],
        edge=beside["edge"],
        spread=tuple(0.0 for _ in area),
        better="higher",
        fills=(),
        order="signed, largest first",
        unit="share of hits" if name == "pointing_game" else "intersection over union",
        curves=None,
        notes=(f"the truth covers {sum(area) / len(area):.1%} of the picture",),
    )


def checked_truth(
    truth: Tensor | np.ndarray | Sequence[np.ndarray], shape: tuple[int, int, int]
) -> Bool[Tensor, "batch height width"]:
    """The truth as a boolean tensor [batch height width]. Raises ShapeError or, where a mask is empty, RequestError."""
    mask = torch.as_tensor(np.asarray(truth)) if not isinstance(truth, Tensor) else truth.cpu()
    mask = (mask[None] if mask.ndim == 2 else mask).bool()
    if tuple(mask.shape) != shape:
        raise ShapeError(
            "truth", got=tuple(mask.shape), expected=f"{list(shape)}: one mask per picture at model input size"
        )
    empty = [index for index, one in enumerate(mask) if not one.any()]
    if empty:
        raise RequestError(f"The truth of picture {empty[0]} is empty, so nothing can hit it. Leave that picture out.")
    return mask
