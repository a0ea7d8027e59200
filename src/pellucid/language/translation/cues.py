"""Words that a class uses without cause, and whether the model leans on what they name.

A class is what the model calls so. Its words are those of all its pictures; without cause are those that neither its
name nor its definition gives. Asgari Taghanaki et al., TExplain, ICML 2024.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import fisher_exact, norm
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.images import baselines
from pellucid.language.check import shifted
from pellucid.language.hypotheses import present
from pellucid.language.translation.corpus import inputs_of
from pellucid.language.translation.counting import Histogram, Ranked, ranked, words_in
from pellucid.language.translation.places import PhraseMap, hiding_map, phrase_map
from pellucid.language.translation.said import Trial
from pellucid.language.translation.translator import Translator, effective
from pellucid.language.translation.trial import paired_p
from pellucid.results import Claim
from pellucid.values import Seed

LEVEL = 0.05
# A translator learns by chance which words go with which class in a corpus of finite size, and says so of all pictures
# of the class alike; so a cue must be said half as often again as anyway, at the worst of its range.
LEAST_LIFT = math.log(1.5)
SHARE = 0.25  # of the picture, that stands for the region of a word
_REGIONS = 5  # random regions of the same shape
_MASKED = 16  # pictures that a region is hidden in
_FEWEST = 10  # pictures of a class below which it has no words of its own


@dataclass(frozen=True)
class Hidden:
    """How far the probability of the class falls without the word's region, and without random ones like it."""

    own: float
    random: float
    p: float
    pictures: int


@dataclass(frozen=True)
class Tested:
    """The three parts of the test of a cue; each shares or NaN where too few pictures could be compared.

    correct:         the word's share among pictures of the class that were answered right, against any picture
    present, absent: accuracy on pictures of the class with and without the word; p of Fisher's exact test
    drawn, others:   share of the other classes' pictures that are called this class, with the word and without
    hidden:          what hiding the word's region does
    """

    correct: float
    present: float
    absent: float
    p_absent: float
    drawn: float
    others: float
    p_drawn: float
    hidden: Hidden | None

    @property
    def parts(self) -> tuple[bool, bool, bool]:
        """Whether each part holds: said of what is right, accuracy or errors follow it, its region matters."""
        follows = (self.p_absent < LEVEL and self.present > self.absent) or (
            self.p_drawn < LEVEL and self.drawn > self.others
        )
        region = self.hidden is not None and self.hidden.p < LEVEL and self.hidden.own > self.hidden.random
        return self.correct > 0, follows, region

    @property
    def spurious(self) -> bool:
        return all(self.parts)

    def __str__(self) -> str:
        said, follows, region = ("yes" if one else "no" for one in self.parts)
        hidden = self.hidden
        away = (
            "not measured" if hidden is None
            else f"{hidden.own:+.0%} without it, {hidden.random:+.0%} without random regions, p = {hidden.p:.4f}"
        )  # fmt: skip
        return (
            f"said of right answers: {said} (lift {self.correct:.2f}); accuracy follows it: {follows} "
            f"({_percent(self.present)} with it, {_percent(self.absent)} without; of other classes "
            f"{_percent(self.drawn)} and {_percent(self.others)} are called so); its region counts: {region} ({away})"
        )


def _percent(share: float) -> str:
    return "too few" if math.isnan(share) else f"{share:.0%}"


@dataclass(frozen=True)
class Cue:
    """A word that a class uses without cause. rank: among the words without cause of its class, from 1."""

    label: str
    word: Ranked
    rank: int
    test: Tested | None = None

    def to_dict(self) -> dict[str, Any]:
        tested = None if self.test is None else asdict(self.test) | {
            "parts": list(self.test.parts), "spurious": self.test.spurious}  # fmt: skip
        return {"class": self.label, "rank": self.rank, **asdict(self.word), "test": tested}

    def __str__(self) -> str:
        verdict = "" if self.test is None else " Spurious." if self.test.spurious else " Not shown to be spurious."
        return f"“{self.label}” comes with {self.word}.{verdict}" + (f"\n  {self.test}." if self.test else "")


@dataclass(frozen=True)
class Report:
    """Classes in words. cues: those without cause, over all classes, the largest lift first; `classes` how many were
    seen often enough; controls of the translator; claims: the cues as sentences that can be tested again, where the
    pictures can be made again.
    """

    cues: tuple[Cue, ...]
    classes: int
    pictures: int
    port: str
    controls: Trial | None
    claims: tuple[Claim, ...] = ()

    def of(self, label: str) -> tuple[Cue, ...]:
        """The words without cause of one class."""
        return tuple(cue for cue in self.cues if cue.label == label)

    def to_dict(self) -> dict[str, Any]:
        return {
            "cues": [cue.to_dict() for cue in self.cues], "classes": self.classes, "pictures": self.pictures,
            "port": self.port, "controls": None if self.controls is None else self.controls.to_dict(),
            "claims": [claim.to_dict() for claim in self.claims],
            "beats_controls": self.controls is not None and self.controls.beats_controls,
        }  # fmt: skip

    def __str__(self) -> str:
        told = [str(cue) for cue in self.cues[:5]] or ["No class uses a word without cause, beyond chance."]
        told += [f"{'✓' if claim.verdict == 'verified' else '?'} {claim.text}" for claim in self.claims]
        told.append(f"{self.pictures} pictures, {self.classes} classes seen often enough, read from {self.port}.")
        return "\n".join([*told, str(self.controls) if self.controls else "Controls were not measured."])


@dataclass(frozen=True, eq=False)
class Heard:
    """Pictures as the model answered them, and what was said of each; made once for all that is asked of it."""

    inputs: Float[Tensor, "picture channel height width"]
    answers: Int[np.ndarray, "picture"]
    texts: tuple[tuple[str, ...], ...]
    said: tuple[Histogram, ...]

    def shares(self, word: str) -> Float[np.ndarray, "picture"]:
        return np.array([one.share(word) for one in self.said])


def heard(translator: Translator, pictures: Any, *, each: int = 10, seed: int = 0) -> Heard:
    """What the model answers and what is said of each picture, `each` sentences."""
    inputs = inputs_of(translator.model, pictures)
    texts = translator.sentences(inputs, each, seed=seed)
    said = tuple(Histogram.of(one, translator.merged) for one in texts)
    return Heard(inputs, translator.model.predict(inputs).argmax(dim=1).cpu().numpy(), texts, said)


def class_cues(translator: Translator, listened: Heard, *, own: Mapping[str, Sequence[str]] | None = None) -> Report:
    """The words without cause of every class that the model answers often enough.

    own: for each class what defines it, in any words; its name is left out in any case. A word counts where its share
         is half as large again as what is said anyway, with an error of .05 over all words of all classes together
         (Bonferroni)
    """
    names = translator.model.labels.names
    groups = {at: np.flatnonzero(listened.answers == at) for at in range(len(names))}
    groups = {at: rows for at, rows in groups.items() if len(rows) >= _FEWEST}
    words = len({word for one in listened.said for word in one.counts})
    z = float(norm.isf(LEVEL / 2 / max(1, words * len(groups))))
    cues: list[Cue] = []
    for at, rows in groups.items():
        caused = {translator.merged.get(word, word) for text in (names[at], *(own or {}).get(names[at], ()))
                  for word in words_in(text)}  # fmt: skip
        said = [listened.said[row] for row in rows]
        whole = sum(said[1:], start=said[0])
        order = ranked(whole, translator.blind, effective=effective(said, whole), z=z)
        left = [one for one in order if one.range[0] > LEAST_LIFT and one.word not in caused]
        cues += [Cue(names[at], one, rank) for rank, one in enumerate(left, start=1)]
    cues.sort(key=lambda cue: -cue.word.lift)
    return Report(tuple(cues), len(groups), len(listened.said), str(translator.port), translator.controls)


def examined(
    translator: Translator, listened: Heard, cue: Cue, labels: Sequence[int], *, fill: str = "noise", seed: int = 0
) -> Cue:
    """The same cue with the three parts of its test.

    labels: the true class of each picture; fill: what the word's region becomes
    Raises RequestError where labels and pictures differ in number.
    """
    true = np.asarray(labels)
    if len(true) != len(listened.answers):
        raise RequestError(f"{len(true)} labels for {len(listened.answers)} pictures.")
    label = list(translator.model.labels.names).index(cue.label)
    there = present(listened.shares(cue.word.word))
    called, mine = listened.answers == label, true == label
    right = Histogram({}, 0)
    for row in np.flatnonzero(called & mine):
        right = right + listened.said[row]
    lift = next((one.lift for one in ranked(right, translator.blind) if one.word == cue.word.word), float("nan"))
    with_it, without, p_absent = compared(called, mine & there, mine & ~there)
    drawn, others, p_drawn = compared(called, ~mine & there, ~mine & ~there)
    found = Tested(
        lift, with_it, without, p_absent, drawn, others, p_drawn,
        _hidden(translator, listened, cue.word.word, label, called & there, fill, seed),
    )  # fmt: skip
    return Cue(cue.label, cue.word, cue.rank, found)


def word_map(
    translator: Translator, inputs: Float[Tensor, "1 channel height width"], word: str, texts: Sequence[str]
) -> PhraseMap:
    """Where a word lies in a picture: as the rest of a sentence that says it, for the word alone begins none."""
    lead = next((before(text, word) for text in texts if word in text.split()), "")
    if translator.port.spatial:
        return phrase_map(translator, inputs, word, after=lead)
    return hiding_map(translator, inputs, word, after=lead)


def before(text: str, word: str) -> str:
    """What a sentence says before a word."""
    said = text.split()
    return " ".join(said[: said.index(word)])


def _hidden(
    translator: Translator, listened: Heard, word: str, label: int, rows: Bool[np.ndarray, "picture"], fill: str,
    seed: int,
) -> Hidden | None:  # fmt: skip
    chosen = np.flatnonzero(rows)[:_MASKED]
    if len(chosen) < 5:
        return None
    falls: list[tuple[float, float]] = []
    for row in chosen:
        inputs = listened.inputs[row : row + 1]
        mask = word_map(translator, inputs, word, listened.texts[row]).strongest(SHARE)
        masks = [mask, *shifted(mask, _REGIONS, Seed(seed).child(int(row)))]
        gone = baselines.fill(inputs, fill, translator.model.preprocess)
        points = torch.cat([inputs, *(torch.where(one.to(inputs.device), gone, inputs) for one in masks)])
        chances = translator.model.probabilities(translator.model.predict(points))[:, label].tolist()
        falls.append((chances[0] - chances[1], chances[0] - float(np.mean(chances[2:]))))
    own, by_chance = np.array(falls).T
    rng = np.random.default_rng(int(Seed(seed).child("hidden")))
    return Hidden(float(own.mean()), float(by_chance.mean()), paired_p(own - by_chance, rng), len(chosen))


def compared(
    called: Bool[np.ndarray, "picture"], one: Bool[np.ndarray, "picture"], other: Bool[np.ndarray, "picture"]
) -> tuple[float, float, float]:
    """Shares that are called so in either group, and p of Fisher's exact test; NaN where a group is nearly empty."""
    if min(one.sum(), other.sum()) < 5:
        return float("nan"), float("nan"), float("nan")
    table = [[int((called & group).sum()), int((~called & group).sum())] for group in (one, other)]
    found: Any = fisher_exact(table)
    return float(called[one].mean()), float(called[other].mean()), float(found.pvalue)
