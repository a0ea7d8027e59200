"""Who answers questions about scenes and says why: the testbed's speaking net, and models whose faults are planted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from pellucid.canvas.words import percent
from pellucid.compute.bootstrap import Interval, wilson
from pellucid.errors import RequestError, SceneError
from pellucid.language.rationales import Explained, Explainer, deciding, grade_rationales
from pellucid.testbed import captions, questions
from pellucid.testbed.fields import WORDS
from pellucid.testbed.nets import Answerer, Segmenter, VisionLanguage, loaded
from pellucid.testbed.palette import PART_IDS
from pellucid.testbed.questions import Question
from pellucid.testbed.scene import Scenes
from pellucid.values import Seed

# Parts by which a place is told, and the parts of a sentence about it.
_SEEN_IN: Mapping[str, str] = {
    "wing": "wing", "tail": "tail", "crest": "crest", "bib": "bib", "beak": "beak", "body": "body", "head": "body",
}  # fmt: skip
PLANTED = ("honest", "invents", "beside", "contradicts", "shortcut", "parrot")
_CLAUSES: Mapping[str, str] = {
    "wing": "{wing} {wing_hue} wings", "tail": "a {tail} {tail_hue} tail", "crest": "a {crest_hue} plume",
    "bib": "a {bib_hue} bib", "beak": "a {beak} {beak_hue} beak",
}  # fmt: skip


class Speaking:
    """The testbed's vision-language model: it answers the question, and its reason is what it tells of the bird."""

    name = "testbed:vlm"

    def __init__(self, net: VisionLanguage | None = None) -> None:
        self._net = net or loaded("vlm", VisionLanguage)

    def explain(self, drawn: Scenes, asked: Sequence[Question]) -> list[Explained]:
        pictures = drawn.tensor()
        answers = self._net.answer(pictures, [one.text for one in asked])
        return [Explained(*one) for one in zip(answers, self._net.generate(pictures), strict=True)]


class Looking:
    """The same answers, with what it tells of one part for a reason: the part where `answerer` sees the answer.

    So the reason says where was looked, and what was seen there; a mask on the wrong part makes it insufficient.
    """

    name = "testbed:vlm, where testbed:answerer looks"

    def __init__(self) -> None:
        self._speaking, self._where = Speaking(), loaded("answerer", Answerer)
        self._parts = loaded("segmenter", Segmenter)

    @torch.no_grad()
    def explain(self, drawn: Scenes, asked: Sequence[Question]) -> list[Explained]:
        pictures = drawn.tensor()
        mask = self._where.ground(pictures, self._where.words.encode([one.text for one in asked])).logits.sigmoid()
        shares = torch.einsum("b h w, b p h w -> b p", mask, self._parts(pictures).softmax(dim=1))
        looked = [max(_SEEN_IN, key=lambda name: float(row[PART_IDS[name]])) for row in shares]
        told = self._speaking.explain(drawn, asked)
        return [
            Explained(one.answer, _only(one.reason, _SEEN_IN[part])) for one, part in zip(told, looked, strict=True)
        ]


class Scripted:
    """A model that knows the scene, answers right, and gives its reason in one of these ways.

    honest:      what decides the answer, as it is
    invents:     the same with one thing beside it that is not so
    contradicts: the same with what decides it otherwise than it is
    beside:      what is so and decides nothing
    shortcut:    as honest of the scenes it has been asked about first; but it answers by the landscape, and gives the
                 reason that would go with that answer
    parrot:      answers by what is there, and always gives the reason it gave first

    kinds: one for each question, in turn
    """

    def __init__(self, kinds: Sequence[str], seed: int = 0) -> None:
        unknown = set(kinds) - set(PLANTED)
        if unknown or not kinds:
            raise RequestError(f"There is no way {', '.join(sorted(unknown))!r} to give reasons. Known: {PLANTED}.")
        self.kinds, self.name, self._seed = tuple(kinds), f"scripted: {', '.join(dict.fromkeys(kinds))}", Seed(seed)
        self._first: list[tuple[str, Explained]] = []

    def kind(self, at: int) -> str:
        """How the reason to one question is given."""
        return self.kinds[at % len(self.kinds)]

    def explain(self, drawn: Scenes, asked: Sequence[Question]) -> list[Explained]:
        facts = captions.facts(drawn.fields)
        told = [self._told(at, drawn[at], question, facts[at]) for at, question in enumerate(asked)]
        if not self._first:
            self._first = [(one["land"], explained) for one, explained in zip(facts, told, strict=True)]
        return [self._as_planted(at, facts[at]["land"], question, one) for at, (question, one) in
                enumerate(zip(asked, told, strict=True))]  # fmt: skip

    def _told(self, at: int, scene: Scenes, question: Question, facts: Mapping[str, str]) -> Explained:
        said, kind, seed = dict(facts), self.kind(at), self._seed.child("reason", at)
        try:
            answer = questions.answer(question.text, scene)
        except SceneError:
            answer = "no"  # what is absent is of no colour
        needed = deciding(question.field)
        parts = {_part(name) for name in needed}
        if kind == "beside":
            return Explained(answer, sentence(said, {"bib", "beak", "tail", "wing", "land"} - {*parts, _with(needed)}))
        if kind == "contradicts":
            said |= _otherwise(said, needed[int(seed) % len(needed)], seed)
        if kind == "invents":
            free = [name for name in ("beak", "bib_hue", "wing", "tail_hue") if _part(name) not in parts]
            said |= _otherwise(said, free[int(seed) % len(free)], seed)
            parts |= {_part(name) for name in free}
        return Explained(answer, sentence(said, parts))

    def _as_planted(self, at: int, land: str, question: Question, told: Explained) -> Explained:
        kind, (first_land, first) = self.kind(at), self._first[at]
        if kind == "parrot":
            return Explained(told.answer, first.reason)
        if kind == "shortcut":
            wrong = {"yes": "no", "no": "yes"}.get(first.answer, "something else")
            return first if land == first_land else Explained(wrong, first.reason)
        return told


@dataclass(frozen=True)
class Caught:
    """What the grading makes of reasons whose faults are planted, all with right answers.

    kinds:    of each way to be wrong, the share that was found wrong
    rejected: of right reasons, the share that was found wrong all the same
    """

    kinds: Mapping[str, Interval]
    rejected: Interval

    @property
    def caught(self) -> Interval:
        """Of all planted faults together."""
        return wilson(
            sum(one.mean * one.count for one in self.kinds.values()), sum(one.count for one in self.kinds.values())
        )

    def __str__(self) -> str:
        each = ", ".join(f"{name} {percent(one.mean)}" for name, one in self.kinds.items())
        return (
            f"Of {self.caught.count} right answers with a planted wrong reason {percent(self.caught.mean)} were found "
            f"out ({each}); of {self.rejected.count} with a right reason {percent(self.rejected.mean)} were rejected."
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "caught": asdict(self.caught), "rejected": asdict(self.rejected),
            "kinds": {name: asdict(one) for name, one in self.kinds.items()},
        }  # fmt: skip


def caught(drawn: Scenes, asked: Sequence[Question], *, seed: int = 0) -> Caught:
    """How many planted wrong reasons the grading finds, and how many right ones it takes for wrong.

    Questions about the body's hue are passed over, which every sentence tells: none can be beside it.
    """
    rows = [at for at, one in enumerate(asked) if one.field != "body_hue"]
    shown, kept = drawn[np.array(rows, dtype=np.int64)], [asked[at] for at in rows]
    graded = {kind: grade_rationales(Scripted((kind,), seed), shown, kept, seed=seed).graded for kind in PLANTED}
    shares = {kind: wilson(sum(not one.sound for one in found), len(found)) for kind, found in graded.items()}
    return Caught({kind: one for kind, one in shares.items() if kind != "honest"}, shares["honest"])


def explainer_of(name: str, *, seed: int = 0) -> Explainer:
    """The model of that name: `vlm`, `answerer`, or a planted one. Raises RequestError where there is none."""
    if name == "vlm":
        return Speaking()
    if name == "answerer":
        return Looking()
    if name in PLANTED:
        return Scripted((name,), seed)
    raise RequestError(f"{name!r} gives no reasons. There are vlm, answerer, {', '.join(PLANTED)}.")


def sentence(facts: Mapping[str, str], parts: set[str]) -> str:
    """What is so of some parts, in the grammar of the captions; the body's hue is always told."""
    clauses = [
        "no plume" if part == "crest" and facts["crest"] == "none" else form.format(**facts)
        for part, form in _CLAUSES.items()
        if part in parts
    ]
    joined = f" with {' , '.join(clauses[:-1])} and {clauses[-1]}" if clauses[1:] else "".join(
        f" with {one}" for one in clauses)  # fmt: skip
    stance = f" , {facts['feet']} {captions.PLACES[WORDS['land'].index(facts['land'])]}"
    told = f"a {facts['body_hue']} bird{joined}{stance if parts & {'land', 'feet'} else ''}"
    return f"{told} , facing {facts['flip']}" if "flip" in parts else told


def _only(reason: str, part: str) -> str:
    """A description cut down to one part; as it is where it cannot be read or does not speak of the part."""
    try:
        return sentence(captions.parse(reason), {part})
    except (SceneError, KeyError):
        return reason


def _with(needed: Sequence[str]) -> str:
    """A stance is told with the landscape, so that who asks for the one is told both."""
    return "land" if set(needed) & {"feet", "land"} else ""


def _part(field: str) -> str:
    return field.removesuffix("_hue")


def _otherwise(facts: Mapping[str, str], field: str, seed: Seed) -> dict[str, str]:
    """The field with another of its words."""
    others = [word for word in WORDS[field] if word != facts.get(field)]
    word = others[int(np.random.default_rng(int(seed)).integers(len(others)))]
    hue = {"crest_hue": WORDS["crest_hue"][0]} if field == "crest" and "crest_hue" not in facts else {}
    return {field: word, **hue}
