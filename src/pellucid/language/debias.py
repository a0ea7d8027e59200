"""Heads that are named for a property which should not count are dropped, and the sum is classified anew.

Gandelsman, Efros, Steinhardt, Interpreting CLIP's image representation via text-based decomposition, ICLR 2024,
section on spurious cues. Which heads they are follows from texts alone; labels and groups only measure what it brings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from pellucid.language.pursuit import HeadScore, rank_heads
from pellucid.language.residual import Contributions, Head
from pellucid.values import Seed


@dataclass(frozen=True)
class NamedHead:
    """A head, and how much of what it writes the property's texts explain beyond as many random texts."""

    head: Head
    score: HeadScore

    def __str__(self) -> str:
        return f"{self.head}: {self.score.explained:.0%} explained, random texts {self.score.random:.0%}"


def heads_for(
    contributions: Contributions, concept: Float[Tensor, "text dim"], pool: Float[Tensor, "text dim"], *,
    draws: int = 50, seed: int = 0,
) -> tuple[NamedHead, ...]:  # fmt: skip
    """Heads that the property's texts explain better than 95 of 100 sets of as many random texts, the clearest first.

    concept: texts of the property; pool: other texts, from which random ones are drawn
    """
    heads = contributions.all_heads
    scores = rank_heads([contributions.of(head) for head in heads], concept, pool, draws=draws, seed=seed)
    return tuple(NamedHead(heads[score.head], score) for score in scores if score.beats_random)


@dataclass(frozen=True)
class Slight:
    """Parts beside the heads that write little: which MLPs, and whether the first tokens do."""

    mlps: tuple[int, ...] = ()
    start: bool = False

    def __str__(self) -> str:
        said = [f"MLP {layer}" for layer in self.mlps] + (["the first tokens"] if self.start else [])
        return ", ".join(said)


NOTHING = Slight()


def slight_parts(contributions: Contributions, *, most: float = 0.05) -> Slight:
    """MLPs, and the first tokens, that write at most `most` of the embedding's variance.

    The paper drops all MLPs, which in the encoders it studies hardly write to the embedding themselves. Where one does,
    dropping it would take away what the picture shows.
    """
    own = contributions.normalised()
    whole = _variance(own.embedding)
    mlps = tuple(at for at in range(own.mlps.shape[1]) if _variance(own.mlps[:, at]) <= most * whole)
    return Slight(mlps, _variance(own.start) <= most * whole)


def _variance(rows: Float[Tensor, "picture dim"]) -> float:
    return float((rows - rows.mean(dim=0)).square().sum(dim=1).mean())


@dataclass(frozen=True)
class Accuracies:
    """Accuracy where the cue agrees with the label, where it does not, and in the group that fares worst; 0 to 1."""

    aligned: float
    conflict: float
    worst: float

    @property
    def gap(self) -> float:
        """What the cue is worth: accuracy where it agrees, less accuracy where it does not."""
        return self.aligned - self.conflict

    def __str__(self) -> str:
        return (
            f"{self.aligned:.1%} where the cue agrees, {self.conflict:.1%} where it does not (worst {self.worst:.1%})"
        )


@dataclass(frozen=True)
class Debiased:
    """What dropping heads changed.

    beside:  parts dropped beside the heads
    bare:    those parts dropped and no head
    control: those parts and as many random heads: mean over draws
    """

    heads: tuple[NamedHead, ...]
    beside: Slight
    before: Accuracies
    after: Accuracies
    bare: Accuracies
    control: Accuracies

    @property
    def recovered(self) -> float:
        """Share of the gap by which accuracy rises where the cue does not agree; below 0 it falls."""
        return (self.after.conflict - self.before.conflict) / self.before.gap if self.before.gap else float("nan")

    def __str__(self) -> str:
        beside = f" and {self.beside}" if self.beside != NOTHING else ""
        dropped = f"{len(self.heads)} heads{beside}"
        return (
            f"Before: {self.before}. Without {dropped}: {self.after}; that is {self.recovered:.0%} of the gap. As many "
            f"random heads instead: {self.control}; no head: {self.bare}."
        )


def without_named(
    contributions: Contributions,
    named: Sequence[NamedHead],
    classes: Float[Tensor, "class dim"],
    labels: Int64[Tensor, "picture"],
    aligned: Bool[Tensor, "picture"],
    groups: Int64[Tensor, "picture"],
    *,
    beside: Slight = NOTHING,
    draws: int = 10,
    seed: int = 0,
) -> Debiased:
    """Classification before and after the heads are replaced by their mean over pictures.

    classes: embeddings of the class texts
    aligned: where the cue agrees with the label; groups: of label and cue. For measuring only
    beside:  other parts to drop, as `slight_parts` gives them
    """

    def measured(heads: Sequence[Head], parts: Slight) -> Accuracies:
        left = functional.normalize(contributions.ablated(heads, mlps=parts.mlps, start=parts.start), dim=1)
        right = (left @ classes.to(left).T).argmax(dim=1).cpu() == labels
        each = [float(right[groups == group].float().mean()) for group in groups.unique().tolist()]
        return Accuracies(float(right[aligned].float().mean()), float(right[~aligned].float().mean()), min(each))

    generator, everything = Seed(seed).child("random heads").generator(), contributions.all_heads
    chance: list[Accuracies] = []
    for _ in range(draws):
        order = torch.randperm(len(everything), generator=generator)[: len(named)].tolist()
        chance.append(measured([everything[at] for at in order], beside))
    return Debiased(
        tuple(named), beside, measured((), NOTHING), measured([one.head for one in named], beside),
        measured((), beside), _mean(chance),
    )  # fmt: skip


def _mean(several: Sequence[Accuracies]) -> Accuracies:
    held: Mapping[str, float] = {
        name: sum(getattr(one, name) for one in several) / len(several) for name in ("aligned", "conflict", "worst")
    }
    return Accuracies(**held)
