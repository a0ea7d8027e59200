"""One object of a detector: how its score falls and comes back as the picture goes and returns in a map's order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.engine.perturb import ranking
from pellucid.errors import RequestError, ShapeError
from pellucid.trust.measured import Maps
from pellucid.trust.removal import even, not_finite
from pellucid.values.seed import Seed

Found = tuple[Float[Tensor, "box 4"], Float[Tensor, "box class"]]
"""What a detector found in one picture: boxes (left, top, right, bottom) and their confidence in every class."""
Detect = Callable[[Float[Tensor, "sample channel height width"]], Sequence[Found]]
GATES = (0.5, 0.75)
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Target:
    """The object that is explained: its box in pixels (left, top, right, bottom) and its class."""

    box: tuple[float, float, float, float]
    label: int


@dataclass(frozen=True, eq=False)
class Seen:
    """How well the object is found in each version of a picture.

    score: the largest product of overlap with the target's box and confidence in its class, 0 where nothing is found
    iou:   the overlap of the box that has it, and `confidence` its confidence
    sure:  per gate, the largest confidence among boxes that overlap the target's by more than the gate, 0 without any
    """

    score: Float[Tensor, "*version"]
    iou: Float[Tensor, "*version"]
    confidence: Float[Tensor, "*version"]
    sure: Mapping[float, Float[Tensor, "*version"]]


@dataclass(frozen=True, eq=False)
class ObjectCurves:
    """One object per picture as the picture goes and comes back, most important pixels first.

    fractions: part of the picture changed at each point, 0 to 1
    deletion, insertion: [batch point]; insertion begins with nothing but fill, deletion with the whole picture
    """

    fractions: tuple[float, ...]
    deletion: Seen
    insertion: Seen

    def area(self, curve: str, of: str = "score") -> Float[Tensor, "batch"]:
        """Area under `deletion` or `insertion` of the `score`, the `iou` alone or the `confidence` alone."""
        values = getattr(getattr(self, curve), of)
        return torch.trapezoid(values, torch.tensor(self.fractions, dtype=values.dtype), dim=-1)

    def highest_confidence(self, gate: float = GATES[0]) -> Float[Tensor, "batch"]:
        """The largest confidence over all steps of insertion, of boxes that overlap the target by more than the gate.

        Its mean over pictures is the average highest confidence. Raises RequestError for a gate that was not measured.
        """
        if gate not in self.insertion.sure:
            raise RequestError(f"gate={gate}; measured were {', '.join(map(str, self.insertion.sure))}.")
        return self.insertion.sure[gate].amax(dim=-1)

    def explained(self, least: float = 0.35, gate: float = GATES[0]) -> Float[Tensor, "batch"]:
        """1 where some step of insertion brings the object to at least this confidence, else 0; NaN without a map.

        Of pictures in which the detector fails; its mean over them is the explaining success rate.
        """
        highest = self.highest_confidence(gate)
        return torch.where(highest.isnan(), highest, (highest >= least).to(highest))

    def enough(self, share: float = 0.9) -> Float[Tensor, "batch"]:
        """The smallest part of the picture that brings this share of the whole picture's score; NaN where none does.

        None does where the object is not found in the whole picture either.
        """
        whole = self.deletion.score[:, :1]
        reached = (self.insertion.score >= (share - _ROUNDING) * whole) & (whole > 0)
        first = reached.double().argmax(dim=1)
        found = torch.tensor(self.fractions, dtype=torch.float64)[first]
        return torch.where(reached.any(dim=1), found, torch.nan)


def object_curves(
    detect: Detect,
    inputs: Float[Tensor, "batch channel height width"],
    targets: Sequence[Target],
    maps: Maps,
    *,
    steps: int = 50,
    fractions: Sequence[float] | None = None,
    fill: Float[Tensor, "batch channel height width"] | None = None,
    gates: Sequence[float] = GATES,
    seed: int = 0,
    batch: int = 32,
) -> dict[str, ObjectCurves]:
    """Deletion and insertion of several maps of the same pictures, for one object of each.

    detect:    pictures -> what is found in each; asked about at most `batch` at a time
    fractions: part of the picture changed at each point, rising from 0 to 1; None is `steps` even ones
    fill:      what is not there; None is zeros. `images.baselines.fill` has others
    seed:      orders equal values of a map

    The whole pictures and the pure fill are asked about once, whatever the number of maps. A map that is not finite has
    no order, and NaN throughout. Raises ShapeError for maps or targets of other pictures, RequestError.
    """
    height, width = int(inputs.shape[-2]), int(inputs.shape[-1])
    _check(inputs, targets, maps, fill)
    points = _points(even(steps) if fractions is None else fractions, height * width)
    counts = [round(point * height * width) for point in points]
    empty = torch.zeros_like(inputs) if fill is None else fill.to(inputs)
    ranks = {
        name: ranking(values.nan_to_num(), Seed(seed).child("ties")).to(inputs.device) for name, values in maps.items()
    }
    whole, nothing = _asked(detect, [inputs, empty], targets, gates, batch)
    between = [count for count in counts if 0 < count < height * width]
    found: dict[str, ObjectCurves] = {}
    for name, rank in ranks.items():
        versions = [torch.where(_first(rank, count), empty, inputs) for count in between]
        versions += [torch.where(_first(rank, count), inputs, empty) for count in between]
        rows = _asked(detect, versions, targets, gates, batch)
        gone, back = rows[: len(between)], rows[len(between) :]
        broken = not_finite(maps[name])
        found[name] = ObjectCurves(
            points, _stacked([whole, *gone, nothing], broken), _stacked([nothing, *back, whole], broken)
        )
    return found


def seen(found: Found, target: Target, gates: Sequence[float] = GATES) -> Seen:
    """How well the object is found among what a detector found in one picture."""
    boxes, confidence = found
    if boxes.ndim != 2 or boxes.shape[-1] != 4 or confidence.ndim != 2 or len(boxes) != len(confidence):
        got = (tuple(boxes.shape), tuple(confidence.shape))
        raise ShapeError("What the detector found", got=got, expected="boxes [box 4] and confidences [box class]")
    none = torch.zeros((), dtype=torch.float64)
    if not len(boxes):
        return Seen(none, none, none, dict.fromkeys(gates, none))
    overlap = overlaps(boxes, target.box)
    sure = confidence[:, target.label].double().cpu()
    product = overlap * sure
    best = int(product.argmax())
    passed = {gate: torch.where(overlap > gate, sure, 0.0).amax() for gate in gates}
    return Seen(product[best], overlap[best], sure[best], passed)


def overlaps(boxes: Float[Tensor, "box 4"], box: Sequence[float]) -> Float[Tensor, "box"]:
    """Intersection over union of each box with one, float64; 0 where both are empty."""
    mine, other = boxes.detach().double().cpu(), torch.tensor(list(box), dtype=torch.float64)
    sides = (torch.minimum(mine[:, 2:], other[2:]) - torch.maximum(mine[:, :2], other[:2])).clamp(min=0)
    shared = sides.prod(dim=1)
    area = (mine[:, 2:] - mine[:, :2]).clamp(min=0).prod(dim=1) + (other[2:] - other[:2]).clamp(min=0).prod()
    return shared / (area - shared).clamp(min=1e-12)


def one_class_each(
    boxes: Float[Tensor, "box 4"], scores: Float[Tensor, "box"], labels: Int[Tensor, "box"], classes: int
) -> Found:
    """What detectors give that name one class per box, as torchvision's do: nothing is known of the other classes."""
    confidence = torch.zeros(len(boxes), classes, dtype=scores.dtype, device=scores.device)
    confidence[torch.arange(len(boxes)), labels] = scores
    return boxes, confidence


# -- inside -----------------------------------------------------------------------------------------------------------


def _check(inputs: Tensor, targets: Sequence[Target], maps: Maps, fill: Tensor | None) -> None:
    expected = (len(inputs), *inputs.shape[-2:])
    for name, values in maps.items():
        if tuple(values.shape) != expected:
            raise ShapeError(f"The map of {name}", got=tuple(values.shape), expected=f"{list(expected)}")
    if len(targets) != len(inputs):
        raise RequestError(f"{len(targets)} objects for {len(inputs)} pictures; expected one per picture.")
    if fill is not None and fill.shape != inputs.shape:
        raise ShapeError("fill", got=tuple(fill.shape), expected=f"{list(inputs.shape)}: one per picture")


def _points(fractions: Sequence[float], pixels: int) -> tuple[float, ...]:
    """The fractions in whole pixels, each once."""
    points = tuple(float(point) for point in fractions)
    if len(points) < 2 or points[0] != 0 or points[-1] != 1 or any(low >= high for low, high in pairwise(points)):
        raise RequestError(f"fractions={points}; expected rising numbers from 0 to 1, both included.")
    return tuple(count / pixels for count in sorted({round(point * pixels) for point in points}))


def _first(rank: Int[Tensor, "batch height width"], count: int) -> Tensor:
    return (rank < count)[:, None]


def _asked(
    detect: Detect, versions: Sequence[Tensor], targets: Sequence[Target], gates: Sequence[float], batch: int
) -> list[Seen]:
    """How well the objects are found in each version of the pictures; the versions go through as one stream."""
    if not versions:
        return []
    rows: list[Seen] = []
    with torch.no_grad():
        for chunk in torch.cat(list(versions)).split(batch):
            found = detect(chunk)
            if len(found) != len(chunk):
                raise ShapeError("The detector's answer", got=len(found), expected=f"{len(chunk)}, one per picture")
            rows += [
                seen(one, targets[(len(rows) + at) % len(targets)], gates) for at, one in enumerate(found)
            ]  # fmt: skip
    count = len(targets)
    return [_stacked(rows[start : start + count], None) for start in range(0, len(rows), count)]


def _stacked(rows: Sequence[Seen], broken: Tensor | None) -> Seen:
    """Several as one, along a new last axis; NaN for the pictures that are broken."""

    def joined(values: Sequence[Tensor]) -> Tensor:
        table = torch.stack(list(values), dim=-1)
        return table if broken is None else torch.where(broken[:, None], torch.nan, table)

    plain = {
        one.name: joined([getattr(row, one.name) for row in rows]) for one in fields(Seen) if one.name != "sure"
    }  # fmt: skip
    return Seen(**plain, sure={gate: joined([row.sure[gate] for row in rows]) for gate in rows[0].sure})
