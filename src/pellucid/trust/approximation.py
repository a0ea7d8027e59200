"""Which question does a map answer? How well it foretells the model, read as a linear model, in one neighbourhood."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.trust.measured import Maps, Measured
from pellucid.values.seed import Seed

_LUNCH = "no map wins in every neighbourhood: choose by the changes you care about"
_RANGE = (float("-inf"), 1.0)
Changes = Iterator[tuple[Tensor, Tensor]]


@metric(
    "foretells_regions", better="higher", paper="Han et al. 2022", range=_RANGE, cost=lambda samples=64: samples,
    changes="half of the picture's cells are taken away, by chance",
)  # fmt: skip
def foretells_regions(
    evidence: Evidence, maps: Maps, *, samples: int = 64, grid: int = 7, fill: str = "mean", seed: int = 0
) -> Measured:
    """How well the map foretells what happens when any half of the picture's cells is taken away.

    The neighbourhood of LIME and KernelSHAP: cells of a `grid` are there or filled, each by the toss of a coin.
    returns: explained variance (R squared) of the target's changes on samples that its one free factor was not fitted
             on: 1 foretells all, 0 no better than their mean, below 0 worse

    Han et al., Which Explanation Should I Choose?, NeurIPS 2022.
    """

    def changes() -> Changes:
        generator = Seed(seed).child("regions").generator()
        for _ in range(samples):
            cells = torch.rand(len(evidence), grid, grid, generator=generator) < 0.5
            gone = _spread(cells, evidence.size)
            yield gone.float(), _without(evidence, gone, fill)

    return _foretold(evidence, maps, changes, samples)


@metric(
    "foretells_single_regions", better="higher", paper="Han et al. 2022", range=_RANGE, cost=lambda grid=7: grid * grid,
    changes="one cell of the picture is taken away",
)  # fmt: skip
def foretells_single_regions(evidence: Evidence, maps: Maps, *, grid: int = 7, fill: str = "mean") -> Measured:
    """How well the map foretells what happens when one cell alone is taken away.

    The neighbourhood of occlusion. grid: cells on a side, each taken away once; otherwise as `foretells_regions`
    """

    def changes() -> Changes:
        # Not in reading order: the factor is fitted on one half of the cells and tried on the other.
        for place in torch.randperm(grid * grid, generator=Seed(0).child("cells").generator()).tolist():
            cells = torch.zeros(len(evidence), grid * grid, dtype=torch.bool)
            cells[:, place] = True
            gone = _spread(cells.view(-1, grid, grid), evidence.size)
            yield gone.float(), _without(evidence, gone, fill)

    return _foretold(evidence, maps, changes, grid * grid)


@metric(
    "foretells_noise", better="higher", paper="Han et al. 2022", range=_RANGE, cost=lambda samples=64: samples,
    changes="every pixel becomes a little lighter or darker, by chance",
)  # fmt: skip
def foretells_noise(
    evidence: Evidence, maps: Maps, *, samples: int = 64, noise: float = 0.05, seed: int = 0
) -> Measured:
    """How well the map foretells what happens when every pixel becomes a little lighter or darker.

    The neighbourhood of gradients and SmoothGrad. noise: standard deviation in parts of the range from black to white,
    the same for the three colours of a pixel; otherwise as `foretells_regions`
    """
    std = evidence.preprocess.std if evidence.preprocess is not None else (1.0, 1.0, 1.0)
    scale = torch.tensor(std)[:, None, None]

    def changes() -> Changes:
        generator = Seed(seed).child("noise").generator()
        for _ in range(samples):
            added = noise * torch.randn(len(evidence), *evidence.size, generator=generator)
            yield -added, evidence.inputs + (added[:, None] / scale).to(evidence.inputs)

    return _foretold(evidence, maps, changes, samples)


def _foretold(evidence: Evidence, maps: Maps, changes: Callable[[], Changes], samples: int) -> Measured:
    """Explained variance of the target's fall by the map's sum over what was taken, on the second half of the samples.

    The map's unit is its own, so one factor, not negative, is fitted on the first half.
    """
    if samples < 8:
        raise RequestError(f"{samples} samples; expected at least 8, of which half fit the map's scale.")
    taken: list[Tensor] = []

    def points() -> Iterator[Tensor]:
        for gone, changed in changes():
            taken.append(gone)
            yield changed

    fall = evidence.score().cpu() - torch.stack([scores.cpu() for scores in evidence.scores_at(points())])
    removed = torch.stack(taken).double()  # [sample batch height width]
    half = samples // 2
    values: dict[str, Tensor] = {}
    for name, one in maps.items():
        said = torch.einsum("sbhw,bhw->sb", removed, one.double())
        values[name] = _explained(said, fall.double(), half)
    return Measured(values, unit="explained variance", notes=(_LUNCH,))


def _explained(
    said: Float[Tensor, "sample batch"], found: Float[Tensor, "sample batch"], half: int
) -> Float[Tensor, "batch"]:
    weight = (said[:half] ** 2).sum(dim=0)
    factor = torch.where(weight > 0, (said[:half] * found[:half]).sum(dim=0) / weight.clamp(min=1e-300), 0 * weight)
    left = (found[half:] - factor.clamp(min=0) * said[half:]).square().sum(dim=0)
    spread = (found[half:] - found[half:].mean(dim=0)).square().sum(dim=0)
    return torch.where(spread > 0, 1 - left / spread.clamp(min=1e-300), torch.nan)


def _without(
    evidence: Evidence, gone: Bool[Tensor, "batch height width"], fill: str
) -> Float[Tensor, "batch channel height width"]:
    return torch.where(gone.to(evidence.inputs.device)[:, None], evidence.fill(fill), evidence.inputs)


def _spread(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Cells laid on the picture, each on its rectangle of pixels."""
    rows = torch.arange(size[0]) * cells.shape[1] // size[0]
    columns = torch.arange(size[1]) * cells.shape[2] // size[1]
    return cells[:, rows][:, :, columns]
