"""Scenes with things left out: the same as leaving them out one by one, and what the table says of the parts left."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from pellucid.testbed import scenes
from pellucid.testbed.absence import (
    MISSABLE,
    deciding_parts,
    distracting,
    place_of_thing,
    removal_effects,
    rival_pairs,
    sufficient_sets,
    there,
    without,
)
from pellucid.testbed.planted import codes, part_scores
from pellucid.testbed.scene import Scenes
from pellucid.testbed.twins import PROP_NAMES, remove


@pytest.fixture(scope="module")
def some() -> Scenes:
    return scenes(61, 6, mode="parts_missing")


def test_one_batch_holds_what_leaving_out_one_by_one_gives(some: Scenes) -> None:
    twins = without(some, [0, 3, 3], [("wing", "eye"), ("prop0",), ()])
    assert_array_equal(twins[0].pixels, remove(remove(some[0], "wing"), "eye").pixels)
    assert_array_equal(twins[1].pixels, remove(some[3], "prop0").pixels)
    assert_array_equal(twins[2].pixels, some[3].pixels)


def test_effects_of_the_additive_net_are_its_part_scores() -> None:
    drawn, scores = codes.coded_scenes(62, 8, mode="parts_missing"), part_scores()
    labels = drawn.true_labels

    def score(twins: Scenes, at: object) -> np.ndarray:
        return scores.logits(twins)[np.arange(len(twins)), labels[np.asarray(at)]]

    found = removal_effects(score, drawn, MISSABLE)
    for part in MISSABLE:
        here = there(drawn, part)
        assert_array_equal(np.isnan(found[part]), ~here)
        known = [scores.removal(drawn[at], int(labels[at])).get(part, np.zeros(1))[0] for at in range(len(drawn))]
        assert_allclose(found[part][here], np.array(known)[here], atol=1e-12)


def test_distractors_are_what_decides_nothing_or_what_the_net_does_not_read(some: Scenes) -> None:
    world = distracting(some)
    assert not (world & some.mask("wing", "tail", "crest")).any()
    assert_array_equal(world & some.objects, some.mask("head", "body", "bib", "beak", "eye", "feet"))
    props = np.logical_or.reduce([place_of_thing(some, prop) for prop in PROP_NAMES])
    assert_array_equal(world & ~some.objects, props)
    effects = {thing: np.full(len(some), 1.0 if thing == "eye" else 0.02) for thing in ("eye", "wing", "prop0")}
    read = distracting(some, effects)
    assert_array_equal(read, some.mask("wing") | place_of_thing(some, "prop0"))
    assert not distracting(some, {thing: np.zeros(len(some)) for thing in effects}).any()


def test_the_smallest_sets_that_tell_the_class_follow_from_the_table() -> None:
    drawn = scenes(63, 12)
    for scene, sets in zip(drawn, sufficient_sets(drawn), strict=True):
        assert sets == (frozenset({"wing", "tail"} | ({"crest"} if scene.fields["crest"][0] else set())),)
    either = scenes(63, 12, task="or")
    for scene, sets in zip(either, sufficient_sets(either), strict=True):
        plume, fan = bool(scene.fields["crest"][0]), bool(scene.fields["tail"][0])
        expected = {(True, True): {("crest",), ("tail",)}, (True, False): {("crest",)}, (False, True): {("tail",)}}
        assert {tuple(one) for one in sets} == expected.get((plume, fan), {("tail",)})


def test_a_class_that_is_an_absence_needs_no_part() -> None:
    drawn = scenes(64, 8, task="crest2")
    for label, sets in zip(drawn.labels, sufficient_sets(drawn), strict=True):
        assert sets == (frozenset({"crest"} if label else ()),)


def test_rivals_share_as_many_parts_and_none_of_them_both() -> None:
    drawn = scenes(65, 10)
    for at, pairs in enumerate(rival_pairs(drawn)):
        own = drawn.task.row(int(drawn.labels[at]))
        assert pairs  # each shares the wing, the tail or the plume alone
        for pair in pairs:
            for other, shared in ((pair.first, pair.shared_by_first), (pair.second, pair.shared_by_second)):
                row = drawn.task.row(other)
                assert shared == {cause for cause in own if own[cause] == row[cause]}
                assert all(there(drawn, part)[at] for part in shared)
            assert len(pair.shared_by_first) == len(pair.shared_by_second) == 1
            assert not pair.shared_by_first & pair.shared_by_second
    assert rival_pairs(scenes(65, 3, task="xor")) == ((), (), ())
    assert rival_pairs(scenes(65, 3, task="body_tail12")) == ((), (), ())  # a body cannot be missing


def test_deciding_parts_show_the_fields_of_the_task() -> None:
    assert deciding_parts(scenes(2, 1)) == ("wing", "tail", "crest")
    assert deciding_parts(scenes(2, 1, task="body_tail12")) == ("body", "head", "tail")
