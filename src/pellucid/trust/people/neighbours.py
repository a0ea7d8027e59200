"""Classifiers that show their work: the nearest known pictures, ranked anew by how well their patches correspond.

A picture is compared with known ones by its pooled features; the nearest are ranked again by their patches, and the
first of those vote. What a person is shown is what decided: which patch corresponds to which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from pellucid.compute.bootstrap import Interval, difference, wilson
from pellucid.engine import look
from pellucid.errors import RequestError, ShapeError
from pellucid.subject import VisionModel
from pellucid.values import Activation, Layer, Seed

RANKINGS = ("knn", "emd", "chm", "random")
BEST, AMONG, SHORTLIST = 5, 20, 50
_CHUNK = 100  # pictures at a time


@dataclass(frozen=True, eq=False)
class Patches:
    """Pictures as a model sees them on a coarse grid.

    cells:  what each patch holds, of length 1 (0 where nothing responds), row by row
    pooled: the mean over the layer, of length 1
    grid:   rows and columns
    """

    cells: Float[Tensor, "picture patch channel"]
    pooled: Float[Tensor, "picture channel"]
    grid: tuple[int, int]

    def __len__(self) -> int:
        return len(self.cells)


@dataclass(frozen=True, eq=False)
class Matches:
    """Which patch of each known picture corresponds to each patch of one picture.

    likeness:    cosine of the two, -1 to 1
    counterpart: the patch's number in the known picture
    """

    likeness: Float[Tensor, "known patch"]
    counterpart: Int64[Tensor, "known patch"]

    def best(self, count: int = BEST) -> Int64[Tensor, "known best"]:
        """The patches that correspond best with each known picture."""
        return self.likeness.topk(min(count, self.likeness.shape[1]), dim=1).indices


@dataclass(frozen=True, eq=False)
class Voted:
    """What known pictures say of each picture.

    order:     the shortlist by number, the nearest first, after ranking it again
    predicted: the class most of the first hold; of equally many the one whose best is nearer
    share:     how many of the first hold it, 0 to 1
    """

    order: Int64[Tensor, "picture shortlist"]
    predicted: Int64[Tensor, "picture"]
    share: Float[Tensor, "picture"]


@dataclass(frozen=True, eq=False)
class RankingTrial:
    """How often each way of ranking names the class right, on the same pictures.

    accuracy: by ranking, with Wilson's interval; `random` ranks the same shortlist by chance
    over:     by how much a ranking is more often right than `knn` and than `random`, paired over pictures
    """

    accuracy: Mapping[str, Interval]
    over: Mapping[str, Mapping[str, Interval]]
    pictures: int
    known: int

    def helps(self, ranking: str) -> bool:
        """Whether ranking anew surely names more pictures right than not ranking, and than ranking by chance."""
        return all(margin.above_zero for margin in self.over[ranking].values())


def patches(
    model: VisionModel, pictures: Float[Tensor, "picture channel height width"], *, layer: Layer | str | None = None,
    grid: tuple[int, int] = (8, 8),
) -> Patches:  # fmt: skip
    """Pictures as the model sees them at a layer, pooled to a grid of at most so many patches; None is its default."""
    cells: list[Tensor] = []
    pooled: list[Tensor] = []
    sides = grid
    for part in pictures.split(_CHUNK):
        tree = model.layers_at((int(part.shape[-2]), int(part.shape[-1])))
        address = tree.chosen("patches") if layer is None else layer
        seen = look(model, part, needs=[Activation], layers=[address]).activation(address).cpu()
        sides = (min(grid[0], seen.shape[-2]), min(grid[1], seen.shape[-1]))
        coarse = functional.adaptive_avg_pool2d(seen, sides).flatten(2).transpose(1, 2)
        cells.append(functional.normalize(coarse, dim=2))
        pooled.append(functional.normalize(seen.mean(dim=(2, 3)), dim=1))
    return Patches(torch.cat(cells), torch.cat(pooled), sides)


def nearest(asked: Patches, known: Patches, count: int = SHORTLIST) -> Int64[Tensor, "picture shortlist"]:
    """The known pictures whose pooled features are most alike, the nearest first."""
    return (asked.pooled @ known.pooled.T).topk(min(count, len(known)), dim=1).indices


def corresponding(
    one: Float[Tensor, "patch channel"], known: Float[Tensor, "known patch channel"], grid: tuple[int, int], *,
    hough: bool = True,
) -> Matches:  # fmt: skip
    """For each patch of one picture its counterpart in each known picture.

    hough: whether pairs vote for how far they lie apart, and a pair counts for as much as its distance was voted for
           (Hough matching, Cho et al. 2015): things move together. Otherwise each patch takes the one most like it
    """
    likeness = torch.einsum("pc,kqc->kpq", one, known)
    weighed = likeness.clamp(min=0)
    if hough:
        shift = _shifts(grid)
        votes = torch.zeros(len(known), int(shift.max()) + 1)
        votes.index_add_(1, shift.flatten(), weighed.square().flatten(1))
        weighed = weighed * votes[:, shift.flatten()].view_as(weighed)
    counterpart = weighed.argmax(dim=2)
    return Matches(likeness.gather(2, counterpart[..., None])[..., 0], counterpart)


def carried(
    one: Float[Tensor, "patch channel"], known: Float[Tensor, "known patch channel"]
) -> tuple[Float[Tensor, "known"], Matches]:
    """How far the patches of one picture have to be carried to become each known picture's, and which goes where.

    Every patch weighs the same, so the earth mover's distance is that of the best one-to-one assignment, found exactly;
    the distance of two patches is 1 less their cosine.
    """
    likeness = torch.einsum("pc,kqc->kpq", one, known)
    where = torch.stack([torch.from_numpy(linear_sum_assignment(-table.numpy())[1]) for table in likeness])
    held = likeness.gather(2, where[..., None])[..., 0]
    return 1 - held.mean(dim=1), Matches(held, where)


def voted(
    asked: Patches, known: Patches, labels: Int64[Tensor, "known"], ranking: str = "chm", *,
    shortlist: int = SHORTLIST, best: int = BEST, among: int = AMONG, seed: int = 0,
) -> Voted:  # fmt: skip
    """Names pictures by the labels of known ones.

    ranking: of the shortlist, by pooled features: `knn` leaves it; `emd` ranks by the distance of `carried` (EMD-Corr);
             `chm` by the likeness of the `best` patches that correspond best (CHM-Corr); `random` by chance
    among:   how many of the first vote

    Raises RequestError for another ranking, ShapeError for labels of other pictures. Taesiri et al., NeurIPS 2022.
    """
    if ranking not in RANKINGS:
        raise RequestError(f"ranking={ranking!r}; expected {' or '.join(RANKINGS)}.")
    if len(labels) != len(known):
        raise ShapeError("The labels", got=tuple(labels.shape), expected=f"[{len(known)}]: one per known picture")
    near = nearest(asked, known, shortlist)
    order = torch.stack([
        row[_ranks(one, known.cells[row], asked.grid, ranking, best, Seed(seed).child("random", at))]
        for at, (one, row) in enumerate(zip(asked.cells, near, strict=True))
    ])  # fmt: skip
    predicted, share = majority(labels[order[:, :among]])
    return Voted(order, predicted, share)


def majority(
    votes: Int64[Tensor, "picture vote"],
) -> tuple[Int64[Tensor, "picture"], Float[Tensor, "picture"]]:
    """The class with most votes, and its share; of equally many the one that was voted for first."""
    counts = (votes[:, :, None] == votes[:, None, :]).sum(dim=2)
    first = counts.argmax(dim=1, keepdim=True)  # of equal counts the first
    return votes.gather(1, first)[:, 0], counts.gather(1, first)[:, 0] / votes.shape[1]


def ranking_trial(
    asked: Patches, truth: Int64[Tensor, "picture"], known: Patches, labels: Int64[Tensor, "known"], **settings: int
) -> RankingTrial:
    """How often pictures are named right by the nearest, and after each ranking anew; settings of `voted`."""
    hits = {name: (voted(asked, known, labels, name, **settings).predicted == truth).double() for name in RANKINGS}
    over = {
        name: {rival: difference(mine.tolist(), hits[rival].tolist()) for rival in ("knn", "random") if rival != name}
        for name, mine in hits.items()
    }
    return RankingTrial(
        {name: wilson(float(mine.sum()), len(mine)) for name, mine in hits.items()}, over, len(truth), len(known)
    )


def _ranks(
    one: Tensor, near: Float[Tensor, "known patch channel"], grid: tuple[int, int], ranking: str, best: int, seed: Seed
) -> Int64[Tensor, "known"]:
    """The order of a shortlist; of equal ones the nearer by pooled features stays first."""
    if ranking == "knn":
        return torch.arange(len(near))
    if ranking == "random":
        return torch.randperm(len(near), generator=seed.generator())
    if ranking == "emd":
        return carried(one, near)[0].argsort(stable=True)
    found = corresponding(one, near, grid)
    return (
        found.likeness.topk(min(best, found.likeness.shape[1]), dim=1)
        .values.sum(dim=1)
        .argsort(descending=True, stable=True)
    )


def _shifts(grid: tuple[int, int]) -> Int64[Tensor, "patch other"]:
    """For each pair of patches the number of the way from one to the other."""
    rows, columns = grid
    at = torch.arange(rows * columns)
    row, column = at // columns, at % columns
    down = row[None, :] - row[:, None] + rows - 1
    along = column[None, :] - column[:, None] + columns - 1
    return down * (2 * columns - 1) + along
