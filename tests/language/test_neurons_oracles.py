"""Names for units whose meaning was set by hand, and none for units that mean nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor

import pellucid as pl
from pellucid.errors import RequestError, ShapeError
from pellucid.language import dissect, hypotheses, milan, neurons, patterns
from pellucid.language.describing import describe_units
from pellucid.language.naming_trial import is_right
from pellucid.language.pools import Pool, Word, bird_pool, encoder_for, likeness
from pellucid.language.probes import Probe, grids, held_out, responses
from pellucid.results import Claim
from pellucid.testbed import planted
from pellucid.testbed.nets import Captioner
from pellucid.testbed.nets.words import caption_words

CONCEPTS, PICTURES = 8, 400
POOL = Pool.of([f"concept {at}" for at in range(CONCEPTS)])


@cache
def world() -> tuple[np.ndarray, np.ndarray]:
    """What is in each picture (each concept in one of five), and an encoder's likeness that tells it with noise."""
    rng = np.random.default_rng(0)
    there = rng.random((PICTURES, CONCEPTS)) < 0.2
    return there, there * 0.4 + rng.normal(scale=0.05, size=there.shape)


def units() -> np.ndarray:
    """Unit k fires on concept k; then one on either of two, one on nothing, and one that is dead."""
    rng = np.random.default_rng(1)
    there = world()[0]
    either, noise, dead = there[:, 2] | there[:, 5], rng.random(PICTURES), np.zeros(PICTURES)
    return np.column_stack([there + 0.1 * rng.random(there.shape), either + 0.1 * rng.random(PICTURES), noise, dead])


# -- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", dissect.SCORES)
def test_every_score_puts_the_planted_concept_first(score: str) -> None:
    found = dissect.SCORES[score](units()[:, :CONCEPTS], world()[1])
    assert found.shape == (CONCEPTS, CONCEPTS)
    assert found.argmax(axis=1).tolist() == list(range(CONCEPTS))


def test_soft_wpmi_is_its_equation() -> None:
    """Two pictures, two texts, twenty units alike, so that the prior is the unit's own likelihood."""
    like = np.array([[1.0, 0.0], [0.0, 1.0]])
    given = np.tile(np.array([[1.0], [0.0]]), (1, 20))
    sure = 1 / (1 + np.exp(-10))
    first = np.log(1 + 0.998 * (sure - 1) + 1e-7) + np.log(1 + 0.97 * (1 - sure - 1) + 1e-7)
    second = np.log(1 + 0.998 * (1 - sure - 1) + 1e-7) + np.log(1 + 0.97 * (sure - 1) + 1e-7)
    assert dissect.soft_wpmi(given, like, prior=0.0)[0] == pytest.approx([first, second])
    assert dissect.soft_wpmi(given, like, prior=1.0)[0] == pytest.approx([0.0, 0.0])


def test_the_cubed_cosine_is_one_for_the_same_and_minus_one_for_the_opposite() -> None:
    column = np.array([[1.0], [2.0], [4.0], [8.0]])
    assert dissect.cos_cubed(column, np.hstack([3 * column + 1, -column]))[0] == pytest.approx([1.0, -1.0])


def test_reordering_by_the_units_own_order_has_no_error() -> None:
    rng = np.random.default_rng(2)
    own = rng.random((100, 1))
    found = dissect.rank_reorder(own, np.hstack([own, rng.random((100, 1))]), scale=0.0)
    assert found[0, 0] == 0 and found[0, 1] < -0.3


def test_pictures_that_do_not_match_are_refused() -> None:
    with pytest.raises(ShapeError):
        dissect.soft_wpmi(np.zeros((3, 2)), np.zeros((4, 2)))
    with pytest.raises(RequestError, match="expected soft_wpmi"):
        neurons.name_units(units(), world()[1], POOL, method="best")


# -- hypotheses -------------------------------------------------------------------------------------------------------


def test_the_auroc_is_that_of_mann_and_whitney() -> None:
    rng = np.random.default_rng(3)
    there, values = rng.random((60, 3)) < 0.4, rng.integers(0, 5, 60).astype(float)
    for at in range(3):
        one = there[:, at]
        expected = mannwhitneyu(values[one], values[~one]).statistic / (one.sum() * (~one).sum())
        assert hypotheses.auroc(one, values) == pytest.approx(expected)
    assert hypotheses.aurocs(there, values) == pytest.approx([hypotheses.auroc(column, values) for column in there.T])
    assert np.isnan(hypotheses.auroc(np.ones(4, dtype=bool), [1, 2, 3, 4]))


def test_permutations_find_what_is_there_and_are_level_where_nothing_is() -> None:
    rng = np.random.default_rng(4)
    there = np.arange(60) < 20
    assert hypotheses.permutation_p(there, there + 0.0) == 0.001
    by_chance = [hypotheses.permutation_p(there, rng.random(60), seed=at) for at in range(40)]
    assert 0.35 < np.mean(by_chance) < 0.65


def test_q_values_are_those_worked_out_by_hand() -> None:
    assert hypotheses.benjamini_hochberg([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])


def test_the_level_parts_two_heaps() -> None:
    values = np.array([0.1, 0.12, 0.9, 0.11, 0.95])
    assert hypotheses.present(values).tolist() == [False, False, True, False, True]
    assert not hypotheses.present(np.ones(5)).any()


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", dissect.SCORES)
def test_planted_units_are_named_and_units_that_mean_nothing_are_not(score: str) -> None:
    found = neurons.name_units(units(), world()[1], POOL, method=score, candidates=CONCEPTS)
    names = [unit.name for unit in found.units]
    assert names[:CONCEPTS] == list(POOL.names)
    assert names[CONCEPTS + 1 :] == [None, None] and found.units[-1].dead
    assert found.controls["shuffled responses"] == found.controls["random words"] == 0
    assert "9 of 11 units have a name that stands" in found.text


def test_a_unit_that_answers_to_either_of_two_has_both_names() -> None:
    either = neurons.name_units(units(), world()[1], POOL, candidates=CONCEPTS, controls=False).units[CONCEPTS]
    assert {either.names[0], either.also} == {"concept 2", "concept 5"}
    assert either.reliability.auroc > 0.97 and either.reliability.specificity > 0.3


def test_of_random_units_at_least_95_in_100_stay_unnamed() -> None:
    noise = np.random.default_rng(5).random((PICTURES, 60))
    found = neurons.name_units(noise, world()[1], POOL, candidates=CONCEPTS, controls=False)
    assert sum(unit.name is None for unit in found.units) >= 57


def test_a_pool_that_lacks_the_concept_leaves_the_unit_unnamed() -> None:
    known = [at for at in range(CONCEPTS) if at != 3]
    pool = Pool.of([POOL.names[at] for at in known])
    found = neurons.name_units(units()[:, [3]], world()[1][:, known], pool, candidates=7, controls=False)
    assert found.units[0].name is None


def test_names_that_do_no_better_than_controls_say_so() -> None:
    found = neurons.name_units(units(), world()[1], POOL, candidates=CONCEPTS, controls=False)
    level = replace(found, controls={"units": 0.5, "random words": 0.5})
    assert "do not believe these names" in level.text


def test_words_of_one_kind_are_siblings() -> None:
    pool = Pool((Word("coral", ("c",), "hue"), Word("blue", ("b",), "hue"), Word("plume", ("p",))), "mine")
    assert pool.siblings(0) == (1,) and pool.siblings(2) == (0, 1)
    with pytest.raises(RequestError):
        Pool.of(["one", "one"])


# -- the rendered world -----------------------------------------------------------------------------------------------


@cache
def seen() -> tuple[Pool, Probe, np.ndarray]:
    kinds = ("body_hue", "wing", "tail", "crest")
    pool = Pool(tuple(word for word in bird_pool().words if word.kind in kinds), "some of the captions' words")
    probe = Probe("scenes", 1041, 100, "coded")
    return pool, probe, likeness(encoder_for(pool), probe.scenes().tensor(), pool)


def test_units_of_a_planted_net_get_their_names_and_keep_them() -> None:
    """Among 13 words; docs/naming.md has the figures over 600 pictures and four nets."""
    pool, probe, like = seen()
    model, net = pl.load("testbed:planted_mixed"), planted.mixed()
    naming = neurons.name_units(responses(model, probe.inputs(model), "mono"), like, pool, controls=False)
    words = dict(zip(pool.names, pool.words, strict=True))
    first = [is_right(unit, words[said.names[0]]) for unit, said in zip(net.units, naming.units, strict=True)]
    assert sum(first) >= 11, [said.names[0] for said in naming.units]
    claim = neurons.claims(model, "mono", naming, probe)[6]
    assert claim.verdict == "verified" and "“barred wings”" in claim.text
    again = Claim.from_dict(claim.to_dict()).recheck(model)
    assert (again.verdict, again.text) == ("verified", claim.text)
    moved = replace(claim, arguments={**claim.arguments, "unit": 7}, measured={**claim.measured})
    assert moved.recheck(model).verdict == "refuted"


def test_the_captioner_names_a_unit_by_what_it_sees_where_the_unit_fires() -> None:
    captioner, _ = pl.testbed.nets.load("captioner")
    assert isinstance(captioner, pl.testbed.nets.Captioner)
    lit, model = Probe("scenes", 51, 24, "coded"), pl.load("testbed:planted_mixed")
    pictures = lit.scenes().tensor()
    maps = torch.cat(list(grids(model, lit.inputs(model), "mono")))
    candidates = [f"a {hue} bird" for hue in ("coral", "amber", "moss")]
    anyway = milan.likelihood(captioner, pictures[:8], candidates)
    said = milan.describe(captioner, pictures, maps[:, 0], candidates, anyway=anyway)
    assert said[0].text == "a coral bird"
    assert said[0].anyway == pytest.approx(float(anyway[0]))
    assert all(one.score == pytest.approx(one.seen - 0.2 * one.anyway) for one in said)


SENTENCE = "a moss bird with a fanned plum tail"


class Sure(Captioner):
    """Says one sentence of every picture, in which it is sure of every word but for "fanned", which it gives .75 and
    "forked" .25. Keeps how many tokens its words looked at.
    """

    tokens: tuple[int, ...] = ()

    def generate(self, pictures: Tensor, *, beams: int = 1, longest: int = 80) -> tuple[str, ...]:
        return (SENTENCE,) * len(pictures)

    def speak(self, seen: Tensor, numbers: Tensor) -> Tensor:
        self.tokens += (seen.shape[1],)
        chances = torch.full((*numbers.shape, len(self.words)), 1e-14)
        following = self.words.encode([SENTENCE])[0, 1:]
        chances[:, torch.arange(len(following)), following] = 1.0
        chances[:, SENTENCE.split().index("fanned"), self.words.numbers("fanned forked")] = torch.tensor([0.75, 0.25])
        return chances.log()


def test_a_text_is_as_likely_as_its_words_where_they_fit_the_captioners_own_sentence() -> None:
    texts = ["a forked tail", "a fanned tail", "a plum tail", "a moss bird", "moss tail", "a tail bird"]
    found = milan.likelihood(Sure(caption_words()), torch.zeros(2, 3, 64, 64), texts).exp()
    assert found.tolist() == pytest.approx([0.25, 0.75, 1, 1, 0, 0], abs=1e-6)


def test_words_look_where_a_unit_fires_even_if_it_is_mostly_silent() -> None:
    """One cell of every other picture, so the .99 quantile is 0; drawn large, the cell reaches into those beside it."""
    captioner, maps = Sure(caption_words()), torch.zeros(40, 8, 8)
    maps[::2, 2, 3] = 1
    milan.describe(captioner, torch.zeros(40, 3, 64, 64), maps, ["a moss bird"], anyway=torch.zeros(1))
    assert captioner.tokens == (1 + 9,) * milan.EXEMPLARS


def test_a_unit_that_is_not_there_is_refused() -> None:
    with pytest.raises(RequestError, match="has no unit 99"):
        describe_units(pl.load("testbed:planted_mixed"), "mono", units=[99], probe=Probe("scenes", 7, 8, "coded"))
    with pytest.raises(RequestError):
        Probe("dreams")
    assert sum(held_out(7)) == 3


# -- patterns ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", patterns.KINDS)
def test_planted_patterns_are_found_again_in_both_halves(kind: str) -> None:
    """Three sparse sources in ten units; with a fourth asked for, that one is not found again."""
    rng = np.random.default_rng(6)
    basis = np.zeros((3, 10))
    basis[0, :3], basis[1, 3:6], basis[2, 6:] = 1, (1, 2, 1), (3, 1, 1, 1)
    sources = rng.exponential(size=(600, 3)) * (rng.random((600, 3)) < 0.3) * (1, 2, 4)
    given = sources @ basis + 0.01 * rng.random((600, 10))
    found = patterns.decompose(given, kind, 3)
    true = basis / np.linalg.norm(basis, axis=1, keepdims=True)
    assert np.abs(found.directions @ true.T).max(axis=0).min() > 0.97
    assert found.reliability.min() > 0.9 and found.explained > 0.99
    assert found.responses.shape == (600, 3)
    if kind == "pca":
        assert patterns.decompose(given, kind, 6).reliability.min() < 0.9


def test_what_cannot_be_decomposed_is_refused() -> None:
    with pytest.raises(RequestError, match="0 and more"):
        patterns.decompose(np.full((20, 5), -1.0), "nmf", 2)
    with pytest.raises(RequestError, match="expected pca"):
        patterns.decompose(np.ones((20, 5)), "tsne", 2)
    with pytest.raises(ShapeError):
        patterns.decompose(np.ones((4, 5)), "pca", 3)
