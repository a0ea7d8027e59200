"""How far two explanations over the same segments agree, and how faithful each is when segments go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pellucid.compute.bootstrap import Interval, interval
from pellucid.errors import RequestError, ShapeError
from pellucid.trust.concepts.bottleneck import correlations, ranks
from pellucid.trust.concepts.finding import Finding
from pellucid.values.seed import Seed

TOPS = (1, 3, 5, 10)
PARTS = (0.01, 0.05, 0.1, 0.2, 0.5)
Answers = Callable[[Bool[Tensor, "item segment"]], Float[Tensor, "item class"]]
"""What the model says when of each item only these segments are shown."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TopAgreement(Finding):
    """Agreement over the `top` strongest segments, by magnitude; each a share, 1 for equal explanations.

    feature:     strongest segments that both name
    rank:        places at which both name the same segment
    sign:        strongest segments that both name with the same sign
    signed_rank: places at which both name the same segment with the same sign
    union:       those both name over those either names (IoU)
    shuffled:    `feature` when one side's segments are shuffled: `top` over the number of segments
    kept, total: items
    """

    top: int
    feature: Interval
    rank: Interval
    sign: Interval
    signed_rank: Interval
    union: Interval
    shuffled: float


@dataclass(frozen=True, eq=False, kw_only=True)
class SegmentAgreement(Finding):
    """How alike two explanations order segments.

    spearman, kendall: correlations of the order, -1 to 1 (Kendall's tau-b)
    pairwise: share of the pairs of segments that both put in the same order; ties agree with ties
    shuffled: Spearman when one side's segments are shuffled
    tops:     agreement over the strongest, by how many
    kept, total: items where both vary, and all
    """

    spearman: Interval
    kendall: Interval
    pairwise: Interval
    shuffled: Interval
    tops: Mapping[int, TopAgreement]


@dataclass(frozen=True, eq=False, kw_only=True)
class SegmentFaithfulness(Finding):
    """How faithful an explanation over segments is, with a random order beside every figure.

    comprehensiveness: mean fall of the answer when the strongest parts go, higher is better
    sufficiency:  mean fall when only they are shown, lower is better
    until_flip:   share of segments to take away, strongest first, until the decision changes (DFFOT); 1 where it
                  never does; lower is better
    single_flip:  share of items whose decision changes when the strongest segment alone goes (DFMIT); higher is better
    deletion_rank: Spearman of importance and what the answer loses without each segment alone, -1 to 1
    random:       the same five for drawn importances, by name
    kept, total:  items whose losses vary, and all
    """

    comprehensiveness: Interval
    sufficiency: Interval
    until_flip: Interval
    single_flip: Interval
    deletion_rank: Interval
    random: Mapping[str, Interval]


def segment_agreement(
    one: Float[Tensor, "item segment"], other: Float[Tensor, "item segment"], *, tops: Sequence[int] = TOPS,
    seed: int = 0,
) -> SegmentAgreement:  # fmt: skip
    """How far two importances of the same segments agree.

    tops: numbers of strongest segments to compare; more than there are is refused

    Krishna et al., The Disagreement Problem, 2022; Huang et al., Can Large Language Models Explain Themselves?, 2023.
    """
    _same(one, other)
    if not tops or not 0 < min(tops) <= max(tops) <= one.shape[1]:
        raise RequestError(f"tops={tuple(tops)}; expected numbers from 1 to {one.shape[1]}, the segments there are.")
    shuffle = torch.randperm(one.shape[1], generator=Seed(seed).child("shuffle").generator())
    spearman = _spearman(one, other)
    return SegmentAgreement(
        spearman=interval(spearman.tolist(), seed), kendall=interval(_kendall(one, other), seed),
        pairwise=interval(_pairwise(one, other).tolist(), seed),
        shuffled=interval(_spearman(one, other[:, shuffle]).tolist(), seed),
        tops={top: _top_agreement(one, other, top, seed) for top in tops},
        kept=int(spearman.isfinite().sum()), total=len(one), seed=seed,
    )  # fmt: skip


def segment_faithfulness(
    importance: Float[Tensor, "item segment"], answers: Answers, *, targets: Sequence[int] | None = None,
    parts: Sequence[float] = PARTS, seed: int = 0,
) -> SegmentFaithfulness:  # fmt: skip
    """What happens to an answer when the segments go in the order of an explanation.

    answers: takes the segments to show of each item, gives the model's probabilities or logits; asked
             3 * segments + 4 * len(parts) + 1 times, the random order included
    targets: the class whose answer is looked at; by default the one decided for the whole item
    parts:   of the segments, strongest first, that go or stay; at least one segment each

    DeYoung et al. 2020 (comprehensiveness, sufficiency); Huang et al. 2023.
    """
    items, segments = importance.shape
    with torch.no_grad():
        whole = answers(torch.ones(items, segments, dtype=torch.bool))
        decided = whole.argmax(dim=1)
        classes = decided if targets is None else torch.as_tensor(list(targets))
        base = whole.gather(1, classes[:, None])[:, 0].double()
        alone = torch.stack([
            base - _answer(answers, ~_single(items, segments, at), classes) for at in range(segments)
        ], dim=1)  # fmt: skip
        own = _measured(importance, answers, classes, base, decided, alone, parts, Seed(seed))
        noise = torch.rand(importance.shape, generator=Seed(seed).child("noise").generator())
        rival = _measured(noise, answers, classes, base, decided, alone, parts, Seed(seed))
    held = {name: interval(values.tolist(), seed) for name, values in own.items()}
    return SegmentFaithfulness(
        comprehensiveness=held["comprehensiveness"], sufficiency=held["sufficiency"], until_flip=held["until_flip"],
        single_flip=held["single_flip"], deletion_rank=held["deletion_rank"],
        random={name: interval(values.tolist(), seed) for name, values in rival.items()},
        kept=int(own["deletion_rank"].isfinite().sum()), total=items, seed=seed,
        skipped={f"item {at}": "its importances or what it loses are all the same: no rank correlation"
                 for at in torch.nonzero(own["deletion_rank"].isnan())[:, 0].tolist()},
    )  # fmt: skip


def _measured(
    importance: Tensor, answers: Answers, classes: Tensor, base: Tensor, decided: Tensor, alone: Tensor,
    parts: Sequence[float], seed: Seed,
) -> dict[str, Float[Tensor, "item"]]:  # fmt: skip
    ranks = _ranks(importance, seed)
    segments = importance.shape[1]
    sizes = [max(1, round(part * segments)) for part in parts]
    gone = [base - _answer(answers, ranks >= size, classes) for size in sizes]
    left = [base - _answer(answers, ranks < size, classes) for size in sizes]
    flipped = torch.stack([answers(ranks >= size).argmax(dim=1) != decided for size in range(1, segments + 1)])
    first = torch.where(flipped.any(dim=0), flipped.double().argmax(dim=0) + 1, segments)
    return {
        "comprehensiveness": torch.stack(gone).mean(dim=0),
        "sufficiency": torch.stack(left).mean(dim=0),
        "until_flip": first.double() / segments,
        "single_flip": flipped[0].double(),
        "deletion_rank": _spearman(importance, alone),
    }


def _answer(answers: Answers, shown: Bool[Tensor, "item segment"], classes: Tensor) -> Float[Tensor, "item"]:
    return answers(shown).gather(1, classes[:, None])[:, 0].double()


def _single(items: int, segments: int, at: int) -> Bool[Tensor, "item segment"]:
    return (torch.arange(segments) == at).expand(items, -1)


def _top_agreement(one: Tensor, other: Tensor, top: int, seed: int) -> TopAgreement:
    # Ties are broken differently on both sides, or two flat explanations would agree by the way they were sorted.
    first, second = _ranks(one.abs(), Seed(seed).child("one")), _ranks(other.abs(), Seed(seed).child("other"))
    if torch.equal(one, other):
        second = first
    both = (first < top) & (second < top)
    placed = both & (first == second)
    alike = one.sign() == other.sign()
    either = ((first < top) | (second < top)).sum(dim=1)
    shuffle = torch.rand(one.shape, generator=Seed(seed).child("shuffle", top).generator()).argsort(dim=1)
    chance = ((first < top) & (second.gather(1, shuffle) < top)).sum(dim=1).double() / top

    def share(held: Tensor) -> Interval:
        return interval((held.sum(dim=1).double() / top).tolist(), seed)

    return TopAgreement(
        top=top, feature=share(both), rank=share(placed), sign=share(both & alike), signed_rank=share(placed & alike),
        union=interval((both.sum(dim=1).double() / either).tolist(), seed), shuffled=float(chance.mean()),
        kept=len(one), total=len(one), seed=seed,
    )  # fmt: skip


def _ranks(values: Float[Tensor, "item segment"], seed: Seed) -> Int[Tensor, "item segment"]:
    """0 for the strongest; equal ones in drawn order, drawn for each item."""
    shuffle = torch.rand(values.shape, generator=seed.child("ties").generator()).argsort(dim=1)
    order = values.gather(1, shuffle).argsort(dim=1, descending=True, stable=True)
    return shuffle.gather(1, order).argsort(dim=1)


def _spearman(one: Tensor, other: Tensor) -> Float[Tensor, "item"]:
    return correlations(ranks(one), ranks(other))


def _kendall(one: Tensor, other: Tensor) -> list[float]:
    """tau-b: concordant less discordant pairs over the pairs that neither side ties, by their geometric mean."""
    first, second = _orders(one), _orders(other)
    scale = ((first != 0).sum(dim=1) * (second != 0).sum(dim=1)).double().sqrt()
    return torch.where(scale > 0, (first * second).sum(dim=1) / scale.clamp(min=1), torch.nan).tolist()


def _pairwise(one: Tensor, other: Tensor) -> Float[Tensor, "item"]:
    first, second = _orders(one), _orders(other)
    return (first == second).double().mean(dim=1)


def _orders(values: Float[Tensor, "item segment"]) -> Float[Tensor, "item pair"]:
    """Of every pair of segments, which is higher: 1, -1, or 0 where they are equal."""
    above, below = torch.triu_indices(values.shape[1], values.shape[1], offset=1)
    return (values[:, above] - values[:, below]).sign().double()


def _same(one: Tensor, other: Tensor) -> None:
    if one.shape != other.shape:
        raise ShapeError("other", got=tuple(other.shape), expected=f"{list(one.shape)}, as the first has")
