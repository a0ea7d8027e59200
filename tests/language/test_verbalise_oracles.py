"""Sentences about maps: the runs are known by hand, and every number in the text is the map's."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pellucid as pl
from pellucid.errors import MapError, RequestError
from pellucid.images.superpixels import grid, slic
from pellucid.language import verbalise
from pellucid.language.grade import grade, instruction
from pellucid.language.places import dominant_colour, in_reading_order, region_name, sums, touching
from pellucid.language.salience import SEARCHES, Run, Settings, candidates, coverage, path, runs, told
from pellucid.language.templates import Topic
from pellucid.results import Claim
from pellucid.subject import VisionModel
from pellucid.values import Class
from tests.guests import unchanged

KNOWN = [0, 0, 5, 5, 0, 1]
maps = st.lists(st.integers(-1000, 1000), min_size=1, max_size=9).map(lambda whole: [one / 100 for one in whole])


def names(count: int) -> list[str]:
    return [f"word{at}" for at in range(count)]


# -- the search -------------------------------------------------------------------------------------------------------


def test_the_runs_of_a_known_map_are_those_worked_out_by_hand() -> None:
    found = runs(KNOWN)
    assert [run.members for run in found] == [(2, 3), (5,)]
    assert [run.coverage for run in found] == pytest.approx([10 / 11, 1 / 11])
    assert np.percentile([run.coverage for run in found], 75) == pytest.approx(7.75 / 11)
    assert told(found) == found[:1]


def test_a_run_of_one_segment_has_its_own_coverage() -> None:
    """A half-open slice would give it nothing."""
    assert coverage([3, 1, 0], [0]) == 0.75
    assert runs([3, 0, 0, 0, 0, 0, 1])[0] == Run((0,), 0.75)


def test_runs_below_the_upper_quartile_are_not_told() -> None:
    """A guard that counted how many values there are, rather than how many pass, would let all through."""
    found = tuple(Run((2 * at,), share) for at, share in enumerate((0.4, 0.3, 0.2, 0.1)))
    assert told(found) == found[:1]
    level = tuple(Run((2 * at,), 0.25) for at in range(4))
    assert told(level) == level
    assert told(()) == ()


@pytest.mark.parametrize("kind", SEARCHES)
def test_each_search_knows_the_windows_of_its_kind(kind: str) -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    found = set(candidates(values, path(7), kind, Settings(value=-100.0)))
    expected = {
        "total": {(at,) for at in range(7)},
        "span": {tuple(range(at, at + size)) for size in (3, 5) for at in range(8 - size)},
    }
    if kind in expected:
        assert found == expected[kind]
    else:
        assert {len(window) for window in found} == {2, 3}
        assert all(max(window) - min(window) <= 4 for window in found)
        assert len(found) == 3 * 20 - 2 * (6 + 4)  # windows 0-4, 1-5, 2-6; patterns within 4, and within 4 of 5, shared


@pytest.mark.parametrize(("threshold", "least"), [("mean", 0.5), ("quantile", 0.5), ("variance", 0.25)])
def test_a_window_passes_above_its_threshold_only(threshold: str, least: float) -> None:
    """Values 0 and 1 in halves have the mean .5, the standard deviation .5 and the variance .25."""
    values = [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]
    passing = candidates(values, path(10), "span", Settings(threshold=threshold, value=0.999 * 3 / least))
    assert passing and all(len(window) >= 3 for window in passing)
    assert not candidates(values, path(10), "span", Settings(threshold=threshold, value=5 / least))


@given(maps)
@settings(max_examples=60, deadline=None)
def test_a_sequence_is_a_path(values: list[float]) -> None:
    assert runs(values) == runs(values, path(len(values)))


@given(st.permutations(range(9)), st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_permuting_segments_permutes_the_sentences(order: list[int], seed: int) -> None:
    """On a grid of 3 x 3, with values of which no two are alike."""
    values = np.random.default_rng(seed).normal(size=9)
    beside = touching(grid(3, 3, 3, 3))
    called = names(9)
    moved = [values[at] for at in order]
    there = {at: place for place, at in enumerate(order)}
    neighbours = [[there[at] for at in beside[old]] for old in order]
    before = verbalise.features(values, called, label="x", neighbours=beside)
    after = verbalise.features(moved, [called[at] for at in order], label="x", neighbours=neighbours)
    assert [claim.text for claim in before.claims] == [claim.text for claim in after.claims]


# -- the sentences ----------------------------------------------------------------------------------------------------


@given(maps)
@settings(max_examples=1000, deadline=None)
def test_every_number_in_the_text_is_the_one_worked_out_again(values: list[float]) -> None:
    said = verbalise.features(values, names(len(values)), label="the answer")
    array = np.array(values)
    for claim in said.claims:
        kind, members = claim.arguments["kind"], claim.arguments["members"]
        signed = np.maximum(-array if kind == "against" else array, 0)
        total, magnitude = signed.sum(), np.abs(array).sum()
        share = signed[members].sum() / total if total else 0.0
        true = [share, total / magnitude if magnitude else 0.0, signed.max() / total if total else 0.0]
        for words, digits in re.findall(r"(\d+(?:\.(\d+))?)%", claim.text):
            assert any(f"{100 * value:.{len(digits)}f}" == words for value in true), claim.text
    assert not [wrong for read in said.grade.sentences for wrong in read.wrong], said.text


@given(maps)
@settings(max_examples=20, deadline=None)
def test_a_map_given_by_hand_is_added_up_again_without_a_model(values: list[float]) -> None:
    for claim in verbalise.features(values, names(len(values)), label="the answer").claims:
        again = claim.recheck(None)
        assert (again.text, again.verdict) == (claim.text, "verified")


def test_a_map_without_positive_evidence_says_so_and_tells_the_negative() -> None:
    said = verbalise.features([-1, -3, 0], ["a", "b", "c"], label="x")
    assert said.claims[0].predicate == "no_evidence" and "Nothing speaks for x" in said.text
    assert said.claims[1].predicate == "evidence_against" and "“b”" in said.claims[1].text


def test_negative_evidence_is_a_sentence_of_its_own() -> None:
    said = verbalise.features([4, 0, 0, -1], ["a", "b", "c", "d"], label="x")
    against = [claim for claim in said.claims if claim.predicate == "evidence_against"]
    assert len(against) == 1 and against[0].measured["share"] == 1 and against[0].measured["part"] == 0.2


def test_diffuse_evidence_is_said_to_be_diffuse() -> None:
    spread = verbalise.features(np.ones(40), names(40), label="x")
    assert [claim.predicate for claim in spread.claims][-1] == "evidence_diffuse"
    assert all(claim.predicate != "evidence_diffuse" for claim in verbalise.features(KNOWN, names(6), label="x").claims)


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf], [[1.0]]])
def test_what_is_no_map_is_refused(values: list[float]) -> None:
    with pytest.raises(MapError):
        verbalise.features(values, names(len(values)), label="x")


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"length": 9}, {"length": 2}, {"searches": ("all",)}, {"threshold": "median"}):
        with pytest.raises(RequestError):
            Settings(**wrong)
    with pytest.raises(MapError, match="different names"):
        verbalise.features([1, 2], ["a", "a"], label="x")


# -- words read back --------------------------------------------------------------------------------------------------


def test_what_was_said_truly_is_found_true_and_lies_are_caught() -> None:
    """A narrator that names one of eight features with its share, and lies in three of ten sentences."""
    rng = np.random.default_rng(3)
    lies, caught, wronged = 0, 0, 0
    for _ in range(400):
        values = np.abs(rng.normal(size=8))
        things = {name: (at,) for at, name in enumerate(names(8))}
        strong = int(values.argmax())
        named, lying = strong, rng.random() < 0.3
        if lying:
            named = int(rng.choice(np.flatnonzero(np.arange(8) != strong)))
        text = f"The answer rests on word{named}, with {100 * coverage(values, [strong]):.0f}% of the evidence."
        told_wrong = not grade(text, values, things).sentences[0].true
        lies, caught, wronged = lies + lying, caught + (lying and told_wrong), wronged + (told_wrong and not lying)
    assert caught / lies >= 0.95, f"{caught} of {lies}"
    assert wronged == 0


def test_the_grade_of_a_known_text_is_known() -> None:
    things = {"a": (0,), "b": (1,), "c": (2,), "d": (3,)}
    found = grade("First b with 20%. Then a with 60%.", [6, 2, 1, 1], things)
    assert (found.precision, found.order, found.numbers) == (1.0, pytest.approx(-1.0), 1.0)
    assert found.coverage == pytest.approx(0.8)
    assert grade("It is c (0.17), against it nothing.", [6, 2, 1, 1], things).numbers == 1.0


def test_a_narrator_is_told_every_score() -> None:
    asked = instruction([2.0, -1.0], ["wing", "tail"], "a wren", correct=False)
    assert "wing (1.00), tail (-0.50)" in asked and "The label is wrong." in asked


# -- pictures ---------------------------------------------------------------------------------------------------------


@cache
def model() -> VisionModel:
    return pl.load("testbed:cnn")


@cache
def said() -> verbalise.Verbalised:
    frame = pl.testbed.scenes(7, 1).frames()[0].fitted(model().preprocess)  # type: ignore[arg-type]
    best = int(model().predict(model().prepare([frame])).argmax())
    network = model().module
    assert network is not None
    with unchanged(network):
        return verbalise.picture(Topic(model(), frame, Class(best), 0), "layer_cam", slic(frame, 60))


def test_a_sentence_about_a_picture_gives_the_same_number_again_also_from_a_file() -> None:
    for claim in said().claims:
        again = Claim.from_dict(claim.to_dict()).recheck(model())
        assert (again.verdict, again.text) == ("verified", claim.text)


def test_another_model_carries_the_evidence_elsewhere() -> None:
    again = said().claims[0].recheck(pl.load("testbed:cnn_background"))
    assert again.text != said().claims[0].text and again.verdict == "refuted"


def test_the_first_region_is_tried_by_removal() -> None:
    assert [claim.test for claim in said().claims] == ["coverage"] * (len(said().claims) - 1) + ["removal"]
    assert said().grade.numbers == 1.0


def test_segments_are_named_by_place_and_colour_or_by_an_encoder() -> None:
    pixels = np.zeros((64, 64, 3), dtype=np.uint8)
    pixels[:32, :32] = (200, 30, 35)
    mask = np.zeros((64, 64), dtype=bool)
    mask[:32, :32] = True
    frame = pl.read(pixels)
    assert region_name(frame, mask) == "a large area in the upper left, mostly red"
    encoder = pl.load("testbed:dual", texts=["a coral bird", "a blue bird"])
    assert "most like “a coral bird”" in region_name(frame, mask, encoder=encoder)


def test_segments_that_touch_are_neighbours_and_keep_their_sums() -> None:
    labels = grid(4, 6, 2, 3)
    assert touching(labels)[0] == (1, 3) and touching(labels)[4] == (1, 3, 5)
    assert (sums(pl.testbed.scenes(7, 1).tensor()[0, 0, :4, :6] * 0 + 1, labels) == 4).all()
    numbered = in_reading_order(np.array([[7, 7, 2], [7, 7, 5]]))
    assert numbered.tolist() == [[0, 0, 1], [0, 0, 2]]


def test_a_colour_word_needs_half_of_the_pixels() -> None:
    half = np.array([[200, 30, 35]] * 4 + [[50, 90, 190]] * 3 + [[60, 150, 60]] * 3, dtype=np.uint8)
    assert dominant_colour(half) is None and dominant_colour(half[:7]) == "red"
