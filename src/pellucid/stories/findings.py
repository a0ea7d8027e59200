"""What a few pictures of a benchmark gave, as it is noted and put together again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pellucid.canvas.words import percent
from pellucid.compute.bootstrap import interval
from pellucid.results.leaderboard import Example
from pellucid.results.opening import open_result
from pellucid.results.retraining import Retraining
from pellucid.subject import VisionModel
from pellucid.trust.measured import is_control

RETRAINED = Path("pellucid-retrain")  # where measures that train write, unless told otherwise


@dataclass(frozen=True, eq=False)
class Findings:
    """What a few pictures gave: by metric and map one value per picture; seconds per map; units of metrics.

    spent:   passes per picture of the map that `explain` shows first
    remarks: what measures say of themselves, by metric
    classes: what each picture is explained for
    by_fill: by metric, fill and map one value per picture, where pixels were removed with several fills
    clipped: per map the part of its evidence below 0, where measures of the positive part left it out
    """

    values: Mapping[str, Mapping[str, list[float | None]]]
    seconds: Mapping[str, float]
    units: Mapping[str, str]
    examples: tuple[Example, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()
    spent: float = 0.0
    remarks: Mapping[str, list[str]] = field(default_factory=dict[str, list[str]])
    classes: list[str] = field(default_factory=list[str])
    clipped: Mapping[str, list[float | None]] = field(default_factory=dict[str, "list[float | None]"])
    by_fill: Mapping[str, Mapping[str, Mapping[str, list[float | None]]]] = field(
        default_factory=dict[str, "dict[str, dict[str, list[float | None]]]"]
    )

    def to_dict(self) -> dict[str, Any]:
        examples = [
            {"name": one.name, "plates": {key: png.hex() for key, png in one.plates.items()}} for one in self.examples
        ]
        return {**vars(self), "examples": examples}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Findings:
        examples = tuple(
            Example(one["name"], {key: bytes.fromhex(png) for key, png in one["plates"].items()})
            for one in record["examples"]
        )
        given: dict[str, Any] = {**record, "examples": examples, "notes": tuple(record["notes"])}
        return cls(**given)


def remarks(found: Sequence[Findings]) -> Iterator[str]:
    """What each measure says of itself whatever the pictures."""
    for metric in dict.fromkeys(name for one in found for name in one.remarks):
        each = [one.remarks[metric] for one in found if metric in one.remarks]
        yield from (f"{metric}: {remark}." for remark in each[0] if all(remark in other for other in each))


def clipped(found: Sequence[Findings]) -> Iterator[str]:
    """How much evidence the measures of positive evidence leave out of each map, the most first."""
    means: dict[str, float] = {}
    for name in dict.fromkeys(name for one in found for name in one.clipped if not is_control(name)):
        shares = [share for one in found for share in one.clipped.get(name, ()) if share is not None]
        if any(shares):
            means[name] = sum(shares) / len(shares)
    if means:
        listing = ", ".join(f"{name} {percent(means[name])}" for name in sorted(means, key=lambda one: -means[one]))
        yield f"Negative evidence, left out where only the positive is measured: {listing}."


def flips(found: Sequence[Findings], seed: int) -> Iterator[str]:
    """Which methods change places with what removed pixels become, clearly under either fill, by metric.

    Clearly: the paired 95% interval of the difference lies above 0 under one fill and below 0 under another.
    """
    for metric in dict.fromkeys(name for one in found for name in one.by_fill):
        tables = [one.by_fill[metric] for one in found if metric in one.by_fill]
        rows = {fill: _by_method([table[fill] for table in tables]) for fill in tables[0]}
        pairs = [
            f"{above} and {below} ({fill}, {other})"
            for above, below in permutations(next(iter(rows.values())), 2)
            for fill, other in combinations(rows, 2)
            if _clearly_turned(rows[fill], rows[other], above, below, seed)
        ]
        if pairs:
            named = ", ".join(pairs[:_NAMED]) + (f" and {len(pairs) - _NAMED} more" if len(pairs) > _NAMED else "")
            yield f"{metric}: what removed pixels become turns the order round, clearly under either fill, of {named}."


def _by_method(tables: Sequence[Mapping[str, list[float | None]]]) -> dict[str, list[float]]:
    """Values of all pictures, of the maps that were measured on all of them."""
    names = [name for name in tables[0] if not is_control(name) and all(name in table for table in tables)]
    return {
        name: [float("nan") if value is None else value for table in tables for value in table[name]] for name in names
    }


def _clearly_turned(
    rows: Mapping[str, list[float]], others: Mapping[str, list[float]], above: str, below: str, seed: int
) -> bool:
    gaps = [np.subtract(one[above], one[below]) for one in (rows, others)]
    if not (np.nanmean(gaps[0]) > 0 > np.nanmean(gaps[1])):  # what need not be resampled
        return False
    return interval(gaps[0], seed).low > 0 > interval(gaps[1], seed).high


_NAMED = 4  # pairs that fit a note


def how_far_bent(model: VisionModel, folders: Sequence[Path]) -> Iterator[str]:
    """Between what short training moved this net's maps while its answers stayed, as the first folder's result says."""
    kept = next((path for folder in folders if (path := folder / "alignment.json").exists()), None)
    found = open_result(kept) if kept is not None else None
    if not isinstance(found, Retraining) or found.facts.get("model") != model.spec:
        return
    rows = [row for row in found.rows if row["trained for"] == row["map"] and row["measure"] == "mass"]
    told = [
        f"{row['map']} from {percent(row['misaligned'])} to {percent(row['aligned'])}, as it is "
        f"{percent(row['original'])}"
        for row in rows if row["gap"] == row["gap"]
    ]  # fmt: skip
    if told:
        yield (
            "Scores against a known truth measure the model together with the map: short training, after which the "
            f"model answers as well, moved the share of a map inside the truth: {'; '.join(told)} ({kept})."
        )


def joined(found: Sequence[Findings], lengths: Sequence[int], metric: str, name: str) -> tuple[float, ...]:
    """One value per picture; NaN where a step did not measure it."""
    values: list[float] = []
    for one, length in zip(found, lengths, strict=True):
        row = one.values.get(metric, {}).get(name)
        values += [float("nan") if value is None else value for value in row] if row else [float("nan")] * length
    return tuple(values)


def plain(row: Tensor) -> list[float | None]:
    """The values as JSON has them, None for NaN."""
    return [None if value != value else value for value in row.double().tolist()]
