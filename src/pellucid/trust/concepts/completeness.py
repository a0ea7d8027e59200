"""Are these concepts all that the model needs? Completeness, and what each concept adds to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from pellucid.compute.bootstrap import Interval, interval
from pellucid.errors import RequestError, ShapeError
from pellucid.trust.concepts.finding import Finding, halves, random_directions, same_length, unit_rows
from pellucid.trust.concepts.shapley import EXACT_UP_TO, Estimator, shapley
from pellucid.values.seed import Seed

Tail = Callable[[Tensor], Tensor]
"""The rest of the network: a layer's activations [item ...] -> what the model says [item class]."""

_TOGETHER = 2**22  # numbers of reconstructed features held at once


@dataclass(frozen=True)
class Reader:
    """How features are read off concept scores: a net of two layers, trained anew for every set of concepts.

    hidden: its width; `Reader(hidden=500)` is that of the paper
    beta:   scores below this count as 0
    """

    hidden: int = 64
    steps: int = 150
    rate: float = 0.01
    beta: float = 0.2


@dataclass(frozen=True, eq=False, kw_only=True)
class Completeness(Finding):
    """How much of a model's accuracy survives when its features are rebuilt from concept scores alone.

    eta:      1 all of it, 0 none beyond the commonest class; the interval is over the measured items
    accuracy: with the rebuilt features; whole: with the model's own; chance: always naming the commonest class
    random:   eta of as many random directions, one figure per set drawn
    margin:   eta less that of each random set
    kept, total: items that were measured, and all that were given (the others were learned from)
    """

    eta: Interval
    accuracy: float
    whole: float
    chance: float
    random: tuple[float, ...]
    margin: Interval


@dataclass(frozen=True, eq=False, kw_only=True)
class ConceptShapley(Finding):
    """What each concept adds to completeness.

    values: one per concept; they sum to `eta`
    error:  their standard error where orders were drawn, 0 where all coalitions were tried
    random: the same for as many random directions, which play a game of their own
    kept, total: items that were measured, and all that were given
    """

    values: Float[Tensor, "concept"]
    error: Float[Tensor, "concept"]
    eta: float
    random: Float[Tensor, "concept"]
    exact: bool
    trained: int


def concept_completeness(
    features: Float[Tensor, "item channel ..."],
    labels: Int[Tensor, "item"],
    concepts: Float[Tensor, "concept channel"],
    tail: Tail,
    *,
    reader: Reader | None = None,
    random_sets: int = 5,
    held_out: float = 0.4,
    seed: int = 0,
) -> Completeness:
    """How much of the model's accuracy its features keep when they are rebuilt from their scores on the concepts.

    features: a layer's activations, one vector per item or a map of vectors; each place is rebuilt by itself
    labels:   what counts as right: the true classes, or the model's own decisions
    concepts: directions in that layer
    tail:     from that layer to the model's answer; it is not trained
    returns:  (accuracy rebuilt - chance) / (accuracy whole - chance), on items that were not learned from

    Raises ShapeError for concepts of another width, RequestError where the model is no better than chance.
    Yeh et al., On Completeness-aware Concept-Based Explanations, NeurIPS 2020.
    """
    game = _Game.of(features, labels, tail, reader or Reader(), held_out, seed)
    count = _checked(concepts, features)
    every = torch.ones(1, count, dtype=torch.bool)
    right = game.right(concepts, every)[0]
    own = game.scaled(right)
    rivals = [
        game.scaled(game.right(random_directions(count, features.shape[1], Seed(seed).child("random", at)), every)[0])
        for at in range(random_sets)
    ]
    return Completeness(
        eta=interval(own.tolist(), seed),
        accuracy=float(right.mean()),
        whole=game.whole,
        chance=game.chance,
        random=tuple(float(rival.mean()) for rival in rivals),
        margin=interval([float(own.mean() - rival.mean()) for rival in rivals], seed),
        kept=len(game.measured),
        total=len(features),
        seed=seed,
    )


def concept_shap(
    features: Float[Tensor, "item channel ..."],
    labels: Int[Tensor, "item"],
    concepts: Float[Tensor, "concept channel"],
    tail: Tail,
    *,
    reader: Reader | None = None,
    orders: int = 32,
    exact_up_to: int = EXACT_UP_TO,
    estimator: Estimator = "orders",
    held_out: float = 0.4,
    seed: int = 0,
) -> ConceptShapley:
    """What each concept adds to completeness, as a Shapley value: exact for up to eight concepts, else sampled.

    orders:    how many orders of the concepts are drawn where there are more than `exact_up_to`
    estimator: `orders` or, as published, `kernel`: KernelSHAP from as many coalitions

    The other arguments and the errors are those of `concept_completeness`. Yeh et al. 2020.
    """
    game = _Game.of(features, labels, tail, reader or Reader(), held_out, seed)
    count = _checked(concepts, features)
    estimate = partial(shapley, players=count, orders=orders, exact_up_to=exact_up_to, estimator=estimator, seed=seed)
    own = estimate(lambda sets: game.eta(concepts, sets))
    directions = random_directions(count, features.shape[1], Seed(seed).child("random"))
    rival = estimate(lambda sets: game.eta(directions, sets))
    return ConceptShapley(
        values=own.values, error=own.error, eta=float(own.values.sum()), random=rival.values, exact=own.exact,
        trained=own.played + rival.played, kept=len(game.measured), total=len(features), seed=seed,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Game:
    """Features to learn from and to measure on, and what a set of concepts is worth."""

    features: Float[Tensor, "item channel ..."]
    labels: Int[Tensor, "item"]
    tail: Tail
    reader: Reader
    learned: Int[Tensor, "learned"]
    measured: Int[Tensor, "measured"]
    whole: float
    chance: float
    seed: Seed

    @staticmethod
    def of(features: Tensor, labels: Tensor, tail: Tail, reader: Reader, held_out: float, seed: int) -> _Game:
        same_length("labels", len(labels), len(features), "item")
        learned, measured = halves(len(features), held_out, Seed(seed))
        with torch.no_grad():
            whole = float((tail(features[measured]).argmax(dim=1) == labels[measured]).double().mean())
        chance = float((labels[measured] == labels[learned].mode().values).double().mean())
        if whole <= chance:
            raise RequestError(
                f"The model is right on {whole:.3g} of the measured items, no more than the commonest class "
                f"({chance:.3g}): there is no accuracy that concepts could keep. Give more items, or other labels."
            )
        return _Game(features.detach(), labels, tail, reader, learned, measured, whole, chance, Seed(seed))

    def scaled(self, accuracy: Tensor) -> Tensor:
        return (accuracy.double() - self.chance) / (self.whole - self.chance)

    def eta(self, concepts: Tensor, sets: Bool[Tensor, "set concept"]) -> Float[Tensor, "set"]:
        """Nobody's eta is 0 by definition: without scores nothing but the commonest class can be said."""
        worth = torch.zeros(len(sets), dtype=torch.float64)
        some = sets.any(dim=1)
        if bool(some.any()):
            worth[some] = self.scaled(self.right(concepts, sets[some]).mean(dim=1))
        return worth

    def right(self, concepts: Tensor, sets: Bool[Tensor, "set concept"]) -> Float[Tensor, "set measured"]:
        """Whether the rebuilt features are answered rightly, for each set of concepts; sets are trained together."""
        together = max(1, _TOGETHER // max(1, self.features.numel()))
        return torch.cat([self._right(concepts, part) for part in sets.split(together)])

    def _right(self, concepts: Tensor, sets: Tensor) -> Tensor:
        scores = _scores(self.features, concepts, sets, self.reader.beta)
        weights = self._trained(scores[:, self.learned])
        with torch.no_grad():
            answers = self._answers(scores[:, self.measured], weights)
        return (answers.argmax(dim=-1) == self.labels[self.measured]).double()

    def _trained(self, scores: Float[Tensor, "set item place concept"]) -> list[Tensor]:
        sets, concepts, channels = len(scores), scores.shape[-1], self.features.shape[1]
        width = self.reader.hidden
        generator = self.seed.child("reader").generator()
        # All sets begin with the same weights, so that they differ by their concepts alone.
        first = torch.randn(concepts, width, generator=generator) * (2 / concepts) ** 0.5
        second = torch.randn(width, channels, generator=generator) * width**-0.5
        weights = [
            first.expand(sets, -1, -1).clone(), torch.zeros(sets, 1, width),
            second.expand(sets, -1, -1).clone(), torch.zeros(sets, 1, channels),
        ]  # fmt: skip
        for weight in weights:
            weight.requires_grad_()
        optimiser = torch.optim.Adam(weights, lr=self.reader.rate)
        labels = self.labels[self.learned].repeat(sets)
        for _ in range(self.reader.steps):
            loss = functional.cross_entropy(self._answers(scores, weights).flatten(0, 1), labels) * sets
            gradients = torch.autograd.grad(loss, weights)  # of these alone: the tail's parameters keep theirs
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient
            optimiser.step()
        return [weight.detach() for weight in weights]

    def _answers(self, scores: Float[Tensor, "set item place concept"], weights: list[Tensor]) -> Tensor:
        first, bias, second, shift = weights
        sets, items, places = scores.shape[:3]
        hidden = (scores.flatten(1, 2) @ first + bias).relu()
        rebuilt = (hidden @ second + shift).view(sets * items, places, -1).transpose(1, 2)
        answers = self.tail(rebuilt.reshape(sets * items, *self.features.shape[1:]))
        return answers.view(sets, items, -1)


def _scores(
    features: Tensor, concepts: Tensor, sets: Bool[Tensor, "set concept"], beta: float
) -> Float[Tensor, "set item place concept"]:
    """Cosines with the concepts above `beta`, those of other concepts 0, all of a place scaled to length 1."""
    cells = features.flatten(2).transpose(1, 2) if features.ndim > 2 else features[:, None]
    cosines = unit_rows(cells) @ unit_rows(concepts.to(cells.dtype)).T
    kept = torch.where(cosines > beta, cosines, torch.zeros_like(cosines))
    return unit_rows(kept * sets[:, None, None, :].to(kept.dtype))


def _checked(concepts: Tensor, features: Tensor) -> int:
    if concepts.ndim != 2 or concepts.shape[1] != features.shape[1]:
        raise ShapeError(
            "concepts", got=tuple(concepts.shape), expected=f"[concept {features.shape[1]}], as wide as the features"
        )
    return len(concepts)
