"""Would other probe pictures, fewer concepts or easier ones have told another story?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pellucid.compute.bootstrap import Interval, interval
from pellucid.engine.perturb import ranking
from pellucid.errors import RequestError, ShapeError
from pellucid.trust.concepts.bottleneck import correlations, ranks
from pellucid.trust.concepts.finding import Finding, halves, same_length
from pellucid.values.seed import Seed

READABLE = 32  # concepts that people are willing to read (Ramaswamy et al. 2023)


@dataclass(frozen=True, eq=False, kw_only=True)
class ProbeSetAgreement(Finding):
    """How alike two explanations are that differ by their probe pictures alone.

    overlap:  share of the `top` most important concepts that both name, mean over what is explained
    order:    rank correlation of all importances
    cosine:   mean cosine of the concepts' vectors; None where none were given
    shuffled: overlap when one side's concepts are shuffled, which is `top` over the number of concepts
    margin:   overlap less that, per explained thing
    kept, total: explanations that vary, and all
    """

    top: int
    overlap: Interval
    order: Interval
    cosine: Interval | None
    shuffled: float
    margin: Interval


@dataclass(frozen=True, eq=False, kw_only=True)
class ConceptLearnability(Finding):
    """Whether concepts are easier to read off the features than what they explain.

    concepts, classes: normalised average precision of a linear reader, per concept and per class; NaN where one side
              of the items has none of it
    shuffled: the mean over concepts when their presence is shuffled; `prevalence` by construction
    prevalence: the share of positives that every precision is corrected to
    harder:   concept -> the classes it explains although it is harder to read than they are
    mean:     over concepts
    kept, total: concepts with a value, and all
    """

    concepts: Float[Tensor, "concept"]
    classes: Float[Tensor, "class"]
    mean: Interval
    shuffled: float
    prevalence: float
    harder: dict[int, tuple[int, ...]]


@dataclass(frozen=True, eq=False, kw_only=True)
class FidelityByCount(Finding):
    """How faithfully a few concepts foretell what the model says.

    counts:   how many of the most important concepts were used
    fidelity: share of unseen items whose decision they foretell
    random:   the same for as many concepts drawn by chance
    shuffled: with all concepts, and decisions shuffled
    enough:   the least count that comes within `slack` of all of them; readable: whether people would read so many
    kept, total: items that were measured, and all that were given
    """

    counts: tuple[int, ...]
    fidelity: tuple[Interval, ...]
    random: tuple[float, ...]
    shuffled: float
    enough: int
    slack: float
    readable: bool


def probe_set_agreement(
    one: Float[Tensor, "explained concept"], other: Float[Tensor, "explained concept"], *, top: int = 10,
    vectors: tuple[Float[Tensor, "concept channel"], Float[Tensor, "concept channel"]] | None = None,
    shuffles: int = 100, seed: int = 0,
) -> ProbeSetAgreement:  # fmt: skip
    """How alike the importances of concepts are when the same method learned them from two sets of probe pictures.

    one, other: per class or item that is explained, the importance of each concept
    vectors:    of the concepts, learned from each set

    Ramaswamy et al., Overlooked Factors in Concept-Based Explanations, CVPR 2023.
    """
    if one.shape != other.shape:
        raise ShapeError("other", got=tuple(other.shape), expected=f"{list(one.shape)}, as the first has")
    count = one.shape[1]
    if not 0 < top <= count:
        raise RequestError(f"top={top}; expected 1 to {count}, as many concepts as there are.")
    first = _top(one, top, Seed(seed).child("one"))
    overlap = (first & _top(other, top, Seed(seed).child("one"))).sum(dim=1).double() / top
    generator = Seed(seed).child("shuffle").generator()
    chance = torch.stack([
        (first & first[:, torch.randperm(count, generator=generator)]).sum(dim=1).double() / top
        for _ in range(shuffles)
    ]).mean(dim=0)  # fmt: skip
    order = correlations(ranks(one), ranks(other))
    cosine = None
    if vectors is not None:
        values = torch.nn.functional.cosine_similarity(vectors[0].double(), vectors[1].double(), dim=1)
        cosine = interval(values.tolist(), seed)
    return ProbeSetAgreement(
        top=top, overlap=interval(overlap.tolist(), seed), order=interval(order.tolist(), seed), cosine=cosine,
        shuffled=float(chance.mean()), margin=interval((overlap - chance).tolist(), seed),
        kept=int(order.isfinite().sum()), total=len(one), seed=seed,
    )  # fmt: skip


def concept_learnability(
    features: Float[Tensor, "item channel"], present: Bool[Tensor, "item concept"], labels: Int[Tensor, "item"],
    explains: Bool[Tensor, "class concept"], *, prevalence: float = 0.1, held_out: float = 0.4, seed: int = 0,
) -> ConceptLearnability:  # fmt: skip
    """How well each concept can be read off the features, beside the classes that it is to explain.

    explains:   which concepts an explanation names for which class
    prevalence: to which the share of positives is corrected, so that rare and common concepts compare: a reader that
                guesses has this average precision

    Ramaswamy et al. 2023; normalised average precision after Hoiem et al. 2012.
    """
    same_length("present", len(present), len(features), "item")
    same_length("labels", len(labels), len(features), "item")
    parts = halves(len(features), held_out, Seed(seed))
    classes = torch.stack([labels == at for at in range(len(explains))], dim=1)
    easy_concepts = _readable(features, present, parts, prevalence)
    easy_classes = _readable(features, classes, parts, prevalence)
    order = torch.randperm(len(features), generator=Seed(seed).child("shuffle").generator())
    harder = {
        concept: tuple(
            at for at in torch.nonzero(explains[:, concept])[:, 0].tolist()
            if float(easy_concepts[concept]) < float(easy_classes[at])
        )
        for concept in range(present.shape[1])
    }  # fmt: skip
    return ConceptLearnability(
        concepts=easy_concepts, classes=easy_classes, mean=interval(easy_concepts.tolist(), seed),
        shuffled=float(_readable(features, present[order], parts, prevalence).nanmean()), prevalence=prevalence,
        harder={concept: which for concept, which in harder.items() if which},
        kept=int(easy_concepts.isfinite().sum()), total=len(easy_concepts), seed=seed,
        skipped={f"concept {at}": "one side of the items has none of it, or nothing else"
                 for at in torch.nonzero(easy_concepts.isnan())[:, 0].tolist()},
    )  # fmt: skip


def fidelity_by_count(
    scores: Float[Tensor, "item concept"], decisions: Int[Tensor, "item"], *,
    counts: Sequence[int] = (1, 2, 4, 8, 16, 32, 64), slack: float = 0.01, draws: int = 3, held_out: float = 0.4,
    seed: int = 0,
) -> FidelityByCount:  # fmt: skip
    """How many concepts a reader needs to foretell what the model decides.

    scores:    of the concepts, one row per item (or their presence as 0 and 1)
    decisions: of the model
    counts:    concepts used, the most important first by the weights of a reader that has all; more than there are
               stand for all

    Ramaswamy et al. 2023: people read up to 32.
    """
    same_length("decisions", len(decisions), len(scores), "item")
    learned, measured = halves(len(scores), held_out, Seed(seed))
    target = decisions.numpy()
    if len(np.unique(target[learned.numpy()])) < 2:
        raise RequestError("All items to learn from have the same decision: there is nothing to foretell.")
    values = ((scores - scores[learned].mean(dim=0)) / scores[learned].std(dim=0).clamp(min=1e-8)).double().numpy()
    full = _logistic(values[learned.numpy()], target[learned.numpy()])
    order = np.argsort(-np.linalg.norm(full.coef_, axis=0), kind="stable")
    sizes = tuple(sorted({min(count, values.shape[1]) for count in counts} | {values.shape[1]}))

    def right(columns: np.ndarray, said: np.ndarray) -> np.ndarray:
        reader = _logistic(values[learned.numpy()][:, columns], said[learned.numpy()])
        return reader.predict(values[measured.numpy()][:, columns]) == target[measured.numpy()]

    rows = [right(order[:size], target) for size in sizes]
    generator = np.random.default_rng(int(Seed(seed).child("drawn")))
    drawn = [
        float(np.mean([right(generator.permutation(len(order))[:size], target).mean() for _ in range(draws)]))
        for size in sizes
    ]
    best = float(rows[-1].mean())
    enough = next(size for size, row in zip(sizes, rows, strict=True) if row.mean() >= best - slack)
    return FidelityByCount(
        counts=sizes, fidelity=tuple(interval(row.astype(float), seed) for row in rows), random=tuple(drawn),
        shuffled=float(right(order, generator.permutation(target)).mean()), enough=enough, slack=slack,
        readable=enough <= READABLE, kept=len(measured), total=len(scores), seed=seed,
    )  # fmt: skip


def normalised_average_precision(
    scores: Float[np.ndarray, "item"], present: Bool[np.ndarray, "item"], prevalence: float
) -> float:
    """Average precision as it were if this share of the items were positive; NaN where all or none are."""
    from sklearn.metrics import average_precision_score

    share = float(present.mean())
    if share in (0.0, 1.0):
        return float("nan")
    weights = np.where(present, prevalence / share, (1 - prevalence) / (1 - share))
    return float(average_precision_score(present, scores, sample_weight=weights))


def _readable(
    features: Tensor, present: Bool[Tensor, "item concept"], parts: tuple[Tensor, Tensor], prevalence: float
) -> Float[Tensor, "concept"]:
    learned, measured = (part.numpy() for part in parts)
    values = ((features - features.mean(dim=0)) / features.std(dim=0).clamp(min=1e-8)).double().numpy()
    found: list[float] = []
    for column in present.numpy().T:
        if len(np.unique(column[learned])) < 2:
            found.append(float("nan"))
            continue
        reader = _logistic(values[learned], column[learned])
        said = reader.decision_function(values[measured])
        found.append(normalised_average_precision(said, column[measured], prevalence))
    return torch.tensor(found, dtype=torch.float64)


def _logistic(values: np.ndarray, labels: np.ndarray) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=500, tol=1e-3, class_weight="balanced").fit(values, labels)


def _top(values: Float[Tensor, "explained concept"], top: int, seed: Seed) -> Bool[Tensor, "explained concept"]:
    """Ties are broken by the seed, for both sides alike."""
    return ranking(values, seed) < top
