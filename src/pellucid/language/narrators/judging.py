"""Is a retold sentence still what was measured? Numbers, names, places, sense; then what the claim itself says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pellucid.language.narrators.reading import Number, Said, sentences
from pellucid.results import Claim


@dataclass(frozen=True, eq=False)
class Source:
    """A clue as the evidence that sentences are held against."""

    id: str
    claim: Claim

    @cached_property
    def statements(self) -> tuple[Said, ...]:
        """The sentences of the claim."""
        return tuple(Said(one.text, (self.id,)) for one in sentences(self.claim.text.replace("\n", " ")))

    @cached_property
    def numbers(self) -> tuple[Number, ...]:
        return tuple(number for one in self.statements for number in one.numbers)

    def holds(self, number: Number) -> bool:
        """Whether the number is printed in the claim, or is what was measured, to the digits printed."""
        measured = [
            float(value)
            for value in self.claim.measured.values()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        ]
        return any(number.same(own) for own in self.numbers) or any(map(number.agrees, measured))


@dataclass(frozen=True)
class Finding:
    """What became of one sentence.

    reason: why it is not verified
    right:  how many of its numbers are among the evidence
    """

    verdict: str
    reason: str = ""
    cites: tuple[str, ...] = ()
    right: int = 0
    numbers: int = 0


def judge(said: Said, sources: Mapping[str, Source], labels: Sequence[str] = ()) -> Finding:
    """Holds one sentence against the clues it cites, or against the one that could be meant where it cites none.

    Refuted: a number, a quoted or a longer class name, or a place that the clue has not; the opposite sense, direction
    or order. Unverifiable: nothing to hold it against, or words that no evidence speaks of.
    """
    unknown = [one for one in said.cites if one not in sources]
    if unknown:
        return Finding("refuted", f"it cites {unknown[0]}, which does not exist", numbers=len(said.numbers))
    cited = [sources[one] for one in said.cites] or _meant(said, sources)
    if not cited:
        return Finding("unverifiable", "it cites nothing, and nothing measured fits it", numbers=len(said.numbers))
    ids = tuple(one.id for one in cited)
    right = sum(any(one.holds(number) for one in cited) for number in said.numbers)

    def found(verdict: str, reason: str = "") -> Finding:
        return Finding(verdict, reason, ids, right, len(said.numbers))

    if any(said.text in one.claim.text for one in cited):
        return found("verified")
    wrong = _wrong_figures(said, cited) or _wrong_names(said, cited, labels) or _wrong_sense(said, cited)
    if wrong:
        return found("refuted", wrong)
    doubt = _doubt(said, cited, labels)
    return found("unverifiable", doubt) if doubt else found("verified")


def _meant(said: Said, sources: Mapping[str, Source]) -> list[Source]:
    """The clue that has all numbers of a sentence and its names, where there is one."""
    if not said.numbers:
        return []
    fitting = [one for one in sources.values() if all(map(one.holds, said.numbers))]
    named = [one for one in fitting if all(name in one.claim.text.casefold() for name in said.quoted())]
    return named[:1]


def _wrong_figures(said: Said, cited: Sequence[Source]) -> str:
    for number in said.numbers:
        if not any(one.holds(number) for one in cited):
            return f"{_printed(number)} was not measured"
    known = [pair for one in cited for statement in one.statements for pair in statement.pairs]
    for first, second in said.pairs:
        if known and not any(first.same(a) and second.same(b) for a, b in known):
            turned = any(second.same(a) and first.same(b) for a, b in known)
            change = f"from {_printed(first)} to {_printed(second)}"
            return f"it does not go {change}{', but the other way round' if turned else ''}"
    for number in said.reached:
        if known and not any(number.same(b) for _, b in known):
            return f"it does not go to {_printed(number)}"
    return _wrong_control(said, cited)


def _wrong_control(said: Said, cited: Sequence[Source]) -> str:
    """What is told of random regions must be what was measured with them, and no other figure of the claim."""
    measured = [
        float(value) for one in cited for name, value in one.claim.measured.items()
        if "random" in name and isinstance(value, (int, float))
    ]  # fmt: skip
    told = said.of_random
    if measured and told and not any(number.agrees(value) for number in told for value in measured):
        return f"with random regions it is not {_printed(told[0])}"
    return ""


def _wrong_names(said: Said, cited: Sequence[Source], labels: Sequence[str]) -> str:
    told = frozenset[str]().union(*(one.labels(labels) | one.quoted() for source in cited for one in source.statements))
    for name in said.quoted():
        if name not in told:
            return f"“{name}” is not what was measured"
    for name in said.labels(labels):
        if name not in told and " " in name:
            return f"“{name}” is not what was measured"
    places = frozenset[str]().union(*(one.places for source in cited for one in source.statements))
    elsewhere = said.places - places
    return f"the place is wrong: {', '.join(sorted(elsewhere))}" if elsewhere and places else ""


def _wrong_sense(said: Said, cited: Sequence[Source]) -> str:
    nearest = max(
        (statement for one in cited for statement in one.statements), key=lambda statement: _likeness(said, statement)
    )
    if said.denies != nearest.denies:
        return "it denies what was found" if said.denies else "it affirms what was denied"
    if said.direction and nearest.heading and said.direction != nearest.heading:
        return "it goes the other way"
    return ""


def _likeness(said: Said, statement: Said) -> float:
    """How much two sentences have in common: numbers first, then pairs of them, names and words."""
    numbers = sum(any(number.same(own) for own in statement.numbers) for number in said.numbers)
    pairs = sum(any(a.same(c) and b.same(d) for c, d in statement.pairs) for a, b in said.pairs)
    return 3 * numbers + 3 * pairs + 2 * len(said.quoted() & statement.quoted()) + len(said.words & statement.words)


def _doubt(said: Said, cited: Sequence[Source], labels: Sequence[str]) -> str:
    """What is in a sentence that no evidence could bear out; empty where there is nothing."""
    statements = [statement for one in cited for statement in one.statements]
    text = " ".join(one.lowered for one in statements)
    told = frozenset[str]().union(*(one.labels(labels) for one in statements))
    known = frozenset[str]().union(*(one.words for one in statements))
    names = frozenset(word for name in told for word in Said(name, ()).words)
    extra = sorted(one for one in said.words - known - names if one not in text)
    if extra:
        return f"nothing was measured of: {', '.join(extra[:4])}"
    if said.fractions - frozenset(text.split()):
        return f"it tells numbers in words: {', '.join(sorted(said.fractions))}"
    if not said.numbers and not said.quoted() and not said.labels(labels) and not said.places:
        return "it holds neither a number nor a name that could be checked"
    return ""


def _printed(number: Number) -> str:
    return f"{number.value:.{number.digits}f}{'%' if number.percent else ''}"
