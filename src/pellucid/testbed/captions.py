"""What can be said of a scene, in a small grammar that is spoken and understood.

    caption = bird | name | count "birds" [ place ] | ( bird | name ) "left of" ( bird | name )
    bird    = "a" hue "bird" [ "with" clause { "," clause } "and" clause ] [ "," stance place ] [ "," "facing" side ]
    clause  = wing hue "wings" | "a" tail hue "tail" | "a" hue "plume" | "no plume" | "a" hue "bib"
            | "a" beak hue "beak"
    name    = "a" [ "crowned" ] ("ripple" | "pebble" | "willow") ("swift" | "wren") [ place ]
    count   = "two" | "three" | "four"

Words are separated by blanks; the comma is a word.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from pellucid.errors import SceneError
from pellucid.testbed.chance import choose, uniform_numbers
from pellucid.testbed.fields import (
    BIRD_COUNTS,
    BIRDS,
    HUES,
    OWN_WORDS,
    SPECIES,
    WORDS,
    Fields,
    fields_of_bird,
    of_bird,
)
from pellucid.testbed.placement import ends

STYLES = ("full", "short", "name")
PLACES = ("in a meadow", "at the shore", "at dusk", "in the snow", "in a forest", "in the desert")
LEFT, RIGHT = "left_", "right_"  # before the fields of the birds on either side of "left of"
_ORDER = ("wing", "tail", "crest", "bib", "beak")


def write(fields: Fields, seed: int, index: Int64[np.ndarray, "scene"], style: str = "full") -> tuple[str, ...]:
    """One sentence per scene: everything (`full`), one to four clauses in any order (`short`), or the species (`name`).

    What a short one leaves out is drawn by seed and index, so a twin's caption differs only in the clause that changed.
    Of a flock the leftmost and the rightmost bird are told, as "... left of ..."; `name` says how many birds there are,
    and so do the others where no bird is plainly left of another.
    """
    if style not in STYLES:
        raise SceneError(f"There is no style of caption {style!r}. Known: {', '.join(STYLES)}.")
    if "birds" not in fields:
        return _told_one(fields, seed, index, style, 0)
    each = [_told_one(fields_of_bird(fields, bird), seed, index, style, bird) for bird in range(BIRDS)]
    left, right = ends(fields)
    said: list[str] = []
    for at, count in enumerate(fields["birds"].tolist()):
        if count == 0:
            said.append(each[0][at])
        elif style == "name" or left[at] < 0:
            said.append(f"{BIRD_COUNTS[count]} birds {PLACES[fields['land'][at]]}")
        else:
            said.append(f"{each[left[at]][at]} left of {each[right[at]][at]}")
    return tuple(said)


def facts(fields: Fields) -> tuple[dict[str, str], ...]:
    """All that captions of each scene could state, as `parse` gives it: what a caption says is true if it is in here.

    Of a flock: `birds`, `land`, and the fields of the leftmost and rightmost bird, as `left_tail` and `right_tail`.
    """
    count = len(fields["land"])
    if "birds" not in fields:
        return tuple(_facts_of_one(fields, at) | _land(fields, at) for at in range(count))
    own = [fields_of_bird(fields, bird) for bird in range(BIRDS)]
    left, right = ends(fields)
    table: list[dict[str, str]] = []
    for at in range(count):
        known = _land(fields, at)
        if fields["birds"][at] == 0:
            known |= _facts_of_one(own[0], at)
        else:
            known["birds"] = BIRD_COUNTS[fields["birds"][at]]
        for side, bird in ((LEFT, left[at]), (RIGHT, right[at])) if left[at] >= 0 else ():
            known |= {side + name: word for name, word in _facts_of_one(own[bird], at).items()}
        table.append(known)
    return tuple(table)


def parse(caption: str) -> dict[str, str]:
    """The fields a caption states, as words: `parse("a blue bird with no plume")["crest"] == "none"`.

    Of two birds the fields are those of the left one, `left_tail`, and of the right one, `right_tail`.
    Raises SceneError where it is not in the grammar, with the word at which it ends.
    """
    return _Reader(caption).caption()


def vocabulary() -> tuple[str, ...]:
    """All words that captions are made of, sorted."""
    texts = [*HUES, *WORDS["beak_hue"], *WORDS["wing"], *WORDS["tail"], *WORDS["beak"], *WORDS["feet"], *WORDS["flip"]]
    texts += [
        *PLACES,
        *SPECIES,
        *BIRD_COUNTS[1:],
        "a bird with wings , tail plume no bib beak and facing birds left of",
    ]
    return tuple(sorted({word for text in texts for word in text.split()}))


def _told_one(fields: Fields, seed: int, index: Int64[np.ndarray, "scene"], style: str, bird: int) -> tuple[str, ...]:
    """One bird of each scene."""
    if style == "short":
        return tuple(_short(fields, at, order) for at, order in enumerate(_short_orders(seed, index, bird)))
    speak = {"full": _full, "name": _name}[style]
    return tuple(speak(fields, at) for at in range(len(index)))


def _facts_of_one(fields: Fields, at: int) -> dict[str, str]:
    gone = {part for part in _ORDER if part != "crest" and not fields[f"has_{part}"][at]}
    gone |= set() if fields["crest"][at] else {"crest_hue"}
    return {name: _word(fields, at, name) for name in OWN_WORDS if name not in gone and name.split("_")[0] not in gone}


def _land(fields: Fields, at: int) -> dict[str, str]:
    return {"land": _word(fields, at, "land")}


def _full(fields: Fields, at: int) -> str:
    stance = f"{_word(fields, at, 'feet')} {PLACES[fields['land'][at]]}"
    return f"{_opening(fields, at, _clauses(fields, at))} , {stance} , facing {_word(fields, at, 'flip')}"


def _short_orders(seed: int, index: Int64[np.ndarray, "scene"], bird: int) -> list[list[str]]:
    """Which parts a short caption speaks of, in which order."""
    counts = 1 + choose(uniform_numbers(seed, index, of_bird(bird, "caption_clauses")), 4)
    draws = np.stack([uniform_numbers(seed, index, of_bird(bird, f"caption_{part}")) for part in _ORDER], axis=1)
    return [[_ORDER[place] for place in np.argsort(row)][:count] for row, count in zip(draws, counts, strict=True)]


def _short(fields: Fields, at: int, order: list[str]) -> str:
    spoken = _clauses(fields, at)
    return _opening(fields, at, {part: spoken[part] for part in order if part in spoken})


def _name(fields: Fields, at: int) -> str:
    if not (fields["has_wing"][at] and fields["has_tail"][at]):  # then nobody can tell the species
        return f"a {_word(fields, at, 'body_hue')} bird , {_word(fields, at, 'feet')} {PLACES[fields['land'][at]]}"
    wing, tail, crest = (int(fields[name][at]) for name in ("wing", "tail", "crest"))
    return f"a {SPECIES[4 * wing + 2 * tail + crest]} {PLACES[fields['land'][at]]}"


def _opening(fields: Fields, at: int, clauses: dict[str, str]) -> str:
    said = list(clauses.values())
    start = f"a {_word(fields, at, 'body_hue')} bird"
    if not said:
        return start
    return f"{start} with {' , '.join(said[:-1])} and {said[-1]}" if len(said) > 1 else f"{start} with {said[0]}"


def _clauses(fields: Fields, at: int) -> dict[str, str]:
    """What can be said of each part that is there."""

    def word(name: str) -> str:
        return _word(fields, at, name)

    clauses = {
        "wing": f"{word('wing')} {word('wing_hue')} wings",
        "tail": f"a {word('tail')} {word('tail_hue')} tail",
        "crest": f"a {word('crest_hue')} plume" if fields["crest"][at] else "no plume",
        "bib": f"a {word('bib_hue')} bib",
        "beak": f"a {word('beak')} {word('beak_hue')} beak",
    }
    return {part: said for part, said in clauses.items() if part == "crest" or fields[f"has_{part}"][at]}


def _word(fields: Fields, at: int, name: str) -> str:
    return WORDS[name][int(fields[name][at])]


class _Reader:
    """Reads a caption word by word and keeps what it states."""

    def __init__(self, caption: str) -> None:
        self.caption_text, self.words, self.at = caption, caption.split(), 0
        self.said: dict[str, str] = {}

    def caption(self) -> dict[str, str]:
        if self.peek() in BIRD_COUNTS[1:]:
            self.count()
        else:
            self.one()
            if self.accept("left"):
                self.expect("of")
                self.two()
        if self.at < len(self.words):
            raise self.trouble("the end")
        return self.said

    def count(self) -> None:
        self.said["birds"] = self.take()
        self.expect("birds")
        if self.at < len(self.words):
            self.place()

    def one(self) -> None:
        self.expect("a")
        if self.peek() in HUES:
            self.bird()
        else:
            self.name()

    def two(self) -> None:
        """The bird after "left of"; both stand in the same landscape."""
        first, self.said = self.said, {}
        self.one()
        lands = {said["land"] for said in (first, self.said) if "land" in said}
        if len(lands) > 1:
            raise SceneError(f"The caption {self.caption_text!r} states two landscapes of one picture.")
        self.said = {
            side + name: word
            for side, said in ((LEFT, first), (RIGHT, self.said))
            for name, word in said.items()
            if name != "land"
        }
        if lands:
            self.said["land"] = lands.pop()

    def bird(self) -> None:
        self.state("body_hue", HUES)
        self.expect("bird")
        if self.accept("with"):
            self.clause()
            while self.peek() in (",", "and") and self.peek(1) not in (*WORDS["feet"], "facing"):
                self.at += 1
                self.clause()
        if self.peek() == "," and self.peek(1) in WORDS["feet"]:
            self.expect(",")
            self.state("feet", WORDS["feet"])
            self.place()
        if self.accept(","):
            self.expect("facing")
            self.state("flip", WORDS["flip"])

    def name(self) -> None:
        crowned = self.accept("crowned")
        first, second = self.take(), self.take()
        plain = tuple(dict.fromkeys(name.removeprefix("crowned ") for name in SPECIES))
        if f"{first} {second}" not in plain:
            self.at -= 2
            raise self.trouble("a hue or a species")
        species = SPECIES.index(f"{'crowned ' if crowned else ''}{first} {second}")
        self.said["wing"] = WORDS["wing"][species // 4]
        self.said["tail"] = WORDS["tail"][species // 2 % 2]
        self.said["crest"] = WORDS["crest"][species % 2]
        if self.peek() in {place.split()[0] for place in PLACES}:
            self.place()

    def clause(self) -> None:
        if self.accept("no"):
            self.expect("plume")
            self.note("crest", "none")
        elif self.peek() in WORDS["wing"]:
            self.state("wing", WORDS["wing"])
            self.state("wing_hue", HUES)
            self.expect("wings")
        else:
            self.expect("a")
            self.part()

    def part(self) -> None:
        if self.peek() in WORDS["tail"]:
            self.state("tail", WORDS["tail"])
            self.state("tail_hue", HUES)
            self.expect("tail")
        elif self.peek() in WORDS["beak"]:
            self.state("beak", WORDS["beak"])
            self.state("beak_hue", WORDS["beak_hue"])
            self.expect("beak")
        elif self.peek(1) == "plume":
            self.state("crest_hue", HUES)
            self.note("crest", "plume")
            self.expect("plume")
        else:
            self.state("bib_hue", HUES)
            self.expect("bib")

    def place(self) -> None:
        for land, place in zip(WORDS["land"], PLACES, strict=True):
            words = place.split()
            if self.words[self.at : self.at + len(words)] == words:
                self.note("land", land)
                self.at += len(words)
                return
        raise self.trouble("a place")

    def state(self, field: str, choices: tuple[str, ...]) -> None:
        if self.peek() not in choices:
            raise self.trouble(" or ".join(choices))
        self.note(field, self.take())

    def note(self, field: str, word: str) -> None:
        if field in self.said:
            raise SceneError(f"The caption {self.caption_text!r} states the {field.replace('_', ' ')} twice.")
        self.said[field] = word

    def peek(self, ahead: int = 0) -> str:
        return self.words[self.at + ahead] if self.at + ahead < len(self.words) else ""

    def take(self) -> str:
        self.at += 1
        return self.peek(-1)

    def accept(self, word: str) -> bool:
        found = self.peek() == word
        self.at += found
        return found

    def expect(self, word: str) -> None:
        if not self.accept(word):
            raise self.trouble(repr(word))

    def trouble(self, wanted: str) -> SceneError:
        return SceneError(
            f"The caption {self.caption_text!r} stops making sense at word {self.at + 1} "
            f"({self.peek() or 'its end'}): expected {wanted}."
        )
