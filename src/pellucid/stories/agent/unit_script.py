"""How a person would find out what a unit of a net that sees little birds answers to.

Look at its strongest pictures; take what they share for hypotheses; make pictures without it show it, one thing at a
time (is it enough?); take it from those that have it (is it needed?); try what is neither alone in pairs. Conclude what
is left, with the experiments that showed it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pellucid.errors import RequestError
from pellucid.language.conditions import ANYWHERE, Condition, Term, term_of, terms
from pellucid.stories.agent.protocol import CONCLUDE, Call, Task
from pellucid.testbed.fields import HUES, WORDS

Script = Generator[Call, Mapping[str, Any], Any]
FIELDS = tuple(name for name in WORDS if name != "species")
STRONGEST, WEAKEST, USUAL = 10, 12, 30
ENOUGH = 0.5  # of the way from the weakest answers to the strongest
MOST_OF, SOME_OF = 0.8, 0.2  # shares of pictures
_LIFT = 0.15  # how much more often than usual strong pictures show what is tried first
_HUES_TOGETHER = 3  # parts whose hue is enough, from which on it is the hue wherever it is
_CANDIDATES = 16
_MAY_BE_MISREAD = 1  # of the strongest pictures


@dataclass
class _Known:
    """What the script has learned so far."""

    strong: list[str]
    weak: list[str]
    shown: list[Mapping[str, str]]
    low: float
    reach: float
    rows: dict[tuple[tuple[str, str], ...], Mapping[str, Any]] = field(
        default_factory=dict[tuple[tuple[str, str], ...], Mapping[str, Any]]
    )

    def unexplained(self, places: Sequence[tuple[str, str]]) -> int:
        """How many of the strongest pictures show none of these."""
        return sum(not any(words.get(name) == word for name, word in places) for words in self.shown)

    def gain(self, row: Mapping[str, Any]) -> float:
        """How far a change moves the answers, as a share of the way from weak to strong."""
        gains = [float(one) for one in row.get("gains", ())]
        return sum(gains) / len(gains) / self.reach if gains else 0.0

    def moved(self, row: Mapping[str, Any], sign: int = 1) -> float:
        """In which share of its pictures it moves them far enough."""
        gains = [sign * float(one) / self.reach for one in row.get("gains", ())]
        return sum(one >= ENOUGH for one in gains) / len(gains) if gains else 0.0

    def does(self, row: Mapping[str, Any]) -> bool:
        """Whether the change is enough, in most pictures that it could be made in."""
        return len(row.get("gains", ())) >= 3 and self.gain(row) >= ENOUGH and self.moved(row) >= MOST_OF


def unit_script(task: Task) -> Script:
    """Calls of tools, each after the result of the one before."""
    top = yield Call("exemplars", {"count": STRONGEST}, "What does it answer to most?")
    weakest = yield Call("sample", {"which": "lowest", "count": WEAKEST}, "And what does it leave alone?")
    if "error" in top or "error" in weakest:
        return (yield from _nothing("There was no budget to look at its pictures."))
    strong = [one["picture"] for one in top["exemplars"]]
    weak = [one["picture"] for one in weakest["pictures"]]
    low = sum(one["answer"] for one in weakest["pictures"]) / len(weak)
    reach = sum(one["answer"] for one in top["exemplars"]) / len(strong) - low
    if reach <= 1e-6:
        return (yield from _nothing("It gives the same answer to all pictures."))
    known = _Known(strong, [f"{one};props=none" for one in weak], [], low, reach)
    first = yield from _candidates(known)
    enough = yield from _what_is_enough(known, first)
    if known.unexplained(enough) > _MAY_BE_MISREAD:
        rest = [place for place in _places() if place not in first]
        enough = [*enough, *(yield from _what_is_enough(known, rest))]
    either = (yield from _either(known, enough)) if enough else None
    condition = either or ((yield from _joined(known, enough)) if enough else (yield from _together(known)))
    return (yield from _concluded(known, condition))


# -- hypotheses -------------------------------------------------------------------------------------------------------


def _candidates(known: _Known) -> Generator[Call, Mapping[str, Any], list[tuple[str, str]]]:
    """What strong pictures show more often than others, most first."""
    seen = yield Call("describe", {"pictures": known.strong}, "What do its strongest pictures show?")
    known.shown = list(seen.get("words", []))
    others = yield Call("sample", {"which": "random", "count": USUAL}, "What do pictures show anyway?")
    usual = yield Call("describe", {"pictures": [one["picture"] for one in others.get("pictures", [])]})
    said = yield Call("names", {"count": 8}, "What would it be called without experiments?")
    shares = _shares(seen.get("words", []))
    anyway = _shares(usual.get("words", []))
    lift = {place: share - anyway.get(place, 0.0) for place, share in shares.items()}
    wanted = [place for place in sorted(lift, key=lambda place: -lift[place]) if lift[place] >= _LIFT]
    named = [
        place for one in said.get("names", []) for place in _places_of(str(one["name"])) if place not in wanted
    ]  # fmt: skip
    return [*wanted, *named][:_CANDIDATES]


def _places_of(name: str) -> tuple[tuple[str, str], ...]:
    term = terms().get(name.lower())
    return term.places if term else ()


def _shares(words: Sequence[Mapping[str, str]]) -> dict[tuple[str, str], float]:
    counted = Counter((name, word) for one in words for name, word in one.items() if name in FIELDS)
    return {place: count / len(words) for place, count in counted.items()}


def _places() -> list[tuple[str, str]]:
    return [(name, word) for name in FIELDS for word in WORDS[name] if (name, word) != ("crest_hue", "none")]


# -- is it enough -----------------------------------------------------------------------------------------------------


def _what_is_enough(
    known: _Known, places: Sequence[tuple[str, str]]
) -> Generator[Call, Mapping[str, Any], list[tuple[str, str]]]:
    """Which of these raise the answers to weak pictures by themselves."""
    if not places:
        return []
    edits = [_edit([place]) for place in places]
    yield from _tried(known, edits, "Is one of these enough, in pictures that leave it cold?")
    return [place for place, edit in zip(places, edits, strict=True) if known.does(known.rows.get(_key(edit), {}))]


def _tried(known: _Known, edits: Sequence[dict[str, str]], why: str) -> Generator[Call, Mapping[str, Any], None]:
    for first in range(0, len(edits), 32):
        part = list(edits[first : first + 32])
        found = yield Call("experiment", {"pictures": known.weak, "edits": part}, why)
        for row in found.get("rows", []):
            known.rows[_key(row["change"])] = row


def _edit(places: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Fields and words; a plume's hue needs a plume."""
    change = dict(places)
    return {"crest": "plume", **change} if "crest_hue" in change else change


def _key(change: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(change.items()))


# -- what is enough by itself, joined ---------------------------------------------------------------------------------


def _joined(known: _Known, enough: Sequence[tuple[str, str]]) -> Generator[Call, Mapping[str, Any], Condition | None]:
    """One thing, or one or another, or one without the other."""
    found = _merged(enough)
    hues = [
        word
        for word, count in Counter(word for name, word in enough if name in ANYWHERE and word in HUES).items()
        if count < _HUES_TOGETHER
    ]
    if hues:  # one part of a hue may be one of more that were not tried
        rest = [place for hue in hues for place in terms()[hue].places if _key(_edit([place])) not in known.rows]
        more = yield from _what_is_enough(known, rest)
        found = _merged([*enough, *more])
    best = max(known.gain(_row_of(known, term)) for term in found)
    kept = [term for term in found if known.gain(_row_of(known, term)) >= 0.6 * best]
    kept = sorted(kept, key=lambda term: -known.gain(_row_of(known, term)))[:4]
    for term in kept:
        yield Call("note", {"hypothesis": term.name, "status": "kept"})
    if len(kept) == 1:
        return Condition("one", (kept[0],))
    if len(kept) == 2:
        both = _edit([term.places[0] for term in kept])
        if len(both) >= 2:
            yield from _tried(known, [both], "Do both together do the same?")
            row = known.rows.get(_key(both), {})
            if row.get("gains") and known.gain(row) < ENOUGH:
                return Condition("either", tuple(kept))
    return Condition("or", tuple(kept))


def _either(known: _Known, enough: Sequence[tuple[str, str]]) -> Generator[Call, Mapping[str, Any], Condition | None]:
    """One without the other: there any change of either raises what it leaves cold, this way and back."""
    twofold = [name for name in dict.fromkeys(name for name, _ in enough) if len(WORDS[name]) == 2]
    others = [(name, word) for name in twofold for word in WORDS[name] if (name, word) not in enough]
    also = yield from _what_is_enough(known, [place for place in others if _key(_edit([place])) not in known.rows])
    both_ways = [name for name in twofold if {(name, word) for word in WORDS[name]} <= {*enough, *also}]
    if len(both_ways) != 2:
        return None
    (first, second), fires = both_ways, set[tuple[str, str]]()
    pairs = [(one, other) for one in WORDS[first] for other in WORDS[second]]
    yield from _tried(known, [{first: one, second: other} for one, other in pairs], "Which of both together?")
    for one, other in pairs:
        answers = [float(value) for value in known.rows.get(_key({first: one, second: other}), {}).get("answers", [])]
        if answers and sum(answers) / len(answers) >= known.low + ENOUGH * known.reach:
            fires.add((one, other))
    wanted = [(WORDS[first][1], other) for other in WORDS[second]]
    alone = [other for one, other in wanted if (one, other) in fires]
    if len(fires) != 2 or len(alone) != 1:
        return None
    (without,) = alone
    partner = next(word for word in WORDS[second] if word != without)
    if (WORDS[first][0], partner) not in fires:
        return None
    return Condition("either", (term_of(first, WORDS[first][1]), term_of(second, partner)))


def _merged(places: Sequence[tuple[str, str]]) -> list[Term]:
    """Terms for places; a hue that is enough in several parts is that hue, wherever it is."""
    counts = Counter(word for name, word in places if name in ANYWHERE)
    hues = [hue for hue in HUES if counts[hue] >= _HUES_TOGETHER]
    rest = [(name, word) for name, word in places if not (name in ANYWHERE and word in hues)]
    if ("crest", "plume") in rest:  # a plume of any hue is a plume
        rest = [place for place in rest if place[0] != "crest_hue"]
    return [*(terms()[hue] for hue in hues), *(term_of(name, word) for name, word in rest)]


def _row_of(known: _Known, term: Term) -> Mapping[str, Any]:
    """The most telling row of a term."""
    rows = [known.rows.get(_key(_edit([place])), {}) for place in term.places]
    return max(rows, key=known.gain)


# -- what is enough only together -------------------------------------------------------------------------------------


def _together(known: _Known) -> Generator[Call, Mapping[str, Any], Condition | None]:
    """What strong pictures need, made together in weak ones: all of it, or two of three."""
    needed = yield from _what_is_needed(known)
    if len(needed) < 2:
        return None
    all_of = _spread(needed[:4])
    if all_of is None:
        return None
    without = [{name: word for name, word in all_of.items() if name != left} for left in all_of if left != "crest"
               or "crest_hue" not in all_of]  # fmt: skip
    yield from _tried(known, [all_of, *without], "Are they enough together, and each of them needed?")
    if not known.does(known.rows.get(_key(all_of), {})):
        return None
    spared = [left for left in without if known.does(known.rows.get(_key(left), {}))]
    kept = needed[:4]
    if len(kept) == 3 and len(spared) == 3:
        return Condition("two of", tuple(kept))
    for left in spared:
        gone = next(iter(set(all_of) - set(left)))
        fewer = [term for term in kept if gone not in [name for name, _ in _used(term, all_of)]]
        change = _spread(fewer) if len(fewer) >= 2 else None
        if change is not None:
            yield from _tried(known, [change], "Is this one needed at all?")
            if known.does(known.rows.get(_key(change), {})):
                kept = fewer
    for term in kept:
        yield Call("note", {"hypothesis": term.name, "status": "kept"})
    return Condition("and", tuple(kept))


def _what_is_needed(known: _Known) -> Generator[Call, Mapping[str, Any], list[Term]]:
    """What the answers to strong pictures fall without, most often first."""
    bare = [f"{one};props=none" for one in known.strong]
    seen = yield Call("describe", {"pictures": bare}, "What do the strongest show, with a bare ground?")
    edits = [{name: "another"} for name in FIELDS]
    found = yield Call("experiment", {"pictures": bare, "edits": edits}, "Which of its fields does it need?")
    words = dict(zip(bare, seen.get("words", []), strict=False))
    needing: dict[tuple[str, str], set[str]] = {}
    for row, edit in zip(found.get("rows", []), edits, strict=False):
        known.rows[_key(edit)] = row
        name = next(iter(edit))
        for picture, gain in zip(row.get("pictures", []), row.get("gains", []), strict=False):
            word = words.get(picture, {}).get(name)
            if word is not None and -float(gain) / known.reach >= ENOUGH:
                needing.setdefault((name, word), set()).add(picture)
    return _needed_terms(needing, len(bare))


def _needed_terms(needing: Mapping[tuple[str, str], set[str]], count: int) -> list[Term]:
    """Terms that a share of the pictures need; a hue needed now here, now there, is that hue anywhere."""
    shares: dict[Term, float] = {}
    for hue in HUES:
        parts = {name: pictures for (name, word), pictures in needing.items() if word == hue and name in ANYWHERE}
        total = set[str]().union(*parts.values()) if parts else set[str]()
        spread = [name for name, pictures in parts.items() if len(pictures) < 0.75 * len(total)]
        if len(total) >= SOME_OF * count:
            if len(parts) > 1 and len(spread) == len(parts):
                shares[terms()[hue]] = len(total) / count
            else:
                name = max(parts, key=lambda one: len(parts[one]))
                shares[term_of(name, hue)] = len(parts[name]) / count
    for (name, word), pictures in needing.items():
        if name not in ANYWHERE and len(pictures) >= SOME_OF * count:
            shares[term_of(name, word)] = len(pictures) / count
    for name in ("beak_hue",):  # black, which is a hue of beaks alone
        pictures = needing.get((name, "black"), set())
        if len(pictures) >= SOME_OF * count:
            shares[term_of(name, "black")] = len(pictures) / count
    return sorted(shares, key=lambda term: -shares[term])


def _spread(found: Sequence[Term]) -> dict[str, str] | None:
    """One place for each term, all different; None where there are not enough."""
    change: dict[str, str] = {}
    for term in sorted(found, key=lambda one: len(one.places)):
        free = [(name, word) for name, word in term.places if name not in change and name != "crest_hue"]
        if not free:
            return None
        change[free[0][0]] = free[0][1]
    return change


def _used(term: Term, change: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, word) for name, word in term.places if change.get(name) == word]


# -- the end ----------------------------------------------------------------------------------------------------------


def _concluded(known: _Known, condition: Condition | None) -> Script:
    """The label that foretells best: what experiments showed, else the change that raised the answers most."""
    if condition is None:
        condition = _strongest(known)
    if condition is None:
        return (yield from _nothing("No change that was tried raises it."))
    yield Call("foretell", {"label": condition.text}, "Does that hold on pictures made for it?")
    rows = _evidence(known, condition)
    best = max((known.gain(known.rows[key]) for key in rows), default=0.0)
    words = f"Making {condition.text} in pictures without it takes it {best:.0%} of the way to its strongest answers."
    cited = [str(known.rows[key]["row"]) for key in rows]
    yield Call(CONCLUDE, {"label": condition.text, "description": words, "evidence": cited})
    yield from _nothing("The label that was found could not be put to the test.")


def _strongest(known: _Known) -> Condition | None:
    """The single change that raises weak answers most, if any does."""
    single = [key for key in known.rows if "another" not in dict(key).values() and len(key) <= 2]
    rising = [key for key in single if known.gain(known.rows[key]) > 0.1 and float(known.rows[key].get("p", 1)) <= 0.05]
    if not rising:
        return None
    best = max(rising, key=lambda key: known.gain(known.rows[key]))
    name, word = next(pair for pair in best if pair[0] != "crest" or len(best) == 1)
    try:
        return Condition("one", (term_of(name, word),))
    except RequestError:
        return None


def _evidence(known: _Known, condition: Condition) -> list[tuple[tuple[str, str], ...]]:
    """The rows that change nothing but what the condition speaks of; the most telling first."""
    places = {place for term in condition.terms for place in term.places} | {("crest", "plume")}
    about = [key for key, row in known.rows.items() if row.get("row") and set(key) <= places]
    return sorted(about, key=lambda key: -known.gain(known.rows[key]))[:6]


def _nothing(why: str) -> Script:
    yield Call(CONCLUDE, {"label": "", "description": why, "evidence": []})


__all__ = ["unit_script"]
