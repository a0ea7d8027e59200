"""What order alone tells: one kind of thing from the rest, and which competitors differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from numpy.typing import ArrayLike
from scipy.stats import friedmanchisquare, rankdata, studentized_range

_LEVEL = 0.05  # of significance


def auroc(there: Bool[np.ndarray, "item"], responses: ArrayLike) -> float:
    """The chance that an item that has it draws a stronger response than one that has not; ties count half.

    NaN where all have it, or none.
    """
    ranks, count = rankdata(np.asarray(responses, dtype=np.float64)), int(there.sum())
    others = len(there) - count
    if not count or not others:
        return float("nan")
    return float((ranks[there].sum() - count * (count + 1) / 2) / (count * others))


@dataclass(frozen=True)
class MeanRanks:
    """How competitors rank over the items that all of them were measured on.

    ranks:     mean rank of each, 1 the best, best first; ties share their ranks
    items:     how many they are over
    statistic: Friedman's chi-squared, corrected for ties; p: that of no difference at all
    critical:  the least difference of two mean ranks that tells them apart at 5% (Nemenyi)
    """

    ranks: Mapping[str, float]
    items: int
    statistic: float
    p: float
    critical: float

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The largest sets of two and more that cannot be told apart, best first."""
        names = list(self.ranks)
        runs = [
            [other for other in names[at:] if self.ranks[other] - self.ranks[name] < self.critical]
            for at, name in enumerate(names)
        ]
        return tuple(
            tuple(run) for at, run in enumerate(runs)
            if len(run) > 1 and (at == 0 or run[-1] != runs[at - 1][-1])
        )  # fmt: skip

    def level_with(self, name: str) -> tuple[str, ...]:
        """Those that cannot be told apart from one, best first."""
        mine = self.ranks[name]
        return tuple(other for other, rank in self.ranks.items() if other != name and abs(rank - mine) < self.critical)


def mean_ranks(measured: Mapping[str, Sequence[float]], *, higher: bool = True) -> MeanRanks | None:
    """Friedman's test of whether competitors differ, with Nemenyi's critical difference; None where it says nothing.

    measured: by competitor, one value per item, the same items for all; items that any was not measured on are left
              out. At least 3 competitors and 2 items are needed
    higher:   whether more is better

    Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 2006.
    """
    names = list(measured)
    table = np.array([measured[name] for name in names], dtype=np.float64)
    table = table[:, np.isfinite(table).all(axis=0)] if table.ndim == 2 else table.reshape(len(names), 0)
    count, items = table.shape
    if count < 3 or items < 2:
        return None
    places = np.asarray(rankdata(-table if higher else table, axis=0), dtype=np.float64)
    means = {name: float(mean) for name, mean in zip(names, places.mean(axis=1), strict=True)}
    flat = bool((table == table[0]).all())  # nobody differs anywhere: the statistic is 0 over 0
    statistic, p = (0.0, 1.0) if flat else (float(one) for one in friedmanchisquare(*places))
    span = float(studentized_range.ppf(1 - _LEVEL, count, np.inf)) / 2**0.5
    critical = span * (count * (count + 1) / (6 * items)) ** 0.5
    return MeanRanks(
        {name: means[name] for name in sorted(means, key=means.__getitem__)}, items, statistic, p, critical
    )
