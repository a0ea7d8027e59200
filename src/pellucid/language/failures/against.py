"""What stands beside failure modes: the same search where there is nothing to find, and words drawn by lot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from pellucid.compute.ranking import auroc
from pellucid.language.failures.answers import Answers
from pellucid.language.failures.prime import Mode, Rule, confirmed, seek
from pellucid.language.failures.tags import Tags
from pellucid.values import Seed

DRAWS, WORDS = 3, 20  # searches where there is nothing to find, and words by lot for each mode


@dataclass(frozen=True)
class Controls:
    """How the same procedure fares where there is nothing to find.

    shuffled: modes that hold, draw by draw, where errors are dealt to other pictures of their class
    blind:    modes that hold where the tags are dealt to other pictures: the tagger has not seen what it tags
    drop:     by how much accuracy falls with the words of the modes, mean over modes; NaN where there are none
    random:   the same with as many other words of the tagger drawn by lot; random_worst is the largest draw
    """

    shuffled: tuple[int, ...]
    blind: tuple[int, ...]
    drop: float
    random: float
    random_worst: float

    def beaten_by(self, modes: int) -> bool:
        """Whether there are more modes than where there is nothing to find, and words matter more than random ones."""
        more = modes > max(*self.shuffled, *self.blind, 0)
        return more and (np.isnan(self.random) or self.drop > self.random_worst)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def controls(
    answers: Answers, tags: Tags, parts: tuple[np.ndarray, np.ndarray], modes: Sequence[Mode], *, rule: Rule,
    draws: int = DRAWS, seed: Seed,
) -> Controls:  # fmt: skip
    """The search of `prime` again with errors, and with tags, dealt to other pictures; and random words for its modes.

    parts: places of the pictures to seek in and of those to confirm on
    """
    held = lambda own, said: _held(own, said, parts, rule)
    shuffled = tuple(held(answers.dealt(seed.child("errors", draw)), tags) for draw in range(draws))
    blind = tuple(held(answers, tags.dealt(answers.labels, seed.child("tags", draw))) for draw in range(draws))
    random = _random_drops(answers[parts[1]], tags[parts[1]], modes, rule, seed)
    drops = [mode.shown.drop for mode in modes]
    mean = lambda values: float(np.mean(values)) if len(values) else float("nan")
    return Controls(shuffled, blind, mean(drops), mean(random), float(random.max()) if len(random) else float("nan"))


def _held(answers: Answers, tags: Tags, parts: tuple[np.ndarray, np.ndarray], rule: Rule) -> int:
    one, other = parts
    found = confirmed(seek(answers[one], tags[one], rule=rule), answers[other], tags[other], rule=rule)
    return sum(mode.holds(rule) for mode in found.modes)


def _random_drops(
    answers: Answers, tags: Tags, modes: Sequence[Mode], rule: Rule, seed: Seed
) -> Float[np.ndarray, "draw"]:
    """The mean drop over the modes for each draw of as many words, none of which is in a mode of that class."""
    totals, counts = np.zeros(WORDS), np.zeros(WORDS)
    for at, mode in enumerate(modes):
        rng = np.random.default_rng(int(seed.child("random words", at)))
        places: Int64[np.ndarray, "picture"] = answers.of_class(mode.number)
        taken = {word for other in modes if other.number == mode.number for word in (*other.tags, *other.also)}
        sizes = tags.there[places].sum(axis=0)
        free = [
            column for column, name in enumerate(tags.names)
            if name not in taken and rule.least <= sizes[column] <= rule.usual * len(places)
        ]  # fmt: skip
        if len(free) < len(mode.tags):
            continue
        right = answers.right[places]
        for draw in range(WORDS):
            there = tags.there[places][:, rng.choice(free, len(mode.tags), replace=False)].all(axis=1)
            if there.any():
                totals[draw] += right.mean() - right[there].mean()
                counts[draw] += 1
    return totals[counts > 0] / counts[counts > 0]


@dataclass(frozen=True)
class Fit:
    """How well a mode's words fit the pictures they stand for, by a dual encoder.

    similarity:  mean cosine of the group's pictures with the words, -1 to 1
    coherency:   their variance; small is good
    specificity: AUROC at which the words tell the group from the rest of its class; .5 is nothing
    random:      the same of as many random words: mean over draws
    """

    similarity: float
    coherency: float
    specificity: float
    random: float

    @property
    def beats_controls(self) -> bool:
        """Whether its words tell its pictures from others of the class better than random words do."""
        return self.specificity > self.random


def fit(
    mode: Mode, answers: Answers, tags: Tags, like: Float[np.ndarray, "picture tag"], *, draws: int = WORDS, seed: Seed
) -> Fit:
    """The paper's measures of a description, beside as many random words.

    like: cosine of each picture with each tag. Where the tags were read off the same cosines, specificity is high by
          construction, and its meaning lies in `random`; give those of another encoder for a second opinion
    """
    own = answers.labels == mode.number
    group = tags.having(mode.tags)[own]
    said = like[own][:, [tags.names.index(name) for name in mode.tags]].mean(axis=1)
    rng = np.random.default_rng(int(seed.child("fit")))
    others = [at for at, name in enumerate(tags.names) if name not in (*mode.tags, *mode.also)]
    by_lot = [
        auroc(group, like[own][:, rng.choice(others, len(mode.tags), replace=False)].mean(axis=1))
        for _ in range(draws if len(others) >= len(mode.tags) else 0)
    ]
    random = float(np.mean(by_lot)) if by_lot else float("nan")
    return Fit(float(said[group].mean()), float(said[group].var()), auroc(group, said), random)
