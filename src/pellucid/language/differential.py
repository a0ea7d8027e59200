"""Descriptions of what tells apart the very classes a picture is confused between.

Esfandiarpoor and Bach, Follow-up differential descriptions, ICLR 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from pellucid.language.descriptors import PLAIN, Descriptors, Encode, Wording
from pellucid.language.word_controls import by_chance, drawn_words
from pellucid.results import Beside
from pellucid.values import Seed


@dataclass(frozen=True)
class Difference:
    """One attribute in which two classes differ, as what can be said of each: `a long bill`, `a short bill`."""

    attribute: str
    first: str
    second: str


Differences = Callable[[str, str], Sequence[Difference]]
"""Asked for a pair of class names in the order of the class list; a table, or a language model that is asked."""


@dataclass(frozen=True, eq=False)
class Ranked:
    """Classes ranked anew among those each picture is confused between.

    scores:    the cosine with what is said of each class against the others [picture class]; classes that are not
               confused keep their first order below all that are
    confused:  the classes looked at again, the likeliest first [picture k]
    predicted: the class ranked first
    """

    scores: Float[Tensor, "picture class"]
    confused: Int64[Tensor, "picture k"]
    predicted: Int64[Tensor, "picture"]

    def coverage(self, labels: Int64[Tensor, "picture"]) -> float:
        """Share of pictures whose true class is looked at again: no ranking can do better."""
        return float((self.confused == labels[:, None]).any(dim=1).float().mean())


@dataclass(frozen=True)
class AttributeRow:
    """One attribute of a pair, with the cosine of what it says of either class."""

    attribute: str
    first: str
    second: str
    first_cosine: float
    second_cosine: float

    @property
    def difference(self) -> float:
        """Above zero it speaks for the first class."""
        return self.first_cosine - self.second_cosine


class Differential:
    """A classifier that looks again at the `k` likeliest classes; pairs are described when they first occur.

    names:       the classes
    differences: what tells two of them apart; what is the same of both says nothing and is dropped
    """

    def __init__(
        self, names: Sequence[str], encode: Encode, differences: Differences, *, k: int = 10, wording: Wording = PLAIN
    ) -> None:
        self.names, self.k, self.wording = tuple(names), min(k, len(names)), wording
        self._encode, self._differences = encode, differences
        self._first = encode([wording.of_name(name) for name in names])
        self._pairs: dict[tuple[int, int], tuple[Difference, ...]] = {}
        self._texts: dict[str, Tensor] = {}
        self._against: dict[tuple[int, ...], Tensor] = {}

    def otherwise(
        self, change: Callable[[Difference, torch.Generator], Difference], seed: Seed
    ) -> Differential:  # fmt: skip
        """The same classifier with every difference of the pairs changed; for controls."""

        def told(first: str, second: str) -> tuple[Difference, ...]:
            generator = seed.child(first, second).generator()
            return tuple(change(one, generator) for one in self._differences(first, second))

        return Differential(self.names, self._encode, told, k=self.k, wording=self.wording)

    def rank(self, pictures: Float[Tensor, "picture dim"]) -> Ranked:
        """Pictures as embeddings of length 1."""
        first = pictures @ self._first.T
        confused = first.argsort(dim=1, descending=True, stable=True)[:, : self.k]
        scores = first - 4  # below every cosine
        for at, row in enumerate(confused):
            members = tuple(sorted(row.tolist()))
            scores[at, list(members)] = self._embedded(members) @ pictures[at]
        return Ranked(scores, confused, scores.argmax(dim=1))

    def table(self, picture: Float[Tensor, "dim"]) -> tuple[AttributeRow, ...]:
        """What tells the two likeliest classes of one picture apart, and what it shows, the largest first."""
        best = self.rank(picture[None]).scores[0].argsort(descending=True)[:2].tolist()
        low, high = sorted(best)
        rows: list[AttributeRow] = []
        for one in self.pair(low, high):
            cosines = [
                float(self._text(self.wording.of_both(self.names[number], said)) @ picture)
                for number, said in ((low, one.first), (high, one.second))
            ]
            row = AttributeRow(one.attribute, one.first, one.second, *cosines)
            turned = AttributeRow(one.attribute, one.second, one.first, cosines[1], cosines[0])
            rows.append(row if best[0] == low else turned)
        return tuple(sorted(rows, key=lambda row: -abs(row.difference)))

    def pair(self, low: int, high: int) -> tuple[Difference, ...]:
        """What tells two classes apart, asked for once."""
        if (low, high) not in self._pairs:
            told = self._differences(self.names[low], self.names[high])
            self._pairs[low, high] = tuple(one for one in told if one.first != one.second)
        return self._pairs[low, high]

    def _embedded(self, members: tuple[int, ...]) -> Float[Tensor, "member dim"]:
        """Each member's sentences over all pairs with the others, as one vector; its name where there are none."""
        if members not in self._against:
            said: dict[int, list[str]] = {number: [] for number in members}
            for low, high in combinations(members, 2):
                for one in self.pair(low, high):
                    said[low].append(self.wording.of_both(self.names[low], one.first))
                    said[high].append(self.wording.of_both(self.names[high], one.second))
            self._against[members] = torch.stack([self._mean(said[number], number) for number in members])
        return self._against[members]

    def _mean(self, texts: Sequence[str], number: int) -> Tensor:
        if not texts:
            return self._first[number]
        return functional.normalize(torch.stack([self._text(text) for text in texts]).mean(dim=0), dim=0)

    def _text(self, text: str) -> Tensor:
        if text not in self._texts:
            self._texts[text] = self._encode([text])[0]
        return self._texts[text]


def beside_differences(
    differential: Differential, pictures: Float[Tensor, "picture dim"], labels: Int64[Tensor, "picture"],
    *, words: Sequence[str], draws: int = 3, seed: int = 0,
) -> Beside:  # fmt: skip
    """How often the second look is right, beside looks by differences that mean nothing here.

    words: what random words are drawn from; the encoder must read them
    """
    own, pool = Seed(seed), sorted(set(words))
    right = lambda ranked: float((ranked.predicted == labels).float().mean())
    seen = differential.rank(pictures)

    def mean(change: Callable[[Difference, torch.Generator], Difference]) -> float:
        others = (differential.otherwise(change, own.child("differences", draw)) for draw in range(draws))
        return sum(right(one.rank(pictures)) for one in others) / draws

    def at_random(one: Difference, generator: torch.Generator) -> Difference:
        return Difference(one.attribute, *(drawn_words(text, pool, generator) for text in (one.first, one.second)))

    def dealt(one: Difference, generator: torch.Generator) -> Difference:
        swap = bool(torch.randint(2, (1,), generator=generator))
        return Difference(one.attribute, one.second, one.first) if swap else one

    return Beside("Right at the second look", right(seen), {
        "at the first, by names alone": float((seen.confused[:, 0] == labels).float().mean()),
        "with as many random words": mean(at_random), "with what is said dealt to either class by lot": mean(dealt),
        "with other pictures' features": by_chance(seen.predicted, labels),
    })  # fmt: skip


def from_attributes(attributes: Mapping[str, Mapping[str, str]]) -> Differences:
    """Differences out of a table class -> attribute -> what is to be seen, wherever both classes have the attribute."""

    def differences(first: str, second: str) -> tuple[Difference, ...]:
        one, other = attributes.get(first, {}), attributes.get(second, {})
        return tuple(Difference(name, one[name], other[name]) for name in one if name in other)

    return differences


def from_descriptors(descriptors: Descriptors) -> Differences:
    """Descriptions that only one of the two has, paired in their order: what a list without attributes can give."""

    def differences(first: str, second: str) -> tuple[Difference, ...]:
        own = [text for text in descriptors[first] if text not in descriptors[second]]
        others = [text for text in descriptors[second] if text not in descriptors[first]]
        return tuple(Difference(str(at + 1), *pair) for at, pair in enumerate(zip(own, others, strict=False)))

    return differences
