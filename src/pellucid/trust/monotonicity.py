"""Does more importance mean more effect, step by step?"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.perturb import ORDERS, Cut, Write, answers_of, cells, ordered, pixels, sums_over, whole_answers
from pellucid.errors import RequestError
from pellucid.images import baselines
from pellucid.registry import metric
from pellucid.trust.likeness import rank_correlation
from pellucid.trust.measured import Maps, Measured, spread_of
from pellucid.trust.removal import along, blanked, even, followed
from pellucid.values.seed import Seed


@metric(
    "monotonicity_arya", better="higher", paper="Arya et al. 2019",
    cost=lambda steps=11, fills=("black",), **_: (steps - 2) * len(fills),
    shared=lambda fills=("black",), **_: 1 + len(fills),
)  # fmt: skip
def monotonicity_arya(
    evidence: Evidence, maps: Maps, *, steps: int = 11, fills: Sequence[str] = ("black",), order: str = "absolute",
    seed: int | None = None,
) -> Measured:  # fmt: skip
    """Whether the prediction only ever rises while pixels come in, the least important first.

    steps:   points from nothing but fill to the whole picture, both ends included
    returns: share of the steps at which the prediction does not fall, 0 to 1; the paper asks for 1. Here pixels come in
             from the least important, so the pictures are those of deletion read backwards
    """
    counts = [round(part * pixels(evidence)) for part in even(steps)]
    cuts = {fill: [Cut(fill, count, "removed") for count in reversed(counts)] for fill in fills}
    found = along(evidence, ordered(maps, order), cuts, seed)
    rises = {name: _rising(values) for name, values in found.values.items()}
    return Measured(
        values={name: share.mean(dim=0) for name, share in rises.items()},
        spread=spread_of(rises),
        curves={name: {"fractions": list(even(steps)), found.unit: row.tolist()} for name, row in found.values.items()},
        fills=tuple(fills),
        order=ORDERS[order].replace("largest", "smallest"),
        unit=f"share of steps at which the {found.unit} does not fall",
    )


@metric(
    "monotonicity_nguyen", better="higher", paper="Nguyen & Martinez 2020", range=(-1.0, 1.0),
    shared=lambda grid=7, samples=8, **_: 1 + grid**2 * samples,
)  # fmt: skip
def monotonicity_nguyen(
    evidence: Evidence, maps: Maps, *, grid: int = 7, samples: int = 8, seed: int | None = None
) -> Measured:
    """Whether the cells that the map gives more to are those on which the prediction depends more.

    grid:    rows and columns of cells, each drawn anew while the rest stays
    samples: draws for every cell, of colours uniform over all there are
    returns: Spearman's correlation over cells of the sum of the map's magnitude and the mean squared change of the
             prediction; -1 to 1
    """
    if samples < 1:
        raise RequestError(f"samples={samples}; expected at least 1.")
    labels = cells(*evidence.size, grid)
    moved = _moved(evidence, labels, samples, evidence.seed if seed is None else Seed(seed))
    still = moved.std(dim=0) == 0
    found = {
        name: torch.where(
            still, torch.nan, rank_correlation(sums_over(values.abs(), labels)[:, None], moved.T[:, None])
        )
        for name, values in maps.items()
    }
    reason = "the prediction is the same whatever a cell shows"
    return Measured(
        values={name: row.float() for name, row in blanked(found, maps).items()},
        fills=("noise",),
        unit=f"rank correlation over cells of a {grid} x {grid} grid",
        skipped=dict.fromkeys(torch.nonzero(still).flatten().tolist(), reason),
    )


def _rising(values: Float[Tensor, "fill batch point"]) -> Float[Tensor, "fill batch"]:
    share = (values.diff(dim=-1) >= 0).float().mean(dim=-1)
    return torch.where(values.isnan().any(dim=-1), torch.nan, share)


def _moved(evidence: Evidence, labels: Tensor, samples: int, seed: Seed) -> Float[Tensor, "cell batch"]:
    """The mean squared change of the prediction when a cell is drawn anew."""

    held: dict[int, Tensor] = {}

    def noise(index: int) -> Tensor:
        if index not in held:
            held[index] = baselines.fill(evidence.inputs, "noise", evidence.preprocess, seed.child("drawn", index))
        return held[index]

    def writer(cell: int, index: int) -> Write:
        gone = (labels == cell)[None, None].to(evidence.inputs.device)
        return lambda out: torch.where(gone, noise(index), evidence.inputs, out=out)

    places = int(labels.max()) + 1
    size = tuple(labels.shape)
    asked: dict[Hashable, Write] = {
        ("cell", size, places, cell, index, int(seed)): writer(cell, index)
        for cell in range(places) for index in range(samples)
    }  # fmt: skip
    found = answers_of(evidence, asked)
    read = followed(evidence).read
    change = torch.stack([read(answers) for answers in found.values()]) - read(whole_answers(evidence))
    return change.double().square().view(places, samples, -1).mean(dim=1)
