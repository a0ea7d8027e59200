"""Twins, causes and effects: what the right answer is, and that nothing else moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.errors import SceneError
from pellucid.testbed import scenes, truth
from pellucid.testbed.fields import REMOVABLE, WORDS
from pellucid.testbed.scene import Scenes
from pellucid.values import Class, Contrast

DECIDING = ("wing", "tail", "crest")


@pytest.fixture(scope="module")
def some() -> Scenes:
    return scenes(41, 48)


@pytest.mark.parametrize(("size", "camera"), [(64, 1.0), (64, 0.0), (128, 1.0)])
def test_twins_are_equal_outside_their_footprint(size: int, camera: float) -> None:
    drawn = scenes(42, 24, size=size, camera=camera)
    for name in WORDS:
        other = truth.twin(drawn, **{name: truth.another(drawn, name)})
        differs = (drawn.pixels != other.pixels).any(axis=-1)
        assert not (differs & ~truth.footprint(drawn, other)).any(), name
    for part in (*REMOVABLE, "crest", "feet", "grass", "prop0", "prop1", "prop2"):
        other = truth.remove(drawn, part)
        differs = (drawn.pixels != other.pixels).any(axis=-1)
        assert not (differs & ~truth.footprint(drawn, other)).any(), part


@pytest.mark.parametrize("name", DECIDING)
def test_a_deciding_part_changes_the_picture_where_it_shows(some: Scenes, name: str) -> None:
    other = truth.twin(some, **{name: truth.another(some, name)})
    differs = (some.pixels != other.pixels).any(axis=-1)
    either = some.mask(name) | other.mask(name)
    assert (differs & either).sum(axis=(1, 2)).min() >= 8
    assert truth.footprint(some, other).mean() < 0.12


@pytest.mark.parametrize("name", WORDS)
def test_the_twin_of_the_twin_is_the_original(some: Scenes, name: str) -> None:
    there = truth.twin(some, **{name: truth.another(some, name)})
    back = truth.twin(there, **{name: some.fields[name]})
    assert np.array_equal(back.pixels, some.pixels)


def test_the_label_of_a_twin_follows_the_table(some: Scenes) -> None:
    other = truth.twin(some, tail="fanned", crest="plume")
    assert np.array_equal(other.labels, 4 * some.fields["wing"] + 2 + 1)
    assert np.array_equal(some.labels, scenes(41, 48).labels)


def test_what_is_removed_and_added_again_is_the_original(some: Scenes) -> None:
    bare = truth.remove(some, "tail")
    assert not bare.mask("tail").any()
    assert np.array_equal(truth.add(bare, "tail").pixels, some.pixels)


def test_another_value_is_another_and_free(some: Scenes) -> None:
    for name in WORDS:
        other = truth.another(some, name)
        assert (other != some.fields[name]).all()
        truth.twin(some, **{name: other})


@pytest.mark.parametrize(
    "changes", [{"wing": "striped"}, {"colour": 1}, {"wing": 3}, {"x": 2.0}, {"land": "the moon"}, {"tail": -1}]
)
def test_impossible_twins_are_refused(some: Scenes, changes: dict[str, object]) -> None:
    with pytest.raises(SceneError):
        truth.twin(some, **changes)


def test_hues_that_would_run_together_are_refused(some: Scenes) -> None:
    with pytest.raises(SceneError, match="run together"):
        truth.twin(some, wing_hue=some.fields["body_hue"])


def test_a_footprint_lies_between_twins_only(some: Scenes) -> None:
    with pytest.raises(SceneError, match="between twins"):
        truth.footprint(some, scenes(43, 48))


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


def test_the_answer_is_ready_to_be_shown(some: Scenes) -> None:
    scene = truth.twin(some[0], wing="dotted", tail="forked", crest="plume")
    (answer,) = truth.known(scene)
    assert answer.words == "the dotted wing, the forked tail, the plume"
    assert np.array_equal(answer.ungrown, truth.causal(scene)[0])
    assert np.array_equal(answer.mask, truth.grown(truth.causal(scene))[0])
    assert [tuple(box) for box in answer.boxes] == [tuple(map(float, scene.box_of(part)[0])) for part in DECIDING]
    assert "no plume" in truth.in_words(truth.twin(scene, crest="none"), Contrast(0, 1))


# Effects


def _linear(seed: int) -> Tensor:
    return torch.randn(12, 3 * 64 * 64, generator=torch.Generator().manual_seed(seed)) / 100


def test_the_effect_on_a_linear_net_is_the_weighted_difference_of_twins(some: Scenes) -> None:
    weights = _linear(1)
    effects = truth.effect(lambda x: x.flatten(1) @ weights.T, some[:6], Contrast(2, 5), fields=["tail", "wing"])
    direction = weights[2] - weights[5]

    def pull(drawn: Scenes) -> np.ndarray:
        return (drawn.tensor().flatten(1).double() @ direction.double()).numpy()

    start = some[:6]
    tail = pull(start) - pull(truth.twin(start, tail=1 - start.fields["tail"]))
    wings = [pull(start) - pull(truth.twin(start, wing=(start.fields["wing"] + step) % 3)) for step in (1, 2)]
    np.testing.assert_allclose(effects.drops["tail"], tail, atol=1e-4)
    np.testing.assert_allclose(effects.drops["wing"], np.mean(wings, axis=0), atol=1e-4)


def test_what_a_net_does_not_see_has_no_effect() -> None:
    """A net that reads only the upper left corner of pictures whose birds lie elsewhere."""
    drawn = scenes(44, 60, camera=0, clutter=0, occlusion=0)
    drawn = drawn[np.flatnonzero(~drawn.objects[:, :10, :10].any(axis=(1, 2)))]
    weights = _linear(2)[:, : 3 * 64] * 10
    effects = truth.effect(lambda x: x[:, :, :8, :8].flatten(1) @ weights.T, drawn)
    others = set(effects.drops) - {"land"}
    assert all(effects.mean(name) == effects.flipped(name) == 0 for name in others)
    assert np.abs(effects.drops["land"]).min() > 0
    assert set(effects.distractors()) == others


def test_causes_are_the_fewest_that_hold_nine_tenths_of_the_effect() -> None:
    drops = {"wing": [3.0, 5.0], "tail": [5.0, 5.0], "crest": [0.5, 1.1], "beak": [0.1, 0.3], "land": [-2.0, 0.0]}
    effects = truth.Effects({name: np.array(values) for name, values in drops.items()}, {})
    assert effects.causes() == ("tail", "wing")  # 9 of 10
    assert effects.causes(0.95) == ("tail", "wing", "crest")
    assert effects.distractors() == ("beak",)


def test_the_effect_of_a_cue_is_measured_like_any_other() -> None:
    drawn = scenes(45, 4, shortcut="tag")
    effects = truth.effect(lambda x: x[:, 0, 56:60, 4:7].flatten(1), drawn, fields=["cue", "tail"])
    assert np.abs(effects.drops["cue"]).max() > 0
    with pytest.raises(SceneError, match="cannot be measured"):
        truth.effect(lambda x: x.flatten(1), drawn, fields=["noise"])
