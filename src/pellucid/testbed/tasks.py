"""Ways to label scenes: which fields decide, and the tables that turn them into classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Int64

from pellucid.testbed.fields import (
    BIRD_COUNTS,
    HUES,
    PARTS_OF_FIELD,
    PRESENCE,
    SPECIES,
    WORDS,
    Fields,
    of_bird,
    whose,
    words_of,
)


@dataclass(frozen=True)
class Task:
    """A way to label scenes.

    labels: the classes' names
    causes: the fields that decide, most significant first
    radix:  how many values each cause has, where the classes are the full table of them; None for the other tasks
    decide: fields -> labels
    flock:  whether it is a question about several birds
    """

    labels: tuple[str, ...]
    causes: tuple[str, ...]
    radix: tuple[int, ...] | None
    decide: Callable[[Fields], Int64[np.ndarray, "scene"]]
    flock: bool = False

    def row(self, label: int) -> dict[str, int]:
        """The deciding fields' values for one class; empty where several rows share a class."""
        if self.radix is None:
            return {}
        return dict(zip(self.causes, map(int, np.unravel_index(label, self.radix)), strict=True))

    def differing(self, this: int, that: int) -> tuple[str, ...]:
        """The fields in which two classes differ: what a counterfactual must change."""
        if self.radix is None:
            return self.causes if this != that else ()
        one, other = self.row(this), self.row(that)
        return tuple(cause for cause in self.causes if one[cause] != other[cause])

    def fitting(self, fields: Fields) -> Bool[np.ndarray, "scene class"]:
        """Which classes a scene may still have: several where a deciding part is missing and nothing else tells."""
        count = len(next(iter(fields.values())))
        fits = np.zeros((count, len(self.labels)), dtype=bool)
        missing = {cause: ~shown(fields, cause) for cause in self.causes}
        unsure = [cause for cause in self.causes if missing[cause].any()]
        for values in product(*(range(len(words_of(cause))) for cause in unsure)):
            supposed = {
                cause: np.where(missing[cause], value, fields[cause])
                for cause, value in zip(unsure, values, strict=True)
            }
            fits[np.arange(count), self.decide({**fields, **supposed})] = True
        return fits


def shown(fields: Fields, cause: str) -> Bool[np.ndarray, "scene"]:
    """Whether a part that shows this field is there. A missing plume is a value of its field, so it counts as shown."""
    bird, plain = whose(cause)
    named = [of_bird(bird, f"has_{part}") for part in PARTS_OF_FIELD[plain] if f"has_{part}" in PRESENCE]
    if not named or plain == "birds":
        return np.ones(len(fields[cause]), dtype=bool)
    return np.logical_or.reduce([fields[name] == 1 for name in named])


def _table(causes: tuple[str, ...], labels: tuple[str, ...], *, flock: bool = False) -> Task:
    """A task whose classes are every combination of the causes' values."""
    radix = tuple(len(words_of(cause)) for cause in causes)

    def decide(fields: Fields) -> Int64[np.ndarray, "scene"]:
        return np.ravel_multi_index(tuple(fields[cause].astype(np.int64) for cause in causes), radix).astype(np.int64)

    return Task(labels, causes, radix, decide, flock)


def _logic(labels: tuple[str, str], combine: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Task:
    """A task of two classes on plume and fanned tail."""

    def decide(fields: Fields) -> Int64[np.ndarray, "scene"]:
        return combine(fields["crest"] == 1, fields["tail"] == 1).astype(np.int64)

    return Task(labels, ("tail", "crest"), None, decide)


def _side(fields: Fields) -> Int64[np.ndarray, "scene"]:
    """The tail of the bird further left: in this task one bird's is forked and the other's fanned."""
    first_is_left = fields["cell"] % 2 == 0
    return np.where(first_is_left, fields["tail"], fields["bird1_tail"]).astype(np.int64)


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "species": _table(("wing", "tail", "crest"), SPECIES),
        "wing3": _table(("wing",), WORDS["wing"]),
        "tail2": _table(("tail",), WORDS["tail"]),
        "crest2": _table(("crest",), ("plain", "plumed")),
        "bib6": _table(("bib_hue",), tuple(f"{hue} bib" for hue in HUES)),
        "body_tail12": _table(("body_hue", "tail"), tuple(f"{hue} {tail}" for hue in HUES for tail in WORDS["tail"])),
        "xor": _logic(("plume and fan, or neither", "either plume or fan"), np.logical_xor),
        "and": _logic(("not both plume and fan", "plume and fan"), np.logical_and),
        "or": _logic(("neither plume nor fan", "plume or fan"), np.logical_or),
        "count": _table(("birds",), tuple(f"{word} bird{'s' * (word != 'one')}" for word in BIRD_COUNTS), flock=True),
        "side": Task(("swift left of wren", "wren left of swift"), ("tail", "bird1_tail"), None, _side, flock=True),
    }
)
