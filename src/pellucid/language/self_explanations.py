"""Self-explanations on trial: what a narrator says mattered, held against what matters when it is taken away.

Huang et al., Can Large Language Models Explain Themselves?, 2023.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from pellucid.errors import RequestError
from pellucid.language.decisions import Decision
from pellucid.language.experiments import sign_flip_p

ORDERS, FORMATS = ("predict then explain", "explain then predict"), ("scores", "top")
TOP = 3
_CERTAIN = 0.01

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Mode:
    """How an explanation is asked for: in which order, and as scores of all features or as the `top` few."""

    order: str = ORDERS[0]
    format: str = FORMATS[0]
    top: int = TOP

    def __post_init__(self) -> None:
        if self.order not in ORDERS or self.format not in FORMATS or self.top < 1:
            raise RequestError(f"{self.order!r}, {self.format!r}, top={self.top}; expected one of {', '.join(ORDERS)}, "
                               f"one of {', '.join(FORMATS)}, and 1 or more.")  # fmt: skip

    def __str__(self) -> str:
        return f"{self.order}, {'scores of all' if self.format == 'scores' else f'the {self.top} strongest'}"


MODES = tuple(Mode(order, form) for order in ORDERS for form in FORMATS)


@dataclass(frozen=True, eq=False)
class Elicitation:
    """One request for an answer with its explanation. `attempt` asks again for the same."""

    decision: Decision
    mode: Mode
    attempt: int = 0

    @property
    def prompt(self) -> str:
        """The request in words; what comes back is JSON."""
        one, decision = self.mode, self.decision
        told = zip(decision.names, decision.values or [""] * len(decision.names), strict=True)
        features = "; ".join(f"{name}: {value}" if value else name for name, value in told)
        importance = (
            '"scores": an object with one number from -1 (speaks against it) to 1 (speaks for it) for every feature'
            if one.format == "scores"
            else f'"top": a list of the {min(one.top, len(decision.names))} features that mattered most, first the '
            "strongest"
        )
        keys = ['"answer": one of the classes, as it is written', importance]
        first, second = keys if one.order == ORDERS[0] else keys[::-1]
        return (
            f"Classes: {', '.join(decision.labels)}. Features: {features}. Say which class it is and what in it "
            f"decided your answer. Reply with one JSON object: first {first}; then {second}."
        )


@runtime_checkable
class Speaker(Protocol):
    """Anything that answers an elicitation in text."""

    @property
    def name(self) -> str: ...

    def tell(self, asked: Elicitation) -> str: ...


@dataclass(frozen=True, eq=False)
class Statement:
    """What a reply says, once read. `trouble` says why it could not be; then there are no scores."""

    answer: str
    scores: Float[np.ndarray, "feature"]
    trouble: str = ""


def read_statement(text: str, asked: Elicitation) -> Statement:
    """The explanation in a reply. What is not as agreed is trouble: nothing is guessed, and all of it is counted."""
    names = asked.decision.names
    nothing = np.full(len(names), np.nan)
    start = text.find("{")
    try:
        record: Any = json.JSONDecoder().raw_decode(text, start)[0] if start >= 0 else None
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        return Statement("", nothing, "no JSON object")
    answer = str(record.get("answer", ""))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    told: Any = record.get("scores" if asked.mode.format == "scores" else "top")  # pyright: ignore[reportUnknownMemberType]
    reader: Callable[[Any, Sequence[str]], tuple[np.ndarray, str]] = (
        _read_scores if asked.mode.format == "scores" else _read_top
    )
    scores, trouble = reader(told, names)
    if answer not in asked.decision.labels:
        trouble = trouble or f"the answer {answer[:40]!r} is no class"
    return Statement(answer, nothing if trouble else scores, trouble)


def _read_scores(told: Any, names: Sequence[str]) -> tuple[np.ndarray, str]:
    if not isinstance(told, dict) or set(told) != set(names):  # pyright: ignore[reportUnknownArgumentType]
        return np.zeros(0), "scores are not of the features that were asked for"
    values: list[Any] = [told[name] for name in names]
    if not all(isinstance(one, (int, float)) and not isinstance(one, bool) and -1 <= one <= 1 for one in values):
        return np.zeros(0), "a score is no number from -1 to 1"
    return np.array(values, dtype=np.float64), ""


def _read_top(told: Any, names: Sequence[str]) -> tuple[np.ndarray, str]:
    if not isinstance(told, list) or not told:
        return np.zeros(0), "no list of the strongest features"
    listed: list[Any] = list(told)  # pyright: ignore[reportUnknownArgumentType]
    if len(set(map(str, listed))) != len(listed) or not all(one in names for one in listed):
        return np.zeros(0), "the list names what is no feature, or one twice"
    scores = np.zeros(len(names))
    for at, one in enumerate(listed):
        scores[names.index(one)] = 1 - at / len(listed)
    return scores, ""


# -- is it faithful ---------------------------------------------------------------------------------------------------


def faithfulness(decision: Decision, scores: Float[np.ndarray, "feature"], *, seed: int = 0) -> dict[str, float]:
    """What becomes of the answer when features go, or are all that is left, in the order of the scores.

    comprehensiveness: mean fall without the first 1 to K features, K at most 5; higher is better
    sufficiency:       mean fall with these alone; lower is better
    flips at once:     1 where the first feature alone turns the answer (DF_MIT)
    share to flip:     of the features, the smallest share that turns it; 1 where none does (DF_Frac); lower is better
    rank correlation:  of the scores with the fall without each feature; NaN where either is constant

    Ties are in random order, by the seed.
    """
    count = len(decision.names)
    order = np.lexsort((np.random.default_rng(seed).random(count), -scores))
    most = min(5, count - 1)
    cases = np.ones((2 * count + 1, count), dtype=bool)
    for step in range(1, count + 1):
        cases[step, order[:step]] = False
        cases[count + step] = ~cases[step]
    shares = decision.probabilities(cases)
    answer = int(shares[0].argmax())
    own, answers = shares[:, answer], shares.argmax(axis=1)
    turned = np.flatnonzero(answers[1 : count + 1] != answer)
    return {
        "comprehensiveness": float(np.mean(own[0] - own[1 : most + 1])),
        "sufficiency": float(np.mean(own[0] - own[count + 1 : count + most + 1])),
        "flips at once": float(answers[1] != answer),
        "share to flip": float((turned[0] + 1) / count) if len(turned) else 1.0,
        "rank correlation": rank_correlation(scores, decision.occlusion()),
    }


def agreement(
    one: Float[np.ndarray, "feature"], other: Float[np.ndarray, "feature"], top: int = TOP
) -> dict[str, float]:
    """How alike two explanations are: on their `top` features by magnitude, and in the order of all (Krishna 2022)."""
    first, second = (np.argsort(-np.abs(scores), kind="stable")[:top] for scores in (one, other))
    count = len(first)
    shared = set(first.tolist()) & set(second.tolist())
    placed = [int(a) for a, b in zip(first, second, strict=True) if a == b]
    signed = [at for at in shared if np.sign(one[at]) == np.sign(other[at])]
    pairs = list(combinations(range(len(one)), 2))
    alike = [np.sign(one[a] - one[b]) == np.sign(other[a] - other[b]) for a, b in pairs]
    return {
        "feature agreement": len(shared) / count,
        "rank agreement": len(placed) / count,
        "sign agreement": len(signed) / count,
        "signed rank agreement": sum(at in signed for at in placed) / count,
        "spearman": rank_correlation(one, other),
        "pairs alike": float(np.mean(alike)),
        "iou": len(shared) / (2 * count - len(shared)),
    }


def rank_correlation(one: Float[np.ndarray, "feature"], other: Float[np.ndarray, "feature"]) -> float:
    """Spearman's, -1 to 1; NaN where one of them is constant."""
    if np.ptp(one) < 1e-12 or np.ptp(other) < 1e-12:
        return float("nan")
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


# -- the trial --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Trial:
    """What a speaker's explanations are worth, beside those whose worth is known.

    scores:   who -> metric -> mean over the cases that could be read (`speaker`, `occlusion`, `lime`, `random`,
              `constant`, and `shuffled`: what the speaker said of another case); of comprehensiveness higher is better,
              of sufficiency and share to flip lower
    agrees:   with `occlusion` and `lime` -> metric -> mean
    p:        of the speaker's comprehensiveness against random scores on the same cases (signs by lot)
    p_shuffled: the same against what it said of another case
    troubles: why replies could not be read, with how often
    distinct: how many different scores a reply has, on average; few make the curves steps
    spread:   mean standard deviation of a score over repeats
    accuracy: of the answers it gave, where the truth is known; its agreement with the model under `consistent`
    """

    speaker: str
    mode: Mode
    cases: int
    read: int
    scores: Mapping[str, Metrics]
    agrees: Mapping[str, Metrics]
    p: float
    troubles: Mapping[str, int] = field(default_factory=dict[str, int])
    distinct: float = float("nan")
    spread: float = float("nan")
    accuracy: float = float("nan")
    consistent: float = float("nan")
    p_shuffled: float = float("nan")

    @property
    def beats_controls(self) -> bool:
        """Whether it also does better than what it said of another case, and not by chance."""
        gain = self.scores["speaker"]["comprehensiveness"] - self.scores["shuffled"]["comprehensiveness"]
        return self.beats_random and gain > 0 and self.p_shuffled < _CERTAIN

    @property
    def beats_random(self) -> bool:
        """Whether taking away what it names costs the answer more than taking away by lot, and not by chance."""
        gain = self.scores["speaker"]["comprehensiveness"] - self.scores["random"]["comprehensiveness"]
        return gain > 0 and self.p < _CERTAIN

    def to_dict(self) -> dict[str, Any]:
        return {
            "speaker": self.speaker, "order": self.mode.order, "format": self.mode.format, "cases": self.cases,
            "read": self.read, "troubles": dict(self.troubles), "beats_random": self.beats_random, "p": self.p,
            "beats_controls": self.beats_controls, "p_shuffled": self.p_shuffled,
            "distinct": self.distinct, "spread": self.spread, "accuracy": self.accuracy, "consistent": self.consistent,
            "scores": {who: dict(one) for who, one in self.scores.items()},
            "agrees": {who: dict(one) for who, one in self.agrees.items()},
        }  # fmt: skip

    def __str__(self) -> str:
        own, chance, best, other = (self.scores[who] for who in ("speaker", "random", "occlusion", "shuffled"))
        verdict = (
            "What it says mattered does matter more than what is drawn by lot, or said of another case"
            if self.beats_controls
            else "It does no better than what it says of other cases: its words need not come from this one"
            if self.beats_random
            else "It does no better than importances drawn by lot: do not take it for an explanation"
        )
        said = [f"{self.speaker}, {self.mode}: {self.read} of {self.cases} replies could be read."]
        if self.read:
            said += [
                f"Without what it names the answer falls by {own['comprehensiveness']:.2f} on average (random "
                f"{chance['comprehensiveness']:.2f}, said of another case {other['comprehensiveness']:.2f}, occlusion "
                f"{best['comprehensiveness']:.2f}; p = {self.p:.2g} and {self.p_shuffled:.2g}); "
                f"with that alone by {own['sufficiency']:.2f} (random {chance['sufficiency']:.2f}, occlusion "
                f"{best['sufficiency']:.2f}).",
                f"It shares {self.agrees['occlusion']['feature agreement']:.0%} of its {self.mode.top} strongest with "
                f"occlusion. A reply has {self.distinct:.1f} different scores. {verdict}.",
            ]
        return " ".join(said)


def on_trial(
    decisions: Sequence[Decision], speaker: Speaker, mode: Mode | None = None, *, repeats: int = 1, seed: int = 0
) -> Trial:
    """Asks a speaker about every decision and grades what it says beside occlusion, LIME, random and constant scores.

    repeats: how often each is asked, to see the spread; the first reply is graded
    """
    how = mode or Mode()
    if not decisions or repeats < 1:
        raise RequestError("A trial needs decisions, and asks at least once.")
    told = [[_told(speaker, one, how, attempt) for attempt in range(repeats)] for one in decisions]
    kept = [at for at, replies in enumerate(told) if not replies[0].trouble]
    rows: dict[str, list[dict[str, float]]] = {
        who: [] for who in ("speaker", "occlusion", "lime", "random", "constant", "shuffled")
    }
    agrees: dict[str, list[dict[str, float]]] = {"occlusion": [], "lime": []}
    rng = np.random.default_rng(seed)
    for place, at in enumerate(kept):
        decision, own = decisions[at], told[at][0].scores
        stranger = kept[(place + 1) % len(kept)]
        others = {"occlusion": decision.occlusion(), "lime": decision.lime(seed=seed),
                  "random": rng.uniform(-1, 1, len(own)), "constant": np.ones(len(own)),
                  "shuffled": _said_of(decisions[stranger], told[stranger][0].scores, decision, rng)}  # fmt: skip
        for who, scores in {"speaker": own, **others}.items():
            rows[who].append(faithfulness(decision, scores, seed=seed + at))
        for who, found in agrees.items():
            found.append(agreement(own, others[who], how.top))
    gains = {
        who: np.array([
            a["comprehensiveness"] - b["comprehensiveness"] for a, b in zip(rows["speaker"], rows[who], strict=True)
        ])
        for who in ("random", "shuffled")
    }  # fmt: skip
    replies = [told[at][0] for at in kept]
    firsts = [replies[0].trouble for replies in told if replies[0].trouble]
    return Trial(
        speaker.name, how, len(decisions), len(kept), {who: _means(found) for who, found in rows.items()},
        {who: _means(found) for who, found in agrees.items()}, sign_flip_p(gains["random"], seed=seed),
        {why: firsts.count(why) for why in dict.fromkeys(firsts)},
        _mean([float(len(np.unique(one.scores))) for one in replies]),
        _mean([float(np.std([one.scores for one in told[at]], axis=0).mean()) for at in kept]),
        _mean([float(told[at][0].answer == decisions[at].labels[truth]) for at in kept
               if (truth := decisions[at].truth) is not None]),
        _mean([float(told[at][0].answer == _answer(decisions[at])) for at in kept]),
        sign_flip_p(gains["shuffled"], seed=seed),
    )  # fmt: skip


def _said_of(
    other: Decision, scores: Float[np.ndarray, "feature"], decision: Decision, rng: np.random.Generator
) -> Float[np.ndarray, "own"]:
    """What was said of another case, as said of this one: by the features' names, or by lot where they are others."""
    said = dict(zip(other.names, scores.tolist(), strict=True))
    if set(decision.names) & set(said):
        return np.array([said.get(name, 0.0) for name in decision.names])
    return rng.permutation(np.resize(scores, len(decision.names)))


def _told(speaker: Speaker, decision: Decision, mode: Mode, attempt: int) -> Statement:
    asked = Elicitation(decision, mode, attempt)
    return read_statement(speaker.tell(asked), asked)


def _answer(decision: Decision) -> str:
    shares = decision.probabilities(np.ones((1, len(decision.names)), dtype=bool))
    return decision.labels[int(shares[0].argmax())]


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: _mean([row[name] for row in rows]) for name in (rows[0] if rows else ())}


def _mean(values: Sequence[float]) -> float:
    known = [one for one in values if one == one]
    return float(np.mean(known)) if known else float("nan")
