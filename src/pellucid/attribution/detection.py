"""One box of a detector, one region of a segmenter: whether it is still found in a changed picture, and by what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, one_hot

from pellucid.attribution.perturbation import rise_masks
from pellucid.engine import Evidence
from pellucid.registry import method
from pellucid.values import Box, Pixels, Places, Proposals, Scores, Target

Found = Callable[[Sequence[Target], Tensor], Tensor]
"""How well each target of one picture is found in what the model says of its places there; one number per target."""


def _mask_count(*, masks: int = 5000, **_: object) -> float:
    return float(masks)


@method("d_rise", needs=[Scores, Places], paper="Petsiuk et al. 2021", cost=_mask_count)
def d_rise(
    evidence: Evidence, *, masks: int = 5000, grid: int = 16, keep: float = 0.5, least: float = 0.05,
    baseline: str = "zero",
) -> Float[Tensor, "batch height width"]:  # fmt: skip
    """Pixels weighted by how much of a detection is still proposed when they are among those shown.

    masks:    how many random masks, one forward pass each, shared by all boxes of one picture
    grid:     rows and columns of the coarse grid that is drawn, then spread smoothly and shifted at random
    keep:     chance that a cell is shown
    least:    proposals with less probability for every class do not count
    baseline: what hidden pixels become
    returns:  the mean over masks, divided by `keep`, of mask times likeness. The likeness of the best proposal counts:
              overlap of boxes x cosine of class probabilities x objectness; of a region of a segmenter, overlap of
              regions x cosine; of a target that is no place, its probability
    """

    def alike(targets: Sequence[Target], said: Tensor) -> Tensor:
        boxes = [target for target in targets if isinstance(target, Box)]
        regions = [target for target in targets if isinstance(target, Pixels)]
        return _like_boxes(boxes, said, least) if boxes else _like_regions(regions, said, evidence.size)

    total = torch.zeros_like(evidence.inputs[:, 0])
    hidden = evidence.fill(baseline)
    for rows in same_pictures(evidence):
        picture, cover = (values[rows[0] : rows[0] + 1] for values in (evidence.inputs, hidden))
        for chunk in rise_masks(masks, grid, keep, evidence.size, evidence.seed):
            shown = chunk.to(picture)
            points = (picture * mask + cover * (1 - mask) for mask in shown)
            weights = torch.stack(list(found_at(evidence, rows, points, alike)), dim=1)
            total[rows] += torch.einsum("tm,mhw->thw", weights.to(shown), shown)
    return total / (masks * keep)


def same_pictures(evidence: Evidence) -> list[list[int]]:
    """Which rows ask of places in one and the same picture, so that what the model says of it serves all of them."""
    groups: list[list[int]] = []
    for row, target in enumerate(evidence.targets):
        picture = evidence.inputs[row]
        for group in groups:
            asks = isinstance(target, (Box, Pixels)) and isinstance(evidence.targets[group[0]], type(target))
            if asks and torch.equal(evidence.inputs[group[0]], picture):
                group.append(row)
                break
        else:
            groups.append([row])
    return groups


def found_at(
    evidence: Evidence, rows: Sequence[int], points: Iterable[Tensor], found: Found
) -> Iterator[Float[Tensor, "target"]]:
    """How well the targets of some rows, all of one picture, are found at changes of it, each [1 channel h w].

    found: for boxes and regions; the probability counts for any other target
    """
    own = evidence.alone(rows[0])
    first = evidence.targets[rows[0]]
    if isinstance(first, (Box, Pixels)):
        for said in own.activations_at(first.layer, points):
            yield found([evidence.targets[row] for row in rows], said)
    else:
        yield from own.scores_at(points, probability=True)
    evidence.passes.add(forwards=own.passes.forwards / len(evidence))


def to_size(values: Float[Tensor, "batch classes h w"], size: tuple[int, int]) -> Tensor:
    """What a segmenter says, at every pixel of the input."""
    same = tuple(values.shape[-2:]) == size
    return values if same else interpolate(values, size, mode="bilinear", align_corners=False)


def _like_boxes(targets: Sequence[Box], said: Tensor, least: float) -> Float[Tensor, "target"]:
    proposals = Proposals.unpacked(said, targets[0].classes)
    chances = proposals.odds.sigmoid()[0]
    counts = proposals.objectness[0] * (chances.amax(dim=1) >= least)
    likeness: list[Tensor] = []
    for target in targets:
        wanted = torch.tensor(target.chances) if target.chances else one_hot(torch.tensor(target.index), target.classes)
        alike = torch.cosine_similarity(chances, wanted.to(chances)[None], dim=1)
        likeness.append((proposals.overlaps(target.rectangle)[0] * alike * counts).amax())
    return torch.stack(likeness)


def _like_regions(targets: Sequence[Pixels], said: Tensor, size: tuple[int, int]) -> Float[Tensor, "target"]:
    """Every class's region is a proposal, and its mean probabilities are that proposal's classes."""
    logits = to_size(said, size)[0].flatten(1)
    regions = one_hot(logits.argmax(dim=0), len(logits)).to(logits)  # [pixel region]
    areas = regions.sum(dim=0)
    mean = logits.softmax(dim=0) @ regions / areas.clamp(min=1)  # [class region]
    alike = mean / mean.norm(dim=0).clamp(min=1e-12)
    wanted = torch.stack([_inside(target, size) for target in targets]).to(logits)
    shared = wanted @ regions
    overlap = shared / (wanted.sum(dim=1)[:, None] + areas - shared).clamp(min=1)
    return (overlap * alike[[int(target.index) for target in targets]]).amax(dim=1)


def _inside(target: Pixels, size: tuple[int, int]) -> Float[Tensor, "pixel"]:
    return (torch.ones(size) if target.mask is None else target.mask.float()).flatten()
