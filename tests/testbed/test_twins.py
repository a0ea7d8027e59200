"""Twins: nothing moves but what was changed, to the byte."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from pellucid.errors import SceneError
from pellucid.testbed import scenes, truth
from pellucid.testbed.fields import BIRDS, LASTING, REMOVABLE, WORDS
from pellucid.testbed.scene import Scenes

DECIDING = ("wing", "tail", "crest")
PARTS = (*REMOVABLE, *LASTING, "crest", "feet", "grass", "prop0", "prop1", "prop2")
PLACING = ("x", "y", "scale", "rot")
EVERYWHERE = ("light", "noise", "blur", "vig")


@pytest.fixture(scope="module")
def some() -> Scenes:
    return scenes(41, 48)


def twins(drawn: Scenes, names: tuple[str, ...] = tuple(WORDS)) -> Iterator[tuple[str, Scenes]]:
    """One twin for each field with words, and one for each part that is taken out."""
    for name in names:
        yield name, truth.twin(drawn, **{name: truth.another(drawn, name)})
    for part in PARTS:
        yield f"without {part}", truth.remove(drawn, part)


def strays(drawn: Scenes, other: Scenes) -> int:
    """Pixels that differ outside the footprint."""
    differs = (drawn.pixels != other.pixels).any(axis=-1)
    return int((differs & ~truth.footprint(drawn, other)).sum())


@pytest.mark.parametrize(
    ("size", "count", "settings"),
    [
        (64, 8, {}),
        (64, 8, {"camera": 0.0}),
        (128, 3, {}),
        (128, 3, {"camera": 0.0}),
        (224, 2, {}),
        (224, 2, {"camera": 0.0}),
        (64, 6, {"jpeg": 40}),
        (100, 3, {"jpeg": 90, "camera": 0.0}),
        (64, 6, {"flat": True}),
        (64, 6, {"mode": "parts_missing"}),
    ],
)
def test_twins_are_equal_outside_their_footprint(size: int, count: int, settings: dict[str, object]) -> None:
    drawn = scenes(42, count, size=size, occlusion=0.5, **settings)
    for what, other in twins(drawn):
        assert strays(drawn, other) == 0, what


@pytest.mark.parametrize("shortcut", ["background", "tag", "frame", "trace"])
def test_so_are_twins_of_scenes_with_a_shortcut(shortcut: str) -> None:
    drawn = scenes(42, 8, shortcut=shortcut)
    names = ("land", "tail", "beak", *(["cue"] if shortcut != "background" else []))
    for what, other in twins(drawn, names):
        assert strays(drawn, other) == 0, what


@pytest.mark.parametrize("settings", [{}, {"jpeg": 60}, {"task": "count"}])
def test_so_are_twins_of_flocks(settings: dict[str, object]) -> None:
    drawn = scenes(42, 6, mode="flock", **settings)
    names = ("land", "tail", "bird1_tail", "bird2_crest", "bird3_body_hue", "bird1_flip", "birds")
    for what, other in twins(drawn, names):
        assert strays(drawn, other) == 0, what
    for bird in range(BIRDS):
        without = truth.remove(drawn, "wing", bird=bird)
        assert strays(drawn, without) == 0
        assert not without.mask("wing", bird=bird).any()


@pytest.mark.parametrize("mode", ["solo", "flock"])
def test_a_bird_that_moves_changes_only_where_it_was_and_is(mode: str) -> None:
    drawn = scenes(43, 6, mode=mode, occlusion=0)
    for name in (*PLACING, *([f"bird1_{name}" for name in PLACING] if mode == "flock" else [])):
        other = truth.twin(drawn, **{name: 1 - drawn.fields[name]})
        assert strays(drawn, other) == 0, name
        assert truth.footprint(drawn, other).mean() < 0.6, name


@pytest.mark.parametrize("name", ["tint", "hill1", "hill2", "hillp", "sun", "sunx", *EVERYWHERE])
def test_landscape_and_camera_reach_as_far_as_they_show(name: str) -> None:
    drawn = scenes(43, 8)
    other = truth.twin(drawn, **{name: 1 - drawn.fields[name]})
    assert strays(drawn, other) == 0
    assert truth.footprint(drawn, other).all() == (name in EVERYWHERE)


def test_a_footprint_in_jpeg_is_whole_blocks_and_one_pixel() -> None:
    """16 x 16 pixels, since colour is kept at half the resolution; smoothing it carries one pixel further."""
    plain, saved = (scenes(44, 12, camera=0, **settings) for settings in ({}, {"jpeg": 75}))
    small, large = (truth.footprint(drawn, truth.remove(drawn, "tail")) for drawn in (plain, saved))
    blocks = small.reshape(12, 4, 16, 4, 16).any(axis=(2, 4))
    whole = np.repeat(np.repeat(blocks, 16, axis=1), 16, axis=2)
    assert np.array_equal(large, truth.grown(whole))
    changed = (saved.pixels != truth.remove(saved, "tail").pixels).any(axis=-1)
    assert (changed & ~whole).any(), "the extra pixel is needed"


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


@pytest.mark.parametrize("part", [*REMOVABLE, *LASTING])
def test_what_is_removed_and_added_again_is_the_original(some: Scenes, part: str) -> None:
    bare = truth.remove(some, part)
    assert not bare.mask(part).any()
    assert np.array_equal(truth.add(bare, part).pixels, some.pixels)


@pytest.mark.parametrize("part", ["crest", "feet", "grass", "prop0", "prop1", "prop2"])
def test_what_may_be_absent_can_be_added_and_taken_away(some: Scenes, part: str) -> None:
    full, bare = truth.add(some, part), truth.remove(some, part)
    name = "prop" if part.startswith("prop") else part
    assert (full.mask(name).sum(axis=(1, 2)) >= some.mask(name).sum(axis=(1, 2))).all()
    if name == part:
        assert full.mask(part).any(axis=(1, 2)).all() and not bare.mask(part).any()
    had = (some.pixels == full.pixels).all(axis=(1, 2, 3))
    assert (had | (some.pixels == bare.pixels).all(axis=(1, 2, 3))).all()


def test_a_landscape_can_be_pasted_behind_the_bird(some: Scenes) -> None:
    snow = truth.paste_land(some, "snow")
    assert set(snow.fields["land"].tolist()) == {3}
    assert np.array_equal(snow.parts, some.parts)


def test_taking_birds_from_a_flock_leaves_the_others_as_they_are() -> None:
    drawn = scenes(45, 24, mode="flock")
    fewer = truth.twin(drawn, birds="two")
    stayed = (drawn.birds == fewer.birds) | (drawn.birds > 2)
    assert stayed.all()
    assert (fewer.counts == 2).all() and (truth.twin(drawn, birds="four").counts == 4).all()


def test_twins_that_would_not_be_of_the_task_are_refused() -> None:
    side = scenes(45, 6, task="side")
    with pytest.raises(SceneError, match="together"):
        truth.twin(side, tail=1 - side.fields["tail"])
    swapped = truth.twin(side, tail=1 - side.fields["tail"], bird1_tail=1 - side.fields["bird1_tail"])
    assert np.array_equal(swapped.labels, 1 - side.labels)
    with pytest.raises(SceneError, match="another bird is there"):
        truth.twin(side, cell=side.fields["bird1_cell"])


def test_parts_and_birds_that_do_not_exist_are_refused(some: Scenes) -> None:
    for part, bird in (("horn", 0), ("wing", 1), ("wing", -1)):
        with pytest.raises(SceneError):
            truth.remove(some, part, bird=bird)


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
