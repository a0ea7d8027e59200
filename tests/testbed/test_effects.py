"""Effects: how much a net's answer owes to each part, checked where that is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.errors import SceneError
from pellucid.testbed import TASKS, scenes, truth
from pellucid.testbed.effects import MOST_TWINS, others
from pellucid.testbed.scene import Scenes
from pellucid.values import Contrast


@pytest.fixture(scope="module")
def some() -> Scenes:
    return scenes(41, 6)


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
    drawn = scenes(44, 30, camera=0, clutter=0, occlusion=0)
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


class Knowing:
    """A net that knows every picture it may be shown, and adds up scores of the values of its fields."""

    def __init__(self, drawn: Scenes, scores: dict[str, Tensor]) -> None:
        self.scores = scores
        self.seen: dict[bytes, dict[str, int]] = {}
        for batch in (drawn, *(twin for name in truth.tried(drawn) for twin in others(drawn, name))):
            for scene in batch:
                values = {name: int(scene.fields[name][0]) for name in scores}
                self.seen[scene.tensor().numpy().tobytes()] = values

    def __call__(self, pictures: Tensor) -> Tensor:
        rows = [self.seen[picture[None].numpy().tobytes()] for picture in pictures]
        return torch.stack([sum(self.scores[name][value] for name, value in row.items()) for row in rows])  # type: ignore[misc]


def test_effects_on_an_additive_net_are_its_scores() -> None:
    """The difference of two classes falls by score(value) - mean score of the other values, part by part."""
    drawn = scenes(51, 3)
    generator = torch.Generator().manual_seed(3)
    values = {"wing": 3, "tail": 2, "crest": 2}
    scores = {name: torch.randn(count, 12, generator=generator) for name, count in values.items()}
    effects = truth.effect(Knowing(drawn, scores), drawn, Contrast(4, 9))
    for name, table in scores.items():
        margin = (table[:, 4] - table[:, 9]).double().numpy()
        value = drawn.fields[name]
        rest = (margin.sum() - margin[value]) / (len(margin) - 1)
        np.testing.assert_allclose(effects.drops[name], margin[value] - rest, atol=1e-5)
    unread = set(effects.drops) - set(scores)
    assert all(np.abs(effects.drops[name]).max() < 1e-5 for name in unread)
    assert set(effects.distractors()) >= unread


def test_log_probabilities_and_logits_are_one() -> None:
    drawn = scenes(51, 4)
    weights = _linear(5)
    logits = truth.effect(lambda x: x.flatten(1) @ weights.T, drawn, 3, fields=["tail"])
    logs = truth.effect(lambda x: (x.flatten(1) @ weights.T).log_softmax(dim=1), drawn, 3, fields=["tail"])
    np.testing.assert_allclose(logits.drops["tail"], logs.drops["tail"], atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        *({"task": task} for task in sorted(TASKS)),
        {"mode": "flock"},
        {"mode": "parts_missing"},
        {"shortcut": "tag"},
        {"shortcut": "trace", "mode": "parts_missing"},
    ],
)
def test_no_scene_is_painted_more_than_32_times(settings: dict[str, str]) -> None:
    drawn = scenes(52, 2, **settings)
    assert sum(len(others(drawn, name)) for name in truth.tried(drawn)) <= MOST_TWINS == 32


def test_every_removable_part_and_the_grass_can_be_tried() -> None:
    drawn = scenes(52, 4)
    names = [f"has_{part}" for part in ("wing", "tail", "bib", "beak", "eye", "body", "head")]
    effects = truth.effect(lambda x: x.flatten(1) @ _linear(6).T, drawn, 0, fields=[*names, "occ", "feet", "crest"])
    assert all(np.abs(effects.drops[name]).min() > 0 for name in names)


def test_in_flocks_birds_are_taken_away_and_tails_change_together() -> None:
    side, count = scenes(53, 4, task="side"), scenes(53, 4, task="count")
    (swapped,) = others(side, "tail")
    (moved,) = others(side, "cell")
    assert np.array_equal(swapped.labels, 1 - side.labels) and np.array_equal(moved.labels, 1 - side.labels)
    assert len(others(count, "birds")) == 3
    effects = truth.effect(lambda x: x.flatten(1)[:, :4], count)
    assert set(effects.drops) == {"birds", "land", "prop0", "prop1", "prop2"}


def test_too_many_twins_are_refused() -> None:
    drawn = scenes(52, 2, mode="flock")
    beaks = [f"bird{bird}_beak" for bird in (1, 2, 3)]
    with pytest.raises(SceneError, match="takes 33 twins of each scene; the most is 32"):
        truth.effect(lambda x: x.flatten(1), drawn, fields=[*truth.tried(drawn), *beaks, "beak", "feet"])


def test_causes_in_one_scene_are_its_own() -> None:
    effects = truth.Effects({"wing": np.array([5.0, 0.0]), "tail": np.array([0.1, 1.0])}, {})
    assert effects.causes(at=0) == ("wing",) and effects.causes(at=1) == ("tail",)
    assert effects.distractors(at=0) == ("tail",) and effects.distractors(at=1) == ("wing",)
