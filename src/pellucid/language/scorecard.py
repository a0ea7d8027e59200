"""What a description of a scene is worth, on five axes that a count can settle.

Garg et al., ImageInWords, 2024, have people grade them; here each has its proxy. Numbers can fall where a person would
not mind: a scorecard says what is stated, what is false and what comes first, not whether it reads well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor

from pellucid.canvas.words import number, percent
from pellucid.errors import RequestError, SceneError
from pellucid.language.decisions import scene_decisions
from pellucid.language.scenes import ELSE, SURE
from pellucid.subject import VisionModel
from pellucid.testbed import captions
from pellucid.testbed.fields import WORDS
from pellucid.testbed.scene import Scenes, scenes
from pellucid.testbed.witness import witness
from pellucid.values import Seed

RARE = 0.2  # of pictures, below which what is stated is specific
AXES = ("comprehensiveness", "specificity", "hallucination", "first_line", "length")
_PART_OF: Mapping[str, str] = {"crest": "plume", "land": "landscape", "flip": "head"}

Seen = Mapping[str, Mapping[str, float]]  # field -> word -> probability that it is so


@dataclass(frozen=True)
class Stated:
    """One thing that a description says: a field and its word, and in which sentence."""

    field: str
    word: str
    sentence: int


@dataclass(frozen=True)
class Scorecard:
    """One description of one picture.

    comprehensiveness: of what there is to say, the share that is said, 0 to 1
    specificity:       how many things it says that are so, and are so of few pictures
    hallucination:     of what it says, the share that is refuted, 0 to 1; NaN where it says nothing
    first_line:        importance of what its first sentence says rightly, less what it says wrongly, as a share of all
                       there is: -1 to 1
    length:            in words
    unread:            sentences outside the grammar, of which nothing is known
    """

    comprehensiveness: float
    specificity: int
    hallucination: float
    first_line: float
    length: int
    unread: int = 0

    def __str__(self) -> str:
        wrong = "it says nothing that can be checked" if np.isnan(self.hallucination) else (
            f"{percent(self.hallucination)} of what it says is refuted")  # fmt: skip
        unread = f"; {self.unread} sentences could not be read" if self.unread else ""
        return (
            f"It says {percent(self.comprehensiveness)} of what there is to say, {self.specificity} rare things among "
            f"it; {wrong}; its first sentence has {percent(self.first_line)} of what matters; {self.length} "
            f"words{unread}."
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Described:
    """Scorecards of many descriptions by one writer, beside those of its controls.

    dealt:  of the same descriptions, each of another picture
    random: of as many random words: a word by lot for each thing that is stated
    """

    writer: str
    cards: tuple[Scorecard, ...]
    dealt: tuple[Scorecard, ...]
    random: tuple[Scorecard, ...]

    def means(self) -> dict[str, tuple[float, float, float]]:
        """Each axis: of the descriptions, dealt to other pictures, and with random words."""
        return {axis: (_mean(self.cards, axis), _mean(self.dealt, axis), _mean(self.random, axis)) for axis in AXES}

    @property
    def beats_controls(self) -> bool:
        """Whether it says more that is so, and less that is not, than texts about other pictures and random words."""
        told, wrong = self.means()["comprehensiveness"], self.means()["hallucination"]
        return told[0] > max(told[1:]) and wrong[0] < min(wrong[1:])

    def __str__(self) -> str:
        rows = [
            f"{axis.replace('_', ' ')}: {number(own)} (dealt to other pictures {number(dealt)}, with random words "
            f"{number(random)})"
            for axis, (own, dealt, random) in self.means().items()
        ]
        nothing = "Texts about other pictures, or random words, do as well: they describe nothing."
        verdict = [] if self.beats_controls else [nothing]
        return "\n".join([f"{self.writer}, {len(self.cards)} descriptions", *rows, *verdict])

    def to_dict(self) -> dict[str, Any]:
        return {
            "writer": self.writer, "count": len(self.cards), "beats_controls": self.beats_controls,
            "means": {axis: {"own": own, "dealt": dealt, "random": random}
                      for axis, (own, dealt, random) in self.means().items()},
            "cards": [one.to_dict() for one in self.cards],
        }  # fmt: skip


def sentences_of(text: str) -> tuple[str, ...]:
    """The sentences of a description: full stops and new lines part them, commas do not."""
    parts = (part.strip() for line in text.splitlines() for part in line.split("."))
    return tuple(part for part in parts if part)


def stated_in(text: str) -> tuple[tuple[Stated, ...], int]:
    """What a description states, each thing once, where it is first said; and how many sentences could not be read."""
    found: dict[tuple[str, str], Stated] = {}
    unread = 0
    for at, sentence in enumerate(sentences_of(text)):
        try:
            said = captions.parse(sentence)
        except SceneError:
            unread += 1
            continue
        for field, word in said.items():
            found.setdefault((field, word), Stated(field, word, at))
    return tuple(found.values()), unread


def score(
    text: str, seen: Seen, *, importance: Mapping[str, float] | None = None,
    rarity: Mapping[tuple[str, str], float] | None = None, by_lot: Seed | None = None,
) -> Scorecard:  # fmt: skip
    """One description against what is seen in the picture.

    seen:       by a witness, or by the renderer (`truth_of`): a word counts as so from 80 %, as not so up to 20 %
    importance: of each field for the picture; None takes all alike
    rarity:     share of pictures of which (field, word) is so; None is that of the testbed's scenes
    by_lot:     draws a word for each thing that is stated: as many random words, as a control
    """
    there = {name: word for name, words in seen.items() for word, share in words.items() if share >= SURE}
    if there.get("crest") == "none":
        there.pop("crest_hue", None)  # a plume that is not has no colour
    weights = dict.fromkeys(there, 1.0) if importance is None else {n: importance.get(n, 0.0) for n in there}
    usual = rarity if rarity is not None else usual_rarity()
    said, unread = stated_in(text)
    if by_lot is not None:
        rng = np.random.default_rng(int(by_lot))
        said = tuple(replace(one, word=str(rng.choice(WORDS.get(one.field, (one.word,))))) for one in said)
    so = [one for one in said if there.get(one.field) == one.word]
    wrong = [one for one in said if _share(seen, there, one) <= ELSE]
    first = sum(weights[one.field] for one in so if one.sentence == 0)
    first -= sum(weights.get(one.field, 1.0) for one in wrong if one.sentence == 0)
    return Scorecard(
        len(so) / len(there) if there else float("nan"),
        sum(usual.get((one.field, one.word), 0.0) <= RARE for one in so),
        len(wrong) / len(said) if said else float("nan"),
        max(-1.0, first / sum(weights.values())) if sum(weights.values()) > 0 else float("nan"),
        sum(len(sentence.replace(",", " ").split()) for sentence in sentences_of(text)),
        unread,
    )


def truth_of(drawn: Scenes) -> tuple[Seen, ...]:
    """What is so in each scene, from the renderer's own table."""
    return tuple({name: {word: 1.0} for name, word in facts.items()} for facts in captions.facts(drawn.fields))


def seen_by_witness(pictures: Tensor) -> tuple[Seen, ...]:
    """What is so in each picture, as a net reads it that writes no descriptions."""
    return witness().read(pictures)


def importance_of(model: VisionModel, drawn: Scenes) -> tuple[Mapping[str, float], ...]:
    """How far a model's answer to each scene falls without the part that shows each field; 0 where it does not."""
    return tuple(
        {name: max(0.0, falls.get(_PART_OF.get(part := name.removesuffix("_hue"), part), 0.0)) for name in WORDS}
        for one in scene_decisions(model, drawn)
        for falls in (dict(zip(one.names, one.occlusion().tolist(), strict=True)),)
    )


def described(
    writer: str, texts: Sequence[str], seen: Sequence[Seen], *,
    importance: Sequence[Mapping[str, float]] | None = None, seed: int = 0,
) -> Described:  # fmt: skip
    """Scorecards of descriptions, one for each picture; of the same dealt to the next picture, and of random words.

    Raises RequestError for fewer than two, or not as many texts as pictures.
    """
    if len(texts) < 2 or len(texts) != len(seen):
        raise RequestError(f"{len(texts)} descriptions of {len(seen)} pictures; expected one each, of two or more.")
    weigh = importance or [None] * len(texts)
    cards = tuple(score(text, one, importance=weight) for text, one, weight in zip(texts, seen, weigh, strict=True))
    moved = [*texts[1:], texts[0]]
    dealt = tuple(score(text, one, importance=weight) for text, one, weight in zip(moved, seen, weigh, strict=True))
    random = tuple(
        score(text, one, importance=weight, by_lot=Seed(seed).child("random words", at))
        for at, (text, one, weight) in enumerate(zip(texts, seen, weigh, strict=True))
    )
    return Described(writer, cards, dealt, random)


@lru_cache(maxsize=2)
def usual_rarity(count: int = 400) -> Mapping[tuple[str, str], float]:
    """Of what share of the testbed's scenes each word of each field is so."""
    table = captions.facts(scenes(2, count).fields)
    return {
        (name, word): sum(one.get(name) == word for one in table) / count
        for name, words in WORDS.items()
        for word in words
    }


def _share(seen: Seen, there: Mapping[str, str], one: Stated) -> float:
    """How surely a statement is so; what is stated of a plume that is not there is not so."""
    if one.field == "crest_hue" and there.get("crest") == "none":
        return 0.0
    return seen[one.field].get(one.word, 0.0) if one.field in seen else 0.0


def _mean(cards: Sequence[Scorecard], axis: str) -> float:
    values = [float(getattr(one, axis)) for one in cards]
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")
