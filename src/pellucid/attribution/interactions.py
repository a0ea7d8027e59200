"""Which variables foretell an answer only together: sets screened by their influence score, over a data set.

Lo, Zheng 2002 (I-score, backward dropping); Lo, Yin 2021 (on pictures, with windows and features of interaction).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from pellucid.compute.bootstrap import holm
from pellucid.compute.ranking import auroc
from pellucid.errors import RequestError, ShapeError
from pellucid.results.interactions import Interaction, Interactions
from pellucid.values import Seed

CUTS = ("median", "two_means")
_MOST = 20  # variables in a set: 2 ** 20 cells
_ROUNDS = 50  # of two-means; it has settled long before


@dataclass(frozen=True)
class Screening:
    """How sets are looked for.

    start:        variables that a set begins with, drawn by lot; draws: how many sets begin
    keep:         the best so many sets are told, each once
    cut:          where a variable is cut in two: at its `median`, or between its `two_means`
    held_out:     share of the samples on which sets are judged, having been found on the others
    permutations: of the answers, for the p values
    """

    start: int = 8
    draws: int = 400
    keep: int = 5
    cut: str = "median"
    held_out: float = 0.4
    permutations: int = 999

    def __post_init__(self) -> None:
        for name, least, most in (("start", 1, _MOST), ("draws", 1, 10**6), ("keep", 1, 10**4),
                                  ("permutations", 1, 10**6)):  # fmt: skip
            if not least <= getattr(self, name) <= most:
                raise RequestError(f"{name}={getattr(self, name)}; expected a whole number from {least} to {most}.")
        if self.cut not in CUTS or not 0 < self.held_out < 1:
            raise RequestError(f"cut={self.cut!r}, held_out={self.held_out}; expected {' or '.join(CUTS)}, and a part "
                               f"between 0 and 1.")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Feature:
    """What a set says of a sample: the mean answer of the learned samples in its cell (X-dagger).

    variables: places of the set; cuts: of all variables; means, counts: per cell, whose number has bit i set where the
    set's i-th variable lies above its cut; a cell without samples has the mean of all
    """

    variables: tuple[int, ...]
    cuts: Float[np.ndarray, "variable"]
    means: Float[np.ndarray, "cell"]
    counts: Int[np.ndarray, "cell"]

    def of(self, values: Float[np.ndarray, "sample variable"]) -> Float[np.ndarray, "sample"]:
        """The feature of other samples."""
        return self.means[cells(values[:, self.variables] > self.cuts[list(self.variables)])]


def i_score(x: Bool[np.ndarray, "sample variable"], y: Float[np.ndarray, "sample"]) -> float:
    """How much the cells of a set tell of the answer: sum over cells of n_j^2 (mean_j - mean)^2, over n var(y).

    A set that tells nothing has about `chance`, below 1; one that tells all of a coin's fall has n times the sum of
    squared shares of its cells. 0 where the answer never varies. With var(y) over n, as a population has it.
    """
    spread = float(y.var())
    if spread == 0:
        return 0.0
    code = cells(x)
    sums = np.bincount(code, y - y.mean())
    return float((sums**2).sum() / (len(y) * spread))


def chance(x: Bool[np.ndarray, "sample variable"]) -> float:
    """The mean I-score of a set over all orders of the answers: n / (n - 1) (1 - the sum of its squared shares)."""
    shares = np.bincount(cells(x)) / len(x)
    return float(len(x) / (len(x) - 1) * (1 - (shares**2).sum()))


def dropped_backward(
    x: Bool[np.ndarray, "sample variable"], y: Float[np.ndarray, "sample"], start: Sequence[int]
) -> tuple[tuple[int, ...], float]:
    """The best set on the way from `start` to a single variable, dropping each time the one whose loss helps most."""
    current = list(start)
    best, height = tuple(current), i_score(x[:, current], y)
    while len(current) > 1:
        scores = [i_score(x[:, [*current[:at], *current[at + 1 :]]], y) for at in range(len(current))]
        gone = int(np.argmax(scores))
        current.pop(gone)
        if scores[gone] > height:
            best, height = tuple(current), scores[gone]
    return tuple(sorted(best)), height


def searched(
    x: Bool[np.ndarray, "sample variable"], y: Float[np.ndarray, "sample"], screening: Screening, seed: int = 0
) -> list[tuple[tuple[int, ...], float]]:
    """The best sets from many random starts, each once, highest I-score first."""
    draw = np.random.default_rng(int(Seed(seed).child("interactions")))
    size, found = min(screening.start, x.shape[1]), dict[tuple[int, ...], float]()
    for _ in range(screening.draws):
        variables, score = dropped_backward(x, y, draw.choice(x.shape[1], size, replace=False).tolist())
        found[variables] = score
    return sorted(found.items(), key=lambda one: (-one[1], one[0]))[: screening.keep]


def learned(
    values: Float[np.ndarray, "sample variable"], y: Float[np.ndarray, "sample"], variables: Sequence[int],
    cuts: Float[np.ndarray, "variable"],
) -> Feature:  # fmt: skip
    """The feature of a set, from samples with answers."""
    code = cells(values[:, list(variables)] > cuts[list(variables)])
    counts = np.bincount(code, minlength=2 ** len(variables))
    sums = np.bincount(code, y, minlength=2 ** len(variables))
    return Feature(tuple(variables), cuts, np.where(counts > 0, sums / np.maximum(counts, 1), y.mean()), counts)


def p_value(
    x: Bool[np.ndarray, "sample variable"], y: Float[np.ndarray, "sample"], permutations: int, seed: int = 0
) -> float:
    """How often the answers in another order give a set as high an I-score; at least 1 / (permutations + 1)."""
    draw, own = np.random.default_rng(int(Seed(seed).child("permutations"))), i_score(x, y)
    reached = sum(i_score(x, draw.permutation(y)) >= own - 1e-12 for _ in range(permutations))
    return (reached + 1) / (permutations + 1)


def interactions(
    values: Float[np.ndarray, "sample variable"], y: Bool[np.ndarray, "sample"], *, names: Sequence[str] | None = None,
    label: str = "the answer", screening: Screening | None = None, seed: int = 0, **known: Any,
) -> Interactions:  # fmt: skip
    """The sets of variables that foretell an answer together, found on some samples and judged on the others.

    values: any numbers, as grey values of pixels or responses of filters; y: whether each sample has the answer
    names:  of the variables; known: what else the result is to hold, as the model

    P values are of the I-score on held-out samples, whose order of answers is permuted, corrected for the number of
    sets (Holm). Raises ShapeError, RequestError without both answers in both parts.
    """
    screening = screening or Screening()
    table, answers = _checked(values, y)
    found, held = _parts(answers, screening.held_out, seed)
    cuts = cut_points(table[found], screening.cut)
    x, target = table > cuts, answers.astype(np.float64)
    sets = searched(x[found], target[found], screening, seed)
    features = [learned(table[found], target[found], variables, cuts) for variables, _ in sets]
    raw = {variables: p_value(x[held][:, list(variables)], target[held], screening.permutations, seed)
           for variables, _ in sets}  # fmt: skip
    corrected, said = holm(raw), tuple(names) if names is not None else tuple(map(str, range(table.shape[1])))
    if len(said) != table.shape[1]:
        raise ShapeError("names", got=(len(said),), expected=f"{table.shape[1]}, one per variable")
    rows = tuple(
        Interaction(
            tuple(said[at] for at in variables), variables, score, chance(x[found][:, list(variables)]),
            i_score(x[held][:, list(variables)], target[held]), raw[variables], corrected[variables],
            auroc(answers[held], feature.of(table[held])), tuple(feature.means.tolist()),
            tuple(feature.counts.tolist()),
        ) for (variables, score), feature in zip(sets, features, strict=True)
    )  # fmt: skip
    singles = [(i_score(x[found][:, [at]], target[found]), at) for at in range(table.shape[1])]
    alone = max(singles)
    together = auroc(answers[held], _combined(features, table, target, found)[held])
    return Interactions(label, said, rows, (said[alone[1]], alone[0]), together, (len(found), len(held)),
                        float(answers.mean()), **known)  # fmt: skip


def windows(
    maps: Float[np.ndarray, "sample h w"], y: Float[np.ndarray, "sample"], *, window: int = 2, stride: int = 2,
    cut: str = "median",
) -> tuple[Float[np.ndarray, "row column"], Float[np.ndarray, "sample row column"], tuple[Feature, ...]]:  # fmt: skip
    """Interaction-based convolution: every window of a map becomes one number, the feature of its best set of cells.

    Gives the I-score of every window, the features as a smaller map, on which it can be done again, and the features
    themselves, row by row, whose variables count through the window. Backward dropping starts from the whole window.
    """
    count, height, width = maps.shape
    if not 1 <= window <= min(height, width) or window**2 > _MOST or stride < 1:
        raise RequestError(f"window={window}, stride={stride}; expected a window of up to 4 cells a side in maps of "
                           f"{height} x {width}, and a stride of 1 or more.")  # fmt: skip
    shape, patches = _patches(maps, window, stride)
    scores, features, made = list[float](), list[Feature](), list[np.ndarray]()
    for values in patches:
        cuts = cut_points(values, cut)
        variables, score = dropped_backward(values > cuts, y, range(window**2))
        features.append(learned(values, y, variables, cuts))
        made.append(features[-1].of(values))
        scores.append(score)
    return np.reshape(scores, shape), np.stack(made, axis=1).reshape(count, *shape), tuple(features)


def windows_of(
    features: Sequence[Feature], maps: Float[np.ndarray, "sample h w"], *, window: int = 2, stride: int = 2
) -> Float[np.ndarray, "sample rows columns"]:
    """The map of features of other samples, by what `windows` learned."""
    shape, patches = _patches(maps, window, stride)
    made = [feature.of(values) for feature, values in zip(features, patches, strict=True)]
    return np.stack(made, axis=1).reshape(len(maps), *shape)


def cut_points(values: Float[np.ndarray, "sample variable"], kind: str) -> Float[np.ndarray, "variable"]:
    """Where each variable is cut in two; a sample lies above or not."""
    if kind == "median":
        return np.median(values, axis=0)
    low, high = values.min(axis=0), values.max(axis=0)
    for _ in range(_ROUNDS):
        above = values > (low + high) / 2
        upper, lower = above.sum(axis=0), (~above).sum(axis=0)
        high = np.where(upper > 0, (values * above).sum(axis=0) / np.maximum(upper, 1), high)
        low = np.where(lower > 0, (values * ~above).sum(axis=0) / np.maximum(lower, 1), low)
    return (low + high) / 2


def cells(x: Bool[np.ndarray, "sample variable"]) -> Int[np.ndarray, "sample"]:
    """The number of each sample's cell."""
    return x.astype(np.int64) @ (1 << np.arange(x.shape[1], dtype=np.int64))


# -- inside ---------------------------------------------------------------------------------------------------------


def _patches(
    maps: Float[np.ndarray, "sample h w"], window: int, stride: int
) -> tuple[tuple[int, int], Iterator[Float[np.ndarray, "sample cell"]]]:
    """How many windows there are, down and across, and what each shows, row by row."""
    tops, lefts = (range(0, length - window + 1, stride) for length in maps.shape[1:])
    shown = (maps[:, top : top + window, left : left + window].reshape(len(maps), -1) for top in tops for left in lefts)
    return (len(tops), len(lefts)), shown


def _checked(values: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    table, answers = np.asarray(values, dtype=np.float64), np.asarray(y)
    if table.ndim != 2 or answers.shape != (len(table),) or answers.dtype != bool:
        raise ShapeError("The samples", got=(table.shape, answers.shape), expected="values [sample variable] and one "
                         "True or False per sample")  # fmt: skip
    return table, answers


def _parts(y: Bool[np.ndarray, "sample"], held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which samples find sets and which judge them; both answers as often in either."""
    draw = np.random.default_rng(int(Seed(seed).child("held out")))
    held = np.zeros(len(y), dtype=bool)
    for answer in (True, False):
        of_it = draw.permutation(np.flatnonzero(y == answer))
        held[of_it[: round(held_out * len(of_it))]] = True
    if any(len(np.unique(y[part])) < 2 for part in (held, ~held)):
        raise RequestError(f"{int(y.sum())} of {len(y)} samples have the answer; expected some with it and some "
                           f"without, of either in both parts.")  # fmt: skip
    return np.flatnonzero(~held), np.flatnonzero(held)


def _combined(
    features: Sequence[Feature], table: np.ndarray, y: np.ndarray, found: np.ndarray
) -> Float[np.ndarray, "sample"]:
    """All features in one linear rule: least squares with a little shrinkage, fitted on the samples `found`."""
    made = np.stack([feature.of(table) for feature in features], axis=1)
    made = made - made[found].mean(axis=0)
    gram = made[found].T @ made[found]
    ridge = 1e-3 * max(float(np.trace(gram)), 1e-12) * np.eye(len(gram))
    return made @ np.linalg.solve(gram + ridge, made[found].T @ (y[found] - y[found].mean()))
