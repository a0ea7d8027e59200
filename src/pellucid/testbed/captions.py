"""What can be said of a scene, in a small grammar that is spoken and understood.

    caption = "a" hue "bird" [ "with" clause { "," clause } "and" clause ] [ "," stance place ] [ "," "facing" side ]
    clause  = wing hue "wings" | "a" tail hue "tail" | "a" hue "plume" | "no plume" | "a" hue "bib"
            | "a" beak hue "beak"
    name    = "a" [ "crowned" ] ("ripple" | "pebble" | "willow") ("swift" | "wren") [ place ]

Words are separated by blanks; the comma is a word.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from pellucid.errors import SceneError
from pellucid.testbed.fields import HUES, SPECIES, WORDS, Fields, choose, uniform_numbers

STYLES = ("full", "short", "name")
PLACES = ("in a meadow", "at the shore", "at dusk", "in the snow", "in a forest", "in the desert")
_ORDER = ("wing", "tail", "crest", "bib", "beak")


def write(fields: Fields, seed: int, index: Int64[np.ndarray, "scene"], style: str = "full") -> tuple[str, ...]:
    """One sentence per scene: everything (`full`), one to four clauses in any order (`short`), or the species (`name`).

    What a short one leaves out is drawn by seed and index, so a twin's caption differs only in the clause that changed.
    """
    if style not in STYLES:
        raise SceneError(f"There is no style of caption {style!r}. Known: {', '.join(STYLES)}.")
    if style == "short":
        return tuple(_short(fields, at, order) for at, order in enumerate(_short_orders(seed, index)))
    speak = {"full": _full, "name": _name}[style]
    return tuple(speak(fields, at) for at in range(len(index)))


def parse(caption: str) -> dict[str, str]:
    """The fields a caption states, as words: `parse("a blue bird with no plume")["crest"] == "none"`.

    Raises SceneError where it is not in the grammar, with the word at which it ends.
    """
    return _Reader(caption).caption()


def vocabulary() -> tuple[str, ...]:
    """All words that captions are made of, sorted."""
    texts = [*HUES, *WORDS["beak_hue"], *WORDS["wing"], *WORDS["tail"], *WORDS["beak"], *WORDS["feet"], *WORDS["flip"]]
    texts += [*PLACES, *SPECIES, "a bird with wings , tail plume no bib beak and facing"]
    return tuple(sorted({word for text in texts for word in text.split()}))


def _full(fields: Fields, at: int) -> str:
    stance = f"{_word(fields, at, 'feet')} {PLACES[fields['land'][at]]}"
    return f"{_opening(fields, at, _clauses(fields, at))} , {stance} , facing {_word(fields, at, 'flip')}"


def _short_orders(seed: int, index: Int64[np.ndarray, "scene"]) -> list[list[str]]:
    """Which parts a short caption speaks of, in which order."""
    counts = 1 + choose(uniform_numbers(seed, index, "caption_clauses"), 4)
    draws = np.stack([uniform_numbers(seed, index, f"caption_{part}") for part in _ORDER], axis=1)
    return [[_ORDER[place] for place in np.argsort(row)][:count] for row, count in zip(draws, counts, strict=True)]


def _short(fields: Fields, at: int, order: list[str]) -> str:
    spoken = _clauses(fields, at)
    return _opening(fields, at, {part: spoken[part] for part in order if part in spoken})


def _name(fields: Fields, at: int) -> str:
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
        self.expect("a")
        if self.peek() in HUES:
            self.bird()
        else:
            self.name()
        if self.at < len(self.words):
            raise self.trouble("the end")
        return self.said

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
        if self.at < len(self.words):
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
