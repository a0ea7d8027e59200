"""Answers with their reasons, graded: is the answer right, is the reason, and does the one follow from the other?

A reason is right where nothing in it is refuted, a reader that sees no picture gets the answer from it, both go along
when the evidence it cites is edited, and both stay when something else is. Li et al., A Comprehensive
Evaluation of GPT-4V on Knowledge-Intensive Visual Question Answering, 2023.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pellucid.canvas.words import percent
from pellucid.compute.bootstrap import Interval, wilson
from pellucid.errors import RequestError, SceneError
from pellucid.language.scenes import ELSE, stated_all
from pellucid.results import Claim
from pellucid.testbed import captions, questions
from pellucid.testbed.fields import WORDS
from pellucid.testbed.questions import Question
from pellucid.testbed.scene import Scenes
from pellucid.testbed.twins import another
from pellucid.testbed.witness import witness
from pellucid.values import Seed

# What decides the answer to a question about each thing, where it is more than that thing.
_DECIDING: Mapping[str, tuple[str, ...]] = {
    "species": ("wing", "tail", "crest"), "crest_hue": ("crest", "crest_hue"),
}  # fmt: skip
_ELSEWHERE = ("land", "beak")  # what is edited to see whether answer and reason stay: the first that is not asked for
FAULTS = (
    "unreadable", "refuted", "insufficient", "inconsistent", "does not follow the evidence",
    "changes with what is beside",
)  # fmt: skip


@dataclass(frozen=True)
class Explained:
    """One answer and its reason, a sentence in the grammar of the captions."""

    answer: str
    reason: str


@runtime_checkable
class Explainer(Protocol):
    """Anything that answers questions about scenes and says why, one question each."""

    @property
    def name(self) -> str: ...

    def explain(self, drawn: Scenes, asked: Sequence[Question]) -> Sequence[Explained]: ...


@dataclass(frozen=True, eq=False)
class Graded:
    """One answer with its reason, and what is wrong with them.

    truth:    the right answer
    claim:    the reason as a claim, which a witness that did not write it has read against the picture
    refuted:  of its statements, how many the witness sees otherwise; `stated` how many there are
    read:     the answer that a reader gets from question and reason alone; empty where it gets none
    cited:    the field that was edited because the answer rests on it, and `elsewhere` one on which it does not
    followed, stayed: whether both went along with the first and stayed with the second; None where it was not tried
    faults:   of FAULTS, in that order; none where the reason is right
    """

    question: Question
    explained: Explained
    truth: str
    claim: Claim
    stated: int
    refuted: int
    read: str
    cited: str
    elsewhere: str
    followed: bool | None
    stayed: bool | None
    faults: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether the answer is."""
        return self.explained.answer == self.truth

    @property
    def sound(self) -> bool:
        """Whether the reason is."""
        return not self.faults

    def to_dict(self) -> dict[str, Any]:
        return {
            "question": self.question.text, "answer": self.explained.answer, "reason": self.explained.reason,
            "truth": self.truth, "right": self.right, "sound": self.sound, "faults": list(self.faults),
            "stated": self.stated, "refuted": self.refuted, "read": self.read, "cited": self.cited,
            "elsewhere": self.elsewhere, "followed": self.followed, "stayed": self.stayed,
            "verdict": self.claim.verdict,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Rationales:
    """Answers and reasons of one model, graded, with their controls.

    blind:    how often a reader gets the answer from another picture's reason
    random:   how often from the reason with a word by lot for each thing that it states
    guessing: how often the commonest answer to the question is right
    """

    model: str
    graded: tuple[Graded, ...]
    blind: Interval
    random: Interval
    guessing: float

    def table(self) -> dict[str, dict[str, int]]:
        """How many answers are right or wrong, by whether their reasons are."""
        name = lambda yes: "right" if yes else "wrong"
        found: dict[str, dict[str, int]] = {name(yes): {"right": 0, "wrong": 0} for yes in (True, False)}
        for one in self.graded:
            found[name(one.right)][name(one.sound)] += 1
        return found

    @property
    def shares(self) -> dict[str, Interval]:
        """Each figure with the interval that holds it with 95 %."""
        stated = sum(one.stated for one in self.graded)
        followed, stayed = ([value for value in values if value is not None] for values in (
            [one.followed for one in self.graded], [one.stayed for one in self.graded]))  # fmt: skip
        return {
            "answers right": self._share([one.right for one in self.graded]),
            "reasons right": self._share([one.sound for one in self.graded]),
            "right for the wrong reason": self._share([not one.sound for one in self.graded if one.right]),
            "statements refuted": wilson(sum(one.refuted for one in self.graded), stated),
            "answer follows from the reason": self._share([one.read == one.explained.answer for one in self.graded]),
            "answer follows from another picture's reason": self.blind,
            "answer follows from as many random words": self.random,
            "goes along with the cited evidence": self._share(followed),
            "stays with what is beside": self._share(stayed),
        }

    @property
    def faults(self) -> dict[str, int]:
        """How many reasons have each fault."""
        return {name: sum(name in one.faults for one in self.graded) for name in FAULTS}

    @property
    def beats_controls(self) -> bool:
        """Whether the answer follows from its reason more often than from others, by more than chance."""
        return self.shares["answer follows from the reason"].low > max(self.blind.high, self.random.high)

    def __str__(self) -> str:
        table, shares = self.table(), self.shares
        lines = [
            f"{self.model}: {len(self.graded)} answers with reasons.",
            "                 reason right  reason wrong",
            *(f"answer {name:5}  {table[name]['right']:13d} {table[name]['wrong']:13d}" for name in table),
            *(f"{name}: {percent(one.mean)} ({percent(one.low)} to {percent(one.high)} of {one.count})"
              for name, one in shares.items() if one.count),
            f"the commonest answer is right: {percent(self.guessing)}",
        ]  # fmt: skip
        wrong = ", ".join(f"{name} {count}" for name, count in self.faults.items() if count)
        lines.append(f"Faults of reasons: {wrong}." if wrong else "No reason has a fault.")
        if not self.beats_controls:
            others = "another picture's reason, or from random words"
            lines.append(f"The answer follows as often from {others}: these are no reasons.")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model, "table": self.table(), "guessing": self.guessing, "faults": self.faults,
            "beats_controls": self.beats_controls,
            "shares": {name: {"mean": one.mean, "low": one.low, "high": one.high, "count": one.count}
                       for name, one in self.shares.items()},
            "graded": [one.to_dict() for one in self.graded],
        }  # fmt: skip

    def _share(self, values: Sequence[bool]) -> Interval:
        return wilson(sum(values), len(values))


def deciding(field: str) -> tuple[str, ...]:
    """The fields that decide the answer to a question about one thing."""
    return _DECIDING.get(field, (field,))


def asked_of(drawn: Scenes, count: int = 2, *, kinds: Sequence[str] = ("what",)) -> tuple[Scenes, tuple[Question, ...]]:
    """Up to `count` questions about each single bird, and the scenes as often as they are asked about."""
    if drawn.world.flock:
        raise RequestError("Reasons are graded on single birds: the witness that checks them reads no flocks.")
    several = questions.ask(drawn, count, kinds=kinds)
    rows = [at for at, one in enumerate(several) for _ in one]
    return drawn[np.array(rows, dtype=np.int64)], tuple(question for one in several for question in one)


def grade_rationales(model: Explainer, drawn: Scenes, asked: Sequence[Question], *, seed: int = 0) -> Rationales:
    """Answers and reasons, each checked: by a witness, by a reader without a picture, and by two edits of the scene.

    drawn, asked: one question about each scene, as `asked_of` gives them

    Raises RequestError where there are none, or not as many of the one as of the other.
    """
    if not asked or len(asked) != len(drawn):
        raise RequestError(f"{len(asked)} questions about {len(drawn)} scenes; expected one about each.")
    told = model.explain(drawn, asked)
    said = [_read(one.reason) for one in told]
    cited = [_one_of(question, says, Seed(seed).child("cited", at)) for at, (question, says) in
             enumerate(zip(asked, said, strict=True))]  # fmt: skip
    beside = [next(name for name in _ELSEWHERE if name not in deciding(question.field)) for question in asked]
    moved = model.explain(edited(drawn, cited), asked)
    other = model.explain(edited(drawn, beside), asked)
    claims = stated_all([one.reason for one in told], drawn, writers=[model.name] * len(told))
    seen = witness().read(drawn.tensor())
    graded = [
        _graded(asked[at], told[at], said[at] or {}, claims[at], seen[at], cited[at], beside[at], moved[at], other[at])
        for at in range(len(asked))
    ]
    swapped = [said[_next(drawn, at)] or {} for at in range(len(asked))]
    by_lot = [_by_lot(one or {}, Seed(seed).child("random", at)) for at, one in enumerate(said)]
    blind, random = (_gives(graded, reasons) for reasons in (swapped, by_lot))
    return Rationales(model.name, tuple(graded), blind, random, _commonest(asked))


def read_answer(question: Question, says: Mapping[str, str]) -> str:
    """The answer that follows from statements alone, without a picture; empty where none does."""
    needed = deciding(question.field)
    if not set(needed) <= set(says) or (question.field == "crest_hue" and says["crest"] != "plume"):
        return ""
    stated = {name: WORDS[name].index(says[name]) for name in needed}
    present = {f"has_{name}": 1 for name in ("wing", "tail", "bib", "beak")}
    try:
        return questions.answer(question.text, _anything().with_fields(**present, **stated))
    except SceneError:
        return ""


def edited(drawn: Scenes, fields: Sequence[str]) -> Scenes:
    """The scenes with one field each set to another value; as they are where the field is empty."""
    values = {name: np.array(drawn.fields[name]) for name in set(fields) if name}
    for name in values:
        rows = np.array([at for at, one in enumerate(fields) if one == name])
        values[name][rows] = another(drawn[rows], name)
    return drawn.with_fields(**values)


def _graded(
    question: Question, told: Explained, says: Mapping[str, str], claim: Claim,
    seen: Mapping[str, Mapping[str, float]], cited: str, beside: str, moved: Explained, other: Explained,
) -> Graded:  # fmt: skip
    refuted = sum(seen[name].get(word, 0.0) <= ELSE for name, word in says.items() if name in seen)
    read = read_answer(question, says)
    followed = _followed(question, told, moved) if cited else None
    stayed = _stayed(question, told, other)
    wrong = (
        not says, refuted > 0, bool(says) and not read, bool(read) and read != told.answer, followed is False,
        stayed is False,
    )  # fmt: skip
    faults = tuple(name for name, so in zip(FAULTS, wrong, strict=True) if so)
    return Graded(
        question, told, question.answer, claim, len(says), refuted, read, cited, beside, followed, stayed, faults
    )


def _followed(question: Question, told: Explained, moved: Explained) -> bool:
    """Whether, with the cited evidence edited, answer or reason changed, and the one still follows from the other."""
    before, after = _about(question, told), _about(question, moved)
    changed = moved.answer != told.answer or before != after
    return changed and read_answer(question, _read(moved.reason) or {}) == moved.answer


def _stayed(question: Question, told: Explained, other: Explained) -> bool:
    return other.answer == told.answer and _about(question, told) == _about(question, other)


def _about(question: Question, told: Explained) -> dict[str, str]:
    """What a reason states of the things that decide the answer."""
    says = _read(told.reason) or {}
    return {name: says[name] for name in deciding(question.field) if name in says}


def _read(reason: str) -> dict[str, str] | None:
    try:
        return captions.parse(reason)
    except SceneError:
        return None


def _one_of(question: Question, says: Mapping[str, str] | None, seed: Seed) -> str:
    """One field that decides the answer and that the reason cites, by lot."""
    needed = deciding(question.field)[-1:] if question.field == "crest_hue" else deciding(question.field)
    known = [name for name in needed if name in (says or {})]  # without a plume nothing could be asked of its hue
    return known[int(seed) % len(known)] if known else ""


def _gives(graded: Sequence[Graded], reasons: Sequence[Mapping[str, str]]) -> Interval:
    """How often a reader gets the model's answer from these reasons."""
    got = [read_answer(one.question, says) == one.explained.answer for one, says in zip(graded, reasons, strict=True)]
    return wilson(sum(got), len(got))


def _by_lot(says: Mapping[str, str], seed: Seed) -> dict[str, str]:
    """As many statements about the same things, with words drawn by lot."""
    rng = np.random.default_rng(int(seed))
    return {name: str(rng.choice(WORDS.get(name, (word,)))) for name, word in says.items()}


def _next(drawn: Scenes, at: int) -> int:
    """The next row that is about another scene; its own where there is none."""
    later = [(at + step) % len(drawn) for step in range(1, len(drawn))]
    return next((one for one in later if drawn.index[one] != drawn.index[at]), at)


def _anything() -> Scenes:
    from pellucid.testbed.scene import scenes

    return scenes(2, 1)


def _commonest(asked: Sequence[Question]) -> float:
    """How often the answer that is commonest for its question is right."""
    by_text: dict[str, list[str]] = {}
    for one in asked:
        by_text.setdefault(one.text, []).append(one.answer)
    return sum(max(map(answers.count, answers)) for answers in by_text.values()) / len(asked)
