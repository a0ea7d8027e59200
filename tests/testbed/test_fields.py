"""The draws behind the scenes, against published hashes and against chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pellucid.errors import SceneError
from pellucid.testbed import TASKS, scenes
from pellucid.testbed.chance import mix, name_hash, uniform_numbers
from pellucid.testbed.fields import CONTINUOUS, HUES, REMOVABLE, TOUCHING, WORDS, of_bird
from pellucid.testbed.scene import Scenes


@pytest.fixture(scope="module")
def many() -> Scenes:
    """Drawn, never painted."""
    return scenes(11, 20_000)


def test_the_mixer_is_splitmix64() -> None:
    """Steele, Lea and Flood's generator from state 0 gives these three numbers; its state grows by the golden ratio."""
    golden = 0x9E3779B97F4A7C15
    states = np.array([(golden * turn) % 2**64 for turn in (1, 2, 3)], dtype=np.uint64)
    assert mix(states).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_names_are_hashed_by_fnv_1a() -> None:
    """Test vectors of the authors of the hash."""
    assert name_hash("") == 0xCBF29CE484222325
    assert name_hash("a") == 0xAF63DC4C8601EC8C
    assert name_hash("foobar") == 0x85944171F73967E8


@pytest.mark.parametrize("name", [name for name in WORDS if name not in TOUCHING])
def test_every_value_of_a_field_is_equally_frequent(many: Scenes, name: str) -> None:
    count, values = len(many), len(WORDS[name])
    deviation = np.sqrt(count * (1 / values) * (1 - 1 / values))
    assert np.abs(np.bincount(many.fields[name], minlength=values) - count / values).max() < 4 * deviation


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_fields_are_uniform(name: str) -> None:
    drawn = uniform_numbers(11, np.arange(20_000), name)
    assert drawn.dtype == np.float32
    assert stats.kstest(drawn, "uniform").pvalue > 1e-4


def test_hues_that_touch_differ_and_are_otherwise_uniform(many: Scenes) -> None:
    for name in TOUCHING:
        steps = (many.fields[name] - many.fields["body_hue"]) % 6
        assert steps.min() >= 1
        assert stats.chisquare(np.bincount(steps)[1:]).pvalue > 1e-4


def test_fields_are_independent(many: Scenes) -> None:
    names = [name for name in WORDS if name not in TOUCHING]
    pairs = [(one, other) for at, one in enumerate(names) for other in names[at + 1 :]]
    for one, other in pairs:
        table = np.zeros((len(WORDS[one]), len(WORDS[other])))
        np.add.at(table, (many.fields[one], many.fields[other]), 1)
        chance = stats.chi2_contingency(table).pvalue
        assert chance > 0.01 / len(pairs), f"{one} and {other}: {chance:.1e}"


def test_seeds_are_independent() -> None:
    one, other = (uniform_numbers(seed, np.arange(20_000), "wing") for seed in (0, 1))
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(20_000)


@pytest.mark.parametrize(("strength", "expected"), [(1.0, np.log(6)), (0.0, 0.0)])
def test_the_cue_tells_the_label_as_often_as_asked(strength: float, expected: float) -> None:
    drawn = scenes(12, 20_000, shortcut="tag", strength=strength)
    table = np.zeros((6, 6))
    np.add.at(table, (drawn.cue, drawn.labels // 2), 1 / len(drawn))
    outer = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True)
    information = float((table[table > 0] * np.log(table[table > 0] / outer[table > 0])).sum())
    assert information == pytest.approx(expected, abs=2e-3)
    assert drawn.aligned.mean() == pytest.approx(strength + (1 - strength) / 6, abs=0.01)


def test_a_shortcut_changes_no_other_draw() -> None:
    plain, biased = scenes(3, 50), scenes(3, 50, shortcut="background", strength=0.95)
    assert all(np.array_equal(plain.fields[name], biased.fields[name]) for name in plain.fields if name != "land")


def test_the_species_are_the_full_table() -> None:
    """4 * wing + 2 * tail + crest, and each class has four neighbours at one part's distance."""
    task = TASKS["species"]
    assert len(set(task.labels)) == 12
    assert task.labels[7] == "crowned pebble wren"
    assert task.row(7) == {"wing": 1, "tail": 1, "crest": 1}
    for label in range(12):
        assert sum(len(task.differing(label, other)) == 1 for other in range(12)) == 4


@pytest.mark.parametrize("name", TASKS)
def test_every_task_uses_all_its_classes(name: str) -> None:
    drawn = scenes(4, 2000, task=name)
    assert set(drawn.labels.tolist()) == set(range(len(TASKS[name].labels)))


def test_logical_tasks_follow_their_tables() -> None:
    drawn = scenes(4, 200)
    plume, fan = drawn.fields["crest"] == 1, drawn.fields["tail"] == 1
    for name, expected in (("xor", plume ^ fan), ("and", plume & fan), ("or", plume | fan)):
        assert np.array_equal(drawn.with_world(task=name).labels, expected.astype(int))


@pytest.mark.parametrize(
    "settings", [{"mode": "flock"}, {"task": "count"}, {"shortcut": "tag"}, {"odour": 1}, {"size": 3}]
)
def test_what_was_not_drawn_cannot_be_seen(settings: dict[str, object]) -> None:
    with pytest.raises(SceneError):
        scenes(4, 2).with_world(**settings)
    with pytest.raises(SceneError, match="without that"):
        scenes(4, 2, mode="flock").with_world(task="side")


def test_label_noise_redraws_the_label_and_not_the_picture() -> None:
    noisy, clean = scenes(5, 3000, label_noise=0.3), scenes(5, 3000)
    assert np.array_equal(noisy.true_labels, clean.labels)
    assert (noisy.labels != clean.labels).mean() == pytest.approx(0.3 * 11 / 12, abs=0.03)
    assert np.array_equal(noisy[:5].pixels, clean[:5].pixels)


def test_groups_are_class_and_cue() -> None:
    drawn = scenes(12, 500, shortcut="frame", strength=0.5)
    assert np.array_equal(drawn.groups // 6, drawn.labels) and np.array_equal(drawn.groups % 6, drawn.cue)
    assert np.array_equal(drawn.aligned, drawn.cue == drawn.labels // 2)


def test_each_part_is_missing_as_often_as_asked_and_never_body_or_head() -> None:
    drawn = scenes(6, 20_000, mode="parts_missing")
    deviation = np.sqrt(len(drawn) * 0.15 * 0.85)
    for part in REMOVABLE:
        assert abs((drawn.fields[f"has_{part}"] == 0).sum() - 0.15 * len(drawn)) < 4 * deviation
    assert drawn.fields["has_body"].all() and drawn.fields["has_head"].all()


def test_a_missing_cause_leaves_every_class_that_still_fits() -> None:
    """Counted out from the table: 3 wings if the wing is missing, times 2 tails if the tail is."""
    drawn = scenes(6, 2000, mode="parts_missing")
    missing_wing, missing_tail = (drawn.fields[f"has_{part}"] == 0 for part in ("wing", "tail"))
    fitting = np.where(missing_wing, 3, 1) * np.where(missing_tail, 2, 1)
    assert np.array_equal((drawn.targets > 0).sum(axis=1), fitting)
    np.testing.assert_allclose(drawn.targets.sum(axis=1), 1, rtol=1e-6)
    assert (drawn.targets[np.arange(len(drawn)), drawn.true_labels] > 0).all()
    assert np.array_equal(drawn.decided, fitting == 1)
    assert np.array_equal(drawn.targets[drawn.decided].argmax(axis=1), drawn.labels[drawn.decided])


def test_a_missing_cause_does_not_matter_where_the_other_decides_alone() -> None:
    """A bare head is never "plume and fan", whatever the tail."""
    drawn = scenes(6, 3000, mode="parts_missing", task="and")
    tailless = drawn.fields["has_tail"] == 0
    assert np.array_equal(drawn.decided, ~(tailless & (drawn.fields["crest"] == 1)))
    both = scenes(6, 3000, mode="parts_missing", task="xor")
    assert np.array_equal(both.decided, both.fields["has_tail"] == 1)


# Flocks


def test_flocks_have_two_to_four_birds_and_counting_begins_at_one() -> None:
    for task, counts in (("species", (2, 3, 4)), ("count", (1, 2, 3, 4)), ("side", (2,))):
        drawn = scenes(7, 4000, mode="flock", task=task)
        found, times = np.unique(drawn.counts, return_counts=True)
        assert tuple(found) == counts
        assert len(counts) == 1 or stats.chisquare(times).pvalue > 1e-4


def test_the_first_bird_of_a_flock_is_the_one_of_the_solo_scene() -> None:
    """Fields are drawn by name, so a flock is the same scene with more birds in it."""
    alone, flock = scenes(7, 50), scenes(7, 50, mode="flock")
    assert all(np.array_equal(alone.fields[name], flock.fields[name]) for name in alone.fields)
    species = alone.labels
    assert np.array_equal(flock.bird_labels[:, 0], species)


def test_birds_of_a_flock_are_independent_and_never_share_a_cell() -> None:
    drawn = scenes(7, 8000, mode="flock")
    cells = np.stack([drawn.fields[of_bird(bird, "cell")] for bird in range(4)], axis=1)
    assert (np.sort(cells, axis=1) == np.arange(4)).all()
    for name in ("wing", "body_hue", "cell"):
        table = np.zeros((6, 6))
        np.add.at(table, (drawn.fields[name], drawn.fields[f"bird1_{name}"]), 1)
        table = table[table.any(axis=1)][:, table.any(axis=0)]
        if name != "cell":  # cells exclude each other
            assert stats.chi2_contingency(table).pvalue > 1e-3
    for bird in range(4):
        assert stats.chisquare(np.bincount(cells[:, bird])).pvalue > 1e-4


def test_in_the_task_side_one_bird_is_a_swift_left_or_right_of_a_wren() -> None:
    drawn = scenes(7, 4000, task="side")
    first_left = drawn.fields["cell"] % 2 == 0
    assert (first_left != (drawn.fields["bird1_cell"] % 2 == 0)).all()
    assert (drawn.fields["tail"] != drawn.fields["bird1_tail"]).all()
    swift_left = np.where(first_left, drawn.fields["tail"], drawn.fields["bird1_tail"]) == 0
    assert np.array_equal(drawn.labels, np.where(swift_left, 0, 1))
    assert abs(drawn.labels.mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)


def test_a_flock_has_no_one_species() -> None:
    with pytest.raises(SceneError, match="bird_labels"):
        scenes(7, 2, mode="flock").labels
    drawn = scenes(7, 200, mode="flock")
    assert np.array_equal((drawn.bird_labels >= 0).sum(axis=1), drawn.counts)


@pytest.mark.parametrize(
    "settings",
    [
        {"task": "colour"},
        {"shortcut": "smell"},
        {"strength": 1.5},
        {"size": 4},
        {"task": "wing3", "shortcut": "tag"},
        {"mode": "flock", "shortcut": "tag"},
        {"mode": "crowd"},
        {"task": "side", "parts_missing": 0.1},
        {"jpeg": 0},
        {"clutter": -1},
        {"colour": 3},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(SceneError):
        scenes(1, 1, **settings)


@pytest.mark.parametrize("index", [[-1], pytest.param([[0, 1]], marks=pytest.mark.untyped)])
def test_impossible_indices_are_refused(index: list[int]) -> None:
    with pytest.raises(SceneError, match="Indices"):
        scenes(1, index)


def test_attributes_are_in_words() -> None:
    attributes = scenes(2, 1).attributes[0]
    assert attributes["wing"] in WORDS["wing"]
    assert attributes["body_hue"] in HUES
    assert isinstance(attributes["has_wing"], bool)
