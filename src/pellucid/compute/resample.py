"""Intervals for figures that are no plain mean: ratios, and answers that come in bunches from the same person."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from jaxtyping import Float, Int

from pellucid.compute.bootstrap import RESAMPLES, Interval, Values
from pellucid.values.seed import Seed

_TAILS = (2.5, 97.5)
_CHUNK = 2**22  # numbers drawn at once


def sums_interval(
    parts: Float[np.ndarray, "unit part"],
    figure: Callable[[Float[np.ndarray, "resample part"]], Float[np.ndarray, "resample"]],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """A figure made of sums over units (pictures, people), with its interval when the units are drawn anew.

    parts:  what each unit adds to each sum
    figure: several rows of sums at once -> the figure of each; NaN where it is undefined, and left out
    count:  the units
    """
    held = np.asarray(parts, dtype=np.float64)
    if not len(held):
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    point = float(figure(held.sum(axis=0, keepdims=True))[0])
    drawn = figure(_sums(held, seed, resamples))
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.percentile(drawn, _TAILS) if len(drawn) else (float("nan"), float("nan"))
    return Interval(point, float(low), float(high), len(held))


def ratio(above: Values, below: Values, *, seed: int = 0) -> Interval:
    """The sum of `above` over the sum of `below`, with its interval when the pairs are drawn anew."""
    pairs = np.stack([np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)], axis=1)
    return sums_interval(pairs[np.isfinite(pairs).all(axis=1)], divided, seed=seed)


def crossed_interval(
    parts: Float[np.ndarray, "item part"],
    rows: Sequence[Hashable],
    columns: Sequence[Hashable],
    figure: Callable[[Float[np.ndarray, "resample part"]], Float[np.ndarray, "resample"]],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """A figure made of sums, with its interval when people and tasks are both drawn anew (Owen 2007).

    For items that share a person or a task with others: neither makes them independent of each other. The interval is
    a little too wide rather than too narrow. rows, columns: whose item each is; count: the rows
    """
    (row_place, row_count), (column_place, column_count) = _places(rows), _places(columns)
    table = np.zeros((parts.shape[1], row_count, column_count))
    for at, own in enumerate(parts.T):
        np.add.at(table[at], (row_place, column_place), own)
    generator = np.random.default_rng(int(Seed(seed).child("crossed", row_count, column_count)))
    point = float(figure(table.sum(axis=(1, 2))[None])[0])
    drawn: list[np.ndarray] = []
    together = max(1, _CHUNK // (parts.shape[1] * max(row_count, column_count)))
    for start in range(0, resamples, together):
        count = min(together, resamples - start)
        of_rows, of_columns = (
            generator.multinomial(size, np.full(size, 1 / size), count) for size in (row_count, column_count)
        )
        drawn.append(figure(np.einsum("rpc,rc->rp", np.einsum("ru,puc->rpc", of_rows, table), of_columns)))
    held = np.concatenate(drawn)
    held = held[np.isfinite(held)]
    low, high = np.percentile(held, _TAILS) if len(held) else (float("nan"), float("nan"))
    return Interval(point, float(low), float(high), row_count)


def divided(sums: Float[np.ndarray, "resample 2"]) -> Float[np.ndarray, "resample"]:
    """The first column over the second; NaN where the second is 0."""
    below = np.where(sums[:, 1] == 0, np.nan, sums[:, 1])
    return sums[:, 0] / below


def bunched(
    parts: Float[np.ndarray, "item part"], owners: Sequence[Hashable]
) -> tuple[Float[np.ndarray, "owner part"], tuple[Hashable, ...]]:
    """What each owner's items add up to, in the order in which the owners first come."""
    names = tuple(dict.fromkeys(owners))
    place = {name: at for at, name in enumerate(names)}
    total = np.zeros((len(names), parts.shape[1]))
    np.add.at(total, np.array([place[owner] for owner in owners], dtype=int), parts)
    return total, names


def _places(owners: Sequence[Hashable]) -> tuple[Int[np.ndarray, "item"], int]:
    place = {name: at for at, name in enumerate(dict.fromkeys(owners))}
    return np.array([place[owner] for owner in owners], dtype=int), len(place)


def _sums(held: Float[np.ndarray, "unit part"], seed: int, resamples: int) -> Float[np.ndarray, "resample part"]:
    generator = np.random.default_rng(int(Seed(seed).child("resample", len(held))))
    rows = max(1, _CHUNK // held.size)
    return np.concatenate(
        [_drawn(held, generator, min(rows, resamples - start)) for start in range(0, resamples, rows)]
    )


def _drawn(held: np.ndarray, generator: np.random.Generator, rows: int) -> Float[np.ndarray, "row part"]:
    picks: Int[np.ndarray, "row unit"] = generator.integers(0, len(held), (rows, len(held)))
    return held[picks].sum(axis=1)
