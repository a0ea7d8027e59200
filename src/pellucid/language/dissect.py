"""Which text fits a unit best: four ways to compare its responses with the likeness of pictures to texts.

All take responses [picture unit] and likeness [picture text] (cosines of a dual encoder) over the same pictures, and
give [unit text], higher is better. Oikarinen & Weng, CLIP-Dissect, ICLR 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import log_softmax, logsumexp, softmax

from pellucid.errors import ShapeError

FEW = 20  # units below which their mean says nothing of how common a text is
_RANDOM_UNITS = 100
_TINY = 1e-7


def soft_wpmi(
    responses: Float[np.ndarray, "picture unit"], likeness: Float[np.ndarray, "picture text"], *,
    sharpness: float = 10.0, top: int | None = None, first: float = 0.998, last: float = 0.97, prior: float = 1.0,
    seed: int = 0,
) -> Float[np.ndarray, "unit text"]:  # fmt: skip
    """Log of how likely the text is in the unit's strongest pictures, less `prior` times how likely it is anyway.

    sharpness:   of the softmax over texts
    top:         how many pictures; None is 100, and no more than a twentieth of them (at least 10)
    first, last: membership of the strongest and of the weakest of these
    """
    given, like = _checked(responses, likeness)
    count = _top(len(given), top, 100)
    member = np.linspace(first, last, count)[:, None]
    present = softmax(sharpness * like, axis=1)

    def log_of(order: np.ndarray) -> np.ndarray:
        return np.log(1 + member * (present[order[:count]] - 1) + _TINY).sum(axis=0)

    return _less_the_usual(given, log_of, prior, seed)


def hard_wpmi(
    responses: Float[np.ndarray, "picture unit"], likeness: Float[np.ndarray, "picture text"], *,
    sharpness: float = 2.0, top: int | None = None, prior: float = 0.6, seed: int = 0,
) -> Float[np.ndarray, "unit text"]:  # fmt: skip
    """The same, where the strongest 28 pictures are members and the others are not."""
    given, like = _checked(responses, likeness)
    count = _top(len(given), top, 28)
    logs = log_softmax(sharpness * like, axis=1)
    return _less_the_usual(given, lambda order: logs[order[:count]].sum(axis=0), prior, seed)


def cos_cubed(
    responses: Float[np.ndarray, "picture unit"], likeness: Float[np.ndarray, "picture text"], *, least: float = 1e-3
) -> Float[np.ndarray, "unit text"]:
    """The cosine of both over all pictures, centred and cubed, so that the strongest decide."""
    given, like = ((array - array.mean(axis=0)) ** 3 for array in _checked(responses, likeness))
    scaled, fitting = (array / np.linalg.norm(array, axis=0).clip(least) for array in (given, like))
    return scaled.T @ fitting


def rank_reorder(
    responses: Float[np.ndarray, "picture unit"], likeness: Float[np.ndarray, "picture text"], *,
    power: float = 3.0, share: float = 0.05, scale: float = 0.5, sharpness: float = 10.0, draws: int = 5, seed: int = 0,
) -> Float[np.ndarray, "unit text"]:  # fmt: skip
    """How nearly the text's order of pictures is the unit's own: minus the error against that of random orders.

    share: how many pictures, from the strongest on
    scale: power of how likely the text is on average, by which the error is divided
    """
    given, like = _checked(responses, likeness)
    count = max(5, round(share * len(given)))
    usual = softmax(sharpness * like, axis=1).mean(axis=0) * like.shape[1]
    ordered = -np.sort(-given, axis=0)[:count]
    rng = np.random.default_rng(seed)

    def error(order: np.ndarray) -> np.ndarray:
        return (np.abs(given[order[:count]] - ordered) ** power).mean(axis=0) ** (1 / power)

    by_chance = np.mean([error(rng.permutation(len(given))) for _ in range(draws)], axis=0).clip(_TINY)
    errors = np.stack([error(np.argsort(-like[:, at], kind="stable")) for at in range(like.shape[1])], axis=1)
    return -(errors / by_chance[:, None]) / usual**scale


SCORES: Mapping[str, Callable[..., Float[np.ndarray, "unit text"]]] = {
    "soft_wpmi": soft_wpmi,
    "hard_wpmi": hard_wpmi,
    "cos_cubed": cos_cubed,
    "rank_reorder": rank_reorder,
}


def _less_the_usual(
    responses: Float[np.ndarray, "picture unit"], log_of: Callable[[np.ndarray], np.ndarray], prior: float, seed: int
) -> Float[np.ndarray, "unit text"]:
    """log p(text | unit) - prior * log p(text), the latter the mean over units.

    Of a few units the mean is mostly each itself, and of one the difference is 0 for every text; so there random sets
    of pictures join them.
    """
    logs = np.stack([log_of(np.argsort(-column, kind="stable")) for column in responses.T])
    rng, rows = np.random.default_rng(seed), logs
    if len(logs) < FEW:
        rows = np.concatenate([logs, [log_of(rng.permutation(len(responses))) for _ in range(_RANDOM_UNITS)]])
    return logs - prior * (logsumexp(rows, axis=0) - np.log(len(rows)))


def _top(pictures: int, asked: int | None, most: int) -> int:
    return min(asked or min(most, max(10, pictures // 20)), pictures)


def _checked(responses: ArrayLike, likeness: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    given, like = np.asarray(responses, dtype=np.float64), np.asarray(likeness, dtype=np.float64)
    if given.ndim != 2 or like.ndim != 2 or len(given) != len(like) or not np.isfinite(given).all():
        raise ShapeError("Responses and likeness", got=f"{given.shape} and {like.shape}",
                         expected="finite [picture unit] and [picture text] of the same pictures")  # fmt: skip
    return given, like
