"""How much of the target's wavering under random masks goes with each cell of a grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.perturb import cells
from pellucid.registry import method
from pellucid.values import Scores, Seed

_MOST_DIMENSIONS = 21_201  # of torch's Sobol sequence


def _designs(*, samples: int = 32, grid: int = 8, **_: Any) -> float:
    return samples * (grid**2 + 2.0)


@method("sobol", needs=[Scores], paper="Fel et al. 2021", cost=_designs)
def sobol(
    evidence: Evidence, *, samples: int = 32, grid: int = 8, baseline: str = "blur"
) -> Float[Tensor, "batch grid_rows grid_columns"]:
    """The share of the target's variance in which a cell takes part, when all cells fade by chance.

    samples:  designs of the estimator; each takes one pass per cell and two more
    grid:     rows and columns of cells
    baseline: what a cell fades to; the papers take zeros, a colour that models have opinions about. A mask
              value between 0 and 1 says how far
    returns:  Sobol's total index, 0 and up: the cell's own effect and all its interactions, estimated by Jansen's
              formula on a scrambled Sobol sequence. Cells whose effects merely add up have indices that sum to 1;
              interactions make the sum larger. No sign
    """
    count = grid**2
    drawn = _low_discrepancy(samples, 2 * count, evidence.seed.child("sobol", grid))
    one, other = drawn[:, :count], drawn[:, count:]

    def designs() -> Iterator[Tensor]:
        yield from one
        yield from other
        for cell in range(count):
            mixed = one.clone()
            mixed[:, cell] = other[:, cell]
            yield from mixed

    scores = _scores_faded(evidence, designs(), grid, baseline)
    return total_indices(scores, samples).unflatten(1, (grid, grid)).to(evidence.inputs)


def total_indices(scores: Float[Tensor, "batch answer"], designs: int) -> Float[Tensor, "batch variable"]:
    """Sobol's total indices by Jansen's estimate; zeros where the answer does not vary.

    scores: at the designs A, at B, then for every variable at A with that variable's column from B
    """
    base = scores[:, :designs]
    mixed = scores[:, 2 * designs :].unflatten(1, (-1, designs))
    moved = (base[:, None] - mixed).square().mean(dim=2) / 2
    variance = scores[:, : 2 * designs].var(dim=1, correction=0, keepdim=True)
    return torch.where(variance > 0, moved / variance.clamp(min=1e-300), torch.zeros_like(moved))


def _mask_count(*, samples: int = 500, **_: Any) -> float:
    return samples


@method("hsic", needs=[Scores], paper="Novello et al. 2022", cost=_mask_count)
def hsic(
    evidence: Evidence, *, samples: int = 500, grid: int = 7, baseline: str = "blur"
) -> Float[Tensor, "batch grid_rows grid_columns"]:
    """How strongly the target depends on whether a cell is shown, when all cells are shown or hidden by chance.

    samples:  masks, one pass each
    grid:     rows and columns of cells
    baseline: what hidden cells become
    returns:  the Hilbert-Schmidt independence criterion of the cell and the target, 0 and up: 0 in the limit where the
              target is independent of the cell, whatever the others do. The kernel on the cell is 1/2 for equal and
              -1/2 for unequal, that on the target a Gaussian as wide as the median distance of two answers. No sign
    """
    drawn = _balanced(samples, grid**2, evidence.seed.child("hsic", grid))
    scores = _scores_faded(evidence, drawn, grid, baseline)
    found = torch.stack([dependence(2 * drawn - 1, answers) for answers in scores])
    return found.unflatten(1, (grid, grid)).to(evidence.inputs)


def dependence(signs: Float[Tensor, "sample cell"], answers: Float[Tensor, "sample"]) -> Float[Tensor, "cell"]:
    """HSIC of every cell, whose sign is 1 for shown and -1 for hidden, and the answers."""
    count = len(answers)
    distances = (answers[:, None] - answers[None, :]).abs()
    apart = distances[~torch.eye(count, dtype=torch.bool)]
    apart = apart[apart > 0]
    if not len(apart):
        return torch.zeros(signs.shape[1]).double()
    likeness = torch.exp(-(distances / apart.median()).square() / 2)
    centred = likeness - likeness.mean(dim=0, keepdim=True)
    centred = centred - centred.mean(dim=1, keepdim=True)
    # The kernel on a cell is half the product of two signs, so that the trace becomes a quadratic form.
    return torch.einsum("nc,nm,mc->c", signs, centred, signs).clamp(min=0) / 2 / max(1, count - 1) ** 2


def _balanced(count: int, dimensions: int, seed: Seed) -> Float[Tensor, "mask cell"]:
    """Every cell is shown in half of the masks, drawn for each cell alone: a Latin hypercube of two levels.

    The first bits of a Sobol sequence would not do: several of its dimensions share all of them.
    """
    chances = torch.rand(dimensions, count, generator=seed.generator())
    return (chances.argsort(dim=1).argsort(dim=1) < count / 2).T.double()


def _low_discrepancy(count: int, dimensions: int, seed: Seed) -> Float[Tensor, "point dimension"]:
    """Points of the unit cube that fill it evenly; independent ones where the sequence has not as many dimensions."""
    if dimensions > _MOST_DIMENSIONS:
        return torch.rand(count, dimensions, generator=seed.generator(), dtype=torch.float64)
    # Torch takes the scrambling from a 32-bit seed of its own.
    engine = torch.quasirandom.SobolEngine(dimensions, scramble=True, seed=int(seed) % 2**31)
    return engine.draw(count, dtype=torch.float64)


def _scores_faded(
    evidence: Evidence, levels: Iterable[Float[Tensor, "cell"]], grid: int, baseline: str
) -> Float[Tensor, "batch mask"]:
    """The target where each cell shows the picture by its level and the fill by the rest, float64."""
    hidden = evidence.fill(baseline)
    number = cells(*evidence.size, grid)
    rows, columns = (min(grid, side) for side in evidence.size)
    if rows * columns != grid**2:  # fewer pixels than cells: the cells beyond are nowhere
        number = number // columns * grid + number % columns

    def points() -> Iterator[Tensor]:
        for level in levels:
            yield torch.lerp(hidden, evidence.inputs, level.to(hidden)[number.to(hidden.device)])

    return torch.stack(list(evidence.scores_at(points())), dim=1).double().cpu()
