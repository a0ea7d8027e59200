"""Scorecards go up and down as planted deletions and insertions say; reviews come back as they were kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pellucid as pl
from pellucid.errors import RequestError
from pellucid.language.reviews import Review, Reviews, draft_of, judged
from pellucid.language.scorecard import described, importance_of, score, stated_in, truth_of, usual_rarity
from pellucid.testbed import captions
from pellucid.testbed.fields import WORDS

COUNT = 40
DRAWN = pl.testbed.scenes(3501, COUNT)
SEEN = truth_of(DRAWN)
FACTS = captions.facts(DRAWN.fields)
PARTS = ("wing", "tail", "bib", "beak")
FIELDS: Mapping[str, tuple[str, ...]] = {
    "wing": ("wing", "wing_hue"),
    "tail": ("tail", "tail_hue"),
    "bib": ("bib_hue",),
    "beak": ("beak", "beak_hue"),
}
CLAUSES = {
    "wing": "{wing} {wing_hue} wings",
    "tail": "a {tail} {tail_hue} tail",
    "bib": "a {bib_hue} bib",
    "beak": "a {beak} {beak_hue} beak",
}


def told(at: int, parts: tuple[str, ...], wrong: str = "") -> str:
    """One sentence a part, as it is; one thing of the part `wrong` is otherwise."""
    lines = []
    for part in parts:
        facts = dict(FACTS[at])
        if part == wrong:
            field = FIELDS[part][0]
            facts[field] = next(word for word in WORDS[field] if word != facts[field])
        lines.append(f"a {facts['body_hue']} bird with {CLAUSES[part].format(**facts)}")
    return " . ".join(lines)


def whole(at: int) -> set[str]:
    return {part for part in PARTS if all(field in FACTS[at] for field in FIELDS[part])}


ROWS = [at for at in range(COUNT) if whole(at) == set(PARTS)]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(ROWS), st.permutations(PARTS), st.integers(2, 4))
def test_what_is_deleted_is_missed_and_what_is_invented_is_refuted(at: int, order: list[str], count: int) -> None:
    parts = tuple(order[:count])
    full, less = score(told(at, parts), SEEN[at]), score(told(at, parts[:-1]), SEEN[at])
    assert full.hallucination == less.hallucination == 0
    assert full.comprehensiveness > less.comprehensiveness and full.length > less.length
    assert full.specificity >= less.specificity
    lie, later = score(told(at, parts, wrong=parts[0]), SEEN[at]), score(told(at, parts, wrong=parts[-1]), SEEN[at])
    for one in (lie, later):
        assert one.hallucination > 0 and one.comprehensiveness < full.comprehensiveness
        assert one.specificity <= full.specificity and one.length == full.length
    assert lie.first_line < full.first_line and later.first_line == full.first_line
    shorter = score(told(at, parts[:-1], wrong=parts[0]), SEEN[at])
    assert shorter.hallucination > lie.hallucination, "with less that is so, the lie is a larger share"


@given(st.sampled_from(ROWS), st.integers(0, 4))
@settings(max_examples=20, deadline=None)
def test_more_lies_never_help(at: int, lies: int) -> None:
    texts = [" . ".join(told(at, (part,), part if number < some else "") for number, part in enumerate(PARTS))
             for some in (lies, min(4, lies + 1))]  # fmt: skip
    few, more = (score(text, SEEN[at]) for text in texts)
    assert more.hallucination >= few.hallucination and more.comprehensiveness <= few.comprehensiveness
    assert more.first_line <= few.first_line and more.specificity <= few.specificity


def test_the_axes_are_what_is_counted_by_hand() -> None:
    """Four things are so; three are said, one of them rare, and one that is not; the first sentence has two of them."""
    seen = {"body_hue": {"coral": 1.0}, "wing": {"barred": 1.0}, "wing_hue": {"teal": 1.0}, "tail": {"forked": 1.0}}
    rarity = {("body_hue", "coral"): 0.1, ("wing", "barred"): 0.3, ("tail", "forked"): 0.5}
    text = "a coral bird with barred plum wings . a coral bird with a forked blue tail"
    found = score(text, seen, rarity=rarity, importance={"wing": 3.0, "body_hue": 1.0, "tail": 1.0, "wing_hue": 1.0})
    assert found.comprehensiveness == pytest.approx(3 / 4) and found.specificity == 1
    assert found.hallucination == pytest.approx(2 / 5)  # plum wings, and a blue tail
    assert found.first_line == pytest.approx((3 + 1 - 1) / 6) and found.length == 15 and found.unread == 0


def test_what_cannot_be_read_is_counted_and_says_nothing() -> None:
    found = score("what a lovely bird. a coral bird", SEEN[0])
    assert found.unread == 1 and stated_in("lovely")[0] == ()
    assert np.isnan(score("lovely", SEEN[0]).hallucination) and "nothing that can be checked" in str(
        score("x", SEEN[0])
    )


def test_rarity_is_a_share_of_pictures() -> None:
    usual = usual_rarity()
    for name in ("wing", "land", "body_hue"):
        assert sum(usual[name, word] for word in WORDS[name]) == pytest.approx(1.0)


def test_full_captions_beat_those_of_other_pictures_and_say_all() -> None:
    found = described("renderer", DRAWN.captions, SEEN)
    own, dealt, random = found.means()["comprehensiveness"]
    assert own == pytest.approx(1.0) and dealt < 0.6 and random < 0.6
    own, dealt, random = found.means()["hallucination"]
    assert own == 0 < min(dealt, random)
    assert found.beats_controls and json.dumps(found.to_dict())
    same = described("blind", ["a coral bird"] * COUNT, SEEN)
    assert not same.beats_controls and "they describe nothing" in str(same)
    with pytest.raises(RequestError):
        described("one", ["a coral bird"], SEEN[:1])


def test_what_matters_to_a_model_weighs_the_first_sentence() -> None:
    (weights,) = importance_of(pl.load("testbed:cnn"), DRAWN[[ROWS[0]]])
    assert set(weights) == set(WORDS) and min(weights.values()) >= 0
    assert max(weights["wing"], weights["tail"], weights["crest"]) > weights["feet"]
    assert weights["wing"] == weights["wing_hue"]


# -- reviews ----------------------------------------------------------------------------------------------------------


def test_an_edit_is_kept_word_by_word_and_read_back(tmp_path: Path) -> None:
    store = Reviews(tmp_path / "kept" / "reviews.jsonl")
    first = Review("scene:7", "vlm", "a moss bird with a forked tail", "a moss bird with a fanned plum tail")
    kept = store.add(first)
    assert [str(one) for one in kept.changes] == ["- forked  + fanned plum"] and kept.kept == pytest.approx(6 / 7)
    second = store.add(Review("scene:7", "vlm", first.edited, "a moss bird", editor="anna"))
    assert second.round == 2 and list(store) == [kept, second]
    assert store.pairs() == (("scene:7", first.draft, "a moss bird"),)
    with pytest.raises(RequestError, match="ended with another text"):
        store.add(first)


def test_a_line_that_is_no_review_is_named(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_text('{"picture": "x"}\n', encoding="utf-8")
    with pytest.raises(RequestError, match="Line 1"):
        list(Reviews(path))
    path.write_text("[1]\n", encoding="utf-8")
    with pytest.raises(RequestError, match="Line 1"):
        list(Reviews(path))
    assert list(Reviews(tmp_path / "none.jsonl")) == []


def test_a_right_correction_raises_the_scorecard_and_comes_back_with_it(tmp_path: Path) -> None:
    at = ROWS[1]
    frame = DRAWN[at].frames()[0]
    store = Reviews(tmp_path / "reviews.jsonl")
    asked = draft_of("a bird", frame, store, draft=told(at, ("wing", "tail"), wrong="tail"))
    edited = Review(asked.picture, asked.writer, asked.draft, told(at, PARTS))
    kept = store.add(judged(edited, frame))
    assert kept.scores is not None and list(store) == [kept]
    before, after = kept.scores
    assert after.comprehensiveness > before.comprehensiveness and after.hallucination < before.hallucination
    assert draft_of("a bird", frame, store).draft == edited.edited
    large = pl.testbed.scenes(2, 1, size=96).frames()[0]
    assert judged(edited, large).scores is None
    with pytest.raises(RequestError, match="--draft"):
        draft_of("large", large, store)
