"""Training and measuring the detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from pellucid.compute import train as training
from pellucid.testbed.nets.dense import STRIDE, Detections, Detector
from pellucid.testbed.scene import Scenes, scenes
from pellucid.testbed.train.pictures import Order, coins, mirrored, planes
from pellucid.testbed.train.plans import PLANS, Job

LEAST_OVERLAP = 0.5  # of a box with the true one, to count as found


@dataclass(frozen=True, eq=False)
class Birds:
    """Where the birds of some scenes are: boxes (zeros for none) and species (-1 for none)."""

    boxes: Float[Tensor, "scene bird 4"]
    labels: Int64[Tensor, "scene bird"]


def fit(job: Job) -> training.Course:
    """Focal loss on the middles of the birds, generalised overlap on their boxes (Rezatofighi et al. 2019)."""
    drawn = scenes(job.seed, job.plan.pool, **job.plan.settings)
    pictures, birds = planes(drawn), birds_of(drawn)
    order, side = Order(len(pictures), job.plan.recipe.batch, job.seed), drawn.world.size
    net = job.net.to(memory_format=job.plan.layout)

    def objective(step: int) -> Tensor:
        chosen = order(step)
        where = coins(len(chosen), job.seed, step)
        inputs = mirrored(pictures[chosen].float() / 255, where).contiguous(memory_format=job.plan.layout)
        boxes = birds.boxes[chosen]
        flipped = torch.stack([side - boxes[..., 2], boxes[..., 1], side - boxes[..., 0], boxes[..., 3]], dim=-1)
        there = birds.labels[chosen] >= 0
        boxes = torch.where((where[:, None] & there)[..., None], flipped, boxes)
        heat, found = net(inputs)
        return _loss(heat.float(), found.float(), Birds(boxes, birds.labels[chosen]))

    return training.descend(net, objective, job.plan.recipe, **job.manner)


def birds_of(drawn: Scenes) -> Birds:
    """Boxes and species of all birds that show."""
    return Birds(torch.from_numpy(drawn.bird_boxes()).float(), torch.from_numpy(drawn.bird_labels))


def _loss(
    heat: Float[Tensor, "batch species rows columns"], boxes: Float[Tensor, "batch 4 rows columns"], birds: Birds
) -> Tensor:
    wanted = _hills(birds, heat)
    likely = heat.sigmoid().clamp(1e-4, 1 - 1e-4)
    middles = wanted == 1
    found = (1 - likely) ** 2 * likely.log()
    spared = (1 - wanted) ** 4 * likely**2 * (1 - likely).log()
    count = middles.sum().clamp(min=1)
    return -torch.where(middles, found, spared).sum() / count + _box_loss(boxes, birds)


def _hills(
    birds: Birds, like: Float[Tensor, "batch species rows columns"]
) -> Float[Tensor, "batch species rows columns"]:
    """1 in the cell of each bird's middle, in the plane of its species, falling off around it."""
    rows, columns = torch.arange(like.shape[2])[:, None], torch.arange(like.shape[3])[None]
    wanted = torch.zeros_like(like)
    for scene, bird in (birds.labels >= 0).nonzero().tolist():
        left, top, right, bottom = birds.boxes[scene, bird].tolist()
        row, column = int((top + bottom) / 2 / STRIDE), int((left + right) / 2 / STRIDE)
        spread = max(1.0, min(right - left, bottom - top) / STRIDE / 6)
        hill = torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * spread**2))
        plane = wanted[scene, birds.labels[scene, bird]]
        torch.maximum(plane, hill, out=plane)
    return wanted


def _box_loss(boxes: Float[Tensor, "batch 4 rows columns"], birds: Birds) -> Tensor:
    """One minus the generalised overlap, in the nine cells around each bird's middle."""
    there = birds.labels >= 0
    scene = there.nonzero()[:, 0]
    true = birds.boxes[there]
    row = ((true[:, 1] + true[:, 3]) / 2 / STRIDE).long()
    column = ((true[:, 0] + true[:, 2]) / 2 / STRIDE).long()
    losses: list[Tensor] = []
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            at = (row + down).clamp(0, boxes.shape[2] - 1), (column + across).clamp(0, boxes.shape[3] - 1)
            losses.append(1 - _generalised(boxes[scene, :, at[0], at[1]], true))
    return torch.cat(losses).mean()


def _generalised(one: Float[Tensor, "box 4"], other: Float[Tensor, "box 4"]) -> Float[Tensor, "box"]:
    """Overlap of pairs of boxes, less the share of their common hull that neither covers."""
    inner = (torch.minimum(one[:, 2:], other[:, 2:]) - torch.maximum(one[:, :2], other[:, :2])).clamp(min=0).prod(dim=1)
    outer = (torch.maximum(one[:, 2:], other[:, 2:]) - torch.minimum(one[:, :2], other[:, :2])).prod(dim=1)
    union = _area(one) + _area(other) - inner
    return inner / union.clamp(min=1e-6) - (outer - union) / outer.clamp(min=1e-6)


def _area(boxes: Float[Tensor, "*box 4"]) -> Float[Tensor, "*box"]:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)


# -- measuring ---------------------------------------------------------------------------------------------------------


def measure(name: str, net: nn.Module, seed: int, count: int) -> dict[str, float]:
    """Average precision at an overlap of one half: the mean over the species, and of birds of any species."""
    assert isinstance(net, Detector)
    drawn = scenes(seed, count, **PLANS[name].settings)
    found: list[Detections] = []
    with torch.no_grad(), training.one_thread():
        for at in range(0, count, 50):
            found += net.detect(drawn[at : at + 50].tensor(), least=0.02)
    truth = birds_of(drawn)
    each = [
        average_precision(found, truth, species) for species in sorted(set(truth.labels[truth.labels >= 0].tolist()))
    ]
    return {"ap50": round(float(np.mean(each)), 4), "ap50_any_species": round(average_precision(found, truth, None), 4)}


def average_precision(found: Sequence[Detections], truth: Birds, species: int | None) -> float:
    """Area under the curve of precision against recall, all points (Everingham et al. 2010); None: any species."""
    scores: list[float] = []
    right: list[bool] = []
    total = 0
    for scene, birds in enumerate(found):
        counted = truth.labels[scene] >= 0 if species is None else truth.labels[scene] == species
        boxes = truth.boxes[scene][counted]
        total += len(boxes)
        asked = torch.ones_like(birds.labels, dtype=torch.bool) if species is None else birds.labels == species
        scores += birds.scores[asked].tolist()
        right += _matched(birds.boxes[asked], boxes).tolist()
    order = np.argsort(-np.array(scores), kind="stable")
    hits = np.array(right, dtype=bool)[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best_from_here * hits).sum() / max(total, 1))


def _matched(boxes: Float[Tensor, "box 4"], true: Float[Tensor, "bird 4"]) -> Bool[Tensor, "box"]:
    """Which boxes, the surest first, find a bird that none before them has found."""
    free = torch.ones(len(true), dtype=torch.bool)
    hits = torch.zeros(len(boxes), dtype=torch.bool)
    for at, box in enumerate(boxes):
        overlap = _overlap(box, true) * free
        if len(true) and float(overlap.max()) >= LEAST_OVERLAP:
            free[overlap.argmax()], hits[at] = False, True
    return hits


def _overlap(box: Float[Tensor, "4"], others: Float[Tensor, "box 4"]) -> Float[Tensor, "box"]:
    sides = torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])
    inner = sides.clamp(min=0).prod(dim=1)
    return inner / (_area(box) + _area(others) - inner).clamp(min=1e-6)
