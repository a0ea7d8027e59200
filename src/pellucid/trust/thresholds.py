"""Where the truth is known: how well a map covers it at every threshold, as an8Flower asks."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.trust.ground import EMPTY, Ground
from pellucid.trust.localisation import blank
from pellucid.trust.measured import Maps, Measured, where_judged
from pellucid.trust.removal import not_finite


@metric("threshold_iou_curve", better="higher", paper="Oramas et al. 2019 (an8Flower)", needs_truth=True)
def threshold_iou_curve(maps: Maps, truth: Ground, *, steps: int = 50) -> Measured:
    """How well what a map marks covers the truth, over all thresholds between its least and its largest value.

    steps:   thresholds, in the middles of equal parts of the map's range
    returns: mean over thresholds of the intersection over union of {map >= threshold} and the exact truth: the area
             under the curve, 0 to 1. The truth as a map scores 1; a flat map marks everything, so it scores the truth's
             share of the picture, and one of zeros 0. The curves hold that of each picture, and the `best` mean over
             pictures with its threshold
    """
    if steps < 1:
        raise RequestError(f"steps={steps}; expected at least 1 threshold.")
    levels = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    curves = {name: covered(values, truth.exact, levels) for name, values in maps.items()}
    for curve in curves.values():
        curve[truth.empty] = torch.nan
    drawings: dict[str, dict[str, object]] = {}
    for name, curve in curves.items():
        mean = curve.nanmean(dim=0)
        at = int(mean.nan_to_num(-1.0).argmax())
        drawings[name] = {
            "fractions": levels.tolist(), "iou": [curve.tolist()], "best": float(mean[at]),
            "best_threshold": float(levels[at]),
        }  # fmt: skip
    return where_judged(
        {name: curve.mean(dim=1) for name, curve in curves.items()}, {EMPTY: truth.empty}, lambda mean: mean,
        order="signed, least to largest value of each map", unit="intersection over union, mean over thresholds",
        notes=(f"the truth covers {float(truth.share.mean()):.1%} of the picture",), curves=drawings,
    )  # fmt: skip


def covered(
    values: Float[Tensor, "batch height width"],
    truth: Bool[Tensor, "batch height width"],
    levels: Float[Tensor, "level"],
) -> Float[Tensor, "batch level"]:
    """Intersection over union of the truth and what lies above each level of the map's own range.

    0 for a map of zeros, NaN for one that holds NaN.
    """
    flat, mask = values.detach().cpu().double().flatten(1), truth.flatten(1)
    least, most = flat.amin(dim=1, keepdim=True), flat.amax(dim=1, keepdim=True)
    scaled = torch.where(most > least, (flat - least) / (most - least).clamp(min=1e-300), torch.ones_like(flat))
    scaled[blank(flat[:, None])] = -1.0
    rows: list[Tensor] = []
    for level in levels.tolist():
        marked = scaled >= level
        rows.append((marked & mask).sum(dim=1) / (marked | mask).sum(dim=1))
    found = torch.stack(rows, dim=1).double()
    return torch.where(not_finite(values)[:, None], torch.nan, found)
