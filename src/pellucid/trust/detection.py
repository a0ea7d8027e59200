"""Where the truth is known: a map read as a detector of its pixels, or of its box."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.errors import RequestError
from pellucid.images import masks
from pellucid.registry import metric
from pellucid.trust.ground import EMPTY, Box, Ground, box_around
from pellucid.trust.localisation import blank
from pellucid.trust.measured import Maps, Measured, where_judged
from pellucid.trust.removal import not_finite
from pellucid.values.target import Class

THRESHOLD = 0.15
_LEVELS = tuple(step / 20 for step in range(1, 20))


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


@metric(
    "box_localisation", better="higher", paper="Zhou et al. 2016; Choe et al. 2020", needs_truth=True,
    shared=lambda top=None, **_: 0 if top is None else 1,
)  # fmt: skip
def box_localisation(
    evidence: Evidence, maps: Maps, truth: Ground, *, threshold: float | Mapping[str, float] = THRESHOLD,
    overlap: float = 0.5, top: int | None = None,
) -> Measured:  # fmt: skip
    """Whether the box around the map's largest strong piece is the box of the object.

    threshold: strong is what reaches this share of the way from the map's least to its greatest value; or one for each
               map by name, as `box_thresholds` chooses on other pictures. Maps that are not named take 0.15
    overlap:   intersection over union with one of the true boxes that counts as found
    top:       the target must also be among so many classes that the model ranks first: 1 less the mean is the
               localisation error of ILSVRC, top-1 or top-5, on pictures that the model need not get right, explained
               for their true class. None takes the class as given (GT-known)
    returns:   1 found, 0 not; a flat map finds the box only where it fills the picture, a map of zeros nothing

    Raises RequestError for `top` where a target is no class, and for thresholds of maps that are not here.
    """
    named = threshold if isinstance(threshold, Mapping) else {}
    if strange := sorted(set(named) - set(maps)):
        raise RequestError(f"threshold names {', '.join(strange)}; the maps are {', '.join(maps)}.")
    common = THRESHOLD if isinstance(threshold, Mapping) else threshold
    ranked = torch.ones(len(truth.exact), dtype=torch.bool) if top is None else _among(evidence, top)
    levels = {name: named.get(name, common) for name in maps}
    found = {name: (_best_overlaps(rows, truth, [levels[name]])[0] >= overlap) & ranked for name, rows in maps.items()}
    values = {name: torch.where(not_finite(maps[name]), torch.nan, row.float()) for name, row in found.items()}
    return where_judged(values, {EMPTY: truth.empty}, lambda row: row, unit="share found")


def box_thresholds(
    maps: Maps, truth: Ground, *, levels: Sequence[float] = _LEVELS, overlap: float = 0.5
) -> dict[str, float]:
    """For every map the threshold with which it finds most boxes: to be chosen on some pictures and used on others.

    maps, truth: of the pictures set aside to choose on; each method has a threshold of its own, one for all pictures
    levels:      those that are tried, as `box_localisation` has them; of several that are best the least is taken
    overlap:     intersection over union that counts as found

    Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020. Raises RequestError where no
    level is given.
    """
    if not levels:
        raise RequestError("levels is empty; name at least one threshold from 0 to 1.")
    rising = sorted(levels)
    found = {name: _best_overlaps(rows, truth, rising) >= overlap for name, rows in maps.items()}
    return {name: rising[int(hit[:, ~truth.empty].sum(dim=1).argmax())] for name, hit in found.items()}


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
    def each(values: Tensor, mask: Tensor) -> Tensor:
        rows = zip(values.flatten(1), mask.flatten(1), strict=True)
        return torch.tensor([float("nan") if bool(one.isnan().any()) else measure(one, true) for one, true in rows])

    return where_judged(maps, {EMPTY: truth.empty}, each, truth.exact, order="signed, largest first", unit=unit)


def _among(evidence: Evidence, top: int) -> Bool[Tensor, "batch"]:
    """Whether the target is among so many classes that the model ranks first."""
    outputs = evidence.output()
    classes = [target.index for target in evidence.targets if isinstance(target, Class)]
    if len(classes) < len(evidence.targets) or not 1 <= top <= outputs.shape[-1]:
        raise RequestError(f"top={top}; expected 1 to {outputs.shape[-1]}, the classes, and classes as targets.")
    first = outputs.topk(top, dim=-1).indices.cpu()
    return (first == torch.tensor(classes)[:, None]).any(dim=-1)


def _best_overlaps(
    values: Float[Tensor, "batch height width"], truth: Ground, levels: Sequence[float]
) -> Float[Tensor, "level batch"]:
    """The best overlap of the map's box with one of the true boxes, at each threshold; 0 for a map of zeros."""
    rows = [
        [max(box_iou(_box_of(one, level), box) for box in truth.boxes_of(at)) for at, one in enumerate(values)]
        for level in levels
    ]
    return torch.tensor(rows) * ~blank(values)


def _box_of(values: Float[Tensor, "height width"], threshold: float) -> Box:
    least, most = values.min(), values.max()
    pieces = masks.connected(values >= least + threshold * (most - least))
    return box_around(torch.from_numpy(pieces[0])) if pieces else (0, 0, values.shape[1], values.shape[0])


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
