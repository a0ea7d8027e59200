"""Whether a planted cue comes out of a net in words: nets that were taught with it, beside nets that were not."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.compute.ranking import auroc
from pellucid.language.phrases import species_descriptors
from pellucid.language.translation.corpus import Corpus
from pellucid.language.translation.cues import Heard, Report, class_cues, heard
from pellucid.language.translation.fitting import fit
from pellucid.language.translation.learning import Lesson
from pellucid.language.translation.translator import Translator
from pellucid.subject import load
from pellucid.testbed import scenes
from pellucid.testbed.fields import LANDS, SPECIES
from pellucid.testbed.train.seeds import nursery, seedlings

TOP = 5
_EACH = 6  # sentences of each picture
FRESH = 3000  # seed of scenes that nothing was learned from, their landscape drawn by lot


@dataclass(frozen=True)
class Planted:
    """The landscape that a cue would tie to each class, among the words without cause of that class.

    found:   in how many classes it is among the first five; of `classes` that the net answers often enough
    first:   whether one of the first five cues of the net, over all classes, is a planted pair
    lift:    of the planted word, the mean over classes
    cues:    the first five: class, word, lift
    """

    net: str
    seed: int
    found: int
    classes: int
    first: bool
    lift: float
    cues: tuple[tuple[str, str, float], ...]

    @property
    def told(self) -> bool:
        """Whether it is among the first five in most classes."""
        return 2 * self.found > self.classes

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"told": self.told}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Planted:
        values: dict[str, Any] = {name: value for name, value in record.items() if name != "told"}
        values["cues"] = tuple((str(label), str(word), float(lift)) for label, word, lift in values["cues"])
        return cls(**values)


def planted_word(species: str) -> str:
    """The landscape that the biased nets were taught beside a species."""
    return LANDS[SPECIES.index(species) // 2]


def species_in_words() -> dict[str, tuple[str, ...]]:
    """What defines each species: its wings, its tail, and whether it has a plume."""
    listed = species_descriptors()
    return {name: listed[name] for name in listed}


def planted_in(translator: Translator, listened: Heard, *, net: str, seed: int) -> Planted:
    """Where the planted landscapes rank. `listened` must be of scenes whose landscape was drawn by lot."""
    report: Report = class_cues(translator, listened, own=species_in_words())
    ranks = {(cue.label, cue.word.word): cue.rank for cue in report.cues}
    found = sum(ranks.get((name, planted_word(name)), TOP + 1) <= TOP for name in SPECIES)
    first = [(cue.label, cue.word.word, cue.word.lift) for cue in report.cues[:TOP]]
    lifts: list[float] = []
    for at, name in enumerate(SPECIES):
        mine, word = listened.answers == at, planted_word(name)
        if mine.any():
            own = float(listened.shares(word)[mine].mean())
            lifts.append(float(np.log((own + 1e-3) / (translator.blind.share(word) + 1e-3))))
    told = any(planted_word(label) == word for label, word, _ in first)
    return Planted(net, seed, found, report.classes, told, float(np.mean(lifts)), tuple(first))


@dataclass(frozen=True)
class Twins:
    """Nets taught with the cue, and nets taught without.

    auroc: the chance that a biased net's planted word has a higher lift than a clean one's; NaN where a kind is missing
    """

    biased: tuple[Planted, ...]
    clean: tuple[Planted, ...]

    @property
    def auroc(self) -> float:
        there = np.array([True] * len(self.biased) + [False] * len(self.clean))
        return auroc(there, [one.lift for one in (*self.biased, *self.clean)])

    def to_dict(self) -> dict[str, Any]:
        return {
            "auroc": self.auroc, "biased": [one.to_dict() for one in self.biased],
            "clean": [one.to_dict() for one in self.clean],
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"The planted landscape's lift tells biased nets from clean ones with AUROC {self.auroc:.2f}."]
        for what, nets in (("biased", self.biased), ("clean", self.clean)):
            told, pairs = sum(one.told for one in nets), sum(one.first for one in nets)
            found, classes = sum(one.found for one in nets), sum(one.classes for one in nets)
            lines.append(
                f"{len(nets)} {what} nets: among the first five words without cause of most classes in {told}, of "
                f"{found} of {classes} classes; among the net's own first five cues in {pairs}."
            )
        return "\n".join(lines)


def over_seeds(out: Path, count: int, *, steps: int, pictures: int, judged: int, seconds: float | None = None) -> Twins:
    """The same over nets from many seeds, each with a translator of its own; one line per net in `out`.

    seconds: no further net is begun after so many processor seconds; the next call goes on from the file
    """
    known = [Planted.from_dict(json.loads(line)) for line in out.read_text().splitlines()] if out.exists() else []
    done, begun = {(one.net, one.seed) for one in known}, time.process_time()
    corpus, fresh = Corpus.of_scenes(count=pictures), scenes(FRESH, judged)
    for seedling in seedlings(nursery(), count=count):
        late = seconds is not None and time.process_time() - begun > seconds
        if late or (seedling.name, seedling.seed) in done:
            continue
        model = load(f"testbed:{seedling.name}", folder=str(seedling.folder))
        made = fit(model, corpus, lesson=Lesson(steps=steps), judged=0)
        found = planted_in(made, heard(made, fresh, each=_EACH), net=seedling.name, seed=seedling.seed)
        known.append(found)
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found.to_dict()) + "\n")
    of = lambda name: tuple(one for one in known if one.net == name)
    return Twins(of("cnn_background"), of("cnn"))
