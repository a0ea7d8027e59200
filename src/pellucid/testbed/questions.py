"""Questions about scenes and their answers, from the same table that draws them.

Yes or no: the value asked for is the true one or another, with equal chance, so that neither the answer "yes" nor any
way of asking is more often right than another. What: every answer is as frequent as the field's values are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pellucid.errors import SceneError
from pellucid.testbed import captions
from pellucid.testbed.captions import PLACES
from pellucid.testbed.chance import uniform_numbers
from pellucid.testbed.fields import BIRD_COUNTS, BIRDS, HUES, LANDS, SPECIES, WORDS, fields_of_bird
from pellucid.testbed.scene import Scenes

KINDS = ("yes or no", "what")
YES, NO = "yes", "no"


@dataclass(frozen=True)
class Question:
    """One question about one scene.

    field:  what it asks for: a field, `species`, `birds`, or `left_body_hue` and `right_body_hue` of a flock's ends
    answer: "yes", "no", or the words that are right
    """

    text: str
    answer: str
    kind: str
    field: str


@dataclass(frozen=True)
class _Form:
    """How one thing is asked for: with the value in place of the braces, or openly. Empty where it is not asked so.

    words: what stands in the braces, or answers, for each word of the table
    """

    field: str
    closed: str
    opened: str
    words: Mapping[str, str]


def _same(words: Sequence[str]) -> dict[str, str]:
    return {word: word for word in words}


_PLACES: Mapping[str, str] = dict(zip(LANDS, PLACES, strict=True))
_ONE_BIRD = (
    _Form("wing", "are the wings {} ?", "what pattern have the wings ?", _same(WORDS["wing"])),
    _Form("wing_hue", "are the wings {} ?", "what colour are the wings ?", _same(HUES)),
    _Form("tail", "is the tail {} ?", "what shape is the tail ?", _same(WORDS["tail"])),
    _Form("tail_hue", "is the tail {} ?", "what colour is the tail ?", _same(HUES)),
    _Form("crest", "is there {} ?", "", {"plume": "a plume", "none": "no plume"}),
    _Form("crest_hue", "is the plume {} ?", "what colour is the plume ?", _same(HUES)),
    _Form("body_hue", "is the body {} ?", "what colour is the body ?", _same(HUES)),
    _Form("bib_hue", "is the bib {} ?", "what colour is the bib ?", _same(HUES)),
    _Form("beak", "is the beak {} ?", "what shape is the beak ?", _same(WORDS["beak"])),
    _Form("beak_hue", "is the beak {} ?", "what colour is the beak ?", _same(WORDS["beak_hue"])),
    _Form("feet", "is the bird {} ?", "", _same(WORDS["feet"])),
    _Form("flip", "is the bird facing {} ?", "", _same(WORDS["flip"])),
    _Form("land", "is the bird {} ?", "where is the bird ?", _PLACES),
    _Form("species", "is this a {} ?", "what kind of bird is this ?", _same(SPECIES)),
)
_COUNTS = {word: f"are there {word} birds" if word != "one" else "is there one bird" for word in BIRD_COUNTS}
_FLOCK = (
    _Form("birds", "{} ?", "how many birds are there ?", _COUNTS),
    _Form("land", "are the birds {} ?", "where are the birds ?", _PLACES),
    _Form("left_body_hue", "is the left bird {} ?", "what colour is the left bird ?", _same(HUES)),
    _Form("right_body_hue", "is the right bird {} ?", "what colour is the right bird ?", _same(HUES)),
)
_RELATION = "is the {} bird left of the {} bird ?"


def ask(scenes: Scenes, count: int = 4, *, kinds: Sequence[str] = KINDS) -> tuple[tuple[Question, ...], ...]:
    """Up to `count` questions about each scene, no two about the same thing; the same for the same seed and index.

    Of a part that is absent nothing is asked but, of the plume, whether it is there.
    """
    unknown = set(kinds) - set(KINDS)
    if unknown or not kinds:
        raise SceneError(f"There is no kind of question {', '.join(sorted(unknown))!r}. Known: {', '.join(KINDS)}.")
    forms = _FLOCK if scenes.world.flock else _ONE_BIRD
    names = [*(form.field for form in forms), "relation"]
    order = np.argsort(np.stack([_chance(scenes, "order", name) for name in names], axis=1), axis=1, kind="stable")
    chances = {name: np.stack([_chance(scenes, what, name) for what in ("kind", "truth", "other")]) for name in names}
    asked: list[tuple[Question, ...]] = []
    for at, facts in enumerate(_facts(scenes)):
        several = [_asked(forms, names[place], facts, kinds, chances[names[place]][:, at]) for place in order[at]]
        asked.append(tuple(question for question in several if question is not None)[:count])
    return tuple(asked)


def answer(question: str, scene: Scenes) -> str:
    """The true answer to a question about one scene.

    A part that is absent is of no shape and no colour, so "no". Raises SceneError where it is asked openly what an
    absent part is like, and for what is not in the grammar.
    """
    facts = _facts(scene[0])[0]
    words = question.split()
    if len(words) == 10 and question == _RELATION.format(words[2], words[7]) and scene.world.flock:
        pair = facts.get("left_body_hue"), facts.get("right_body_hue")
        if set(pair) == {words[2], words[7]} and facts["relation"]:
            return YES if pair == (words[2], words[7]) else NO
        raise SceneError(f"{question!r} cannot be answered: no two birds of this scene are told apart so.")
    for form in _FLOCK if scene.world.flock else _ONE_BIRD:
        value = facts.get(form.field)
        if form.opened and question == form.opened:
            if value is None:
                raise SceneError(f"{question!r} has no answer: there is no such thing in this scene.")
            return _open_answer(form, value)
        for word, spoken in form.words.items():
            if question == form.closed.format(spoken):
                return YES if value == word else NO
    raise SceneError(f"{question!r} is no question about these scenes.")


def vocabulary() -> tuple[str, ...]:
    """All words that captions, questions and answers are made of, sorted."""
    said = {YES, NO, *captions.vocabulary(), *BIRD_COUNTS, *_RELATION.replace("{}", "").split()}
    for form in (*_ONE_BIRD, *_FLOCK):
        said |= {*form.closed.replace("{}", "").split(), *form.opened.split()}
        said |= {word for spoken in form.words.values() for word in spoken.split()}
    return tuple(sorted(said))


def _asked(
    forms: Sequence[_Form], name: str, facts: Mapping[str, str], kinds: Sequence[str], chance: np.ndarray
) -> Question | None:
    """One question about one thing, if it can be asked of this scene."""
    choose_kind, choose_truth, choose_other = chance.tolist()
    if name == "relation":
        return _about_sides(facts, choose_truth) if KINDS[0] in kinds and facts.get("relation") else None
    form = next(form for form in forms if form.field == name)
    value = facts.get(name)
    possible = [kind for kind in kinds if (form.closed if kind == KINDS[0] else form.opened)]
    if value is None or not possible:
        return None
    kind = _pick(possible, choose_kind)
    if kind == KINDS[1]:
        return Question(form.opened, _open_answer(form, value), kind, name)
    true = choose_truth < 0.5
    wrong = [word for word in form.words if word != value and not (name == "birds" and word not in _counts(facts))]
    word = value if true else _pick(wrong, choose_other)
    return Question(form.closed.format(form.words[word]), YES if true else NO, kind, name)


def _about_sides(facts: Mapping[str, str], choose_truth: float) -> Question:
    left, right = facts["left_body_hue"], facts["right_body_hue"]
    if choose_truth < 0.5:
        return Question(_RELATION.format(left, right), YES, KINDS[0], "relation")
    return Question(_RELATION.format(right, left), NO, KINDS[0], "relation")


def _open_answer(form: _Form, value: str) -> str:
    return value if form.field == "birds" else form.words[value]


def _facts(scenes: Scenes) -> list[dict[str, str]]:
    """What can be asked of each scene, in words; `relation` where hues tell the leftmost and rightmost bird apart."""
    table = [dict(facts) for facts in captions.facts(scenes.fields)]
    if not scenes.world.flock:
        for facts in table:
            if "wing" in facts and "tail" in facts:
                species = 4 * WORDS["wing"].index(facts["wing"]) + 2 * WORDS["tail"].index(facts["tail"])
                facts["species"] = SPECIES[species + (facts["crest"] == "plume")]
        return table
    hues = np.stack([fields_of_bird(scenes.fields, bird)["body_hue"] for bird in range(BIRDS)], axis=1)
    for at, facts in enumerate(table):
        facts.pop("birds", None)
        there = [HUES[hue] for hue in hues[at, : scenes.counts[at]]]
        if scenes.world.task != "side":  # there it is always two
            facts["birds"] = BIRD_COUNTS[len(there) - 1]
        facts["counts"] = " ".join(BIRD_COUNTS if scenes.world.task == "count" else BIRD_COUNTS[1:])
        ends = [facts.get("left_body_hue", ""), facts.get("right_body_hue", "")]
        facts["relation"] = "yes" if all(there.count(hue) == 1 for hue in ends) else ""
    return table


def _counts(facts: Mapping[str, str]) -> list[str]:
    return facts["counts"].split()


def _pick(choices: Sequence[str], chance: float) -> str:
    return choices[min(int(chance * len(choices)), len(choices) - 1)]


def _chance(scenes: Scenes, what: str, name: str) -> np.ndarray:
    return uniform_numbers(scenes.seed, scenes.index, f"question_{what}_{name}")
