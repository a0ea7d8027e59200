"""What share of a representation's power is left when it must pass through a few concepts?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.compute.bootstrap import Interval, interval
from pellucid.errors import RequestError, ShapeError
from pellucid.trust.concepts.finding import Finding, halves, random_directions, same_length, unit_rows
from pellucid.values.seed import Seed

SPARSITIES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95)
_TEMPERATURE = 0.1


@dataclass(frozen=True, eq=False, kw_only=True)
class InherentInterpretability(Finding):
    """How much accuracy is kept through ever fewer concepts per picture.

    sparsities:  share of the concepts that is silenced in each picture
    accuracy:    of the representation itself; chance: always naming the commonest class
    retention:   accuracy through concepts over accuracy, one per sparsity
    score:       area under `retention` over `sparsities` (the paper's IIS)
    above_chance: the same area with chance taken off both accuracies; NaN where the representation is no better
    random:      `score` of as many random directions, one per set; random_above_chance as well
    shuffled:    `above_chance` of heads that learned shuffled labels, one per set: 0 but for accidents
    margin:      score less that of each random set
    kept, total: items that were measured, and all that were given
    """

    sparsities: tuple[float, ...]
    accuracy: float
    chance: float
    retention: tuple[Interval, ...]
    score: Interval
    above_chance: Interval
    random: tuple[float, ...]
    random_above_chance: tuple[float, ...]
    shuffled: tuple[float, ...]
    margin: Interval


def inherent_interpretability(
    features: Float[Tensor, "item channel"], labels: Int[Tensor, "item"], concepts: Float[Tensor, "concept channel"],
    *, sparsities: Sequence[float] = SPARSITIES, random_sets: int = 3, held_out: float = 0.4, seed: int = 0,
) -> InherentInterpretability:  # fmt: skip
    """How much of a linear head's accuracy survives when each picture may speak through few concepts only.

    features: the representation, one vector per item
    concepts: a library of directions in it (`concept_library` makes one out of pieces of pictures)

    Concept scores are cosines. For each picture those are kept that say most: score times how much the head, learned on
    all scores, listens to the concept. A head is then learned on what is left.

    Raises RequestError for sparsities that do not rise within 0 to 1. Shen et al., ICLR 2025; they learn thresholds and
    head together, here the head is a logistic regression and the choice follows from it.
    """
    grid = tuple(sparsities)
    if len(grid) < 2 or sorted(set(grid)) != list(grid) or grid[0] < 0 or grid[-1] >= 1:
        raise RequestError(f"sparsities={grid}; expected at least two rising shares from 0 to below 1.")
    if concepts.ndim != 2 or concepts.shape[1] != features.shape[1]:
        raise ShapeError("concepts", got=tuple(concepts.shape), expected=f"[concept {features.shape[1]}]")
    same_length("labels", len(labels), len(features), "item")
    parts = halves(len(features), held_out, Seed(seed))
    if len(labels[parts[0]].unique()) < 2:
        raise RequestError("All items to learn from have the same label: there is nothing to tell apart.")
    values = features.double()
    target = labels.numpy()
    whole = float(_right(values, target, parts).mean())
    chance = float((labels[parts[1]] == labels[parts[0]].mode().values).double().mean())
    if whole == 0:
        raise RequestError("No measured item is named rightly by the representation itself: nothing can be retained.")

    def rights(directions: Tensor, learned_labels: np.ndarray) -> Float[Tensor, "sparsity measured"]:
        scores = unit_rows(values) @ unit_rows(directions.double()).T / _TEMPERATURE
        return _through(scores, learned_labels, target, parts, grid)

    own = rights(concepts, target)
    drawn = [random_directions(len(concepts), features.shape[1], Seed(seed).child("random", at))
             for at in range(random_sets)]  # fmt: skip
    rivals = [rights(directions, target) for directions in drawn]
    lost = [rights(concepts, _shuffled(target, Seed(seed).child("labels", at))) for at in range(random_sets)]

    def area(right: Tensor, off: float) -> Tensor:
        """Per item, so that items can be drawn anew."""
        if whole <= off:
            return torch.full_like(right[0], torch.nan)
        return torch.trapezoid((right - off) / (whole - off), torch.tensor(grid).double(), dim=0)

    score = area(own, 0.0)
    return InherentInterpretability(
        sparsities=grid, accuracy=whole, chance=chance,
        retention=tuple(interval((row / whole).tolist(), seed) for row in own),
        score=interval(score.tolist(), seed), above_chance=interval(area(own, chance).tolist(), seed),
        random=tuple(float(area(rival, 0.0).mean()) for rival in rivals),
        random_above_chance=tuple(float(area(rival, chance).mean()) for rival in rivals),
        shuffled=tuple(float(area(right, chance).mean()) for right in lost),
        margin=interval([float(score.mean() - area(rival, 0.0).mean()) for rival in rivals], seed),
        kept=len(parts[1]), total=len(features), seed=seed,
        skipped={} if whole > chance else {"above_chance": "the representation is no better than the commonest class"},
    )  # fmt: skip


def concept_library(
    pieces: Float[Tensor, "piece channel"], count: int, *, seed: int = 0
) -> Float[Tensor, "concept channel"]:
    """Directions for which many pieces stand: centres of k-means over pieces of pictures, seen by the same encoder.

    pieces: the representation of segments or patches; only their direction counts
    """
    from sklearn.cluster import KMeans

    if not 0 < count <= len(pieces):
        raise RequestError(f"count={count}; expected 1 to {len(pieces)}, as many pieces as there are.")
    state = int(Seed(seed).child("library")) % 2**31
    means: Any = KMeans
    clusters = means(count, n_init=3, random_state=state).fit(unit_rows(pieces.double()).numpy())
    return unit_rows(torch.from_numpy(clusters.cluster_centers_).to(pieces.dtype))


def _through(
    scores: Float[Tensor, "item concept"], learned: np.ndarray, true: np.ndarray, parts: tuple[Tensor, Tensor],
    grid: Sequence[float],
) -> Float[Tensor, "sparsity measured"]:  # fmt: skip
    count = scores.shape[1]
    heard = _heard(scores, learned, parts[0])
    order = (scores.abs() * heard).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    rows: list[Tensor] = []
    for sparsity in grid:
        left = max(1, round((1 - sparsity) * count))
        rows.append(_right(scores * (order < left), learned, parts, true))
    return torch.stack(rows)


def _heard(scores: Tensor, labels: np.ndarray, learned: Tensor) -> Float[Tensor, "concept"]:
    """How much a head that hears all concepts listens to each: the length of its weights over classes."""
    weights = _head(scores[learned], labels[learned.numpy()]).coef_
    spread = weights - weights.mean(axis=0) if len(weights) > 1 else weights
    return torch.from_numpy(np.linalg.norm(spread, axis=0))


def _right(
    values: Tensor, labels: np.ndarray, parts: tuple[Tensor, Tensor], true: np.ndarray | None = None
) -> Float[Tensor, "measured"]:
    learned, measured = parts
    middle, scale = values[learned].mean(dim=0), values[learned].std(dim=0).clamp(min=1e-8)
    standard = (values - middle) / scale
    said = _head(standard[learned], labels[learned.numpy()]).predict(standard[measured].numpy())
    return torch.from_numpy(said == (labels if true is None else true)[measured.numpy()]).double()


def _head(values: Tensor, labels: np.ndarray) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=500, tol=1e-3).fit(values.numpy(), labels)


def _shuffled(labels: np.ndarray, seed: Seed) -> np.ndarray:
    return np.random.default_rng(int(seed)).permutation(labels)
