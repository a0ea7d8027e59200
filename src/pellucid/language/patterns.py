"""Directions in which many units answer together, found without words, and whether other pictures give them again.

The responses may be a layer's, a person's ratings or a scan's: pictures down, units across. BrainExplore, 2025.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from pellucid.errors import RequestError, ShapeError

KINDS = ("pca", "nmf", "ica")


@dataclass(frozen=True, eq=False)
class Patterns:
    """A response matrix as a few patterns.

    directions:  each of length 1, its largest entry positive
    responses:   how strongly every picture shows every pattern; named as units are
    reliability: cosine with the best match among the patterns of either half of the pictures, the lower of the two;
                 1 is found again exactly
    explained:   share of the variance that all of them together give back
    """

    kind: str
    directions: Float[np.ndarray, "pattern unit"]
    responses: Float[np.ndarray, "picture pattern"]
    reliability: Float[np.ndarray, "pattern"]
    explained: float


def decompose(given: Float[np.ndarray, "picture unit"], kind: str, count: int, *, seed: int = 0) -> Patterns:
    """Patterns of a response matrix by `pca`, `nmf` (responses of 0 and more) or `ica`.

    Raises ShapeError where there are fewer pictures or units than patterns need, RequestError for what NMF cannot take.
    """
    values = np.asarray(given, dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all() or min(values.shape[0] // 2, values.shape[1]) < count:
        raise ShapeError(
            "The responses", got=values.shape, expected=f"finite, {2 * count} pictures, {count} units or more"
        )
    if kind not in KINDS:
        raise RequestError(f"kind={kind!r}; expected {', '.join(KINDS)}.")
    if kind == "nmf" and values.min() < 0:
        raise RequestError("NMF takes responses of 0 and more, and some of these are below; take pca or ica.")
    directions, found, back = _fitted(values, kind, count, seed)
    halves = [_fitted(values[start::2], kind, count, seed)[0] for start in (0, 1)]
    agreement = np.min([_matched(directions, half) for half in halves], axis=0)
    spread = float(((values - values.mean(axis=0)) ** 2).sum())
    explained = 1 - float(((values - back) ** 2).sum()) / spread if spread > 0 else float("nan")
    return Patterns(kind, directions, found, agreement, explained)


def _fitted(
    values: Float[np.ndarray, "picture unit"], kind: str, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions, responses along them, and the matrix they give back."""
    # Imported late: it takes seconds, and every recheck of a claim loads this room.
    from sklearn.decomposition import NMF, PCA, FastICA
    from sklearn.exceptions import ConvergenceWarning

    models: dict[str, Callable[[], Any]] = {
        "pca": lambda: PCA(count, svd_solver="full"),
        "nmf": lambda: NMF(cast(Any, count), init="nndsvda", random_state=seed, max_iter=1000),
        "ica": lambda: FastICA(count, whiten="unit-variance", random_state=seed, max_iter=1000),
    }
    model = models[kind]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what did not settle shows in its reliability
        found = model.fit_transform(values)
    back = model.inverse_transform(found)
    # Where the units point when a pattern is there: the mixing of ICA, not its filter.
    rows = model.mixing_.T if kind == "ica" else model.components_
    lengths = np.linalg.norm(rows, axis=1).clip(1e-12)
    sign = np.sign(rows[np.arange(count), np.abs(rows).argmax(axis=1)])
    return rows / lengths[:, None] * sign[:, None], found * lengths * sign, back


def _matched(one: Float[np.ndarray, "pattern unit"], other: Float[np.ndarray, "pattern unit"]) -> np.ndarray:
    """The cosine of each pattern with the one it is paired with, signs aside."""
    alike = np.abs(one @ other.T)
    rows, columns = linear_sum_assignment(-alike)
    return alike[rows, columns]
