"""Words of captions that go with errors.

Kim, Mo, Kim, Lee, Lee, Shin, Discovering and mitigating visual biases through keyword explanation (Bias-to-Text), CVPR
2024. Captions of wrongly answered pictures give keywords; a dual encoder says whether they lie nearer to the wrong
pictures than to the right ones. Added here: a test of that for each keyword, corrected for their number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import SequenceMatcher
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64
from scipy.stats import mannwhitneyu

from pellucid.compute.bootstrap import Interval, holm, wilson
from pellucid.errors import RequestError
from pellucid.language.failures.answers import Answers
from pellucid.values import Seed

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
    return tuple(sorted(_adjusted(found), key=lambda one: (not one.suspicious, -one.score)))


def _adjusted(found: Sequence[Keyword]) -> list[Keyword]:
    """With the p of all that were asked together."""
    adjusted = holm({number: one.p for number, one in enumerate(found)}).values()
    return [replace(one, p=float(p)) for one, p in zip(found, adjusted, strict=True)]


@dataclass(frozen=True)
class KeywordControls:
    """How many keywords are suspicious, beside the same where there is nothing to find.

    blind:        with right and wrong dealt to other pictures of the class
    random_words: with as many random words of the captions in place of each keyword
    """

    own: int
    blind: int
    random_words: int

    @property
    def beats_controls(self) -> bool:
        return self.own > max(self.blind, self.random_words)

    def __str__(self) -> str:
        verdict = "" if self.beats_controls else " That is no better than its controls: do not believe these keywords."
        return (
            f"{self.own} keywords are suspicious; {self.blind} with the errors dealt to other pictures, "
            f"{self.random_words} with as many random words.{verdict}"
        )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "beats_controls": self.beats_controls}


def beside_keywords(
    found: Sequence[Keyword], answers: Answers, captions: Sequence[str], embeddings: Float[np.ndarray, "picture dim"],
    encode: Callable[[Sequence[str]], Float[np.ndarray, "text dim"]], *, template: str = "a photo of a {}",
    seed: int = 0,
) -> KeywordControls:  # fmt: skip
    """The same search with the errors dealt, and the same test with random words.

    A random word is a run of as many words, drawn from all captions of its class less the suspicious ones, and asked of
    the same pictures.
    """
    own = Seed(seed)
    rng = np.random.default_rng(int(own.child("keywords")))
    dealt = answers.dealt(own.child("dealt errors"))
    blind = keywords(dealt, captions, embeddings, encode, template=template)
    by_lot: list[Keyword] = []
    for number in dict.fromkeys(one.number for one in found):
        told = (captions[int(at)].lower().split() for at in answers.of_class(number))
        taken = {one.word for one in found if one.number == number and one.suspicious}
        runs = sorted({run for words in told for run in _runs(words, LONGEST)} - taken)
        wanted = [len(one.word.split()) for one in found if one.number == number]
        free = {length: [run for run in runs if len(run.split()) == length] for length in set(wanted)}
        drawn = [str(rng.choice(free[length])) for length in wanted if free[length]]
        by_lot += _judged(answers, captions, embeddings, encode, number, template, [(word, 0) for word in drawn])
    count = lambda some: sum(one.suspicious for one in some)
    return KeywordControls(count(found), count(blind), count(_adjusted(by_lot)))


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
    wrong = [captions[int(place)] for place, well in zip(places, right, strict=True) if not well]
    own = answers.classes[number].lower()
    listed = [(word, count) for word, count in extracted(wrong, most=most) if word != own]
    return _judged(answers, captions, embeddings, encode, number, template, listed) if listed else []


def _judged(
    answers: Answers, captions: Sequence[str], embeddings: Float[np.ndarray, "picture dim"],
    encode: Callable[[Sequence[str]], Float[np.ndarray, "text dim"]], number: int, template: str,
    listed: Sequence[tuple[str, int]],
) -> list[Keyword]:  # fmt: skip
    """Words with how many captions of wrongly answered pictures have them, tried on the pictures of one class."""
    places: Int64[np.ndarray, "picture"] = answers.of_class(number)
    right: Bool[np.ndarray, "picture"] = answers.right[places]
    name = answers.classes[number]
    said: list[str] = [captions[int(place)] for place in places]
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
