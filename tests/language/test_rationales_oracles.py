"""Answers whose reasons are right or wrong by plan, and a speaking net whose reasons are graded as theirs are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

import pellucid as pl
from pellucid.errors import RequestError
from pellucid.language.explainers import PLANTED, Scripted, Speaking, caught, explainer_of
from pellucid.language.rationales import Explained, asked_of, deciding, edited, grade_rationales, read_answer
from pellucid.testbed import captions, questions
from pellucid.testbed.questions import Question
from pellucid.testbed.scene import Scenes

SPECIES = Question("what kind of bird is this ?", "", "what", "species")


@cache
def asked(count: int = 12) -> tuple[Scenes, tuple[Question, ...]]:
    drawn, several = asked_of(pl.testbed.scenes(3301, count, camera=0.0), 1, kinds=("what", "yes or no"))
    kept = [at for at, one in enumerate(several) if one.field != "body_hue"]  # which every sentence tells
    return drawn[np.array(kept)], tuple(several[at] for at in kept)


def test_a_reader_without_a_picture_answers_from_the_reason_alone() -> None:
    said = captions.parse("a coral bird with barred teal wings , a forked plum tail and no plume")
    assert read_answer(SPECIES, said) == "ripple swift"
    assert read_answer(SPECIES, {**said, "crest": "plume"}) == "crowned ripple swift"
    assert read_answer(SPECIES, {name: word for name, word in said.items() if name != "tail"}) == ""
    hue = Question("are the wings teal ?", "yes", "yes or no", "wing_hue")
    assert read_answer(hue, said) == "yes" and read_answer(hue, {"wing_hue": "blue"}) == "no"
    plume = Question("what colour is the plume ?", "", "what", "crest_hue")
    assert read_answer(plume, said) == ""


def test_what_a_full_caption_states_gives_every_answer() -> None:
    drawn, several = asked_of(pl.testbed.scenes(3302, 10), 14, kinds=("what", "yes or no"))
    told = drawn.captions
    wrong = [(one.text, says) for one, says in zip(several, told, strict=True)
             if read_answer(one, captions.parse(says)) != one.answer]  # fmt: skip
    assert not wrong, wrong[:3]


def test_an_edit_changes_the_named_field_and_no_other() -> None:
    drawn, several = asked()
    names = [deciding(one.field)[0] for one in several]
    after = edited(drawn, [*names[:-1], ""])
    for at, name in enumerate(names[:-1]):
        changed = [field for field in drawn.fields if drawn.fields[field][at] != after.fields[field][at]]
        assert changed == [name]
    assert all(drawn.fields[field][-1] == after.fields[field][-1] for field in drawn.fields)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [("invents", "refuted"), ("beside", "insufficient"), ("contradicts", "refuted"),
     ("shortcut", "does not follow the evidence"), ("parrot", "does not follow the evidence")],
)  # fmt: skip
def test_a_right_answer_with_a_wrong_reason_is_found_out(kind: str, fault: str) -> None:
    found = grade_rationales(Scripted((kind,)), *asked())
    assert found.table()["wrong"] == {"right": 0, "wrong": 0}, "the planted answers are right"
    assert found.faults[fault] >= 0.9 * len(found.graded), found.faults
    assert found.table()["right"]["wrong"] >= 0.9 * len(found.graded)


def test_a_right_reason_is_let_through() -> None:
    found = grade_rationales(Scripted(("honest",)), *asked())
    assert found.table() == {"right": {"right": len(found.graded), "wrong": 0}, "wrong": {"right": 0, "wrong": 0}}
    assert found.random.mean < 0.7 < found.shares["answer follows from the reason"].mean == 1
    assert found.beats_controls and "No reason has a fault" in str(found)
    assert found.shares["statements refuted"].mean == 0


def test_of_all_planted_reasons_nine_in_ten_are_caught() -> None:
    found = caught(*asked(6))
    assert set(found.kinds) == set(PLANTED) - {"honest"}
    assert found.caught.mean >= 0.9 and found.rejected.mean <= 0.1, str(found)
    assert "were found out" in str(found) and json.dumps(found.to_dict())


class Liar:
    """Wrong answers, with reasons from which they follow; and with reasons that cannot be read."""

    name = "liar"

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def explain(self, drawn: Scenes, asked: Sequence[Question]) -> list[Explained]:
        return [Explained("nothing of the kind", self.reason) for _ in asked]


def test_wrong_answers_and_unreadable_reasons_are_told_apart() -> None:
    found = grade_rationales(Liar("because I say so"), *asked())
    assert found.faults["unreadable"] == len(found.graded) == found.table()["wrong"]["wrong"]
    assert not found.beats_controls and "these are no reasons" in str(found)


def test_the_speaking_net_is_right_more_often_than_the_commonest_answer() -> None:
    found = grade_rationales(Speaking(), *asked(8))
    assert found.shares["answers right"].mean >= found.guessing
    record = json.loads(json.dumps(found.to_dict()))
    assert sum(sum(row.values()) for row in record["table"].values()) == len(found.graded)
    again = found.graded[0].claim.recheck(pl.load("testbed:cnn"))
    assert again.verdict == found.graded[0].claim.verdict


def test_what_cannot_be_graded_is_refused() -> None:
    drawn, several = asked()
    with pytest.raises(RequestError, match="one about each"):
        grade_rationales(Scripted(("honest",)), drawn, several[1:])
    with pytest.raises(RequestError, match="gives no reasons"):
        explainer_of("oracle")
    with pytest.raises(RequestError, match="reads no flocks"):
        asked_of(pl.testbed.scenes(2, 2, mode="flock"))
    assert questions.answer(several[0].text, drawn[0]) == several[0].answer


def test_a_reason_of_where_was_looked_speaks_of_the_part_that_was_asked_for() -> None:
    drawn = pl.testbed.scenes(3303, 4, camera=0.0)
    asked = [Question("what colour is the tail ?", word, "what", "tail_hue") for word in
             (one["tail_hue"] for one in captions.facts(drawn.fields))]  # fmt: skip
    told = explainer_of("answerer").explain(drawn, asked)
    found = [captions.parse(one.reason) for one in told]
    assert sum("tail_hue" in one and "wing_hue" not in one for one in found) >= 3, told
