"""Failure modes on planted errors: the set of words that decides is found, and nothing where nothing is to be found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import fisher_exact

import pellucid as pl
from pellucid.compute.bootstrap import wilson
from pellucid.errors import RequestError, ShapeError
from pellucid.language.failures import Answers, Pictures, Rule, Tags
from pellucid.language.failures.against import fit
from pellucid.language.failures.chance import as_few_right
from pellucid.language.failures.leaning import leans
from pellucid.language.failures.noise import cleared, taggers_error
from pellucid.language.failures.prime import confirmed, halves, seek
from pellucid.language.failures.report import failures
from pellucid.language.failures.tags import by_call, by_likeness, joined, of_lists, of_scenes, of_table
from pellucid.language.pools import Pool, Word
from pellucid.stories.failing_seeds import Audit
from pellucid.testbed import scenes
from pellucid.testbed.train import Seedling
from pellucid.values import Seed

WORDS = ("night", "grass", "rain", "fog", "far away", "crowd")


def planted(fails: tuple[str, ...], *, count: int = 1600, seed: int = 0, noise: float = 0.02) -> tuple[Answers, Tags]:
    """Two classes and six words; the first class is missed where all of `fails` are there, and else seldom."""
    rng = np.random.default_rng(seed)
    there = rng.random((count, len(WORDS))) < 0.45
    tags = Tags(WORDS, there, "the test", ("light", "ground", "weather", "weather", "", ""))
    labels = rng.integers(0, 2, count)
    wrong = rng.random(count) < noise
    if fails:
        wrong |= tags.having(fails) & (labels == 0)
    said = np.where(wrong, 1 - labels, labels)
    return Answers(labels, np.eye(2)[said], ("cat", "dog")), tags


def found(answers: Answers, tags: Tags, rule: Rule | None = None) -> list[tuple[str, frozenset[str]]]:
    one, other = halves(answers, Seed(0))
    rule = rule or Rule()
    modes = confirmed(seek(answers[one], tags[one], rule=rule), answers[other], tags[other], rule=rule).modes
    return [(mode.name, frozenset(mode.tags)) for mode in modes if mode.holds(rule)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fails", [("night", "grass"), ("rain",), ("night", "rain", "crowd")])
def test_the_planted_set_is_found_and_no_other(fails: tuple[str, ...], seed: int) -> None:
    assert found(*planted(fails, seed=seed, count=3000)) == [("cat", frozenset(fails))]


def test_what_fails_with_two_words_is_told_with_two_even_where_one_already_lies_below() -> None:
    """One of the two fails often enough by itself to pass the threshold; all of it is through the other."""
    answers, tags = planted(("night", "grass"), count=4000)
    there = tags.there.copy()
    there[:, 1] |= np.random.default_rng(1).random(len(there)) < 0.5  # grass becomes common: most of night fails
    dense = Tags(tags.names, there, "the test")
    wrong = dense.having(("night", "grass")) & (answers.labels == 0)
    said = np.where(wrong, 1, answers.labels)
    assert found(Answers(answers.labels, np.eye(2)[said], answers.classes), dense) == [("cat", {"night", "grass"})]


def test_of_errors_dealt_by_lot_hardly_ever_a_mode_holds() -> None:
    runs = [found(*planted((), seed=seed, noise=0.3)) for seed in range(40)]
    assert sum(map(bool, runs)) <= 2, "at most 5 % of runs"


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_a_class_that_is_always_or_never_recognised_has_no_mode(noise: float) -> None:
    assert found(*planted((), noise=noise)) == []


def test_words_that_are_nearly_one_become_one_and_the_other_is_kept_beside() -> None:
    answers, tags = planted(("night",))
    twice = Tags((*WORDS, "dark"), np.hstack([tags.there, tags.there[:, :1]]), "the test")
    (mode,) = seek(answers, twice).modes
    assert mode.tags == ("night",)
    assert mode.also == ("dark",)


def test_words_of_a_class_and_names_of_classes_are_not_told() -> None:
    answers, tags = planted(("night",))
    own = np.stack([answers.labels == 0, ~answers.right], axis=1)
    more = Tags((*WORDS, "has whiskers", "a dog"), np.hstack([tags.there, own]), "the test")
    assert found(answers, more) == [("cat", {"night"})]


def test_the_test_is_fishers() -> None:
    for right, size, total_right, total in ((3, 20, 70, 100), (0, 5, 40, 60), (19, 20, 90, 100)):
        table = [[right, size - right], [total_right - right, total - size - (total_right - right)]]
        expected = fisher_exact(table, alternative="less").pvalue
        assert as_few_right(right, size, total_right, total)[0] == pytest.approx(expected, abs=1e-12)


@given(hits=st.integers(0, 40), more=st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_an_interval_holds_its_share(hits: int, more: int) -> None:
    share = wilson(hits, hits + more)
    if share.count:
        assert 0 <= share.low <= share.mean + 1e-12 <= share.high + 2e-12 <= 1 + 1e-9


def test_a_wilson_interval_by_the_closed_form_at_the_edge() -> None:
    z = 1.959963984540054
    assert wilson(0, 30).high == pytest.approx(z**2 / (30 + z**2))


def test_a_noisy_taggers_error_is_taken_out() -> None:
    """0 % with the word and 90 % without; the tagger is wrong in a tenth of either, so it sees 9 % and 81 %."""
    rng = np.random.default_rng(3)
    truth = rng.random(40_000) < 0.5
    seen = truth ^ (rng.random(40_000) < 0.1)
    right = ~truth & (rng.random(40_000) < 0.9)
    raw = right[seen].mean()
    assert raw == pytest.approx(0.09, abs=0.01)
    clean = cleared(right, seen, taggers_error(seen[:20_000], truth[:20_000]))
    assert clean == pytest.approx((0.0, 0.9), abs=0.015)


def test_a_tagger_that_knows_nothing_gives_no_figure() -> None:
    rng = np.random.default_rng(4)
    truth, seen = rng.random(500) < 0.5, np.ones(500, dtype=bool)
    assert all(np.isnan(cleared(truth, seen, taggers_error(seen, truth))))


# -- tags ------------------------------------------------------------------------------------------------------------


def test_of_a_kind_only_the_likeliest_is_there_and_words_without_kind_stand_alone() -> None:
    pool = Pool((Word("red", ("r",), "hue"), Word("blue", ("b",), "hue"), Word("fog", ("f",))), "the test")
    like = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.01], [0.5, 0.4, 0.9], [0.1, 0.2, 0.95]])
    tags = by_likeness(like, pool, "the test")
    assert tags.there.tolist() == [
        [True, False, False], [False, True, False], [True, False, True], [False, True, True],
    ]  # fmt: skip


def test_tags_from_a_table_lists_and_calls() -> None:
    table = of_table([{"land": "snow", "wet": True, "size": 3.0}, {"land": "sand", "wet": False, "size": 1.0}])
    assert table.names == ("land: sand", "land: snow", "wet")
    assert table.there.tolist() == [[False, True, True], [True, False, False]]
    assert table.kinds == ("land", "land", "")
    called = by_call(lambda number: ["even"] if number % 2 == 0 else ["odd"], [1, 2, 3])
    assert called.having(["odd"]).tolist() == [True, False, True]
    both = joined([of_lists([["a"], ["b"]]), of_lists([["b"], ["c"]])])
    assert both.names == ("a", "b", "c")
    assert both.there.tolist() == [[True, True, False], [False, True, True]]
    with pytest.raises(RequestError, match="no tag 'purple'"):
        both.having(["purple"])
    with pytest.raises(ShapeError):
        Tags(("a",), np.zeros((2, 2), dtype=bool), "the test")


def test_the_renderers_words_are_those_of_its_captions() -> None:
    drawn = scenes(5, 40)
    tags = of_scenes(drawn)
    for at, caption in enumerate(drawn.captions):
        for place in ("at dusk", "in the snow", "in a meadow"):
            assert tags.having([place])[at] == (place in caption)
        assert tags.having(["no plume"])[at] == ("no plume" in caption)


# -- the report ------------------------------------------------------------------------------------------------------


def test_the_report_tells_the_mode_with_its_figures_beside_controls_that_find_nothing() -> None:
    answers, tags = planted(("night", "grass"), count=3000)
    told = failures("a model", answers, tags, Pictures(("x.png",) * 3000, tuple(map(int, answers.labels))))
    assert [set(mode.tags) for mode in told.reported] == [{"night", "grass"}]
    assert told.controls.shuffled == told.controls.blind == (0, 0, 0)
    assert told.controls.drop > told.controls.random_worst
    (claim,) = told.claims
    assert claim.text.startswith("With grass, with night, “cat” is recognised in ") or "night" in claim.text
    assert "taken for “dog”" in claim.text
    assert dict(told.words).keys() == {"night", "grass"}
    record = json.loads(json.dumps(told.to_dict(), default=str))
    assert record["stands_out"]
    assert record["controls"]["beaten"]


def test_where_nothing_is_planted_the_report_says_so() -> None:
    answers, tags = planted((), count=1600, noise=0.1)
    told = failures("a model", answers, tags, Pictures(("x.png",) * 1600, tuple(map(int, answers.labels))))
    assert told.reported == ()
    assert "No failure mode stands out" in str(told)


def test_too_few_pictures_are_refused() -> None:
    answers, tags = planted((), count=30)
    with pytest.raises(RequestError, match="too few"):
        failures("a model", answers, tags, Pictures(("x.png",) * 30, (0,) * 30))


def test_the_words_of_a_mode_fit_its_pictures_better_than_random_ones() -> None:
    answers, tags = planted(("night",), count=2000)
    rng = np.random.default_rng(0)
    like = 0.3 * tags.there + rng.normal(0, 0.1, tags.there.shape)
    (mode,) = seek(answers, tags).modes
    worth = fit(mode, answers, tags, like, seed=Seed(0))
    assert worth.similarity == pytest.approx(0.3, abs=0.02)
    assert worth.coherency == pytest.approx(0.01, abs=0.002)
    assert worth.specificity > 0.97
    assert worth.random == pytest.approx(0.5, abs=0.05)


# -- trained nets ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def audit() -> Audit:
    """Two of the twelve species, so that there are enough pictures of each in every landscape."""
    every = Pictures(seed=3300, count=6000)
    return Audit(every.at(np.flatnonzero(np.isin(every.truth(), (2, 5)))))


@pytest.mark.parametrize("seed", [101, 102, 103])
@pytest.mark.parametrize("name", ["cnn", "cnn_background"])
def test_the_planted_cue_is_told_of_biased_nets_and_of_no_other(audit: Audit, name: str, seed: int) -> None:
    folder = Path(__file__).parents[1] / "data" / "seeds" / f"seed-{seed}"
    told = audit.told(Seedling(name, seed, folder))
    assert told.controls == 0
    if name == "cnn":
        assert told.conditions == 0, told.first
        assert not told.drawn
    else:
        assert told.cued == 3, told.first
        assert told.drawn_cued == 3, told.drawn


def test_a_failure_mode_is_rechecked_by_one_line_and_refuted_of_another_model(audit: Audit) -> None:
    model = pl.load("testbed:cnn_background")
    answers = audit.pictures.answers(model, audit.inputs)
    told = failures(model.name, answers, audit.tags, audit.pictures, draws=1)
    claim = pl.Claim.from_dict(json.loads(json.dumps(told.claims[0].to_dict())))
    again = claim.recheck(model)
    assert again.verdict == "verified"
    assert again.measured["accuracy"] == pytest.approx(claim.measured["accuracy"])
    assert claim.recheck(pl.load("testbed:cnn")).verdict == "refuted"


# -- what it leans on ------------------------------------------------------------------------------------------------


def leaning(draw: bool, *, seed: int = 0, count: int = 2400) -> tuple[Answers, Tags]:
    """Six classes and words; at night nine of ten are called 2, or by lot."""
    rng = np.random.default_rng(seed)
    tags = Tags(WORDS, rng.random((count, len(WORDS))) < 0.4, "the test")
    labels = rng.integers(0, 6, count)
    elsewhere = np.full(count, 2) if draw else rng.integers(0, 6, count)
    said = np.where(tags.having(["night"]) & (rng.random(count) < 0.9), elsewhere, labels)
    return Answers(labels, np.eye(6)[said], tuple("abcdef")), tags


@pytest.mark.parametrize("seed", range(5))
def test_a_word_that_draws_to_an_answer_is_told_with_that_answer_and_how_far_it_draws(seed: int) -> None:
    answers, tags = leaning(True, seed=seed)
    (lean,) = leans(answers, tags, halves(answers, Seed(0)))
    assert (lean.word, lean.answer) == ("night", "c")
    assert lean.held == pytest.approx(0.9, abs=0.06)
    assert lean.wide == 1


@pytest.mark.parametrize("seed", range(5))
def test_a_weakness_draws_to_no_answer(seed: int) -> None:
    answers, tags = leaning(False, seed=seed)
    assert leans(answers, tags, halves(answers, Seed(0))) == ()
    assert {mode.tags for mode in seek(answers, tags).modes} == {("night",)}, "and yet it is a failure mode"
