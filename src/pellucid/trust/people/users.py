"""People who were made up, whose reliance is known: what an analysis must find, and how many a study needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from pellucid.compute.bootstrap import Interval, interval
from pellucid.compute.resample import divided, sums_interval
from pellucid.errors import RequestError
from pellucid.trust.concepts.finding import Finding
from pellucid.trust.people.analysis import Decision
from pellucid.values.seed import Seed

_RESAMPLES = 400  # inside each made-up study


@dataclass(frozen=True)
class Users:
    """How made-up people behave.

    accept_right, reject_wrong: how likely each is
    spread: standard deviation of both from person to person, cut at 0 and 1
    """

    count: int
    accept_right: float
    reject_wrong: float
    spread: float = 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Power(Finding):
    """How often a study of this size would see a difference that is there.

    power:  share of made-up studies whose interval of the difference lies off 0, with its own interval
    false_alarms: the same where there is no difference; should be about .05
    effect: the true difference in accuracy
    users, decisions: people in each condition, and decisions by each
    kept, total: made-up studies
    """

    power: Interval
    false_alarms: Interval
    effect: float
    users: int
    decisions: int


def simulated(
    users: Users, tasks: int, *, model: float = 0.8, calibrated: bool = True, condition: str = "", seed: int = 0
) -> list[Decision]:
    """The decisions of made-up people about the same tasks.

    model:      share of tasks in which the model is right
    calibrated: its confidence is higher where it is right; otherwise it says nothing
    """
    generator = np.random.default_rng(int(Seed(seed).child("users", condition)))
    dealt = np.random.default_rng(int(Seed(seed).child("tasks")))  # the same tasks in every condition
    right = np.zeros(tasks, dtype=bool)
    right[dealt.permutation(tasks)[: round(model * tasks)]] = True
    confidence = dealt.beta(np.where(right & calibrated, 6, 3), np.where(right | (not calibrated), 3, 6), tasks)
    accept, reject = _each(users, generator)
    decisions: list[Decision] = []
    for user in range(users.count):
        yes = generator.random(tasks) < np.where(right, accept[user], 1 - reject[user])
        seconds = generator.gamma(4, 3, tasks)
        decisions += [
            Decision(
                f"{condition}{user}", f"task {task}", bool(yes[task]), bool(right[task]), float(confidence[task]),
                condition, float(seconds[task]),
            )
            for task in range(tasks)
        ]  # fmt: skip
    return decisions


def power(one: Users, other: Users, decisions: int, *, model: float = 0.8, studies: int = 200, seed: int = 0) -> Power:
    """How likely a study is to see the difference between two ways of relying on a model.

    one, other: people in each condition, different people of the same number; the spread between them decides most
    decisions:  by each person
    studies:    made up, each analysed as a real one is: 95% interval over people of the difference in accuracy

    Raises RequestError for groups of different size.
    """
    if one.count != other.count or one.count < 2 or decisions < 2:
        raise RequestError(
            f"{one.count} and {other.count} people with {decisions} decisions; expected groups of the same size, at "
            "least 2, and at least 2 decisions."
        )
    generator = np.random.default_rng(int(Seed(seed).child("power")))
    seen = [_sees(one, other, decisions, model, generator, Seed(seed).child(at)) for at in range(studies)]
    alarms = [_sees(one, one, decisions, model, generator, Seed(seed).child("same", at)) for at in range(studies)]
    effect = model * (one.accept_right - other.accept_right) + (1 - model) * (one.reject_wrong - other.reject_wrong)
    return Power(
        power=_of(seen), false_alarms=_of(alarms), effect=effect, users=one.count, decisions=decisions, kept=studies,
        total=studies, seed=seed,
    )  # fmt: skip


def _sees(one: Users, other: Users, decisions: int, model: float, generator: np.random.Generator, seed: Seed) -> bool:
    first, second = (_hits(users, decisions, model, generator) for users in (one, other))
    nobody = np.zeros((one.count, 2))
    per_person = np.full((one.count, 1), float(decisions))
    sums = np.concatenate([
        np.concatenate([first[:, None], per_person, nobody], axis=1),
        np.concatenate([nobody, second[:, None], per_person], axis=1),
    ])  # fmt: skip
    found = sums_interval(
        sums, lambda drawn: divided(drawn[:, :2]) - divided(drawn[:, 2:]), seed=int(seed), resamples=_RESAMPLES
    )
    return found.low > 0 or found.high < 0


def _hits(users: Users, decisions: int, model: float, generator: np.random.Generator) -> Float[np.ndarray, "user"]:
    accept, reject = _each(users, generator)
    right = round(model * decisions)
    return (generator.binomial(right, accept) + generator.binomial(decisions - right, reject)).astype(float)


def _each(users: Users, generator: np.random.Generator) -> tuple[Float[np.ndarray, "user"], Float[np.ndarray, "user"]]:
    drawn = generator.normal(0, users.spread, (2, users.count)) if users.spread > 0 else np.zeros((2, users.count))
    return np.clip(users.accept_right + drawn[0], 0, 1), np.clip(users.reject_wrong + drawn[1], 0, 1)


def _of(seen: list[bool]) -> Interval:
    return interval([float(one) for one in seen])
