"""Which sentence is true of which picture, and what becomes of words when a picture is mirrored."""

from __future__ import annotations

import torch

from pellucid.testbed import captions, questions, scenes
from pellucid.testbed.nets import Words
from pellucid.testbed.nets.words import caption_words, talk_words
from pellucid.testbed.train.statements import FIELDS, SILENT, Telling, agree, facts, stated, told
from pellucid.testbed.train.talking import Talk
from pellucid.testbed.twins import twin

SEED = 4000


def test_a_sentence_is_true_of_its_own_scene_and_of_those_that_share_what_it_states() -> None:
    drawn = scenes(SEED, 40)
    for style in ("full", "short", "name"):
        told_so = drawn.told(style)
        true = agree(facts(drawn), stated(told_so))
        assert true.diagonal().all(), style
        for at, text in enumerate(told_so[:5]):
            said = captions.parse(text)
            by_hand = [all(scene.attributes[0][name] == word for name, word in said.items()) for scene in drawn]
            assert true[:, at].tolist() == by_hand, text


def test_a_full_caption_is_false_of_every_twin() -> None:
    drawn = scenes(SEED, 20)
    sentences = stated(drawn.captions)
    for field, step in (("wing", 1), ("land", 2), ("tail", 1)):
        count = {"wing": 3, "land": 6, "tail": 2}[field]
        other = twin(drawn, **{field: (drawn.fields[field] + step) % count})
        assert not agree(facts(other), sentences).diagonal().any(), field


def test_what_is_not_said_is_silent() -> None:
    table = stated(["a blue bird with no plume"])[0]
    assert {name for name, value in zip(FIELDS, table.tolist(), strict=True) if value != SILENT} == {
        "body_hue",
        "crest",
    }


def test_mirrored_pictures_are_told_with_left_and_right_exchanged() -> None:
    drawn = scenes(SEED, 16)
    words = Words(caption_words())
    telling = Telling(told(drawn, words), words, {"full": 1.0}, seed=1)
    chosen = torch.arange(16)
    plain, flipped = (
        telling(chosen, torch.zeros(16, dtype=torch.bool), 3),
        telling(chosen, torch.ones(16, dtype=torch.bool), 3),
    )
    mirror = twin(drawn, flip=1 - drawn.fields["flip"])
    assert [words.decode(row) for row in plain.numbers] == list(drawn.captions)
    assert [words.decode(row) for row in flipped.numbers] == list(mirror.captions)
    assert torch.equal(flipped.facts, facts(mirror)) and torch.equal(flipped.stated, stated(mirror.captions))


def test_styles_come_as_often_as_asked_and_the_same_at_the_same_step() -> None:
    drawn = scenes(SEED, 64)
    words = Words(caption_words())
    telling = Telling(told(drawn, words), words, {"full": 0.5, "species": 0.5}, seed=1)
    chosen, still = torch.arange(64), torch.zeros(64, dtype=torch.bool)
    lengths = torch.cat([(telling(chosen, still, step).numbers != 0).sum(dim=1) for step in range(20)])
    assert 0.45 < float((lengths < 7).float().mean()) < 0.55
    assert torch.equal(telling(chosen, still, 7).numbers, telling(chosen, still, 7).numbers)


def test_in_a_talk_only_the_answers_are_to_be_learned() -> None:
    drawn = scenes(SEED, 8)
    words = Words(talk_words())
    numbers, wanted = Talk(drawn, words, seed=1)(torch.arange(8), step=0)
    assert numbers.shape == wanted.shape
    for said, learned in zip(numbers.tolist(), wanted.tolist(), strict=True):
        assert all(one in (0, other) for other, one in zip(said, learned, strict=True))
        asked = [words.decode(part) for part in _turns(said)]
        answered = [words.decode(part) for part in _turns(learned)]
        assert len(asked) == 4
        for line, reply in zip(asked, answered, strict=True):
            question, _, answer = line.partition(" ? ")
            assert question and answer == reply


def _turns(numbers: list[int]) -> list[list[int]]:
    """The turns of a talk, each up to its end."""
    turns: list[list[int]] = [[]]
    for number in numbers:
        turns[-1].append(number)
        if number == 2:
            turns.append([])
    return [turn for turn in turns if any(number > 2 for number in turn)]


def test_the_lists_of_words_hold_what_is_said_and_nothing_else() -> None:
    drawn = scenes(SEED, 400)
    said = {word for style in ("full", "short", "name") for text in drawn.told(style) for word in text.split()}
    assert said == set(caption_words())
    asked = [question for about in questions.ask(drawn, 20) for question in about]
    assert said | {word for one in asked for word in f"{one.text} {one.answer}".split()} == set(talk_words())
