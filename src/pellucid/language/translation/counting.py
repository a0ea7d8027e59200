"""From many sentences to ranked words: counted once per sentence, and compared with what is said anyway."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from scipy.stats import kendalltau
from torch import Tensor

from pellucid.compute.bootstrap import Z, wilson

STABLE_TAU, STABLE_TOP = 0.95, 20
_SAME_MEANING = 0.9  # cosine above which two words are told as one
_COLLAPSED_BITS = 1.0

# Words that say nothing of what is seen.
FUNCTION_WORDS = frozenset(
    [
        "a",
        "an",
        "the",
        "this",
        "that",
        "these",
        "those",
        "it",
        "its",
        "he",
        "she",
        "his",
        "her",
        "their",
        "they",
        "them",
        "we",
        "you",
        "i",
        "me",
        "my",
        "our",
        "your",
        "who",
        "whom",
        "which",
        "what",
        "and",
        "or",
        "but",
        "nor",
        "so",
        "yet",
        "if",
        "then",
        "than",
        "as",
        "because",
        "while",
        "of",
        "in",
        "on",
        "at",
        "by",
        "for",
        "from",
        "to",
        "into",
        "onto",
        "with",
        "without",
        "over",
        "under",
        "above",
        "below",
        "between",
        "through",
        "during",
        "before",
        "after",
        "up",
        "down",
        "out",
        "off",
        "near",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "being",
        "am",
        "do",
        "does",
        "did",
        "has",
        "have",
        "had",
        "having",
        "can",
        "could",
        "will",
        "would",
        "shall",
        "should",
        "may",
        "might",
        "must",
        "not",
        "there",
        "here",
        "very",
        "some",
        "any",
        "each",
        "every",
        "all",
        "both",
        "either",
        "one",
        "s",
        "t",
    ]
)
_ENDINGS = (("ies", "y"), ("es", ""), ("s", ""), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"))


def words_in(text: str) -> frozenset[str]:
    """The words of a sentence that say something, lower case, each once."""
    return frozenset(word for word in re.findall(r"[a-z]+(?:-[a-z]+)*", text.lower()) if word not in FUNCTION_WORDS)


@dataclass(frozen=True)
class Histogram:
    """In how many of so many sentences each word was said."""

    counts: Mapping[str, float]
    sentences: float

    @classmethod
    def of(cls, texts: Iterable[str], names: Mapping[str, str] | None = None) -> Histogram:
        """names: words that are told as another."""
        listed, known = list(texts), names or {}
        return cls(Counter(w for text in listed for w in {known.get(one, one) for one in words_in(text)}), len(listed))

    def share(self, word: str) -> float:
        return self.counts.get(word, 0) / self.sentences if self.sentences else 0.0

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(Counter(self.counts) + Counter(other.counts), self.sentences + other.sentences)

    @property
    def top(self) -> list[str]:
        """Words by share, the most frequent first, equal ones by the alphabet."""
        return sorted(self.counts, key=lambda word: (-self.counts[word], word))

    def renamed(self, names: Mapping[str, str]) -> Histogram:
        """The same with some words told as another. Where a sentence has both, the larger count is taken."""
        merged: dict[str, float] = {}
        for word, count in self.counts.items():
            name = names.get(word, word)
            merged[name] = max(merged.get(name, 0), count) if word != name or name in merged else count
        return Histogram(merged, self.sentences)

    def to_dict(self) -> dict[str, Any]:
        return {"sentences": self.sentences, "counts": dict(self.counts)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Histogram:
        return cls({str(word): float(count) for word, count in record["counts"].items()}, float(record["sentences"]))


@dataclass(frozen=True)
class Ranked:
    """One word.

    share, blind: in which share of the sentences it is said; of those for other pictures' features
    interval:     of the share (Wilson)
    lift:         log((share + e) / (blind + e)), e = 1 / sentences; range: with both shares at their worst and best
    """

    word: str
    share: float
    interval: tuple[float, float]
    blind: float
    lift: float
    range: tuple[float, float]

    @property
    def believed(self) -> bool:
        """Whether it is said more often than anyway, beyond chance."""
        return self.range[0] > 0

    def __str__(self) -> str:
        return f"{self.word} {self.share:.0%} (anyway {self.blind:.0%})"


def ranked(
    said: Histogram, blind: Histogram, *, effective: Mapping[str, float] | None = None, z: float = Z
) -> tuple[Ranked, ...]:
    """Words by lift: first those that are said more often than anyway beyond chance, then the others.

    effective: of how many independent sentences each word's share is worth; None is all
    z:         how wide the intervals are, in standard deviations
    """
    least = 1 / max(1.0, said.sentences)
    found: list[Ranked] = []
    for word in {*said.counts, *blind.counts}:
        share, anyway = said.share(word), blind.share(word)
        total = (effective or {}).get(word, said.sentences)
        low, high = _held(share * total, total, z)
        under, over = _held(blind.counts.get(word, 0), blind.sentences, z)
        span = _lift(low, over, least), _lift(high, under, least)
        found.append(Ranked(word, share, (low, high), anyway, _lift(share, anyway, least), span))
    return tuple(sorted(found, key=lambda one: (not one.believed, -one.lift, one.word)))


def _held(count: float, total: float, z: float) -> tuple[float, float]:
    """What may be behind a count: anything, where nothing was counted."""
    found = wilson(count, total, z)
    return (found.low, found.high) if total > 0 else (0.0, 1.0)


def stable(texts: Sequence[str]) -> bool:
    """Whether both halves of the sentences rank the most frequent words alike: Kendall's tau of at least .95."""
    half = len(texts) // 2
    one, other, both = (Histogram.of(part) for part in (texts[:half], texts[half:], texts))
    top = both.top[:STABLE_TOP]
    if len(top) < 2:
        return True
    tau: Any = kendalltau([one.share(word) for word in top], [other.share(word) for word in top])
    return bool(tau[0] >= STABLE_TAU)


def entropy(texts: Sequence[str]) -> float:
    """Of whole sentences, in bits; 0 where all are the same."""
    counts = Counter(texts)
    return -sum(count / len(texts) * math.log2(count / len(texts)) for count in counts.values()) if texts else 0.0


def collapsed(texts: Sequence[str]) -> bool:
    """Whether the decoder says nearly the same whatever is drawn."""
    return entropy(texts) < _COLLAPSED_BITS


def merged(
    words: Iterable[str], alike: Callable[[Sequence[str]], Float[Tensor, "word dim"]] | None = None
) -> dict[str, str]:
    """Which words are told as another: inflections of a word that occurs too, and near-synonyms where one can tell.

    alike: words -> embeddings of length 1; those with a cosine above .9 become the first of them
    """
    listed = sorted(set(words), key=lambda word: (len(word), word))
    known = set(listed)
    names = {word: base for word in listed if (base := _base(word, known)) is not None}
    if alike is not None and len(listed) > 1:
        kept = [word for word in listed if word not in names]
        near = alike(kept)
        close = (near @ near.T) > _SAME_MEANING
        for at, word in enumerate(kept):
            first = int(close[at].int().argmax())
            if first < at:
                names[word] = names.get(kept[first], kept[first])
    return {word: names.get(name, name) for word, name in names.items()}


def _base(word: str, known: set[str]) -> str | None:
    for ending, put in _ENDINGS:
        stem = word.removesuffix(ending) + put
        if word.endswith(ending) and len(stem) > 2 and stem != word and stem in known:
            return stem
    return None


def _lift(share: float, blind: float, least: float) -> float:
    return math.log((share + least) / (blind + least))
