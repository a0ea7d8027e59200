"""In which conditions that have words does a classifier fail? The smallest sets of tags that tell where.

Rezaei, Saberi, Moayeri, Feizi, PRIME: Prioritizing interpretability in failure mode extraction, ICLR 2024: tags come
first and groups after, so that every group found has its words. Added here: exact tests with a correction for all sets
that were looked at, intervals, and a second set of pictures that helped to find nothing, on which modes have to hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int64

from pellucid.compute.bootstrap import Interval, holm, wilson
from pellucid.errors import RequestError
from pellucid.language.failures.answers import Answers
from pellucid.language.failures.chance import as_few_right
from pellucid.language.failures.tags import Tags
from pellucid.language.hypotheses import benjamini_hochberg
from pellucid.values import Seed


@dataclass(frozen=True)
class Rule:
    """What counts as a failure mode. Shares are of 1.

    drop:    by how much the group's accuracy must lie below that of its class
    steps:   by how much accuracy must rise where any one tag is left out: for sets of two, of three and so on; the last
             stands for all larger ones
    most:    tags in a set
    support: the fewest pictures of a group, or `share` of the class where that is less, and never below `least`
    usual:   a tag in more than this share of a class belongs to the class, and is not looked at
    alike:   tags whose pictures overlap more (Jaccard) are one
    level:   false discovery rate where modes are sought, and family-wise error where they are confirmed
    """

    drop: float = 0.3
    steps: tuple[float, ...] = (0.1, 0.05)
    most: int = 3
    support: int = 30
    share: float = 0.03
    least: int = 10
    usual: float = 0.95
    alike: float = 0.9
    level: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.drop < 1 or self.most < 1 or not self.steps or not 0 < self.level < 1 or self.least < 1:
            raise RequestError(f"{self} cannot be: drop and level lie in 0 to 1, a set has one tag or more.")

    def fewest(self, pictures: int) -> int:
        """The support needed in a class of so many pictures."""
        return max(self.least, min(self.support, round(self.share * pictures)))

    def step(self, size: int) -> float:
        return self.steps[min(size - 2, len(self.steps) - 1)]


RULE = Rule()


@dataclass(frozen=True)
class Group:
    """How a model fares on pictures of one class that have some tags, beside all pictures of the class.

    p: the chance that as many random pictures of the class have as few right answers
    """

    accuracy: Interval
    usual: float
    p: float

    @property
    def count(self) -> int:
        return self.accuracy.count

    @property
    def drop(self) -> float:
        return self.usual - self.accuracy.mean


@dataclass(frozen=True)
class Mode:
    """A condition under which a class is not recognised.

    number:  the class; name: what it is called
    tags:    the smallest set of words that tells where
    found:   on the pictures by which it was found; q its false discovery rate among all sets that were looked at
    held:    on pictures that did not help to find it; None where there are none
    p_held:  what remains of its p there after Holm's correction for all modes that were found
    instead: what is mostly answered there, and in which share
    also:    tags whose pictures are nearly the same
    """

    number: int
    name: str
    tags: tuple[str, ...]
    found: Group
    q: float
    instead: tuple[str, float]
    also: tuple[str, ...] = ()
    held: Group | None = None
    p_held: float = float("nan")

    @property
    def shown(self) -> Group:
        """What is told of it: the held-out figures, where there are any."""
        return self.held or self.found

    @property
    def errors(self) -> float:
        """How many more pictures than usual are answered wrongly."""
        return self.shown.count * self.shown.drop

    def holds(self, rule: Rule = RULE) -> bool:
        """Whether held-out pictures say so too: as significant after correction, and at least half as large a drop."""
        return self.held is not None and self.p_held <= rule.level and self.held.drop >= rule.drop / 2


@dataclass(frozen=True)
class Searched:
    """What the search gave. tried: how many sets of tags were tested."""

    modes: tuple[Mode, ...]
    tried: int


def seek(answers: Answers, tags: Tags, *, rule: Rule = RULE) -> Searched:
    """The failure modes of all classes, the costliest first: the most errors beyond the usual.

    Tags that are names of classes are not looked at: the class would explain itself.
    """
    _same_length(answers, tags)
    looked = tags.without([name for name in tags.names if _names_a_class(name, answers.classes)])
    lattices = [
        _Lattice(answers, looked, int(number), rule)
        for number in np.unique(answers.labels)
        if len(answers.of_class(int(number))) >= 2 * rule.least
    ]
    p = np.concatenate([one.p for one in lattices]) if lattices else np.zeros(0)
    q = np.array(benjamini_hochberg(p.tolist())) if len(p) else p
    ends = np.cumsum([len(one.p) for one in lattices]).tolist()
    modes = [mode for one, end in zip(lattices, ends, strict=True) for mode in one.modes(q[end - len(one.p) : end])]
    return Searched(tuple(sorted(modes, key=lambda mode: -mode.errors)), len(p))


def confirmed(searched: Searched, answers: Answers, tags: Tags, *, rule: Rule = RULE) -> Searched:
    """The same modes with how they fare on pictures that did not help to find them; those that hold, first."""
    _same_length(answers, tags)
    held = [_group(answers, mode.number, tags.having(mode.tags)) for mode in searched.modes]
    adjusted = holm({number: one.p for number, one in enumerate(held)}).values()
    modes = [
        replace(mode, held=group, p_held=float(p))
        for mode, group, p in zip(searched.modes, held, adjusted, strict=True)
    ]
    return Searched(tuple(sorted(modes, key=lambda mode: (not mode.holds(rule), -mode.errors))), searched.tried)


def halves(answers: Answers, seed: Seed) -> tuple[Int64[np.ndarray, "one"], Int64[np.ndarray, "other"]]:
    """Pictures to seek in and pictures to confirm on: half of each class, drawn by the seed."""
    rng = np.random.default_rng(int(seed.child("halves")))
    first: list[np.ndarray] = []
    for number in np.unique(answers.labels):
        places = answers.of_class(int(number))
        first.append(rng.permutation(places)[: (len(places) + 1) // 2])
    one = np.sort(np.concatenate(first)) if first else np.zeros(0, dtype=np.int64)
    return one, np.setdiff1d(np.arange(len(answers)), one)


def _same_length(answers: Answers, tags: Tags) -> None:
    if len(answers) != len(tags):
        raise RequestError(f"{len(answers)} answers and the tags of {len(tags)} pictures do not belong together.")


def _names_a_class(tag: str, classes: Sequence[str]) -> bool:
    plain = tag.lower().removeprefix("a ").removeprefix("an ").strip()
    return any(plain == name.lower() for name in classes)


def _group(answers: Answers, number: int, chosen: Bool[np.ndarray, "picture"]) -> Group:
    own, right = answers.labels == number, answers.right
    hits, count = int((right & own & chosen).sum()), int((own & chosen).sum())
    total, all_right = int(own.sum()), int((right & own).sum())
    p = float(as_few_right(hits, count, all_right, total)[0]) if count else 1.0
    return Group(wilson(hits, count), all_right / total if total else float("nan"), p)


class _Lattice:
    """All sets of tags of one class that are frequent enough, and how the model fares on each."""

    def __init__(self, answers: Answers, tags: Tags, number: int, rule: Rule) -> None:
        self.answers, self.number, self.rule = answers, number, rule
        places = answers.of_class(number)
        self.right: Bool[np.ndarray, "picture"] = answers.right[places]
        self.said = answers.said[places]
        self.fewest = rule.fewest(len(places))
        self.names, self.there, self.also = _apart(tags[places], self.fewest, rule)
        self.sets: dict[frozenset[int], int] = {}
        self.rows: list[Bool[np.ndarray, "picture"]] = []
        for members, row in self._frequent():
            self.sets[members] = len(self.rows)
            self.rows.append(row)
        there = np.stack(self.rows) if self.rows else np.zeros((0, len(places)), dtype=bool)
        self.sizes = there.sum(axis=1)
        self.hits = there @ self.right.astype(np.int64)
        total, right = len(places), int(self.right.sum())
        self.usual = right / total
        self.p: Float[np.ndarray, "set"] = (
            as_few_right(self.hits, self.sizes, right, total) if len(there) else np.zeros(0)
        )

    def _frequent(self) -> Iterator[tuple[frozenset[int], Bool[np.ndarray, "picture"]]]:
        """Set by set, smaller ones first; a set is looked at only where all smaller ones within it are frequent."""
        level = {frozenset([at]): self.there[:, at] for at in range(len(self.names))}
        level = {members: row for members, row in level.items() if row.sum() >= self.fewest}
        for size in range(1, self.rule.most + 1):
            yield from level.items()
            if size == self.rule.most:
                return
            grown: dict[frozenset[int], Bool[np.ndarray, "picture"]] = {}
            for members, row in level.items():
                for other in range(max(members) + 1, len(self.names)):
                    larger = members | {other}
                    if all(frozenset(part) in level for part in combinations(sorted(larger), size)):
                        both = row & self.there[:, other]
                        if both.sum() >= self.fewest:
                            grown[larger] = both
            level = grown

    def modes(self, q: Float[np.ndarray, "set"]) -> Iterator[Mode]:
        """Those that fall far enough, are no chance, and hold no tag that adds nothing."""
        accuracy = self.hits / np.maximum(self.sizes, 1)
        failing = [
            members for members, at in self.sets.items()
            if accuracy[at] <= self.usual - self.rule.drop and q[at] <= self.rule.level
            and self._is_minimal(members, accuracy)
        ]  # fmt: skip
        explained = np.zeros(len(self.right), dtype=bool)
        for members in sorted(failing, key=lambda one: (self.p[self.sets[one]], -self._excess(one))):
            row = self.rows[self.sets[members]]
            if self._still_fails(row & ~explained):
                explained |= row
                yield self._mode(members, float(q[self.sets[members]]))

    def _excess(self, members: frozenset[int]) -> float:
        at = self.sets[members]
        return float(self.usual * self.sizes[at] - self.hits[at])

    def _is_minimal(self, members: frozenset[int], accuracy: Float[np.ndarray, "set"]) -> bool:
        """Whether accuracy rises wherever one tag is left out."""
        own = accuracy[self.sets[members]]
        if len(members) == 1:
            return True
        smaller = [accuracy[self.sets[members - {tag}]] for tag in members]
        return bool(min(smaller) - own >= self.rule.step(len(members)))

    def _still_fails(self, rest: Bool[np.ndarray, "picture"]) -> bool:
        """Whether a set fails beside what clearer modes explain: its other pictures do not fare nearly as usual."""
        few = rest.sum() < max(3, self.fewest // 3)
        return not few and float(self.right[rest].mean()) <= self.usual - self.rule.drop / 2

    def _mode(self, members: frozenset[int], q: float) -> Mode:
        at = self.sets[members]
        wrong = self.said[self.rows[at] & ~self.right]
        counts = np.bincount(wrong, minlength=len(self.answers.classes))
        instead = self.answers.classes[int(counts.argmax())], float(counts.max() / max(1, self.sizes[at]))
        found = Group(wilson(int(self.hits[at]), int(self.sizes[at])), self.usual, float(self.p[at]))
        also = tuple(other for tag in sorted(members) for other in self.also[tag])
        tags = tuple(self.names[tag] for tag in sorted(members))
        return Mode(self.number, self.answers.classes[self.number], tags, found, q, instead, also)


def _apart(
    tags: Tags, fewest: int, rule: Rule
) -> tuple[list[str], Bool[np.ndarray, "picture tag"], list[tuple[str, ...]]]:
    """Tags that part the pictures of a class, one of each bundle that says the same."""
    sizes = tags.there.sum(axis=0)
    frequent = [at for at in range(len(tags.names)) if fewest <= sizes[at] <= rule.usual * len(tags)]
    kept: list[int] = []
    also: dict[int, list[str]] = {}
    for at in frequent:
        row = tags.there[:, at]
        same = next((other for other in kept if _jaccard(row, tags.there[:, other]) > rule.alike), None)
        if same is None:
            kept.append(at)
            also[at] = []
        else:
            also[same].append(tags.names[at])
    return [tags.names[at] for at in kept], tags.there[:, kept], [tuple(also[at]) for at in kept]


def _jaccard(one: Bool[np.ndarray, "picture"], other: Bool[np.ndarray, "picture"]) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))
