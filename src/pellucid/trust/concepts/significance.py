"""Is a concept's effect more than what random pictures would show? TCAV with its tests."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.compute.bootstrap import Interval, holm, interval
from pellucid.errors import RequestError
from pellucid.trust.concepts.finding import Finding
from pellucid.values.seed import Seed

_TESTED = 1 / 3  # of the examples: a vector's accuracy is measured on those that it was not fitted to
_STRENGTH = 0.1  # of the regularisation, as scikit-learn counts it: smaller is stronger
_ENOUGH = 4  # examples on each side


@dataclass(frozen=True, eq=False, kw_only=True)
class ConceptTest(Finding):
    """One concept's test.

    score:      share of items whose answer rises along the concept, mean over sets of counterexamples
    scores:     one per set whose vector was accurate enough
    alignment:  mean cosine of gradient and concept vector over items and sets, -1 to 1
    accuracy:   of the vectors on examples they were not fitted to, mean over all sets
    cosine:     mean cosine between the vectors of different sets: near 0 the vector is an accident of its set
    p, p_holm:  Welch's t-test of `scores` against the scores of random sets, two-sided; corrected over all concepts
    p_rank, p_rank_holm: how often a random concept, made and tested in the same way, is aligned as strongly
    kept, total: sets whose vector was accurate enough, and all
    """

    score: Interval
    scores: tuple[float, ...]
    alignment: float
    accuracy: float
    cosine: float
    p: float
    p_holm: float
    p_rank: float
    p_rank_holm: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Significance(Finding):
    """TCAV of several concepts, with the random ones beside.

    concepts:  by name
    random:    scores of random sets against random sets, one per set
    alignments: mean cosine of gradient and vector of each random concept
    kept, total: items with a gradient, and all
    """

    concepts: Mapping[str, ConceptTest]
    random: tuple[float, ...]
    alignments: tuple[float, ...]


def tcav(
    gradients: Float[Tensor, "item ..."],
    concepts: Mapping[str, Float[Tensor, "example ..."]],
    pool: Float[Tensor, "random ..."],
    *,
    sets: int = 50,
    random_concepts: int = 49,
    random_sets: int = 3,
    examples: int | None = None,
    least_accuracy: float = 0.6,
    seed: int = 0,
) -> Significance:
    """Whether the answer rises along each concept, more often than along random directions that look like concepts.

    gradients: of the answer with respect to the layer, one per item (`gradients_of` makes them)
    concepts:  the layer's activations for examples of each concept
    pool:      the layer's activations for random pictures, from which counterexamples and random concepts are drawn
    sets:      sets of counterexamples per concept, each with a vector of its own
    random_concepts, random_sets: random concepts for the rank test, and sets of counterexamples for each
    examples:  in each set; by default as many as the concept has, at most half of the pool
    least_accuracy: a concept whose vectors are less accurate on average has no score, and of the others' vectors those
              below are left out; random ones never are

    Items without gradient are left out and counted. A concept without score says why.
    Raises RequestError where there are too few examples. Kim et al. 2018; Holm 1979.
    """
    slopes = gradients.detach().flatten(1).double().numpy()
    alive = np.linalg.norm(slopes, axis=1) > 0
    slopes = slopes[alive]
    drawn = pool.detach().flatten(1).double().numpy()
    size = _size(concepts, drawn, examples)
    draws = _Draws(drawn, size, Seed(seed))
    shared: dict[str, Any] = {"total": len(alive), "kept": int(alive.sum()), "seed": seed}
    if not len(slopes):
        empty = {name: _undefined(sets, seed, "every gradient is zero here") for name in concepts}
        reasons = dict.fromkeys(concepts, "every gradient is zero here")
        return Significance(concepts=empty, random=(), alignments=(), skipped=reasons, **shared)
    random = [_share(slopes, draws.random_vector(at)[0]) for at in range(sets)]
    nulls = [draws.null(slopes, at, random_sets) for at in range(random_concepts)]
    tests = {
        name: _tested(name, examples_of.detach().flatten(1).double().numpy(), slopes, draws, random, nulls, sets,
                      random_sets, least_accuracy, seed)
        for name, examples_of in concepts.items()
    }  # fmt: skip
    reasons = {name: reason for name, test in tests.items() for reason in test.skipped.values()}
    return Significance(
        concepts=_corrected(tests), random=tuple(random), alignments=tuple(nulls), skipped=reasons, **shared
    )


def gradients_of(
    tail: Callable[[Tensor], Tensor], features: Float[Tensor, "item ..."], target: int
) -> Float[Tensor, "item ..."]:
    """How the answer `target` changes with each entry of a layer: its gradient there, one per item."""
    held = features.detach().clone().requires_grad_()
    with torch.enable_grad():
        answer = tail(held)[:, target].sum()
        (slopes,) = torch.autograd.grad(answer, held, allow_unused=True) if answer.requires_grad else (None,)
    return torch.zeros_like(held) if slopes is None else slopes


@dataclass(frozen=True, eq=False)
class _Draws:
    """Sets of random examples, and vectors between them."""

    pool: Float[np.ndarray, "random channel"]
    size: int
    seed: Seed

    def counterexamples(self, at: object, without: Bool[np.ndarray, "random"] | None = None) -> np.ndarray:
        generator = np.random.default_rng(int(self.seed.child("against", at)))
        free = np.arange(len(self.pool)) if without is None else np.flatnonzero(~without)
        return self.pool[generator.choice(free, min(self.size, len(free)), replace=False)]

    def concept(self, at: object) -> Bool[np.ndarray, "random"]:
        """Which of the pool stand for a random concept."""
        generator = np.random.default_rng(int(self.seed.child("concept", at)))
        chosen = np.zeros(len(self.pool), dtype=bool)
        chosen[generator.choice(len(self.pool), self.size, replace=False)] = True
        return chosen

    def random_vector(self, at: int) -> tuple[Float[np.ndarray, "channel"], float]:
        chosen = self.concept(("set", at))
        against = self.counterexamples(("set", at), without=chosen)
        return concept_vector(self.pool[chosen], against, self.seed.child(at))

    def null(self, slopes: np.ndarray, at: int, sets: int) -> float:
        """The alignment of one random concept."""
        chosen = self.concept(("null", at))
        against = [self.counterexamples(("null", at, turn), without=chosen) for turn in range(sets)]
        vectors = [concept_vector(self.pool[chosen], other, self.seed.child(at))[0] for other in against]
        return float(np.mean([_alignment(slopes, vector) for vector in vectors]))


def concept_vector(
    examples: Float[np.ndarray, "example channel"], against: Float[np.ndarray, "other channel"], seed: Seed
) -> tuple[Float[np.ndarray, "channel"], float]:
    """The unit vector from counterexamples towards examples, and how well it tells unseen ones apart, 0 to 1.

    The normal of a logistic regression on two thirds of both.
    """
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(int(seed.child("split")))
    parts = [side[generator.permutation(len(side))] for side in (examples, against)]
    cuts = [max(1, round(_TESTED * len(side))) for side in parts]
    fitted = [side[cut:] for side, cut in zip(parts, cuts, strict=True)]
    unseen = [side[:cut] for side, cut in zip(parts, cuts, strict=True)]
    scale = np.concatenate(fitted).std() or 1.0  # one for all channels: the direction stays that of the layer
    classifier = LogisticRegression(C=_STRENGTH, max_iter=200, class_weight="balanced", tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that has not settled is as good a direction; its accuracy is told
        classifier.fit(np.concatenate(fitted) / scale, _labels(fitted))
    normal = np.asarray(classifier.coef_[0], dtype=np.float64)
    said = [np.asarray(classifier.predict(side / scale)) for side in unseen]
    accuracy = (float((said[0] == 1).mean()) + float((said[1] == 0).mean())) / 2
    return normal / max(float(np.linalg.norm(normal)), 1e-300), accuracy


def _tested(
    name: str, examples: np.ndarray, slopes: np.ndarray, draws: _Draws, random: list[float], nulls: list[float],
    sets: int, random_sets: int, least_accuracy: float, seed: int,
) -> ConceptTest:  # fmt: skip
    chosen = np.random.default_rng(int(draws.seed.child("examples", name))).permutation(len(examples))
    held = examples[chosen[: draws.size]]
    fits = [concept_vector(held, draws.counterexamples((name, at)), draws.seed.child(name, at)) for at in range(sets)]
    accuracies = [accuracy for _, accuracy in fits]
    good = [vector for vector, accuracy in fits if accuracy >= least_accuracy]
    if np.mean(accuracies) < least_accuracy or len(good) < 2:
        # Vectors that pass by luck would be the least like chance: the concept as a whole has to be told apart.
        reason = f"its vectors tell only {np.mean(accuracies):.0%} of unseen examples apart, not {least_accuracy:.0%}"
        return _undefined(sets, seed, reason, accuracy=float(np.mean(accuracies)))
    scores = tuple(_share(slopes, vector) for vector in good)
    aligned = [_alignment(slopes, vector) for vector, _ in fits]
    return ConceptTest(
        score=interval(scores, seed), scores=scores, alignment=float(np.mean(aligned)),
        accuracy=float(np.mean(accuracies)), cosine=_likeness(good), p=_welch(scores, random), p_holm=float("nan"),
        # The first few sets only: a random concept has no more, and a test compares like with like.
        p_rank=_rank(float(np.mean(aligned[:random_sets])), nulls), p_rank_holm=float("nan"),
        kept=len(good), total=sets, seed=seed,
    )  # fmt: skip


def _share(slopes: Float[np.ndarray, "item channel"], vector: Float[np.ndarray, "channel"]) -> float:
    return float((slopes @ vector > 0).mean())


def _alignment(slopes: Float[np.ndarray, "item channel"], vector: Float[np.ndarray, "channel"]) -> float:
    return float((slopes @ vector / np.linalg.norm(slopes, axis=1)).mean())


def _likeness(vectors: list[np.ndarray]) -> float:
    if len(vectors) < 2:
        return float("nan")
    stacked = np.stack(vectors)
    count = len(stacked)
    return float(((stacked @ stacked.T).sum() - count) / (count * (count - 1)))


def _welch(scores: tuple[float, ...], random: list[float]) -> float:
    """Two-sided p of equal means with unequal variances. Where neither side varies the test has its limit: 1 or 0."""
    from scipy import stats

    if min(len(scores), len(random)) < 2:
        return float("nan")
    if np.ptp(scores) == 0 and np.ptp(random) == 0:
        return 1.0 if scores[0] == random[0] else 0.0
    one, other = ((float(np.mean(side)), float(np.std(side, ddof=1)), len(side)) for side in (scores, random))
    answer: Any = stats.ttest_ind_from_stats(*one, *other, equal_var=False)
    return float(cast("float", answer.pvalue))


def _rank(own: float, nulls: list[float]) -> float:
    """How often a random concept is aligned as strongly, either way; at least 1 / (random concepts + 1)."""
    stronger = sum(abs(null) >= abs(own) for null in nulls)
    return (stronger + 1) / (len(nulls) + 1)


def _corrected(tests: Mapping[str, ConceptTest]) -> dict[str, ConceptTest]:
    from dataclasses import replace

    by_score = holm({name: test.p for name, test in tests.items() if np.isfinite(test.p)})
    by_rank = holm({name: test.p_rank for name, test in tests.items() if np.isfinite(test.p_rank)})
    nothing = float("nan")
    return {
        name: replace(test, p_holm=by_score.get(name, nothing), p_rank_holm=by_rank.get(name, nothing))
        for name, test in tests.items()
    }


def _undefined(sets: int, seed: int, reason: str, accuracy: float = float("nan")) -> ConceptTest:
    no = float("nan")
    return ConceptTest(
        score=interval([], seed), scores=(), alignment=no, accuracy=accuracy, cosine=no, p=no, p_holm=no, p_rank=no,
        p_rank_holm=no, kept=0, total=sets, seed=seed, skipped={"score": reason},
    )  # fmt: skip


def _size(concepts: Mapping[str, Tensor], pool: np.ndarray, examples: int | None) -> int:
    least = min((len(values) for values in concepts.values()), default=0)
    size = examples or min(least, len(pool) // 2)
    if size < _ENOUGH or least < size or 2 * size > len(pool):
        raise RequestError(
            f"{least} examples of the smallest concept and {len(pool)} random ones; expected at least {_ENOUGH} and "
            f"twice as many random ones as there are in a set ({size})."
        )
    return size


def _labels(sides: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.full(len(side), label) for side, label in zip(sides, (1, 0), strict=True)])
