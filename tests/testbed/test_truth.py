"""Twins, causes and effects: what the right answer is, and that nothing else moves."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.errors import SceneError
from pellucid.testbed import TASKS, scenes, truth
from pellucid.testbed.scene import Scenes
from pellucid.values import Class, Contrast

DECIDING = ("wing", "tail", "crest")


@pytest.fixture(scope="module")
def some() -> Scenes:
    return scenes(41, 48)


# Causes


def test_the_causes_of_a_class_are_the_deciding_parts(some: Scenes) -> None:
    visible = truth.causal(some, ghosts=False)
    assert np.array_equal(visible, some.mask(*DECIDING))
    assert np.array_equal(truth.causal(some, Class(3)), truth.causal(some))


def test_the_ghost_is_where_the_plume_would_be(some: Scenes) -> None:
    bare = some.fields["crest"] == 0
    ghosts = truth.causal(some) & ~truth.causal(some, ghosts=False)
    assert not ghosts[~bare].any()
    plumed = truth.add(some, "crest")
    seen = plumed.mask("crest") & ~some.mask("wing", "tail")
    assert np.array_equal(ghosts[bare], seen[bare])


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (Contrast(0, 1), ("crest",)),
        (Contrast(4, 6), ("tail",)),
        (Contrast("ripple swift", "willow swift"), ("wing",)),
        (Contrast(0, 11), DECIDING),
        (Contrast(5, 5), ()),
    ],
)
def test_the_causes_of_a_contrast_are_the_parts_that_differ(
    some: Scenes, target: Contrast, parts: tuple[str, ...]
) -> None:
    assert truth.causes_of(some, target) == parts
    expected = some.mask(*parts) if parts else np.zeros(some.parts.shape, bool)
    assert np.array_equal(truth.causal(some, target, ghosts=False), expected)


def test_classes_that_do_not_exist_are_refused(some: Scenes) -> None:
    for target in (12, -1, "sparrow", Contrast(0, 12)):
        with pytest.raises(SceneError):
            truth.causal(some, target)


@pytest.mark.parametrize(
    ("task", "parts"),
    [("wing3", ("wing",)), ("bib6", ("bib",)), ("body_tail12", ("body", "head", "tail")), ("xor", ("tail", "crest"))],
)
def test_each_task_knows_its_parts(task: str, parts: tuple[str, ...]) -> None:
    drawn = scenes(41, 6, task=task)
    assert np.array_equal(truth.causal(drawn, ghosts=False), drawn.mask(*parts))


def test_where_a_deciding_part_is_missing_its_place_is_a_ghost() -> None:
    drawn = scenes(46, 200, mode="parts_missing")
    wingless = drawn[np.flatnonzero(drawn.fields["has_wing"] == 0)]
    ghosts = truth.place_of(wingless, "wing")
    assert not truth.place_of(wingless, "wing", ghosts=False).any()
    assert np.array_equal(ghosts, truth.add(wingless, "wing").mask("wing"))
    assert (truth.causal(wingless) & ghosts == ghosts).all()
    assert "the missing wing" in truth.in_words(wingless[0])


def test_grass_before_a_part_is_not_the_part() -> None:
    drawn = truth.add(scenes(46, 60), "grass")
    assert (drawn.mask("grass") & drawn.amodal("tail").astype(bool)).any()
    assert not (truth.causal(drawn, ghosts=False) & drawn.mask("grass")).any()


# Flocks


def test_the_causes_of_a_count_are_the_birds_and_those_that_are_not_there() -> None:
    drawn = scenes(47, 24, task="count")
    assert np.array_equal(truth.causal(drawn, ghosts=False), drawn.objects)
    full = truth.twin(drawn, birds="four")
    assert np.array_equal(truth.causal(drawn), drawn.objects | (full.birds > drawn.counts[:, None, None]))
    pairs = drawn[np.flatnonzero(drawn.counts == 2)]
    third = truth.twin(pairs, birds="three")
    between = truth.causal(pairs, Contrast("two birds", "three birds"))
    assert np.array_equal(between, pairs.objects | (third.birds == 3))
    assert truth.in_words(pairs[0]) == "the two birds"


def test_the_causes_of_a_side_are_both_tails() -> None:
    drawn = scenes(47, 24, task="side")
    assert np.array_equal(truth.causal(drawn), drawn.mask("tail"))
    assert np.array_equal(truth.causal(drawn, bird=1), drawn.mask("tail", bird=1))
    words = {truth.in_words(scene) for scene in drawn}
    assert words == {
        "the forked tail on the left, the fanned tail on the right",
        "the fanned tail on the left, the forked tail on the right",
    }


def test_the_causes_of_each_bird_of_a_flock_can_be_asked_for() -> None:
    drawn = scenes(47, 12, mode="flock")
    for bird in range(4):
        visible = truth.causal(drawn, bird=bird, ghosts=False)
        assert np.array_equal(visible, drawn.mask(*DECIDING, bird=bird))
    assert np.array_equal(truth.causal(drawn, ghosts=False), drawn.mask(*DECIDING))
    bare = (drawn.fields["bird1_crest"] == 0) & (drawn.counts > 1)
    ghosts = truth.causal(drawn, bird=1) & ~truth.causal(drawn, bird=1, ghosts=False)
    assert ghosts[bare].any(axis=(1, 2)).all() and not ghosts[~bare].any()
    with pytest.raises(SceneError, match="no bird 4"):
        truth.causal(drawn, bird=4)


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_task_has_causes_for_classes_and_contrasts(task: str) -> None:
    drawn = scenes(48, 8, task=task)
    last = len(drawn.task.labels) - 1
    whole, part = truth.causal(drawn, Class(last)), truth.causal(drawn, Contrast(0, last))
    assert whole.any(axis=(1, 2)).all() and part.any()
    assert not (part & ~whole).any()
    assert not truth.causal(drawn, Contrast(last, last)).any()
    assert len(truth.known(drawn, Contrast(0, last))) == 8


# The truth of a model


def test_the_truth_of_a_model_is_where_it_reads() -> None:
    """A net that reads the landscape in even scenes and the tail in odd ones, said by hand-made effects."""
    drawn = scenes(49, 6)
    even = np.arange(6) % 2 == 0
    drops = {"land": np.where(even, 3.0, 0.0), "tail": np.where(even, 0.1, 2.0), "wing": np.full(6, -1.0)}
    effects = truth.Effects(drops, {})
    mask = truth.causal(drawn, truth="model", effects=effects)
    assert np.array_equal(mask[even], drawn.mask("background")[even])
    assert np.array_equal(mask[~even], drawn.mask("tail")[~even])
    with pytest.raises(SceneError, match="needs its effects"):
        truth.causal(drawn, truth="model")
    with pytest.raises(SceneError, match="no truth"):
        truth.causal(drawn, truth="oracle")


def test_each_thing_a_model_may_read_has_its_place() -> None:
    drawn = scenes(49, 12, shortcut="tag", clutter=2)
    assert np.array_equal(truth.place_of(drawn, "cue"), drawn.mask("cue"))
    props = np.logical_or.reduce([truth.place_of(drawn, f"prop{slot}") for slot in range(3)])
    assert np.array_equal(props, drawn.mask("prop"))
    assert np.array_equal(truth.place_of(drawn, "body_hue"), drawn.mask("body", "head"))
    with pytest.raises(SceneError, match="no one place"):
        truth.place_of(drawn, "noise")


def test_the_answer_is_ready_to_be_shown(some: Scenes) -> None:
    scene = truth.twin(some[0], wing="dotted", tail="forked", crest="plume")
    (answer,) = truth.known(scene)
    assert answer.words == "the dotted wing, the forked tail, the plume"
    assert np.array_equal(answer.ungrown, truth.causal(scene)[0])
    assert np.array_equal(answer.mask, truth.grown(truth.causal(scene))[0])
    assert [tuple(box) for box in answer.boxes] == [tuple(map(float, scene.box_of(part)[0])) for part in DECIDING]
    assert "no plume" in truth.in_words(truth.twin(scene, crest="none"), Contrast(0, 1))
