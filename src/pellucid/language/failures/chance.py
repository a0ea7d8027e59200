"""How far a group's accuracy can be chance: intervals, exact tests, and corrections for how many were tried."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import ArrayLike
from scipy.stats import hypergeom

from pellucid.compute.bootstrap import Interval

_Z = 1.959963984540054  # 95 %


def wilson(hits: int, count: int) -> Interval:
    """A share with its 95 % interval (Wilson 1927), which knows that 0 of 9 is not never. NaN of nothing."""
    if not count:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    mean = hits / count
    middle = (mean + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    reach = _Z / (1 + _Z**2 / count) * (mean * (1 - mean) / count + _Z**2 / (4 * count**2)) ** 0.5
    return Interval(mean, max(0.0, middle - reach), min(1.0, middle + reach), count)


def as_few_right(right: ArrayLike, size: ArrayLike, all_right: int, total: int) -> Float[np.ndarray, "group"]:
    """The chance that a random group of `size` of `total` has at most `right` right ones (Fisher's exact test)."""
    return np.atleast_1d(hypergeom.cdf(np.asarray(right), total, all_right, np.asarray(size))).astype(np.float64)


def holm(p: Sequence[float] | Float[np.ndarray, "test"]) -> Float[np.ndarray, "test"]:
    """p-values for the chance that any of the believed is false (Holm 1979)."""
    values = np.asarray(p, dtype=np.float64)
    order: Int64[np.ndarray, "test"] = np.argsort(values, kind="stable")
    scaled = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.maximum.accumulate(scaled).clip(max=1)
    return adjusted
