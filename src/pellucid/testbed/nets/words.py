"""Words as numbers, for the nets that read or speak."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from pellucid.errors import SceneError
from pellucid.testbed import captions, questions
from pellucid.testbed.fields import BIRD_COUNTS

PAD, BEGIN, END = range(3)
LONGEST = 80  # words of the longest sentence, its begin and end included

_TOLD_OF_FLOCKS = {*BIRD_COUNTS, "birds", "of"}
_ASKED_OF_FLOCKS = {*BIRD_COUNTS, "birds", "how", "many"}


@cache
def caption_words() -> tuple[str, ...]:
    """Every word with which one bird is told, sorted."""
    return tuple(word for word in captions.vocabulary() if word not in _TOLD_OF_FLOCKS)


@cache
def talk_words() -> tuple[str, ...]:
    """Every word with which one bird is told, asked about and answered for, sorted."""
    return tuple(word for word in questions.vocabulary() if word not in _ASKED_OF_FLOCKS)


class Words:
    """A closed list of words: texts to numbers and back. 0 fills up, 1 begins, 2 ends.

    A net keeps the list it was trained with, so a grammar that grows later does no harm.
    """

    def __init__(self, listed: Sequence[str]) -> None:
        self.listed = tuple(listed)
        self._number = {word: number for number, word in enumerate(self.listed, start=END + 1)}

    def __len__(self) -> int:
        return len(self.listed) + END + 1

    def numbers(self, text: str) -> list[int]:
        """One text without begin and end. Raises SceneError for a word that is not in the list."""
        spaced = text.lower().replace(",", " , ").replace("?", " ? ").split()
        unknown = [word for word in spaced if word not in self._number]
        if unknown:
            raise SceneError(f"The word {unknown[0]!r} of {text!r} is unknown. Known: {' '.join(self.listed)}.")
        return [self._number[word] for word in spaced]

    def encode(self, texts: Sequence[str]) -> Int64[Tensor, "text word"]:
        """Texts between begin and end, filled up to the longest. Raises SceneError where one is too long."""
        rows = [[BEGIN, *self.numbers(text), END] for text in texts]
        longest = max(map(len, rows))
        if longest > LONGEST:
            raise SceneError(f"A text of {longest - 2} words is too long: the testbed's nets read {LONGEST - 2}.")
        return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])

    def decode(self, numbers: Sequence[int] | Int64[Tensor, "word"]) -> str:
        """The words up to the end."""
        said: list[str] = []
        for number in map(int, numbers):
            if number == END:
                break
            if number > END:
                said.append(self.listed[number - END - 1])
        return " ".join(said)


def words_of(net: nn.Module) -> tuple[str, ...]:
    """The words that a net knows; none for one that neither reads nor speaks."""
    words = getattr(net, "words", None)
    return words.listed if isinstance(words, Words) else ()


def spoken(numbers: Int64[Tensor, "text word"]) -> Bool[Tensor, "text word"]:
    """Where there is a word, and no filling."""
    return numbers != PAD
