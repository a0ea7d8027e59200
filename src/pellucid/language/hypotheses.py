"""How far a name can be relied on: does what it says foretell the response on pictures that did not help to find it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from pellucid.compute.ranking import auroc

LEAST_AUROC, MOST_Q = 0.7, 0.05
PERMUTATIONS = 999
_FEWEST = 5  # pictures with and without, below which nothing can be told


@dataclass(frozen=True)
class Reliability:
    """What a name is worth on held-out pictures.

    auroc:       how well "it is there" tells strong responses from weak ones; .5 is nothing, 1 all
    specificity: the same less that of the best other name of its kind; NaN where there is no other
    correlation: of the likeness to the text with the response, as a narrator would foretell it
    p:           share of permutations of the pictures with as high an AUROC
    pictures:    on how many, and on how many of them it is there
    """

    auroc: float
    specificity: float
    correlation: float
    p: float
    pictures: tuple[int, int]


def aurocs(there: Bool[np.ndarray, "picture word"], responses: ArrayLike) -> Float[np.ndarray, "word"]:
    """`auroc` for many names at once."""
    ranks, counts = rankdata(np.asarray(responses, dtype=np.float64)), there.sum(axis=0)
    others = len(there) - counts
    with np.errstate(divide="ignore", invalid="ignore"):
        return (ranks @ there - counts * (counts + 1) / 2) / (counts * others)


def permutation_p(there: Bool[np.ndarray, "picture"], responses: ArrayLike, *, seed: int = 0) -> float:
    """How often a random choice of as many pictures has as high an AUROC; at least 1 in 1000."""
    ranks = rankdata(np.asarray(responses, dtype=np.float64))
    rng, own = np.random.default_rng(seed), ranks[there].sum()
    by_chance = np.array([rng.permutation(ranks)[: int(there.sum())].sum() for _ in range(PERMUTATIONS)])
    return float((1 + (by_chance >= own - 1e-9).sum()) / (1 + PERMUTATIONS))


def benjamini_hochberg(p: Sequence[float]) -> tuple[float, ...]:
    """q-values: the rate of false discoveries if all with as small a value are believed (1995)."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    q = np.empty(len(values))
    q[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1)
    return tuple(q.tolist())


def present(likeness: ArrayLike) -> Bool[np.ndarray, "picture"]:
    """In which pictures it is, by the likeness to its text: above the level that parts them best (Otsu 1979)."""
    values = np.asarray(likeness, dtype=np.float64)
    ordered = np.sort(values)
    below = np.arange(1, len(ordered))
    low = np.cumsum(ordered)[:-1] / below
    high = (ordered.sum() - np.cumsum(ordered)[:-1]) / (len(ordered) - below)
    between = below * (len(ordered) - below) * (high - low) ** 2
    if not len(between) or between.max() <= 0:
        return np.zeros(len(values), dtype=bool)
    return values > ordered[int(between.argmax())]


def reliability(
    responses: Float[np.ndarray, "picture"],
    there: Bool[np.ndarray, "picture"],
    likeness: Float[np.ndarray, "picture"],
    siblings: Bool[np.ndarray, "picture word"],
    *,
    seed: int = 0,
) -> Reliability:
    """What a name is worth on these pictures, none of which was used to find it."""
    counts = (len(there), int(there.sum()))
    if min(counts[1], counts[0] - counts[1]) < _FEWEST or np.ptp(responses) == 0:
        return Reliability(float("nan"), float("nan"), float("nan"), 1.0, counts)
    own = auroc(there, responses)
    others = aurocs(siblings, responses)
    best = float(np.nanmax(others)) if np.isfinite(others).any() else float("nan")
    foretold = float(np.corrcoef(likeness, responses)[0, 1]) if np.ptp(likeness) > 0 else float("nan")
    return Reliability(own, own - best, foretold,
                       permutation_p(there, responses, seed=seed), counts)  # fmt: skip


def believed(auroc: float, q: float) -> bool:
    """Whether a name stands: it foretells the response, and not by chance."""
    return auroc >= LEAST_AUROC and q <= MOST_Q
