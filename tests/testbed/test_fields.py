"""The draws behind the scenes, against published hashes and against chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pellucid.errors import SceneError
from pellucid.testbed import TASKS, scenes
from pellucid.testbed.fields import CONTINUOUS, HUES, TOUCHING, WORDS, mix, name_hash, uniform_numbers
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


def test_label_noise_redraws_the_label_and_not_the_picture() -> None:
    noisy, clean = scenes(5, 3000, label_noise=0.3), scenes(5, 3000)
    assert np.array_equal(noisy.true_labels, clean.labels)
    assert (noisy.labels != clean.labels).mean() == pytest.approx(0.3 * 11 / 12, abs=0.03)
    assert np.array_equal(noisy[:5].pixels, clean[:5].pixels)


@pytest.mark.parametrize(
    "settings",
    [
        {"task": "colour"},
        {"shortcut": "smell"},
        {"strength": 1.5},
        {"size": 4},
        {"task": "wing3", "shortcut": "tag"},
        {"colour": 3},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(SceneError):
        scenes(0, 1, **settings)


@pytest.mark.parametrize("index", [[-1], [[0, 1]]])
def test_impossible_indices_are_refused(index: list[int]) -> None:
    with pytest.raises(SceneError, match="Indices"):
        scenes(0, index)


def test_attributes_are_in_words() -> None:
    attributes = scenes(2, 1).attributes[0]
    assert attributes["wing"] in WORDS["wing"]
    assert attributes["body_hue"] in HUES
    assert isinstance(attributes["has_wing"], bool)
