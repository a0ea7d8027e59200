"""Words about a map read back: which segments they name, which numbers they give, and whether the map says so too.

What a narrator wrote is graded by the same code as what the templates wrote, so that neither is believed for how it
sounds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from pellucid.canvas.words import percent
from pellucid.language.salience import checked, coverage

_NUMBER = re.compile(r"(?<![\w.])(-?\d+(?:\.(\d+))?)\s?(%?)")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_AGAINST = re.compile(r"\b(against|opposes?|contradicts?)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Read:
    """One sentence read back.

    named:   the things it names
    wrong:   what in it the map does not say; empty where all agrees
    numbers: how many numbers it gives, and how many are the map's to the digits printed
    """

    text: str
    named: tuple[str, ...]
    wrong: tuple[str, ...]
    numbers: tuple[int, int]

    @property
    def true(self) -> bool:
        return not self.wrong


@dataclass(frozen=True)
class Grade:
    """How far words agree with the map they are about.

    sentences: each, read back; those that name no segment are not judged by segments
    precision: share of the named segments that are among as many with the largest magnitude, 0 to 1
    order:     Spearman's correlation of the order of naming with the evidence carried; NaN for fewer than two things
    numbers:   share of the numbers that equal the map's, to the digits printed; NaN where none is given
    coverage:  share of the positive evidence that the named segments carry
    """

    sentences: tuple[Read, ...]
    precision: float
    order: float
    numbers: float
    coverage: float

    @property
    def text(self) -> str:
        """The grade in a sentence."""
        given = sum(read.numbers[0] for read in self.sentences)
        right = sum(read.numbers[1] for read in self.sentences)
        order = "" if np.isnan(self.order) else f" in that order (rank correlation {self.order:.2f})"
        return (
            f"Read back, the words name {percent(self.coverage)} of the positive evidence{order}; "
            f"{percent(self.precision)} of the named segments are among the strongest, and {right} of {given} numbers "
            f"are the map's."
        )

    def to_dict(self) -> dict[str, object]:
        return {
            "text": self.text, "coverage": self.coverage,
            **{name: None if np.isnan(value := getattr(self, name)) else value
               for name in ("precision", "order", "numbers")},
            "wrong": [wrong for read in self.sentences for wrong in read.wrong],
        }  # fmt: skip


def grade(text: str, values: ArrayLike, things: Mapping[str, Sequence[int]]) -> Grade:
    """Reads text back against a map.

    things: what may be named, and the segments meant. A number in per cent is read as coverage of all that its
            sentence names, any other as the attribution of the one thing named, scaled to a largest magnitude of 1
    """
    array = checked(values)
    sentences = tuple(_read(sentence, array, things) for sentence in _split(text, things))
    named = list(dict.fromkeys(name for read in sentences for name in read.named))
    members = sorted({at for name in named for at in things[name]})
    strongest = np.argsort(-np.abs(array), kind="stable")[: len(members)]
    carried = [coverage(array, things[name]) or coverage(array, things[name], sign=-1) - 1 for name in named]
    given, right = (sum(read.numbers[at] for read in sentences) for at in (0, 1))
    return Grade(
        sentences,
        precision=len(set(members) & set(strongest.tolist())) / len(members) if members else float("nan"),
        order=_order(carried),
        numbers=right / given if given else float("nan"),
        coverage=coverage(array, members),
    )


def instruction(
    values: ArrayLike, names: Sequence[str], label: str, *, why: bool = False, correct: bool | None = None
) -> str:
    """What a narrator is told and asked: every feature with its score, the label, and what is wanted.

    why: ask why the label fits, rather than which features mattered
    """
    array = checked(values)
    largest = float(np.abs(array).max()) or 1.0
    scored = ", ".join(f"{name} ({value / largest:.2f})" for name, value in zip(names, array, strict=True))
    outcome = "" if correct is None else f" The label is {'right' if correct else 'wrong'}."
    asked = f"Say in two sentences why {label} fits." if why else "Say in two sentences which features mattered most."
    return f"A model answered {label}.{outcome} Features with their scores: {scored}. {asked} Use no other facts."


def _read(sentence: str, values: Float[np.ndarray, "segment"], things: Mapping[str, Sequence[int]]) -> Read:
    named, rest = _named(sentence, things)
    sign = -1 if _AGAINST.search(rest) else 1
    members = sorted({at for name in named for at in things[name]})
    wrong = [f"{name} has no evidence of that sign" for name in named if not _speaks(values, things[name], sign)]
    given = [(match[1], len(match[2] or ""), match[3] == "%") for match in _NUMBER.finditer(rest)]
    right = 0
    for words, digits, in_percent in given:
        known = _known(values, members, sign, in_percent) if named else _known_of_all(values, things, in_percent)
        if any(f"{value:.{digits}f}" == f"{float(words):.{digits}f}" for value in known):
            right += 1
        else:
            wrong.append(f"{words}{'%' * in_percent} is no number of the map")
    return Read(sentence, named, tuple(wrong), (len(given), right))


def _known(
    values: Float[np.ndarray, "segment"], members: Sequence[int], sign: int, in_percent: bool
) -> tuple[float, ...]:
    """The numbers that a sentence about these segments may give."""
    if not in_percent:
        largest = float(np.abs(values).max()) or 1.0
        alone = [float(values[at]) / largest for at in members]
        return (*alone, float(len(members)), float(len(values)))
    magnitude, signed = float(np.abs(values).sum()) or 1.0, np.maximum(sign * values, 0)
    shares = (coverage(values, members, sign=sign), float(signed.sum()) / magnitude)
    return tuple(100 * share for share in shares)


def _known_of_all(
    values: Float[np.ndarray, "segment"], things: Mapping[str, Sequence[int]], in_percent: bool
) -> tuple[float, ...]:
    """The numbers that a sentence about the whole may give."""
    if not in_percent:
        return (float(len(values)),)
    members = sorted({at for meant in things.values() for at in meant})
    return (100 * coverage(values, members), 100 * coverage(values, [int(values.argmax())]))


def _speaks(values: Float[np.ndarray, "segment"], members: Sequence[int], sign: int) -> bool:
    return bool((sign * values[list(members)]).sum() > 0)


def _named(sentence: str, things: Mapping[str, Sequence[int]]) -> tuple[tuple[str, ...], str]:
    """The things in order of mention, longest names first so that none is found within another, and the other words."""
    rest, found = sentence, list[tuple[int, str]]()
    for name in sorted(things, key=lambda one: (-len(one), one)):
        pattern = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
        match = pattern.search(rest)
        if match:
            found.append((match.start(), name))
            rest = pattern.sub(lambda hit: " " * len(hit[0]), rest)
    return tuple(name for _, name in sorted(found)), rest


def _split(text: str, things: Mapping[str, Sequence[int]]) -> list[str]:
    """Sentences; a full stop within a name ends none."""
    kept = text
    for at, name in enumerate(things):
        kept = kept.replace(name, f"\x00{at}\x00")
    names = list(things)
    back = lambda part: re.sub("\x00(\\d+)\x00", lambda hit: names[int(hit[1])], part)
    return [back(part) for part in _SENTENCE.split(kept) if part.strip()]


def _order(carried: Sequence[float]) -> float:
    if len(carried) < 2 or len(set(carried)) < 2:
        return float("nan")
    return float(np.corrcoef(-np.arange(len(carried)), rankdata(carried))[0, 1])
