"""What a unit may answer to, as a condition that can be written, read, checked on a scene, and made true or false."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

from pellucid.errors import RequestError
from pellucid.language.pools import bird_pool
from pellucid.language.recipes import Recipe, another, facts_of, is_free
from pellucid.testbed.fields import HUES, WORDS

KINDS = ("one", "or", "and", "either", "two of")
ANYWHERE = ("body_hue", "wing_hue", "tail_hue", "crest_hue", "bib_hue", "beak_hue")
GRAMMAR = (
    "A label is one thing (`plum wings`, `a forked tail`, `coral` for that hue anywhere), or several joined by `or`, "
    "by `and`, as `either A or B` (not both), or `two of A, B and C`."
)
_MOST_TERMS = 4


@dataclass(frozen=True)
class Term:
    """One thing that can be so: any of these fields with that word."""

    name: str
    places: tuple[tuple[str, str], ...]

    def holds(self, facts: Mapping[str, str]) -> bool:
        """Whether it is so in a scene with these facts."""
        return any(facts.get(field) == word for field, word in self.places)

    def forced(self, recipe: Recipe, wanted: bool, rng: np.random.Generator) -> Recipe | None:
        """The scene with it so, or not so; None where that cannot be."""
        facts = facts_of([recipe])[0]
        if wanted == self.holds(facts):
            return recipe
        return self._made(recipe, rng) if wanted else self._unmade(recipe)

    def _made(self, recipe: Recipe, rng: np.random.Generator) -> Recipe | None:
        for at in rng.permutation(len(self.places)):
            field, word = self.places[at]
            if word in WORDS[field] and is_free(recipe, field, word):
                crest = {"crest": "plume"} if field == "crest_hue" else {}
                return recipe.having({**crest, field: word})
        return None

    def _unmade(self, recipe: Recipe) -> Recipe | None:
        for field, word in self.places:
            if facts_of([recipe])[0].get(field) == word:
                try:
                    recipe = recipe.having({field: another(recipe, field, keep=word)})
                except RequestError:
                    return None
        return recipe


@dataclass(frozen=True)
class Condition:
    """Terms and how they are joined; `kind` is one of KINDS."""

    kind: str
    terms: tuple[Term, ...]

    @property
    def text(self) -> str:
        """As it is written."""
        names = [term.name for term in self.terms]
        if self.kind == "two of":
            return f"two of {', '.join(names[:-1])} and {names[-1]}"
        if self.kind == "either":
            return f"either {names[0]} or {names[1]}"
        return f" {self.kind} ".join(names)

    def outcome(self, so: Sequence[bool]) -> bool:
        """What it makes of its terms."""
        count = sum(so)
        if self.kind == "and":
            return count == len(so)
        if self.kind == "either":
            return count == 1
        return count >= (2 if self.kind == "two of" else 1)

    def holds(self, facts: Mapping[str, str]) -> bool:
        """Whether it is so in a scene with these facts."""
        return self.outcome([term.holds(facts) for term in self.terms])

    def same(self, other: Condition) -> bool:
        """Whether both say the same, in whatever order."""
        return (self.kind, frozenset(self.terms)) == (other.kind, frozenset(other.terms))

    def forced(self, recipe: Recipe, wanted: bool, rng: np.random.Generator) -> Recipe | None:
        """The scene made so that it holds, or does not, through terms drawn by lot; None where that cannot be.

        A condition of several terms can fail by any of them, and does.
        """
        ways = [so for so in product((True, False), repeat=len(self.terms)) if self.outcome(so) == wanted]
        for at in rng.permutation(len(ways)):
            changed: Recipe | None = recipe
            for term, so in zip(self.terms, ways[at], strict=True):
                changed = None if changed is None else term.forced(changed, so, rng)
            if changed is not None and self.holds(facts_of([changed])[0]) == wanted:
                return changed
        return None


@cache
def terms() -> dict[str, Term]:
    """All terms there are, by every name they go by: those of the pool that units are named from."""
    found: dict[str, Term] = {}
    count: dict[str, int] = {}
    for word in bird_pool().words:
        at = count.get(word.kind, 0)
        count[word.kind] = at + 1
        if word.kind == "hue":
            hue = HUES[at]
            term = Term(word.name, tuple((field, hue) for field in ANYWHERE if hue in WORDS[field]))
        elif word.kind in WORDS:
            term = Term(word.name, ((word.kind, WORDS[word.kind][at]),))
        else:
            continue
        found |= {name.lower(): term for name in (word.name, *word.synonyms)}
    return found


@cache
def _by_place() -> dict[tuple[str, str], Term]:
    return {term.places[0]: term for term in terms().values() if len(term.places) == 1}


def term_of(field: str, word: str) -> Term:
    """The term for a field's word. Raises RequestError where there is none."""
    if (field, word) not in _by_place():
        raise RequestError(f"There is no name for {field}={word}.")
    return _by_place()[field, word]


def condition_of(label: str) -> Condition:
    """The condition a label states. Raises RequestError, with the grammar, where it states none."""
    text = " ".join(label.lower().split())
    if text.startswith("two of "):
        return _joined("two of", re.split(r", | and ", text.removeprefix("two of ")), label)
    if text.startswith("either "):
        return _joined("either", text.removeprefix("either ").split(" or "), label)
    if " or " in text and " and " in text:
        raise RequestError(f"{label!r} joins by both `or` and `and`. {GRAMMAR}")
    if " or " in text:
        return _joined("or", text.split(" or "), label)
    names = re.split(r", | and ", text)
    return _joined("and" if len(names) > 1 else "one", names, label)


def _joined(kind: str, names: Sequence[str], label: str) -> Condition:
    known = terms()
    cleaned = [name.strip() for name in names]
    unknown = [name for name in cleaned if name not in known]
    if unknown:
        raise RequestError(f"{unknown[0][:40]!r} in {label[:80]!r} is nothing that can be tested. {GRAMMAR}")
    wanted = {"one": (1, 1), "either": (2, 2), "two of": (3, _MOST_TERMS)}.get(kind, (2, _MOST_TERMS))
    if not wanted[0] <= len(cleaned) <= wanted[1]:
        raise RequestError(f"{label[:80]!r} has {len(cleaned)} things; expected {wanted[0]} to {wanted[1]}. {GRAMMAR}")
    return Condition(kind, tuple(known[name] for name in cleaned))
