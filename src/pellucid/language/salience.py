"""Which segments carry the evidence of a map: the search behind its sentences.

Segments are whatever has a name and an attribution: superpixels, cells of a grid, parts, words. Which of them belong
together is a graph; a sequence is a path. Feldhus et al., Saliency Map Verbalization, 2023. Two things are otherwise
here: a set of one segment has its own coverage (a half-open slice gave it 0), and the upper quartile is applied (a
guard that counted values rather than true ones never fired).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from pellucid.errors import MapError, RequestError

Search = Literal["total", "span", "convolution"]
Neighbours = Sequence[Sequence[int]]
SEARCHES: tuple[Search, ...] = ("total", "span", "convolution")
LONGEST = 8  # a window's patterns grow as binomial coefficients
DIFFUSE = 0.3  # coverage below which the evidence has no one place
_QUARTILE = 75.0
_BEST = 5  # windows that each search hands on

THRESHOLDS: Mapping[str, Callable[[Float[np.ndarray, "segment"]], float]] = {
    "mean": lambda values: float(values.mean()),
    "quantile": lambda values: float(values.std()),  # so called by the paper's code; it is a standard deviation
    "variance": lambda values: float(values.var()),
}


@dataclass(frozen=True)
class Run:
    """Segments that hang together, and the share of the evidence of their sign that they carry, 0 to 1."""

    members: tuple[int, ...]
    coverage: float


@dataclass(frozen=True)
class Settings:
    """How a map is searched.

    searches:  any of `total` (each segment alone), `span` (each with those nearest to it), `convolution` (all patterns
               of 2 to length - 2 segments within a window)
    length:    segments of a window, 3 to 8
    threshold: what a window's sum must exceed `value` times of: the `mean`, the standard deviation (`quantile`) or the
               `variance` of the attributions, scaled to a largest magnitude of 1
    floor:     what a segment needs to be named, as a multiple of the mean magnitude; 0 asks for positive evidence only.
               In pictures nearly every segment has a little, and without a floor the runs grow together to all of it
    """

    searches: tuple[Search, ...] = SEARCHES
    length: int = 5
    threshold: str = "mean"
    value: float = 1.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        unknown = [name for name in self.searches if name not in SEARCHES]
        if unknown or not self.searches:
            raise RequestError(f"searches={self.searches!r}; expected some of {', '.join(SEARCHES)}.")
        if not 3 <= self.length <= LONGEST:
            raise RequestError(f"length={self.length}; expected 3 to {LONGEST}: patterns grow with its binomials.")
        if self.threshold not in THRESHOLDS:
            raise RequestError(f"threshold={self.threshold!r}; expected {', '.join(THRESHOLDS)}.")


def checked(values: ArrayLike) -> Float[np.ndarray, "segment"]:
    """One finite attribution per segment. Raises MapError for none, for NaN and for infinity."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise MapError(f"The map has the shape {list(array.shape)}; expected one value for each of 1 or more segments.")
    if not np.isfinite(array).all():
        raise MapError("The map holds NaN or infinite values, which say nothing. Look where it was computed.")
    return array


def coverage(values: ArrayLike, members: Sequence[int], *, sign: int = 1) -> float:
    """The share of all evidence of one sign that these segments carry, 0 to 1; 0 where there is none."""
    signed = np.maximum(sign * checked(values), 0)
    total = signed.sum()
    return min(1.0, float(signed[list(members)].sum() / total)) if total > 0 else 0.0


def path(count: int) -> tuple[tuple[int, ...], ...]:
    """The neighbours in a sequence of so many segments."""
    return tuple(tuple(at for at in (place - 1, place + 1) if 0 <= at < count) for place in range(count))


def candidates(
    values: ArrayLike, neighbours: Neighbours, kind: Search, settings: Settings | None = None
) -> list[tuple[int, ...]]:
    """Windows whose sum passes the threshold, less the segments that do not speak for the sign, best coverage first.

    `total` knows no threshold: every segment with evidence is a candidate.
    """
    asked, array = settings or Settings(), checked(values)
    largest = np.abs(array).max()
    scaled = array / largest if largest > 0 else array
    floor = max(0.0, asked.floor * float(np.abs(scaled).mean()))
    least = -np.inf if kind == "total" else asked.value * THRESHOLDS[asked.threshold](scaled)
    found: dict[tuple[int, ...], float] = {}
    for window in _WINDOWS[kind](scaled, neighbours, asked.length):
        if scaled[list(window)].sum() > least:
            kept = tuple(sorted(at for at in window if scaled[at] > floor))
            if kept:
                found[kept] = float(scaled[list(kept)].sum())
    return sorted(found, key=lambda members: (-found[members], members))


def runs(values: ArrayLike, neighbours: Neighbours | None = None, settings: Settings | None = None) -> tuple[Run, ...]:
    """Everything the searches find, merged to what hangs together, the largest coverage first.

    neighbours: for each segment those it touches; None is a sequence
    """
    array, asked = checked(values), settings or Settings()
    beside = path(len(array)) if neighbours is None else neighbours
    if len(beside) != len(array):
        raise MapError(f"{len(array)} segments have a value and {len(beside)} have neighbours; expected one each.")
    chosen = {
        at for kind in asked.searches for window in candidates(array, beside, kind, asked)[:_BEST] for at in window
    }
    found = [Run(members, coverage(array, members)) for members in _connected(chosen, beside)]
    return tuple(sorted(found, key=lambda run: (-run.coverage, run.members)))


def told(found: Sequence[Run]) -> tuple[Run, ...]:
    """The runs worth a sentence: those at or above the upper quartile of coverage. The best one always is."""
    if not found:
        return ()
    least = float(np.percentile([run.coverage for run in found], _QUARTILE))
    return tuple(run for at, run in enumerate(found) if at == 0 or run.coverage >= least)


# -- windows ----------------------------------------------------------------------------------------------------------


def _total(values: Float[np.ndarray, "segment"], _neighbours: Neighbours, _length: int) -> Iterator[tuple[int, ...]]:
    return ((at,) for at in range(len(values)))


def _span(values: Float[np.ndarray, "segment"], neighbours: Neighbours, length: int) -> Iterator[tuple[int, ...]]:
    """A segment and the 2, 4, ... nearest to it: on a sequence centred windows of odd support."""
    for centre in range(len(values)):
        near = _nearest(values, neighbours, centre, length)
        for support in range(3, length + 1, 2):
            yield tuple(near[:support])


def _convolution(
    values: Float[np.ndarray, "segment"], neighbours: Neighbours, length: int
) -> Iterator[tuple[int, ...]]:
    """Every pattern of 2 to length - 2 ones in the `length` segments nearest to one."""
    seen: set[tuple[int, ...]] = set()
    for centre in range(len(values)):
        near = sorted(_nearest(values, neighbours, centre, length))
        for count in range(min(2, length - 2), min(length - 2, len(near)) + 1):
            for window in combinations(near, count):
                if window not in seen:
                    seen.add(window)
                    yield window


def _nearest(values: Float[np.ndarray, "segment"], neighbours: Neighbours, centre: int, length: int) -> list[int]:
    """The segment and those fewest steps away; of equally near ones the stronger come first."""
    distance = _distances(neighbours, centre, length - 1)
    return sorted(distance, key=lambda at: (distance[at], -values[at], at))[:length]


_WINDOWS: Mapping[str, Callable[[np.ndarray, Neighbours, int], Iterator[tuple[int, ...]]]] = {
    "total": _total,
    "span": _span,
    "convolution": _convolution,
}


def _distances(neighbours: Neighbours, centre: int, most: int) -> dict[int, int]:
    """Steps to every segment that is at most so many away."""
    found, edge = {centre: 0}, {centre}
    for steps in range(1, most + 1):
        edge = {at for place in edge for at in neighbours[place]} - found.keys()
        found.update(dict.fromkeys(edge, steps))
    return found


def _connected(chosen: set[int], neighbours: Neighbours) -> Iterator[tuple[int, ...]]:
    left = set(chosen)
    while left:
        piece, edge = set[int](), {min(left)}
        while edge:
            piece |= edge
            edge = {at for place in edge for at in neighbours[place] if at in left} - piece
        left -= piece
        yield tuple(sorted(piece))
