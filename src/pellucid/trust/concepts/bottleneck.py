"""Are the concepts that a model claims the right ones, in the picture, and looked for at the right place?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from pellucid.compute.bootstrap import Interval, interval
from pellucid.errors import ShapeError
from pellucid.trust.concepts.finding import Finding, random_directions, unit_rows
from pellucid.values.seed import Seed

ABSENT = "it names no concept that speaks for its decision"


@dataclass(frozen=True, eq=False, kw_only=True)
class GlobalImportance(Finding):
    """Whether each class weighs the concepts that truly make it.

    per_class, per_class_ranked:     Pearson and Spearman of each class's weights with the truth [class]; NaN for a
                                     row that does not vary
    per_concept, per_concept_ranked: the same for each concept over classes [concept]
    classes, concepts: their means, Pearson; whole: over all entries at once
    shuffled: the mean of `per_class` under shuffled names of the concepts, one figure per shuffle
    p:        how often a shuffle does as well; at least 1 / (shuffles + 1)
    kept, total: classes with a value, and all
    """

    per_class: Float[Tensor, "class"]
    per_class_ranked: Float[Tensor, "class"]
    per_concept: Float[Tensor, "concept"]
    per_concept_ranked: Float[Tensor, "concept"]
    classes: Interval
    concepts: Interval
    whole: float
    shuffled: tuple[float, ...]
    p: float


@dataclass(frozen=True, eq=False, kw_only=True)
class ConceptExistence(Finding):
    """Whether the concepts a decision rests on are in the picture.

    values:   per item, the share of its most important concepts that is annotated as present; NaN where none speaks
              for the decision
    existence: their mean; shuffled: the mean under shuffled names, one per shuffle; prevalence: how often a concept is
              present at all, which is what chance gives
    margin:   existence less the mean of the shuffles, per item
    chosen:   which concepts those are
    kept, total: items with a value, and all
    """

    values: Float[Tensor, "item"]
    existence: Interval
    shuffled: tuple[float, ...]
    prevalence: float
    margin: Interval
    chosen: Bool[Tensor, "item concept"]


@dataclass(frozen=True, eq=False, kw_only=True)
class ConceptLocation(Finding):
    """Whether concepts that are present are looked for where they are.

    values:  per item, the share of its asked concepts whose map peaks inside the concept's region
    location: their mean, over concepts that have a region; random: the same for random directions, one per draw
    area:    mean share of the picture that the regions cover, which is what a peak anywhere would give
    margin:  location less the mean of the random directions, per item
    strict:  the share when an asked concept without region counts as a miss
    per_concept: the share found of each concept [concept]; NaN where it is never asked
    kept, total: pairs of item and concept with a region, and all that were asked
    """

    values: Float[Tensor, "item"]
    location: Interval
    random: tuple[float, ...]
    area: float
    margin: Interval
    strict: float
    per_concept: Float[Tensor, "concept"]


def concept_global_importance(
    weights: Float[Tensor, "class concept"], truth: Float[Tensor, "class concept"], *, shuffles: int = 200,
    seed: int = 0,
) -> GlobalImportance:  # fmt: skip
    """How well a model's weights of concepts for classes correlate with how often classes have them.

    truth: for each class the share of its pictures that show the concept

    Raises ShapeError for tables of other shapes. After Aysel et al. 2025; the exact formula is our reading.
    """
    if weights.shape != truth.shape:
        raise ShapeError("weights", got=tuple(weights.shape), expected=f"{list(truth.shape)}, as the truth has")
    own, real = weights.double(), truth.double()
    rows = correlations(own, real)
    generator = Seed(seed).child("names").generator()
    drawn = [
        float(correlations(own, real[:, torch.randperm(real.shape[1], generator=generator)]).nanmean())
        for _ in range(shuffles)
    ]
    mean = float(rows.nanmean())
    return GlobalImportance(
        per_class=rows, per_class_ranked=correlations(ranks(own), ranks(real)),
        per_concept=correlations(own.T, real.T),
        per_concept_ranked=correlations(ranks(own.T), ranks(real.T)),
        classes=interval(rows.tolist(), seed), concepts=interval(correlations(own.T, real.T).tolist(), seed),
        whole=float(correlations(own.reshape(1, -1), real.reshape(1, -1))), shuffled=tuple(drawn),
        p=(sum(other >= mean for other in drawn) + 1) / (shuffles + 1),
        kept=int(rows.isfinite().sum()), total=len(rows), seed=seed,
        skipped={f"class {at}": "its weights or its truth are all the same"
                 for at in torch.nonzero(rows.isnan())[:, 0].tolist()},
    )  # fmt: skip


def concept_existence(
    scores: Float[Tensor, "item concept"], weights: Float[Tensor, "class concept"], decisions: Int[Tensor, "item"],
    present: Bool[Tensor, "item concept"], *, top: int = 5, shuffles: int = 100, seed: int = 0,
) -> ConceptExistence:  # fmt: skip
    """Of the concepts that speak most for each decision, the share that is annotated as present in the picture.

    scores:    how strongly the model sees each concept
    decisions: the class each item was given
    top:       concepts looked at, fewer where fewer speak for the decision (weight times score above 0)

    After Aysel et al. 2025; the exact formula is our reading.
    """
    if present.shape != scores.shape or weights.shape[1] != scores.shape[1]:
        raise ShapeError("present", got=tuple(present.shape), expected=f"{list(scores.shape)}, as the scores have")
    speaks = weights[decisions] * scores
    chosen = _highest(speaks, top) & (speaks > 0)
    values = _share(chosen, present)
    generator = Seed(seed).child("names").generator()
    drawn = [_share(chosen, present[:, torch.randperm(present.shape[1], generator=generator)]) for _ in range(shuffles)]
    return ConceptExistence(
        values=values, existence=interval(values.tolist(), seed),
        shuffled=tuple(float(other.nanmean()) for other in drawn), prevalence=float(present.double().mean()),
        margin=interval((values - torch.stack(drawn).mean(dim=0)).tolist(), seed), chosen=chosen,
        kept=int(values.isfinite().sum()), total=len(values), seed=seed,
        skipped={f"item {at}": ABSENT for at in torch.nonzero(values.isnan())[:, 0].tolist()},
    )  # fmt: skip


def concept_maps(
    activations: Float[Tensor, "item channel h w"], directions: Float[Tensor, "concept channel"],
    size: tuple[int, int] | None = None,
) -> Float[Tensor, "item concept height width"]:  # fmt: skip
    """Where each concept's direction is active: the activations' part along it, at every place.

    size: to which the maps are brought, bilinearly; None leaves them on the layer's grid
    """
    maps = torch.einsum("ic...,kc->ik...", activations, unit_rows(directions.to(activations.dtype)))
    return maps if size is None else functional.interpolate(maps, size, mode="bilinear", align_corners=False)


def concept_location(
    activations: Float[Tensor, "item channel h w"], directions: Float[Tensor, "concept channel"],
    regions: Bool[Tensor, "item concept height width"], *, asked: Bool[Tensor, "item concept"] | None = None,
    random_sets: int = 5, seed: int = 0,
) -> ConceptLocation:  # fmt: skip
    """Of the concepts that are asked for and present, the share whose map is highest inside the concept's region.

    regions: where each concept is; empty where it is absent or has no place
    asked:   which concepts of each item; `chosen` of `concept_existence` asks for the most important, None for all

    A map is highest at several places alike only where it is flat: then the first would be an accident, and the peak is
    drawn among them. After Aysel et al. 2025; the exact formula is our reading.
    """
    size = tuple(regions.shape[2:])
    wanted = torch.ones(regions.shape[:2], dtype=torch.bool) if asked is None else asked
    there = regions.flatten(2).any(dim=2)
    counted = wanted & there
    hits = _hits(concept_maps(activations, directions, (size[0], size[1])), regions, Seed(seed))
    values = _share(counted, hits)
    rivals = [
        _share(counted, _hits(concept_maps(activations, other, (size[0], size[1])), regions, Seed(seed)))
        for at in range(random_sets)
        for other in (random_directions(len(directions), directions.shape[1], Seed(seed).child("random", at)),)
    ]
    areas = regions.flatten(2).double().mean(dim=2)
    found = (hits & counted).sum(dim=0).double()
    return ConceptLocation(
        values=values, location=interval(values.tolist(), seed),
        random=tuple(float(rival.nanmean()) for rival in rivals),
        area=float(areas[counted].mean()) if bool(counted.any()) else float("nan"),
        margin=interval((values - torch.stack(rivals).mean(dim=0)).tolist(), seed),
        strict=float((hits & counted).sum() / wanted.sum().clamp(min=1)),
        per_concept=torch.where(counted.any(dim=0), found / counted.sum(dim=0).clamp(min=1), torch.nan),
        kept=int(counted.sum()), total=int(wanted.sum()), seed=seed,
    )  # fmt: skip


def concept_confusion(
    scores: Float[Tensor, "item concept"], present: Bool[Tensor, "item concept"]
) -> Float[Tensor, "scored annotated"]:
    """Pearson's correlation of each concept's score with every concept's presence; NaN where one of them never varies.

    A row whose largest entry lies off the diagonal is a concept that was learned under another's name.
    """
    own, real = scores.double(), present.double()
    own, real = own - own.mean(dim=0), real - real.mean(dim=0)
    scale = own.norm(dim=0)[:, None] * real.norm(dim=0)[None]
    return torch.where(scale > 1e-12, own.T @ real / scale.clamp(min=1e-300), torch.nan)


def correlations(one: Float[Tensor, "row entry"], other: Float[Tensor, "row entry"]) -> Float[Tensor, "row"]:
    """Pearson's correlation of each row with its partner; NaN where one of them is flat."""
    one, other = one - one.mean(dim=1, keepdim=True), other - other.mean(dim=1, keepdim=True)
    scale = one.norm(dim=1) * other.norm(dim=1)
    return torch.where(scale > 1e-12, (one * other).sum(dim=1) / scale.clamp(min=1e-300), torch.nan)


def ranks(values: Float[Tensor, "row entry"]) -> Float[Tensor, "row entry"]:
    """Of each entry in its row, 1 for the lowest; equal ones share the mean of their places."""
    from scipy.stats import rankdata

    return torch.from_numpy(np.asarray(rankdata(values.double().numpy(), axis=1), dtype=np.float64))


def _highest(values: Float[Tensor, "item concept"], top: int) -> Bool[Tensor, "item concept"]:
    return values.argsort(dim=1, descending=True, stable=True).argsort(dim=1) < top


def _share(asked: Bool[Tensor, "item concept"], true: Bool[Tensor, "item concept"]) -> Float[Tensor, "item"]:
    count = asked.sum(dim=1)
    return torch.where(count > 0, (asked & true).sum(dim=1).double() / count.clamp(min=1), torch.nan)


def _hits(
    maps: Float[Tensor, "item concept height width"], regions: Bool[Tensor, "item concept height width"], seed: Seed
) -> Bool[Tensor, "item concept"]:
    flat = maps.flatten(2)
    tied = flat == flat.amax(dim=2, keepdim=True)
    key = torch.rand(flat.shape, generator=seed.child("peaks").generator())
    peak = torch.where(tied, key, torch.full_like(key, -1.0)).argmax(dim=2, keepdim=True)
    return regions.flatten(2).gather(2, peak)[..., 0]
