"""How well numbers tell one kind of thing from the rest, by their order alone."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from numpy.typing import ArrayLike
from scipy.stats import rankdata


def auroc(there: Bool[np.ndarray, "item"], responses: ArrayLike) -> float:
    """The chance that an item that has it draws a stronger response than one that has not; ties count half.

    NaN where all have it, or none.
    """
    ranks, count = rankdata(np.asarray(responses, dtype=np.float64)), int(there.sum())
    others = len(there) - count
    if not count or not others:
        return float("nan")
    return float((ranks[there].sum() - count * (count + 1) / 2) / (count * others))
