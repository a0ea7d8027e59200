"""Questions are answered by the table that draws the scene, and no way of asking gives the answer away."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from pellucid.errors import SceneError
from pellucid.testbed import questions, scenes, truth
from pellucid.testbed.scene import Scenes

WORLDS = [{}, {"mode": "parts_missing"}, {"mode": "flock"}, {"task": "count"}, {"task": "side"}]


@pytest.mark.parametrize("settings", WORLDS)
def test_every_question_is_answered_as_it_is_true(settings: dict[str, str]) -> None:
    drawn = scenes(61, 150, **settings)
    known = set(questions.vocabulary())
    for scene, asked in zip(drawn, questions.ask(drawn, 20), strict=True):
        assert len({question.field for question in asked}) == len(asked) >= 2
        for question in asked:
            assert questions.answer(question.text, scene) == question.answer
            assert known.issuperset(f"{question.text} {question.answer}".split())


@pytest.mark.parametrize("settings", WORLDS)
def test_yes_is_as_often_right_as_no(settings: dict[str, str]) -> None:
    """By field, within 4 standard deviations."""
    asked = questions.ask(scenes(62, 2500, **settings), 20, kinds=["yes or no"])
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for question in (question for several in asked for question in several):
        counts[question.field][question.answer] += 1
    for field, answers in counts.items():
        total = sum(answers.values())
        assert abs(answers["yes"] - total / 2) < 2 * np.sqrt(total), field


def test_the_words_of_a_question_do_not_give_its_answer_away() -> None:
    """Each way of asking is right half the time, within five standard deviations, for there are many ways."""
    asked = questions.ask(scenes(63, 4000), 20, kinds=["yes or no"])
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for question in (question for several in asked for question in several):
        counts[question.text][question.answer] += 1
    assert len(counts) > 60
    for text, answers in counts.items():
        total = sum(answers.values())
        assert abs(answers["yes"] - total / 2) < 2.5 * np.sqrt(total), text


def test_every_answer_to_what_is_equally_frequent() -> None:
    asked = questions.ask(scenes(64, 3000), 20, kinds=["what"])
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for question in (question for several in asked for question in several):
        counts[question.field][question.answer] += 1
    for field, answers in counts.items():
        total, values = sum(answers.values()), len(answers)
        spread = 4 * np.sqrt(total * (1 / values) * (1 - 1 / values))
        assert max(abs(count - total / values) for count in answers.values()) < spread, field


def test_the_same_scenes_are_asked_the_same() -> None:
    alone, among = questions.ask(scenes(65, [7])), questions.ask(scenes(65, 10))
    assert alone[0] == among[7] and len(alone[0]) == 4


@pytest.fixture
def bird() -> Scenes:
    return truth.twin(scenes(66, 1), wing="dotted", tail="fanned", crest="none", land="snow")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("are the wings dotted ?", "yes"),
        ("are the wings barred ?", "no"),
        ("what shape is the tail ?", "fanned"),
        ("is there a plume ?", "no"),
        ("is there no plume ?", "yes"),
        ("is the plume coral ?", "no"),
        ("what kind of bird is this ?", "pebble wren"),
        ("is this a crowned pebble wren ?", "no"),
        ("where is the bird ?", "in the snow"),
        ("is the bird at dusk ?", "no"),
    ],
)
def test_answers_follow_the_scene(bird: Scenes, question: str, answer: str) -> None:
    assert questions.answer(question, bird) == answer


def test_flocks_are_counted_and_their_sides_told_apart() -> None:
    side = scenes(67, 40, task="side")
    side = side[np.flatnonzero(side.fields["body_hue"] != side.fields["bird1_body_hue"])[0]]
    hues = [side.attributes[0][name] for name in ("body_hue", "bird1_body_hue")]
    left, right = hues if side.fields["cell"][0] % 2 == 0 else hues[::-1]
    assert questions.answer(f"is the {left} bird left of the {right} bird ?", side) == "yes"
    assert questions.answer(f"is the {right} bird left of the {left} bird ?", side) == "no"
    assert questions.answer("what colour is the left bird ?", side) == left
    three = truth.twin(scenes(67, 1, task="count"), birds="three")
    assert questions.answer("how many birds are there ?", three) == "three"
    assert questions.answer("are there three birds ?", three) == "yes"
    assert questions.answer("is there one bird ?", three) == "no"


@pytest.mark.parametrize(
    "question", ["", "is it ?", "is the tail striped ?", "what colour is the plume ?", "how many ?"]
)
def test_what_has_no_answer_is_refused(bird: Scenes, question: str) -> None:
    with pytest.raises(SceneError):
        questions.answer(question, bird)


def test_unknown_kinds_of_question_are_refused(bird: Scenes) -> None:
    with pytest.raises(SceneError, match="why"):
        questions.ask(bird, kinds=["why"])
