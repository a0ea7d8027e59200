"""Sets of places taken away: does what the map gives to a set go together with what the target loses without it?"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.perturb import Write, answers_of, cells, pixels, sums_over, whole_answers, write_without
from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.trust.likeness import correlation
from pellucid.trust.measured import Maps, Measured
from pellucid.trust.removal import blanked
from pellucid.values.seed import Seed

SIZES = (0.01, 0.03, 0.1, 0.3, 0.8)
_STILL = "the target is the same without any of the sets, so nothing can go together with it"


@dataclass(frozen=True, eq=False)
class Sets:
    """Sets of places of a picture, the same for every picture and map.

    labels:  the place of every pixel
    members: which places are in which set
    name:    names labels and members: equal names, equal sets
    """

    labels: Int[Tensor, "height width"]
    members: Bool[Tensor, "set place"]
    name: Hashable

    def pixels(self, index: int) -> Bool[Tensor, "1 height width"]:
        """The pixels of one set."""
        return self.members[index][self.labels][None]

    def sums(self, values: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch set"]:
        """What a map gives to each set."""
        return sums_over(values, self.labels) @ self.members.double().T


@metric(
    "mu_fidelity", better="higher", paper="Bhatt et al. 2020", range=(-1.0, 1.0),
    shared=lambda samples=200, **_: 1 + samples,
)  # fmt: skip
def mu_fidelity(
    evidence: Evidence, maps: Maps, *, samples: int = 200, grid: int = 9, share: float = 0.2, fill: str = "mean",
    seed: int | None = None,
) -> Measured:  # fmt: skip
    """Whether random sets of cells matter to the target as much as the map gives to them.

    samples: sets tried; all maps are measured on the same ones
    grid:    rows and columns of cells
    share:   of all cells that a set has
    returns: Pearson's correlation of what the map gives to the set and what the target loses without it, -1 to 1; the
             spread is its standard error
    """
    labels = cells(*evidence.size, grid)
    places = int(labels.max()) + 1
    (sets,) = _drawn(labels, [_of(share, places)], samples, _seed(evidence, seed))
    return _correlated(evidence, maps, {f"{share:.0%}": sets}, fill, f"cells of a {grid} x {grid} grid")


@metric(
    "faithfulness_correlation", better="higher", paper="Bhatt et al. 2020, as in Quantus", range=(-1.0, 1.0),
    shared=lambda samples=100, **_: 1 + samples,
)  # fmt: skip
def faithfulness_correlation(
    evidence: Evidence, maps: Maps, *, samples: int = 100, subset: int = 224, fill: str = "black",
    seed: int | None = None,
) -> Measured:  # fmt: skip
    """Whether random sets of scattered pixels matter to the target as much as the map gives to them.

    subset: pixels of a set; otherwise as `mu_fidelity`, which takes cells. Single pixels are easily told apart from a
            photograph's, so that the model may answer to the scatter rather than to what is missing
    """
    everything = pixels(evidence)
    if not 1 <= subset < everything:
        raise RequestError(f"subset={subset}; expected 1 to {everything - 1} of the {everything} pixels.")
    (sets,) = _drawn(_pixel_labels(evidence), [subset], samples, _seed(evidence, seed))
    return _correlated(evidence, maps, {f"{subset}": sets}, fill, "pixels")


@metric(
    "sensitivity_n", better="higher", paper="Ancona et al. 2018", range=(-1.0, 1.0),
    shared=lambda samples=25, sizes=SIZES, **_: 1 + samples * len(sizes),
)  # fmt: skip
def sensitivity_n(
    evidence: Evidence, maps: Maps, *, samples: int = 25, sizes: Sequence[float] = SIZES, fill: str = "black",
    seed: int | None = None,
) -> Measured:  # fmt: skip
    """Whether sets of n random pixels matter to the target as much as the map gives to them, for n from few to most.

    samples: sets tried for every n
    sizes:   n as parts of the picture, each at least one pixel
    returns: Pearson's correlation for every n, and its mean over them; 1 for every n where a map satisfies the axiom of
             that name, which only the contributions of a linear model do
    """
    everything = pixels(evidence)
    counts = [_of(size, everything) for size in sizes]
    if not counts:
        raise RequestError("sizes is empty; name at least one part of the picture.")
    drawn = _drawn(_pixel_labels(evidence), counts, samples, _seed(evidence, seed))
    sets = {f"{count}": one for count, one in zip(counts, drawn, strict=True)}
    return _correlated(evidence, maps, sets, fill, "pixels")


@metric(
    "faithfulness_estimate", better="higher", paper="Alvarez-Melis & Jaakkola 2018", range=(-1.0, 1.0),
    shared=lambda grid=8, **_: 1 + grid**2,
)  # fmt: skip
def faithfulness_estimate(evidence: Evidence, maps: Maps, *, grid: int = 8, fill: str = "black") -> Measured:
    """Whether each cell matters to the target, when it alone is missing, as much as the map gives to it.

    grid:    rows and columns of cells
    returns: Pearson's correlation over cells of what the map gives to the cell and what the target loses without it
    """
    sets = {"1": alone(evidence, grid)}
    return _correlated(evidence, maps, sets, fill, f"cells of a {grid} x {grid} grid", drawn=False)


def alone(evidence: Evidence, grid: int) -> Sets:
    """Each cell of a grid as a set of its own. Raises RequestError for a grid without rows."""
    labels = cells(*evidence.size, grid)
    places = int(labels.max()) + 1
    return Sets(labels, torch.eye(places, dtype=torch.bool), ("alone", grid, evidence.size))


def _correlated(
    evidence: Evidence, maps: Maps, sets: Mapping[str, Sets], fill: str, places: str, *, drawn: bool = True
) -> Measured:
    lost = lost_without(evidence, sets, fill)
    found = {
        name: torch.stack([pearson(one.sums(values), lost[size].T) for size, one in sets.items()])
        for name, values in maps.items()
    }
    still = torch.stack([values.std(dim=0) for values in lost.values()]).amax(dim=0) == 0
    found = {name: torch.where(still, torch.nan, rows) for name, rows in blanked(found, maps).items()}
    counts = [len(one.members) for one in sets.values()]
    return Measured(
        values={name: rows.mean(dim=0) for name, rows in found.items()},
        spread={name: _spread(rows, counts) for name, rows in found.items()} if drawn else {},
        curves={name: {"sizes": list(sets), "correlation": rows.T[None].tolist()} for name, rows in found.items()},
        fills=(fill,),
        unit=f"correlation over sets of {places}",
        skipped=dict.fromkeys(torch.nonzero(still).flatten().tolist(), _STILL),
    )


def _spread(rows: Float[Tensor, "size batch"], samples: Sequence[int]) -> Float[Tensor, "batch"]:
    """How far the mean correlation would move with other sets: the standard error of each, as if they were normal."""
    counts = torch.tensor(samples, dtype=rows.dtype)[:, None]
    errors = (1 - rows**2) / (counts - 1).clamp(min=1).sqrt()
    return errors.square().sum(dim=0).sqrt() / len(rows)


def lost_without(evidence: Evidence, sets: Mapping[str, Sets], fill: str) -> dict[str, Float[Tensor, "set batch"]]:
    """What the target loses without each set; all of them asked as one stream."""

    def writer(one: Sets, index: int) -> Write:
        return lambda out: write_without(evidence, one.pixels(index), fill, out)

    def keys(one: Sets) -> list[Hashable]:
        return [("set", one.name, index, fill) for index in range(len(one.members))]

    asked = {key: writer(one, index) for one in sets.values() for index, key in enumerate(keys(one))}
    found = answers_of(evidence, asked)
    whole = whole_answers(evidence).scores
    return {size: torch.stack([whole - found[key].scores for key in keys(one)]) for size, one in sets.items()}


def pearson(one: Float[Tensor, "batch number"], other: Float[Tensor, "batch number"]) -> Float[Tensor, "batch"]:
    """Pearson's correlation of two rows of numbers, -1 to 1; 0 where one of them says the same throughout."""
    said = [rows.double().std(dim=-1) > _ROUNDING * rows.double().abs().amax(dim=-1) for rows in (one, other)]
    found = correlation(one[:, None], other[:, None])
    return torch.where((said[0] & said[1]) | found.isnan(), found, torch.zeros_like(found)).float()


_ROUNDING = 1e-9  # sums of equal numbers are not quite equal


def _drawn(labels: Int[Tensor, "height width"], counts: Sequence[int], samples: int, seed: Seed) -> list[Sets]:
    """For every count, random sets of so many places."""
    if samples < 2:
        raise RequestError(f"samples={samples}; a correlation needs at least 2.")
    places = int(labels.max()) + 1
    drawn: list[Sets] = []
    for count in counts:
        generator = seed.child("sets", places, count).generator()
        members = torch.zeros(samples, places, dtype=torch.bool)
        for row in members:
            row[torch.randperm(places, generator=generator)[:count]] = True
        drawn.append(Sets(labels, members, (int(seed), places, count, tuple(labels.shape))))
    return drawn


def _of(share: float, places: int) -> int:
    if not 0 < share < 1:
        raise RequestError(f"A part of {share}; expected a part of the picture between 0 and 1.")
    return max(1, round(share * places))


def _pixel_labels(evidence: Evidence) -> Int[Tensor, "height width"]:
    return torch.arange(pixels(evidence)).view(evidence.size)


def _seed(evidence: Evidence, seed: int | None) -> Seed:
    return evidence.seed if seed is None else Seed(seed)
