"""Where the truth is known: a map read as a detector of its pixels, or of its box."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.images import masks
from pellucid.registry import metric
from pellucid.trust.ground import Ground
from pellucid.trust.mass import box_around
from pellucid.trust.measured import Maps, Measured

Box = tuple[int, int, int, int]


@metric("pixel_average_precision", better="higher", paper="Choe et al. 2020", needs_truth=True)
def pixel_average_precision(maps: Maps, truth: Ground) -> Measured:
    """How well the map ranks the pixels of the truth before all others, whatever the threshold.

    Area under precision over recall, 0 to 1; equal values form one step, so a flat map scores the truth's share.
    """
    return _ranked(maps, truth, average_precision, "average precision")


@metric("pixel_auc", better="higher", paper="Fawcett 2006; Hedstroem et al. 2023", needs_truth=True)
def pixel_auc(maps: Maps, truth: Ground) -> Measured:
    """The chance that a pixel of the truth is stronger than one outside; ties count half.

    Area under the ROC curve: 0.5 for a flat or random map, 1 for a perfect order. With a small truth it is forgiving:
    hundreds of false pixels cost little, which `pixel_average_precision` does not forgive.
    """
    return _ranked(maps, truth, auc, "area under the ROC curve")


@metric("box_localisation", better="higher", paper="Zhou et al. 2016; Choe et al. 2020", needs_truth=True)
def box_localisation(maps: Maps, truth: Ground, *, threshold: float = 0.15, overlap: float = 0.5) -> Measured:
    """Whether the box around the map's largest strong piece is the box of the object.

    threshold: strong is what reaches this share of the way from the map's least to its greatest value
    overlap:   intersection over union with one of the true boxes that counts as found
    returns:   1 found, 0 not; a flat map finds the box only where it fills the picture
    """
    values = {
        name: torch.tensor([
            float(max(box_iou(_box_of(one, threshold), box) for box in _boxes(truth, at)) >= overlap)
            for at, one in enumerate(rows)
        ])
        for name, rows in maps.items()
    }  # fmt: skip
    return Measured(values, unit="share found")


def average_precision(values: Float[Tensor, "pixel"], truth: Bool[Tensor, "pixel"]) -> float:
    """Area under the precision-recall curve, as a sum over distinct thresholds."""
    found, total = _by_threshold(values, truth)
    recall = found / found[-1]
    gained = torch.diff(recall, prepend=torch.zeros(1, dtype=recall.dtype))
    return float((gained * found / total).sum())


def auc(values: Float[Tensor, "pixel"], truth: Bool[Tensor, "pixel"]) -> float:
    """Area under the ROC curve by the trapezoid rule, so that ties count half."""
    found, total = _by_threshold(values, truth)
    false = total - found
    if false[-1] == 0:
        return float("nan")
    zero = torch.zeros(1, dtype=found.dtype)
    return float(torch.trapezoid(torch.cat([zero, found / found[-1]]), torch.cat([zero, false / false[-1]])))


def box_iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes (left, top, right, bottom), half-open."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (_area(one) + _area(other) - shared)


def _by_threshold(values: Tensor, truth: Tensor) -> tuple[Float[Tensor, "step"], Float[Tensor, "step"]]:
    """How many pixels of the truth, and how many at all, reach each distinct value, from the greatest down."""
    levels, place = values.unique(return_inverse=True)
    steps = len(levels)
    true = torch.zeros(steps, dtype=torch.float64).index_add_(0, place, truth.double())
    every = torch.zeros(steps, dtype=torch.float64).index_add_(0, place, torch.ones_like(values, dtype=torch.float64))
    return true.flip(0).cumsum(0), every.flip(0).cumsum(0)


def _ranked(maps: Maps, truth: Ground, measure: Callable[[Tensor, Tensor], float], unit: str) -> Measured:
    flat = truth.exact.flatten(1)
    values = {
        name: torch.tensor([
            float("nan") if bool(one.isnan().any()) else measure(one, mask)
            for one, mask in zip(rows.flatten(1), flat, strict=True)
        ])
        for name, rows in maps.items()
    }  # fmt: skip
    return Measured(values, order="signed, largest first", unit=unit)


def _box_of(values: Float[Tensor, "height width"], threshold: float) -> Box:
    least, most = values.min(), values.max()
    pieces = masks.connected(values >= least + threshold * (most - least))
    return box_around(torch.from_numpy(pieces[0])) if pieces else (0, 0, values.shape[1], values.shape[0])


def _boxes(truth: Ground, at: int) -> tuple[Box, ...]:
    known = truth.boxes[at] if truth.boxes else ()
    return known or (box_around(truth.exact[at]),)


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
