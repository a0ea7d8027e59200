"""What people's answers say: whom they trust when, and whether they and the model are better than either alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from pellucid.compute.bootstrap import Interval
from pellucid.compute.resample import bunched, crossed_interval, divided, sums_interval
from pellucid.errors import RequestError
from pellucid.trust.concepts.finding import Finding
from pellucid.values.seed import Seed

THRESHOLDS = tuple(step / 20 for step in range(21))


@dataclass(frozen=True)
class Decision:
    """One person's answer to "is the model right?" about one task.

    accepted:   the person said yes
    right:      the model was right
    confidence: of the model, 0 to 1
    seconds:    taken to answer; NaN where nobody looked at the clock
    edits:      how often the person changed the explanation before, where it could be changed
    """

    user: str
    task: str
    accepted: bool
    right: bool
    confidence: float
    condition: str = ""
    seconds: float = float("nan")
    edits: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Reliance(Finding):
    """Whom people trust when. Every interval is over people, who are drawn anew with all their decisions.

    accuracy:      share of decisions that are right: yes to a right model, no to a wrong one (appropriate reliance)
    accept_right:  share accepted where the model is right; reject_wrong: share rejected where it is wrong
    over_reliance: share accepted where it is wrong; under_reliance: share rejected where it is right
    accepted:      share accepted in all
    model:         share of the shown decisions in which the model is right, which is the accuracy of saying yes always
    shuffled:      accuracy when each person's answers are shuffled over their tasks: what a person reaches who accepts
                   as often, and knows nothing
    seconds:       median time of a decision, NaN where none was taken
    kept, total:   people, and decisions
    """

    accuracy: Interval
    accept_right: Interval
    reject_wrong: Interval
    over_reliance: Interval
    under_reliance: Interval
    accepted: Interval
    model: Interval
    shuffled: float
    seconds: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Team(Finding):
    """Model and people together: the model decides alone where it is sure, a person does elsewhere.

    thresholds: of the confidence, below which people decide; at 0 the model decides all, at 1 people do
    accuracy:   of the team, at each; automatic: share that the model decides
    model, people: accuracy of either alone, on all tasks shown
    shuffled:   the team's accuracy when the model's confidences are shuffled over tasks, at each threshold
    kept, total: people, and decisions

    Intervals are over people and tasks, both drawn anew: everybody saw the same tasks.
    """

    thresholds: tuple[float, ...]
    accuracy: tuple[Interval, ...]
    automatic: tuple[float, ...]
    model: Interval
    people: Interval
    shuffled: tuple[float, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Complementarity(Finding):
    """Whether the team is better than the better of its members.

    margin:     accuracy of the team less that of the better one alone, interval over people and tasks
    thresholds: the one used for each half of the tasks, chosen on the other half
    team, model, people: accuracies
    shuffled:   the margin when the model's confidences are shuffled over tasks, mean over shuffles
    kept, total: people, and decisions
    """

    margin: Interval
    thresholds: tuple[float, ...]
    team: float
    model: float
    people: float
    shuffled: float

    @property
    def complementary(self) -> bool:
        """Whether the whole interval of the margin lies above 0."""
        return self.margin.above_zero


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison(Finding):
    """People's accuracy in one condition less that in another.

    difference: interval over people; those who saw both conditions are drawn with both
    one, other: accuracies; both: people who saw both
    p:          how often exchanging conditions by chance gives as large a difference, two-sided: within people who saw
                both, between people otherwise
    kept, total: people, and decisions
    """

    difference: Interval
    one: float
    other: float
    both: int
    p: float


def reliance(decisions: Sequence[Decision], *, seed: int = 0) -> Reliance:
    """Whether people accept what is right and reject what is wrong. Raises RequestError without any decision.

    Taesiri et al., NeurIPS 2022; Nguyen et al. 2024.
    """
    yes, right = _columns(decisions)
    no, wrong = ~yes, ~right

    def share(held: Bool[np.ndarray, "decision"], among: Bool[np.ndarray, "decision"]) -> Interval:
        return _share(decisions, held & among, among, seed)

    every = np.ones(len(yes), dtype=bool)
    seconds = np.array([decision.seconds for decision in decisions], dtype=float)
    timed = seconds[np.isfinite(seconds)]
    return Reliance(
        accuracy=share(yes == right, every), accept_right=share(yes, right), reject_wrong=share(no, wrong),
        over_reliance=share(yes, wrong), under_reliance=share(no, right), accepted=share(yes, every),
        model=share(right, every), shuffled=_blind(decisions, yes, right),
        seconds=float(np.median(timed)) if len(timed) else float("nan"),
        kept=len({decision.user for decision in decisions}), total=len(decisions), seed=seed,
        skipped={} if wrong.any() else {"reject_wrong": "the model is never wrong here"},
    )  # fmt: skip


def team_accuracy(
    decisions: Sequence[Decision], *, thresholds: Sequence[float] = THRESHOLDS, shuffles: int = 20, seed: int = 0
) -> Team:
    """How often model and people together are right, if people are asked only where the model is unsure.

    The model decides where its confidence is at least the threshold; at 1 nothing is sure enough. A task's part that
    people decide has the accuracy they had on it. Nguyen et al. 2024.
    """
    yes, right = _columns(decisions)
    own = yes == right
    confidence = _confidences(decisions, thresholds)

    def share(held: Bool[np.ndarray, "decision"]) -> Interval:
        return _over_both(decisions, np.stack([held, np.ones(len(held))], axis=1).astype(float), divided, seed)

    routed = [_routed(confidence, threshold, right, own) for threshold in thresholds]
    generator = np.random.default_rng(int(Seed(seed).child("shuffle")))
    chance = np.zeros(len(thresholds))
    for _ in range(shuffles):
        drawn = _shuffled_over_tasks(decisions, confidence, generator)
        chance += [_routed(drawn, threshold, right, own).mean() / shuffles for threshold in thresholds]
    return Team(
        thresholds=tuple(thresholds), accuracy=tuple(share(held) for held in routed),
        automatic=tuple(float(_sure(confidence, threshold).mean()) for threshold in thresholds),
        model=share(right), people=share(own), shuffled=tuple(chance.tolist()),
        kept=len({decision.user for decision in decisions}), total=len(decisions), seed=seed,
    )  # fmt: skip


def complementarity(
    decisions: Sequence[Decision], *, thresholds: Sequence[float] = THRESHOLDS, shuffles: int = 20, seed: int = 0
) -> Complementarity:
    """Whether the team beats both of its members, at a threshold that was not chosen on the tasks it is measured on.

    Tasks are halved; the threshold that is best for one half is used for the other. Halving people would not do: all of
    them saw the task on which the model, by accident, is unsure and wrong. Raises RequestError for fewer than two
    people or four tasks.
    """
    yes, right = _columns(decisions)
    own = yes == right
    confidence = _confidences(decisions, thresholds)
    users, tasks = ({getattr(decision, side) for decision in decisions} for side in ("user", "task"))
    if len(users) < 2 or len(tasks) < 4:
        raise RequestError(f"{len(users)} people and {len(tasks)} tasks; expected at least 2 and 4.")
    generator = np.random.default_rng(int(Seed(seed).child("halves")))
    ordered = sorted(tasks)
    first = {ordered[at] for at in generator.permutation(len(ordered))[: len(ordered) // 2]}
    half = np.array([decision.task in first for decision in decisions])
    team, chosen = _crossed(confidence, thresholds, right, own, half)
    rivals = [
        _crossed(_shuffled_over_tasks(decisions, confidence, generator), thresholds, right, own, half)[0].mean()
        for _ in range(shuffles)
    ]
    return Complementarity(
        margin=_margin(decisions, team, right, own, seed), thresholds=chosen, team=float(team.mean()),
        model=float(right.mean()), people=float(own.mean()),
        shuffled=float(np.mean(rivals) - max(right.mean(), own.mean())),
        kept=len(users), total=len(decisions), seed=seed,
    )  # fmt: skip


def compare_conditions(
    decisions: Sequence[Decision], one: str, other: str, *, exchanges: int = 2000, seed: int = 0
) -> Comparison:
    """By how much people are more often right in one condition than in another.

    Raises RequestError where a condition has no decision.
    """
    held = [decision for decision in decisions if decision.condition in (one, other)]
    yes, right = _columns(held)
    own = yes == right
    first = np.array([decision.condition == one for decision in held])
    if first.all() or not first.any():
        raise RequestError(
            f"conditions {one!r} and {other!r}: one of them has no decision. Known: {_known(decisions)}."
        )
    parts = np.stack([own & first, first, own & ~first, ~first], axis=1).astype(float)
    sums, users = bunched(parts, [decision.user for decision in held])
    both = (sums[:, 1] > 0) & (sums[:, 3] > 0)
    return Comparison(
        difference=sums_interval(sums, _difference, seed=seed), one=float(own[first].mean()),
        other=float(own[~first].mean()), both=int(both.sum()), p=_exchanged(sums, both, exchanges, seed),
        kept=len(users), total=len(held), seed=seed,
    )  # fmt: skip


def _columns(decisions: Sequence[Decision]) -> tuple[Bool[np.ndarray, "decision"], Bool[np.ndarray, "decision"]]:
    if not decisions:
        raise RequestError("There is no decision to analyse.")
    return (
        np.array([decision.accepted for decision in decisions], dtype=bool),
        np.array([decision.right for decision in decisions], dtype=bool),
    )


def _confidences(decisions: Sequence[Decision], thresholds: Sequence[float]) -> Float[np.ndarray, "decision"]:
    values = np.array([decision.confidence for decision in decisions], dtype=float)
    if not ((values >= 0) & (values <= 1)).all() or not all(0 <= threshold <= 1 for threshold in thresholds):
        raise RequestError("Confidences and thresholds: expected numbers from 0 to 1.")
    return values


def _share(
    decisions: Sequence[Decision], held: Bool[np.ndarray, "decision"], among: Bool[np.ndarray, "decision"], seed: int
) -> Interval:
    parts = np.stack([held, among], axis=1).astype(float)
    sums, _ = bunched(parts, [decision.user for decision in decisions])
    return sums_interval(sums, divided, seed=seed)


def _sure(confidence: Float[np.ndarray, "decision"], threshold: float) -> Bool[np.ndarray, "decision"]:
    return (confidence >= threshold) & (threshold < 1)


def _routed(
    confidence: np.ndarray, threshold: float, right: Bool[np.ndarray, "decision"], own: Bool[np.ndarray, "decision"]
) -> Bool[np.ndarray, "decision"]:
    return np.where(_sure(confidence, threshold), right, own)


def _crossed(
    confidence: np.ndarray, thresholds: Sequence[float], right: np.ndarray, own: np.ndarray, half: np.ndarray
) -> tuple[Bool[np.ndarray, "decision"], tuple[float, float]]:
    """The team's right decisions, each half at the threshold that is best for the other."""
    routed = np.stack([_routed(confidence, threshold, right, own) for threshold in thresholds])
    for_first, for_second = (int(routed[:, side].mean(axis=1).argmax()) for side in (~half, half))
    return np.where(half, routed[for_first], routed[for_second]), (thresholds[for_first], thresholds[for_second])


def _margin(decisions: Sequence[Decision], team: np.ndarray, right: np.ndarray, own: np.ndarray, seed: int) -> Interval:
    parts = np.stack([team, right, own, np.ones(len(own))], axis=1).astype(float)

    def margin(sums: Float[np.ndarray, "resample 4"]) -> Float[np.ndarray, "resample"]:
        return divided(np.stack([sums[:, 0] - np.maximum(sums[:, 1], sums[:, 2]), sums[:, 3]], axis=1))

    return _over_both(decisions, parts, margin, seed)


def _over_both(
    decisions: Sequence[Decision], parts: np.ndarray, figure: Callable[[np.ndarray], np.ndarray], seed: int
) -> Interval:
    users, tasks = [decision.user for decision in decisions], [decision.task for decision in decisions]
    return crossed_interval(parts, users, tasks, figure, seed=seed)


def _difference(sums: Float[np.ndarray, "resample 4"]) -> Float[np.ndarray, "resample"]:
    return divided(sums[:, :2]) - divided(sums[:, 2:])


def _exchanged(sums: Float[np.ndarray, "user 4"], both: np.ndarray, exchanges: int, seed: int) -> float:
    """Conditions exchanged by chance: turned round within those who saw both, dealt anew among the others."""
    generator = np.random.default_rng(int(Seed(seed).child("exchange")))
    real = abs(float(_difference(sums.sum(axis=0, keepdims=True))[0]))
    turned = sums[:, [2, 3, 0, 1]]
    single = np.flatnonzero(~both)
    in_first = sums[single, 1] > 0
    as_large = 0
    for _ in range(exchanges):
        swap = generator.random(len(sums)) < 0.5
        swap[single] = in_first != generator.permutation(in_first)
        drawn = np.where(swap[:, None], turned, sums).sum(axis=0, keepdims=True)
        as_large += abs(float(_difference(drawn)[0])) >= real - 1e-12
    return (as_large + 1) / (exchanges + 1)


def _blind(decisions: Sequence[Decision], yes: np.ndarray, right: np.ndarray) -> float:
    """What shuffling each person's answers over their tasks gives, worked out instead of drawn."""
    ones = np.ones(len(yes))
    sums, _ = bunched(np.stack([yes, right, ones], axis=1).astype(float), [decision.user for decision in decisions])
    accepts, rights, counts = sums.T
    expected = (accepts * rights + (counts - accepts) * (counts - rights)) / counts
    return float(expected.sum() / counts.sum())


def _shuffled_over_tasks(
    decisions: Sequence[Decision], confidence: np.ndarray, generator: np.random.Generator
) -> Float[np.ndarray, "decision"]:
    by_task = {decision.task: value for decision, value in zip(decisions, confidence, strict=True)}
    names = list(by_task)
    values = generator.permutation([by_task[name] for name in names])
    dealt = dict(zip(names, values, strict=True))
    return np.array([dealt[decision.task] for decision in decisions])


def _known(decisions: Sequence[Decision]) -> str:
    return ", ".join(repr(name) for name in dict.fromkeys(decision.condition for decision in decisions))
