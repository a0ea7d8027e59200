"""Whether words beat their controls: another picture's features, and words drawn by lot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pellucid.language.translation.counting import Histogram, ranked, words_in
from pellucid.language.translation.said import Trial
from pellucid.values import Seed

FIRST = 10  # words of each picture
FLIPS = 9_999
_SAID_OF_ALL = 0.9

Speak = Callable[[list[Tensor]], Sequence[Sequence[str]]]  # vectors per slot -> sentences of each picture


def tried(
    vectors: list[Float[Tensor, "picture channel"]], texts: Sequence[str], speak: Speak,
    utter: Callable[[list[Tensor]], Sequence[str]], blind: Histogram, corpus: Sequence[str],
    names: Mapping[str, str], *, first: int = FIRST, seed: Seed,
) -> Trial:  # fmt: skip
    """The first words of each picture against its true sentence, and those of the controls.

    vectors: of pictures that the translator did not learn from; texts: their true sentences
    speak:   many sentences of each; utter: the likeliest one
    corpus:  sentences that random words are drawn from, and by which words that fit every picture are left out
    names:   words that are told as another
    first:   most words of a picture that count; those it says beyond chance, the most telling first
    """
    counted = Histogram.of(corpus, names)
    # Words that nearly every sentence has say nothing about any one picture.
    everywhere = {word for word in counted.counts if counted.share(word) >= _SAID_OF_ALL}
    read = lambda text: {names.get(word, word) for word in words_in(text)} - everywhere
    pool, truth = sorted(counted.counts.keys() - everywhere), [read(text) for text in texts]
    rng = np.random.default_rng(int(seed.child("trial")))
    moved = np.roll(np.arange(len(texts)), 1 + int(rng.integers(max(1, len(texts) - 1))))

    def told(sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        known = [ranked(Histogram.of(each, names), blind) for each in sentences]
        return [[one.word for one in words if one.believed and one.word not in everywhere][:first] for words in known]

    own = told(speak(vectors))
    greedy = [sorted(read(text)) for text in utter(vectors)]
    dealt = [rng.choice(pool, min(len(words), len(pool)), replace=False).tolist() for words in own]
    right, swapped, lots = (
        np.array([precision(words, true) for words, true in zip(listed, truth, strict=True)])
        for listed in (own, [own[at] for at in moved], dealt)
    )
    likely = [[precision(greedy[at], true) for at, true in zip(order, truth, strict=True)]
              for order in (range(len(texts)), moved)]  # fmt: skip
    told_each = float(np.mean([len(words) for words in own]))
    return Trial(
        float(right.mean()), float(swapped.mean()), float(lots.mean()), paired_p(right - swapped, rng),
        paired_p(right - lots, rng), len(texts), told_each, (float(np.mean(likely[0])), float(np.mean(likely[1]))),
    )  # fmt: skip


def precision(words: Sequence[str], truth: set[str]) -> float:
    """The share of the words that are true; 0 where none is told."""
    return sum(word in truth for word in words) / len(words) if words else 0.0


def paired_p(differences: Float[np.ndarray, "picture"], rng: np.random.Generator) -> float:
    """How often a mean this large comes about where each difference's sign is a coin (Fisher 1935)."""
    signs = rng.choice([-1.0, 1.0], size=(FLIPS, len(differences)))
    by_chance = (signs * differences).mean(axis=1)
    return float((1 + (by_chance >= differences.mean() - 1e-12).sum()) / (1 + FLIPS))
