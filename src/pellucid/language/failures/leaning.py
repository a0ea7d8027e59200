"""Which words draw a model to an answer, whatever the picture shows? What it leans on, apart from where it is weak.

A failure mode says where a class is missed. That may be a weakness (in the dark all is harder) or a shortcut. A
shortcut draws: with the word, pictures of many classes get one and the same answer, which is not theirs, and the class
of that answer fares no worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import norm

from pellucid.compute.bootstrap import holm
from pellucid.language.failures.answers import Answers
from pellucid.language.failures.tags import Tags
from pellucid.language.hypotheses import benjamini_hochberg
from pellucid.values import Seed

PULL, LEVEL = 0.1, 0.05  # share of other classes' pictures that must be drawn; chance that is allowed
_DRAWS = 20  # random words for each word that draws
_FEWEST = 3  # pictures of a class with the word, below which the class is left out
_SLACK = 0.05


@dataclass(frozen=True)
class Lean:
    """A word that draws to an answer.

    answer: what is said more often with the word
    pull:   by how much more often, mean over the other classes, 0 to 1
    wide:   share of the other classes from which it draws more than nothing
    helped: by how much more often the answer's own class is recognised with the word; NaN where it never has it
    p:      of so large a pull by chance (Cochran, Mantel and Haenszel, one stratum per class)
    held, p_held: the pull on pictures that did not help to find it, and its p after Holm's correction
    """

    word: str
    answer: str
    pull: float
    wide: float
    helped: float
    p: float
    held: float = float("nan")
    p_held: float = float("nan")

    def holds(self) -> bool:
        return self.p_held <= LEVEL and self.held >= PULL / 2


def leans(
    answers: Answers, tags: Tags, parts: tuple[np.ndarray, np.ndarray], *, pull: float = PULL
) -> tuple[Lean, ...]:
    """Words that draw, the strongest first: sought in one part of the pictures, confirmed on the other."""
    one, other = parts
    tried = [
        _measured(answers[one], tags[one].there[:, at], name, number)
        for at, name in enumerate(tags.names) for number in range(len(answers.classes))
    ]  # fmt: skip
    q = benjamini_hochberg([lean.p for lean in tried])
    found = [
        lean for lean, rate in zip(tried, q, strict=True)
        if lean.pull >= pull and rate <= LEVEL and lean.wide > 0.5 and not lean.helped < -_SLACK
    ]  # fmt: skip
    confirmed = _confirmed(found, answers[other], tags[other])
    return tuple(sorted((lean for lean in confirmed if lean.holds()), key=lambda lean: -lean.held))


@dataclass(frozen=True)
class LeanControls:
    """What stands beside the words that draw.

    own:    how many hold
    blind:  how many hold, draw by draw, where the tags are dealt to other pictures
    pull:   by how much the words draw on held-out pictures, mean; NaN where there are none
    random: the same of random words to the same answers; random_worst is the largest draw
    """

    own: int
    blind: tuple[int, ...]
    pull: float
    random: float
    random_worst: float

    @property
    def beaten(self) -> bool:
        """Whether more words hold than where there is nothing to find, and they draw further than random words."""
        return self.own > max(self.blind, default=0) and self.pull > self.random_worst

    def __str__(self) -> str:
        few, many = min(self.blind, default=0), max(self.blind, default=0)
        dealt = f"with the words dealt to other pictures {few if few == many else f'{few} to {many}'} such words hold"
        if not self.own:
            return f"Beside it: {dealt}."
        verdict = "" if self.beaten else " That is no better than the controls: do not believe that it leans on them."
        return (
            f"Beside it: {dealt}; these words draw by {100 * self.pull:.0f} percentage points, as many random words by "
            f"{100 * self.random:z.0f} (at most {100 * self.random_worst:z.0f}).{verdict}"
        )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "beats_controls": self.beaten}


def beside_leans(
    answers: Answers, tags: Tags, parts: tuple[np.ndarray, np.ndarray], found: Sequence[Lean], *, draws: int,
    seed: Seed,
) -> LeanControls:  # fmt: skip
    """The same search with the tags dealt to other pictures, and random words for what was found."""
    dealt = (tags.dealt(answers.labels, seed.child("leans", draw)) for draw in range(draws))
    blind = tuple(len(leans(answers, one, parts)) for one in dealt)
    taken, later, said = {lean.word for lean in found}, answers[parts[1]], tags[parts[1]]
    free = [at for at, name in enumerate(tags.names) if name not in taken]
    rng = np.random.default_rng(int(seed.child("random leans")))
    pulls = np.zeros((_DRAWS, len(found)))
    for number, lean in enumerate(found):
        answer = answers.classes.index(lean.answer)
        for draw, at in enumerate(rng.choice(free, _DRAWS) if free else ()):
            pulls[draw, number] = _measured(later, said.there[:, at], tags.names[at], answer).pull
    own = float(np.mean([lean.held for lean in found])) if found else float("nan")
    means = pulls.mean(axis=1) if found else np.full(1, np.nan)
    return LeanControls(len(found), blind, own, float(means.mean()), float(means.max()))


def _confirmed(found: Sequence[Lean], answers: Answers, tags: Tags) -> list[Lean]:
    again = [
        _measured(answers, tags.having([lean.word]), lean.word, answers.classes.index(lean.answer)) for lean in found
    ]
    adjusted = holm({number: lean.p for number, lean in enumerate(again)}).values()
    return [replace(lean, held=now.pull, p_held=float(p)) for lean, now, p in zip(found, again, adjusted, strict=True)]


def _measured(answers: Answers, there: Bool[np.ndarray, "picture"], word: str, number: int) -> Lean:
    labels, said = answers.labels, answers.said == number
    count = len(answers.classes)
    total = np.bincount(labels, minlength=count)
    having = np.bincount(labels, weights=there, minlength=count)
    answered = np.bincount(labels, weights=said, minlength=count)
    both = np.bincount(labels, weights=said & there, minlength=count)
    enough = (having >= _FEWEST) & (total - having >= _FEWEST)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = both / having - (answered - both) / (total - having)
        spread = having * (total - having) * answered * (total - answered) / (total**2 * (total - 1))
        expected = having * answered / total
    others = enough & (np.arange(count) != number)
    helped = float(gain[number]) if enough[number] else float("nan")
    if not others.any():
        return Lean(word, answers.classes[number], 0.0, 0.0, helped, 1.0)
    return Lean(
        word, answers.classes[number], float(gain[others].mean()), float((gain[others] > 0).mean()), helped,
        _chance(both[others] - expected[others], spread[others]),
    )  # fmt: skip


def _chance(beyond: Float[np.ndarray, "class"], spread: Float[np.ndarray, "class"]) -> float:
    variance = float(spread.sum())
    return float(norm.sf((beyond.sum() - 0.5) / variance**0.5)) if variance > 0 else 1.0
