"""Which part of the bird each word of a caption speaks of, and what it tells of it."""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.testbed.fields import HUES, WORDS

_NOUNS = {"wings": "wing", "tail": "tail", "plume": "crest", "bib": "bib", "beak": "beak", "bird": "body"}
_SHAPES = frozenset((*WORDS["wing"], *WORDS["tail"], *WORDS["beak"]))
_HUES = frozenset((*HUES, *WORDS["beak_hue"]))


@dataclass(frozen=True)
class PartWord:
    """One word of a caption that tells something of a part.

    at:   its place among the words, from 0
    kind: `hue`, `shape` or `noun`
    """

    at: int
    word: str
    part: str
    kind: str


def part_words(caption: str) -> tuple[PartWord, ...]:
    """The words that speak of parts of the bird: "a forked amber tail" has three, all of the tail.

    "no plume" speaks of what is not there, so its words have no part.
    """
    words = caption.split()
    found: list[PartWord] = []
    for at, word in enumerate(words):
        if word not in _NOUNS or (at and words[at - 1] == "no"):
            continue
        told = [(at, "noun")]
        if at and words[at - 1] in _HUES:
            told.append((at - 1, "hue"))
            if at > 1 and words[at - 2] in _SHAPES:
                told.append((at - 2, "shape"))
        found += [PartWord(place, words[place], _NOUNS[word], kind) for place, kind in told]
    return tuple(sorted(found, key=lambda one: one.at))
