"""Greedy choice of the texts (or words, or directions) that best explain a set of vectors.

One loop with two rules of choosing. `spread` is TextSpan's: atoms lose what was chosen already, and the one along
which the vectors differ most wins (Gandelsman, Efros, Steinhardt, ICLR 2024). `pull` is simultaneous orthogonal
matching pursuit: atoms keep their length 1, and the one that all vectors together point along most wins (Tropp et al.
2006; Basile et al., Head Pursuit, NeurIPS 2025).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from pellucid.errors import RequestError
from pellucid.values import Seed

_DEALS = 5  # of a concept's numbers
_SPENT = 1e-6  # an atom of which less than this share is left lies in the span of those chosen before

Rows = Float[Tensor, "row dim"]


@dataclass(frozen=True, eq=False)
class Pursuit:
    """Atoms in the order in which they were chosen.

    chosen:    their numbers; fewer than asked where all others lie in the span of these
    explained: share of the rows' squared length (of their variance, where centred) that the first 1, 2, ... explain
    weights:   least squares coefficients of the rows in the chosen atoms [row chosen]
    residual:  what is left of the rows
    """

    chosen: tuple[int, ...]
    explained: tuple[float, ...]
    weights: Float[Tensor, "row chosen"]
    residual: Rows

    @property
    def gains(self) -> tuple[float, ...]:
        """What each atom added to the share explained."""
        return tuple(after - before for before, after in zip((0.0, *self.explained), self.explained, strict=False))


def pursue(rows: Rows, atoms: Float[Tensor, "atom dim"], count: int, *, rule: str = "pull") -> Pursuit:
    """Up to `count` atoms, each the best beside those chosen before.

    rows:  what is to be explained; centre them first for a share of the variance
    rule:  `pull` or `spread`, see above

    With one row and one atom, `pull` names the atom of the largest cosine in magnitude: the logit lens.
    """
    if rule not in _RULES:
        raise RequestError(f"rule={rule!r} is not known; expected {' or '.join(_RULES)}.")
    if rows.ndim != 2 or atoms.ndim != 2 or rows.shape[1] != atoms.shape[1]:
        raise RequestError(
            f"Rows {tuple(rows.shape)} and atoms {tuple(atoms.shape)} must both be [count dim], of one dim."
        )
    length = atoms.norm(dim=1)
    unit, left, residual = functional.normalize(atoms, dim=1), atoms.clone(), rows.clone()
    whole = rows.square().sum().clamp(min=torch.finfo(rows.dtype).tiny)
    chosen: list[int] = []
    explained: list[float] = []
    for _ in range(min(count, len(atoms))):
        # What is left of an atom that lies in the span of the chosen is rounding error, whose direction means nothing.
        usable = left.norm(dim=1) > _SPENT * length.clamp(min=torch.finfo(rows.dtype).tiny)
        usable[chosen] = False
        if not bool(usable.any()):
            break
        best = int(_RULES[rule](residual, unit, left).masked_fill(~usable, -torch.inf).argmax())
        axis = functional.normalize(left[best], dim=0)
        residual = residual - (residual @ axis)[:, None] * axis
        left = left - (left @ axis)[:, None] * axis
        chosen.append(best)
        explained.append(1 - float(residual.square().sum() / whole))
    weights = torch.linalg.lstsq(atoms[chosen].T, rows.T).solution.T if chosen else rows.new_zeros(len(rows), 0)
    return Pursuit(tuple(chosen), tuple(explained), weights, residual)


def _pull(residual: Tensor, unit: Tensor, _left: Tensor) -> Tensor:
    return (residual @ unit.T).abs().sum(dim=0)


def _spread(residual: Tensor, _unit: Tensor, left: Tensor) -> Tensor:
    return (residual @ left.T).std(dim=0, correction=0)


_RULES: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"pull": _pull, "spread": _spread}


@dataclass(frozen=True)
class HeadScore:
    """How much of what one head writes lies along a concept's texts.

    explained: share of the head's squared length along the concept's atoms, 0 to 1
    random:    the same for as many random atoms of the pool: mean and 95th percentile over draws
    shuffled:  the same for the concept's texts with each one's numbers in another order; the best of five deals
    """

    head: int
    explained: float
    random: float
    random_high: float
    shuffled: float

    @property
    def excess(self) -> float:
        """What the concept explains beyond as many random texts."""
        return self.explained - self.random

    @property
    def beats_random(self) -> bool:
        return self.explained > self.random_high

    @property
    def beats_controls(self) -> bool:
        """Whether it does better than random texts, and than texts without their meaning."""
        return self.beats_random and self.explained > self.shuffled

    def __str__(self) -> str:
        verdict = "" if self.beats_controls else " No better than its controls: the head is not shown to write it."
        return (
            f"Head {self.head}: the concept's texts explain {self.explained:.0%} of what it writes; as many random "
            f"texts {self.random:.0%} (at most {self.random_high:.0%} in 95 of 100 draws), the same texts with their "
            f"numbers shuffled {self.shuffled:.0%}.{verdict}"
        )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "excess": self.excess, "beats_controls": self.beats_controls}


def rank_heads(
    heads: Sequence[Rows],
    concept: Float[Tensor, "text dim"],
    pool: Float[Tensor, "atom dim"],
    *,
    count: int | None = None,
    draws: int = 50,
    centred: bool = True,
    seed: Seed | int = 0,
) -> tuple[HeadScore, ...]:
    """Which heads write along a concept, the first the most beyond chance (Basile et al. 2025).

    concept: the texts (words) of the concept; pool: what random texts are drawn from
    count:   atoms at most; None is all of the concept
    draws:   sets of random texts of the same size
    """
    count = count or len(concept)
    generator = (seed if isinstance(seed, Seed) else Seed(seed)).child("random texts").generator()
    sets = [pool[torch.randperm(len(pool), generator=generator)[: len(concept)].to(pool.device)] for _ in range(draws)]
    mixed = [shuffled_numbers(concept, generator) for _ in range(_DEALS)]
    scores: list[HeadScore] = []
    for number, rows in enumerate(heads):
        held = rows - rows.mean(dim=0) if centred else rows
        chance = torch.tensor([_share(held, atoms, count) for atoms in sets])
        dealt = max(_share(held, atoms, count) for atoms in mixed)
        own = _share(held, concept, count)
        scores.append(HeadScore(number, own, float(chance.mean()), float(chance.quantile(0.95)), dealt))
    return tuple(sorted(scores, key=lambda score: -score.excess))


def shuffled_numbers(atoms: Float[Tensor, "atom dim"], generator: torch.Generator) -> Float[Tensor, "atom dim"]:
    """Each atom with its numbers in another order: lengths and spread are kept, meaning is gone."""
    return atoms.gather(1, torch.rand(atoms.shape, generator=generator).argsort(dim=1).to(atoms.device))


def _share(rows: Rows, atoms: Tensor, count: int) -> float:
    if count < len(atoms):
        return pursue(rows, atoms, count).explained[-1]
    whole = rows.square().sum().clamp(min=torch.finfo(rows.dtype).tiny)
    return float(within(rows, atoms).square().sum() / whole)  # all of them: their span, in whatever order


def projected_out(rows: Rows, atoms: Float[Tensor, "atom dim"], *, keep: float = 0.0) -> Rows:
    """The rows with their part in the atoms' span scaled: 0 removes it, -1 turns it round, 2 doubles it."""
    return rows + (keep - 1) * within(rows, atoms)


def within(rows: Rows, atoms: Float[Tensor, "atom dim"]) -> Rows:
    """The rows' part in the span of the atoms."""
    basis, strength, _ = torch.linalg.svd(atoms.T, full_matrices=False)
    held: Bool[Tensor, "axis"] = strength > strength.max() * _SPENT
    basis = basis[:, held]
    return rows @ basis @ basis.T
