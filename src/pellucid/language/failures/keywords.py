"""Words of captions that go with errors.

Kim, Mo, Kim, Lee, Lee, Shin, Discovering and mitigating visual biases through keyword explanation (Bias-to-Text), CVPR
2024. Captions of wrongly answered pictures give keywords; a dual encoder says whether they lie nearer to the wrong
pictures than to the right ones. Added here: a test of that for each keyword, corrected for their number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
from jaxtyping import Bool, Float, Int64
from scipy.stats import mannwhitneyu

from pellucid.compute.bootstrap import Interval, holm, wilson
from pellucid.errors import RequestError
from pellucid.language.failures.answers import Answers

LONGEST, ALIKE, MOST = 3, 0.9, 20
_FEWEST = 5  # wrong, and right, pictures of a class below which nothing is said
_STOP = frozenset(
    (*("a", "an", "the", "of", "and", "or", "with", "in", "on", "at", "to", "by", "for", "from", "as", "is", "are"),
     *("was", "be", "it", "its", "this", "that", "there", "has", "have", "no", "not", ",", "."))
)  # fmt: skip


@dataclass(frozen=True)
class Keyword:
    """One keyword of a class.

    score:    100 times the cosine of the keyword with pictures, mean over wrongly answered less mean over right ones
    p:        of so large a difference by chance (Mann-Whitney), after Holm's correction for all keywords asked
    having:   accuracy on the pictures whose caption has it; usual: on all pictures of the class
    captions: captions of wrongly answered pictures that have it
    """

    number: int
    name: str
    word: str
    score: float
    p: float
    having: Interval
    usual: float
    captions: int

    @property
    def suspicious(self) -> bool:
        """Whether it lies nearer to wrong pictures, not by chance, and accuracy is lower where it is told."""
        return self.score > 0 and self.p <= 0.05 and self.having.mean < self.usual


def keywords(
    answers: Answers, captions: Sequence[str], embeddings: Float[np.ndarray, "picture dim"],
    encode: Callable[[Sequence[str]], Float[np.ndarray, "text dim"]], *, template: str = "a photo of a {}",
    most: int = MOST,
) -> tuple[Keyword, ...]:  # fmt: skip
    """Keywords of every class, those first that lie nearest to what the model gets wrong.

    captions, embeddings: of each picture, or of what a map left of it (ViG-Bias); length 1
    encode:               texts to embeddings of length 1
    """
    if not len(answers) == len(captions) == len(embeddings):
        raise RequestError(f"{len(answers)} answers, {len(captions)} captions and {len(embeddings)} embeddings differ.")
    found: list[Keyword] = []
    for number in np.unique(answers.labels):
        found += _of_class(answers, captions, embeddings, encode, int(number), template, most)
    adjusted = holm({number: one.p for number, one in enumerate(found)}).values()
    judged = [
        Keyword(one.number, one.name, one.word, one.score, float(p), one.having, one.usual, one.captions)
        for one, p in zip(found, adjusted, strict=True)
    ]
    return tuple(sorted(judged, key=lambda one: (not one.suspicious, -one.score)))


def extracted(captions: Sequence[str], *, most: int = MOST, longest: int = LONGEST) -> tuple[tuple[str, int], ...]:
    """The commonest runs of one to three words in captions, and in how many they are.

    Runs do not begin or end with a word that means nothing alone; of runs that are nearly the same the commoner stays.
    (The paper uses another statistical extractor; captions are short, and there frequency orders them alike.)
    """
    counts = Counter(run for caption in captions for run in set(_runs(caption.lower().split(), longest)))
    kept: list[tuple[str, int]] = []
    for run, count in sorted(counts.items(), key=lambda item: (-item[1], -len(item[0]), item[0])):
        if len(kept) == most:
            break
        if not any(SequenceMatcher(None, run, other).ratio() > ALIKE for other, _ in kept):
            kept.append((run, count))
    return tuple(kept)


def _runs(words: Sequence[str], longest: int) -> Iterator[str]:
    for start in range(len(words)):
        for length in range(1, min(longest, len(words) - start) + 1):
            run = words[start : start + length]
            if run[0] not in _STOP and run[-1] not in _STOP and "," not in run:
                yield " ".join(run)


def _of_class(
    answers: Answers, captions: Sequence[str], embeddings: Float[np.ndarray, "picture dim"],
    encode: Callable[[Sequence[str]], Float[np.ndarray, "text dim"]], number: int, template: str, most: int,
) -> list[Keyword]:  # fmt: skip
    places: Int64[np.ndarray, "picture"] = answers.of_class(number)
    right: Bool[np.ndarray, "picture"] = answers.right[places]
    if min(right.sum(), (~right).sum()) < _FEWEST:
        return []
    name = answers.classes[number]
    said: list[str] = [captions[int(place)] for place in places]
    listed = extracted([caption for caption, well in zip(said, right, strict=True) if not well], most=most)
    listed = [(word, count) for word, count in listed if word != name.lower()]
    if not listed:
        return []
    cosines = 100 * embeddings[places] @ encode([template.format(word) for word, _ in listed]).T
    found: list[Keyword] = []
    for at, (word, count) in enumerate(listed):
        there = np.array([f" {word} " in f" {caption.lower()} " for caption in said])
        wrong, well = cosines[~right, at], cosines[right, at]
        p = float(mannwhitneyu(wrong, well, alternative="greater").pvalue)
        having = wilson(int(right[there].sum()), int(there.sum()))
        found.append(
            Keyword(number, name, word, float(wrong.mean() - well.mean()), p, having, float(right.mean()), count)
        )
    return found
