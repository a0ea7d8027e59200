"""How far a group's accuracy can be chance: intervals, exact tests, and corrections for how many were tried."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.stats import hypergeom


def as_few_right(right: ArrayLike, size: ArrayLike, all_right: int, total: int) -> Float[np.ndarray, "group"]:
    """The chance that a random group of `size` of `total` has at most `right` right ones (Fisher's exact test)."""
    return np.atleast_1d(hypergeom.cdf(np.asarray(right), total, all_right, np.asarray(size))).astype(np.float64)
