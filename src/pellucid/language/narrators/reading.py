"""Sentences read back: what they cite, which numbers and names they hold, and whether they affirm or deny."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pellucid.language.narrators.lexicon import COUNTING, DENYING, PLAIN, stem

_IDS = re.compile(r"[\[(]\s*(c\d+(?:\s*[,;]\s*c\d+)*)\s*[\])]")
_ID = re.compile(r"c\d+")
_NUMBER = re.compile(r"(?<![\w.])([-−]?\d+(?:\.\d+)?)(\s?(?:%|percent\b|per cent\b))?")
_QUOTED = re.compile(r"[“\"]([^“”\"]+)[”\"]")
_BREAK = re.compile(r"(?<=[.!?])\s+(?=\S)")
_FALLS = "fall|fell|drop|declin|decreas|shrink|shrank|sink|sank|lose|loses|lost|plung|reduc"
_RISES = "rise|rose|grow|grew|climb|increas|gain|jump|improv"
_CHANGES = f"{_FALLS}|{_RISES}"
_FIGURE = r"(?:about\s+)?([-−]?\d+(?:\.\d+)?(?:\s?%)?)"
_PAIR = re.compile(rf"from\s+{_FIGURE}\s+(?:down\s+|up\s+)?to\s+{_FIGURE}")
_REACHED = re.compile(rf"(?:{_CHANGES})\w*(?:\s+(?:it|down|up))?\s+to\s+{_FIGURE}")
_CLAUSE = re.compile(r"[,;:]\s|\b(?:while|whereas|but|compared|against)\b")
_DOWN = re.compile(rf"\b(?:{_FALLS})\w*")
_UP = re.compile(rf"\b(?:{_RISES})\w*")
_SIDES = r"(?:left|right) (?:side|half|edge|part|third|corner)"
_LEVELS = r"(?:upper|lower|top|bottom)(?:[ -](?:left|right|half|part|edge|third|corner))?"
_FROM_CENTRE = r"(?:left|right|above|below)(?: and (?:left|right))?(?: of)? (?:the )?(?:centre|center|middle)"
_PLACES = re.compile(rf"\b(?:{_FROM_CENTRE}|{_LEVELS}|{_SIDES}|centre|center|middle)\b")
_NO_PLACE = frozenset(("of", "the", "and"))
_SAME_PLACE = {"top": "upper", "bottom": "lower", "center": "centre", "middle": "centre"}
_WORD = re.compile(r"[a-zà-ÿ]+(?:'[a-z]+)?")


@dataclass(frozen=True)
class Number:
    """A number as a sentence prints it. value: as printed, in per cent where `percent`; digits: after the point."""

    value: float
    digits: int
    percent: bool

    def agrees(self, measured: float) -> bool:
        """Whether what was measured, rounded as printed, is this."""
        candidates = [measured * 100] if self.percent else [measured]
        return any(f"{one:z.{self.digits}f}" == f"{self.value:z.{self.digits}f}" for one in candidates)

    def same(self, other: Number) -> bool:
        return self.percent == other.percent and self.agrees(other.value / 100 if other.percent else other.value)


@dataclass(frozen=True)
class Said:
    """One sentence as it was said. text: without the ids; cites: the clues it names"""

    text: str
    cites: tuple[str, ...]

    @property
    def lowered(self) -> str:
        return self.text.casefold().replace("’", "'")

    @property
    def numbers(self) -> tuple[Number, ...]:
        return numbers_in(self.text)

    @property
    def pairs(self) -> tuple[tuple[Number, Number], ...]:
        """What goes from one number to another."""
        text = _QUOTED.sub(" ", self.text)
        found = [(numbers_in(one), numbers_in(two)) for one, two in _PAIR.findall(text)]
        return tuple((one[0], two[0]) for one, two in found if one and two)

    @property
    def reached(self) -> tuple[Number, ...]:
        """What something falls or rises to, where it is not said from what."""
        text = _PAIR.sub(" ", _QUOTED.sub(" ", self.lowered))
        return tuple(number for part in _REACHED.findall(text) for number in numbers_in(part))

    @property
    def of_random(self) -> tuple[Number, ...]:
        """The numbers in the part of the sentence that speaks of random regions, or in the part after it."""
        parts = [part for part in _CLAUSE.split(_QUOTED.sub(" ", self.text)) if part.strip()]
        for at, part in enumerate(parts):
            if "random" in part.casefold():
                return numbers_in(part) or (numbers_in(parts[at + 1]) if at + 1 < len(parts) else ())
        return ()

    @property
    def denies(self) -> bool:
        return any(word in DENYING for word in re.findall(r"[a-z']+", self._plain))

    @property
    def direction(self) -> int:
        """1 where it speaks of more, -1 of less, 0 of neither or both."""
        return bool(_UP.search(self._plain)) - bool(_DOWN.search(self._plain))

    @property
    def heading(self) -> int:
        """The direction; where words do not tell, that of the numbers it goes between."""
        if self.direction or not self.pairs:
            return self.direction
        one, two = self.pairs[0]
        return (two.value > one.value) - (two.value < one.value)

    @property
    def places(self) -> frozenset[str]:
        """Places in the picture that it names, in the same words whoever names them."""
        found = (re.split(r"[ -]", match) for match in _PLACES.findall(self._plain))
        return frozenset(_SAME_PLACE.get(word, word) for words in found for word in words if word not in _NO_PLACE)

    @property
    def fractions(self) -> frozenset[str]:
        """Numbers told in words."""
        return frozenset(self._plain.split()) & COUNTING

    @property
    def words(self) -> frozenset[str]:
        """Its words, without endings, that say something of their own."""
        return frozenset(stem(word) for word in _WORD.findall(self._plain)) - PLAIN

    @property
    def _plain(self) -> str:
        return _QUOTED.sub(" ", self.lowered)

    def quoted(self) -> frozenset[str]:
        """Names in quotation marks."""
        return frozenset(name.strip(" .,;:").casefold() for name in _QUOTED.findall(self.text))

    def labels(self, known: Sequence[str]) -> frozenset[str]:
        """The classes it names, the longest name where one is part of another."""
        text, found = f" {re.sub(r'[^a-z0-9]+', ' ', self.lowered)} ", set[str]()
        for label, spoken in _longest_first(tuple(known)):
            if len(spoken) > 3 and spoken in text:
                found.add(label)
                text = text.replace(spoken, "  |  ")
        return frozenset(found)


def sentences(text: str) -> tuple[Said, ...]:
    """The sentences of a text. In a line, sentences without an id of their own belong to the next id named."""
    found: list[Said] = []
    for line in text.splitlines():
        line = re.sub(r"^\s*(?:[-*•]|\d+[.)])\s+", "", line).strip()
        line = re.sub(rf"([.!?])\s*({_IDS.pattern})", r" \2\1", line)  # an id behind the full stop comes before it
        found += _of_line(line)
    return tuple(one for one in found if re.search(r"[A-Za-z]", one.text))


def _of_line(line: str) -> list[Said]:
    told: list[Said] = []
    cited: tuple[str, ...] = ()
    for part in reversed(_BREAK.split(line)):
        own = tuple(one for ids in _IDS.findall(part) for one in _ID.findall(ids))
        cited = own or cited
        text = re.sub(r"\s+([.,;!?])", r"\1", re.sub(r"\s{2,}", " ", _IDS.sub("", part))).strip()
        told.append(Said(text, tuple(dict.fromkeys(cited))))
    return told[::-1]


def numbers_in(text: str) -> tuple[Number, ...]:
    """The numbers of a text, those in quoted names left out."""
    found: list[Number] = []
    for digits, percent in _NUMBER.findall(_QUOTED.sub(" ", text)):
        spelled = digits.replace("−", "-")
        found.append(Number(float(spelled), len(spelled.partition(".")[2]), bool(percent)))
    return tuple(found)


@lru_cache(maxsize=8)
def _longest_first(labels: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Each name, and how it would stand in a sentence of words alone."""
    ordered = sorted({label.casefold() for label in labels}, key=len, reverse=True)
    return tuple((label, f" {re.sub(r'[^a-z0-9]+', ' ', label).strip()} ") for label in ordered)
