"""How sure a mean is, and whether one mean is higher than another: resampling, nothing assumed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from pellucid.values.seed import Seed

RESAMPLES = 2000
Z = 1.959963984540054  # standard deviations on either side that hold 95 %
_LEVEL = 0.95
_CHUNK = 2**22  # numbers drawn at once

Key = TypeVar("Key", bound=Hashable)
Values = Sequence[float] | Float[np.ndarray, "item"]


@dataclass(frozen=True)
class Interval:
    """A mean with the interval that holds it with 95 %. count: the values it is of, those that could be measured."""

    mean: float
    low: float
    high: float
    count: int

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.low > 0


def interval(values: Values, seed: int = 0) -> Interval:
    """The mean of the values that are numbers, with its percentile bootstrap interval (Efron 1979)."""
    held = np.asarray(values, dtype=np.float64)
    held = held[np.isfinite(held)]
    if not len(held):
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    means = _means(held, seed)
    tail = 100 * (1 - _LEVEL) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(held.mean()), float(low), float(high), len(held))


def class_mean(values: Values, classes: Sequence[Hashable]) -> float:
    """The mean over classes of the mean over the items of each, so that a class of many items counts as one of few.

    Items without a value are left out; NaN where none has one.
    """
    held: dict[Hashable, list[float]] = {}
    for value, name in zip(np.asarray(values, dtype=np.float64).tolist(), classes, strict=True):
        if np.isfinite(value):
            held.setdefault(name, []).append(value)
    return float(np.mean([np.mean(each) for each in held.values()])) if held else float("nan")


def standard_error(values: Values) -> float:
    """Of the mean of the values that are numbers; NaN of fewer than two."""
    held = np.asarray(values, dtype=np.float64)
    held = held[np.isfinite(held)]
    return float(held.std(ddof=1) / len(held) ** 0.5) if len(held) > 1 else float("nan")


def over_repeats(values: Values) -> Interval:
    """The mean of a few repeats with Student's interval, which resampling so few would make too narrow; NaN of one."""
    from scipy.stats import t  # few who resample need it

    held = np.asarray(values, dtype=np.float64)
    reach = standard_error(held) * float(t.ppf(0.5 + _LEVEL / 2, max(len(held) - 1, 1)))
    mean = float(held.mean()) if len(held) else float("nan")
    return Interval(mean, mean - reach, mean + reach, len(held))


def ratio(parts: Values, wholes: Values, seed: int = 0) -> Interval:
    """The sum of `parts` over the sum of `wholes`, with its percentile bootstrap interval over items drawn together.

    Samples whose wholes sum to 0 say nothing and are left out; NaN where all do.
    """
    pairs = np.stack([np.asarray(parts, dtype=np.float64), np.asarray(wholes, dtype=np.float64)])
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    count = int((pairs[1] != 0).sum())
    if not count:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    above, below = _means(pairs[0], seed), _means(pairs[1], seed)
    tail = 100 * (1 - _LEVEL) / 2
    low, high = np.percentile(above[below != 0] / below[below != 0], [tail, 100 - tail])
    return Interval(float(pairs[0].sum() / pairs[1].sum()), float(low), float(high), count)


def difference(one: Values, other: Values, seed: int = 0) -> Interval:
    """By how much `one` is higher than `other` on the same items, over those where both were measured."""
    return interval(np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64), seed)


def p_value(one: Values, other: Values, seed: int = 0) -> float:
    """How often resampling turns the difference of paired means round, two-sided; at least 1 / (RESAMPLES + 1)."""
    gaps = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    gaps = gaps[np.isfinite(gaps)]
    if not len(gaps) or not np.any(gaps):
        return 1.0
    means = _means(gaps, seed)
    least = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return min(1.0, 2 * (least + 1) / (RESAMPLES + 1))


def wilson(hits: float, count: float, z: float = Z) -> Interval:
    """A share with its interval (Wilson 1927), which knows that 9 of 9 is not always. NaN of nothing.

    z: how wide, in standard deviations; the usual is 95 %
    """
    if count <= 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    mean, square = hits / count, z * z / count
    middle = (mean + square / 2) / (1 + square)
    reach = z * (mean * (1 - mean) / count + square / (4 * count)) ** 0.5 / (1 + square)
    return Interval(mean, max(0.0, min(mean, middle - reach)), min(1.0, max(mean, middle + reach)), round(count))


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """The p values corrected for how many there are (Holm 1979), in the order given."""
    ordered = sorted(p_values, key=lambda name: p_values[name])
    corrected: dict[Key, float] = {}
    running = 0.0
    for place, name in enumerate(ordered):
        running = max(running, min(1.0, (len(ordered) - place) * p_values[name]))
        corrected[name] = running
    return {name: corrected[name] for name in p_values}


def _means(values: Float[np.ndarray, "item"], seed: int) -> Float[np.ndarray, "resample"]:
    """Means of samples drawn with replacement; the same draws for the same number of values and seed."""
    generator = np.random.default_rng(int(Seed(seed).child("bootstrap", len(values))))
    rows = max(1, _CHUNK // len(values))
    parts = [
        values[generator.integers(0, len(values), (min(rows, RESAMPLES - start), len(values)))].mean(axis=1)
        for start in range(0, RESAMPLES, rows)
    ]
    return np.concatenate(parts)
