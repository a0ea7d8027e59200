"""Groups of pictures on which a model errs, found first and named after: mixtures over embeddings that know of errors.

DOMINO: Eyuboglu, Varma, Saab et al., ICLR 2022. FACTS: Yenamandra, Ramesh, Prabhu, Hoffman, ICCV 2023. Both fit a
mixture to embeddings of a dual encoder, to what is true and to what the model says; they differ in what weighs how
much, and FACTS looks at each class alone, with the answers of a model whose shortcut was amplified (`amplified`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from scipy.special import logsumexp
from sklearn.cluster import KMeans

from pellucid.errors import RequestError
from pellucid.language.failures.answers import Answers
from pellucid.values import Seed

_FLOOR = 1e-10
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Mixing:
    """How the mixture is fitted.

    parts:     components; slices: how many of them are given, those with most errors
    dims:      principal components of the embeddings that are kept
    labels:    weight of the true class in the likelihood
    said:      weight of the model's probabilities
    per_class: whether each class has a mixture of its own
    steps:     most rounds of expectation and maximisation
    spread:    added to every variance, as a share of the mean variance
    """

    parts: int = 25
    slices: int = 5
    dims: int = 128
    labels: float = 10.0
    said: float = 10.0
    per_class: bool = False
    steps: int = 100
    spread: float = 0.05

    def __post_init__(self) -> None:
        if self.parts < 1 or self.slices < 1 or self.dims < 1 or self.labels < 0 or self.said < 0:
            raise RequestError(f"{self} cannot be: counts are 1 or more, weights 0 or more.")


DOMINO = Mixing()
FACTS = Mixing(parts=10, slices=10, labels=0.0, per_class=True)


@dataclass(frozen=True, eq=False)
class Slice:
    """One group.

    number:  the class it is of, where each class was looked at alone; else -1
    members: all pictures, those that belong to it most, first
    weights: how much each picture belongs to it, 0 to 1, in the order of the pictures
    error:   the probability that the model withholds from the true class, mean over the group
    """

    number: int
    members: Int64[np.ndarray, "picture"]
    weights: Float[np.ndarray, "picture"]
    error: float


def slices(
    embeddings: Float[np.ndarray, "picture dim"], answers: Answers, mixing: Mixing = DOMINO, *, seed: int = 0
) -> tuple[Slice, ...]:
    """Groups by error, the worst first; of each class its own where the mixture is per class.

    embeddings: of pictures by a dual encoder; of masked pictures for ViG-Bias
    """
    if len(embeddings) != len(answers):
        raise RequestError(f"{len(embeddings)} embeddings and {len(answers)} answers do not belong together.")
    if not mixing.per_class:
        return _of_part(embeddings, answers, np.arange(len(answers)), -1, mixing, Seed(seed))
    found: list[Slice] = []
    for number in np.unique(answers.labels):
        places = answers.of_class(int(number))
        found += _of_part(embeddings, answers, places, int(number), mixing, Seed(seed).child("class", int(number)))
    return tuple(sorted(found, key=lambda one: -one.error))


def each_class(mixing: Mixing) -> Mixing:
    """The same for each class alone."""
    return replace(mixing, per_class=True)


def _of_part(
    embeddings: Float[np.ndarray, "picture dim"], answers: Answers, places: Int64[np.ndarray, "picture"], number: int,
    mixing: Mixing, seed: Seed,
) -> tuple[Slice, ...]:  # fmt: skip
    own = answers[places]
    parts = min(mixing.parts, max(1, len(places) // 2))
    points = principal(embeddings[places], mixing.dims)
    truth = np.eye(len(answers.classes))[own.labels]
    belongs, joint = _mixture(points, truth, own.shares, parts, mixing, seed)
    withheld = 1 - own.shares[np.arange(len(own)), own.labels]
    error = (belongs * withheld[:, None]).sum(axis=0) / np.maximum(belongs.sum(axis=0), _FLOOR)
    error = np.where(belongs.sum(axis=0) >= 1, error, -1)  # a component that holds less than one picture is none
    kept = np.argsort(-error, kind="stable")[: min(mixing.slices, parts)]
    found: list[Slice] = []
    for part in kept:
        order = np.lexsort((-joint[:, part], -np.round(belongs[:, part], 6)))  # many belong to one part alone
        weights = np.zeros(len(embeddings))
        weights[places] = belongs[:, part]
        found.append(Slice(number, places[order], weights, float(error[part])))
    return tuple(found)


def principal(embeddings: Float[np.ndarray, "picture dim"], dims: int) -> Float[np.ndarray, "picture part"]:
    """The embeddings in the directions in which they differ most."""
    centred = embeddings - embeddings.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    return centred @ directions[: min(dims, len(directions))].T


def _mixture(
    points: Float[np.ndarray, "picture dim"], truth: Float[np.ndarray, "picture class"],
    said: Float[np.ndarray, "picture class"], parts: int, mixing: Mixing, seed: Seed,
) -> tuple[Float[np.ndarray, "picture part"], Float[np.ndarray, "picture part"]]:  # fmt: skip
    """How much each picture belongs to each part, and the log of point and part together.

    log p = log weight + log N(point) + labels * log Cat(truth) + said * sum said log Cat(said); diagonal variances.
    """
    variance = points.var(axis=0)
    near = points / np.sqrt(variance.sum() + _FLOOR)
    beginning = np.hstack([near, mixing.labels**0.5 * truth, mixing.said**0.5 * said])
    states = int(seed.child("mixture")) % 2**31
    kmeans: Any = KMeans
    started = np.asarray(kmeans(parts, n_init=1, random_state=states).fit(beginning).labels_)
    belongs: np.ndarray = np.eye(parts)[started]
    before, joint = -np.inf, np.zeros(belongs.shape)
    for _ in range(mixing.steps):
        weight = belongs.sum(axis=0) + _FLOOR
        means = (belongs.T @ points) / weight[:, None]
        spread = (belongs.T @ points**2) / weight[:, None] - means**2
        spread = spread.clip(min=0) + mixing.spread * variance.mean() + _FLOOR
        joint = np.log(weight / len(points)) + _normal(points, means, spread)
        joint += mixing.labels * truth @ _log_shares(belongs, truth).T
        joint += mixing.said * said @ _log_shares(belongs, said).T
        total: np.ndarray = np.asarray(logsumexp(joint, axis=1))
        belongs = np.exp(joint - total[:, None])
        if abs(total.mean() - before) < _TOLERANCE:
            break
        before = float(total.mean())
    return belongs, joint


def _normal(
    points: Float[np.ndarray, "picture dim"],
    means: Float[np.ndarray, "part dim"],
    spread: Float[np.ndarray, "part dim"],
) -> Float[np.ndarray, "picture part"]:
    inverse = 1 / spread
    far = points**2 @ inverse.T - 2 * points @ (means * inverse).T + (means**2 * inverse).sum(axis=1)
    return -0.5 * (far + np.log(2 * np.pi * spread).sum(axis=1))


def _log_shares(
    belongs: Float[np.ndarray, "picture part"], classes: Float[np.ndarray, "picture class"]
) -> Float[np.ndarray, "part class"]:
    counts = belongs.T @ classes + _FLOOR
    return np.log(counts / counts.sum(axis=1, keepdims=True))


# -- words, and how well planted groups were found --------------------------------------------------------------------


def named(
    found: Slice, embeddings: Float[np.ndarray, "picture dim"], labels: Int64[np.ndarray, "picture"],
    texts: Float[np.ndarray, "text dim"], names: Sequence[str], *, count: int = 3,
) -> tuple[tuple[str, float], ...]:  # fmt: skip
    """The texts that lie closest to what sets the group apart: its mean less that of its classes, as a cosine."""
    weights = found.weights / max(found.weights.sum(), _FLOOR)
    usual = sum(
        weights[labels == number].sum() * embeddings[labels == number].mean(axis=0) for number in np.unique(labels)
    )
    apart = weights @ embeddings - np.asarray(usual)
    length = np.linalg.norm(apart) * np.linalg.norm(texts, axis=1)
    cosines = texts @ apart / np.maximum(length, _FLOOR)
    return tuple((names[int(at)], float(cosines[at])) for at in np.argsort(-cosines, kind="stable")[:count])


def precision(
    found: Sequence[Slice], planted: Sequence[np.ndarray], *, first: int = 10
) -> tuple[Float[np.ndarray, "group"], float]:
    """For each planted group the share of it among the `first` pictures of the slice that has most; and their mean.

    planted: which pictures are in each group. A group with no picture is not counted.
    """
    best = np.array(
        [
            max((float(group[one.members[:first]].mean()) for one in found), default=0.0)
            for group in planted
            if group.any()
        ]
    )
    return best, float(best.mean()) if len(best) else float("nan")
