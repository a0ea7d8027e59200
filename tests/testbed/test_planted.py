"""Every planted net: its units fire exactly where they are said to, and it opens like any other model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pellucid as pl
from pellucid.errors import UnknownModel
from pellucid.testbed.fields import LANDS, WORDS
from pellucid.testbed.planted import BUILDERS, Planted
from tests.testbed.planted_runs import SIDE, activations, on_pixels, stimuli_of

OF_SCENES = ("hues", "logic", "mixed", "path", "parts", "twoface", "spurious")


@pytest.fixture(scope="module", params=BUILDERS)
def planted(request: pytest.FixtureRequest) -> Planted:
    return BUILDERS[request.param]()


@pytest.mark.parametrize("name", OF_SCENES)
def test_every_unit_fires_if_and_only_if_its_concept_shows(name: str) -> None:
    """2,000 scenes, every unit, every pixel: no exception."""
    net = BUILDERS[name]()
    shown = stimuli_of(net)
    seen = activations(net, shown, *{unit.layer for unit in net.units})
    for unit in net.units:
        values = seen[unit.layer][:, unit.index]
        fires = values.flatten(1).amax(dim=1) if values.ndim > 1 else values
        wrong = np.flatnonzero((fires.numpy() > unit.threshold) != unit.fires(shown))
        assert len(wrong) == 0, f"{unit.name}: wrong in {len(wrong)} scenes, first {wrong[:3]}"
        if unit.where is not None:
            differs = (on_pixels(values, SIDE) > unit.threshold) != unit.where(shown)
            assert differs.sum() == 0, f"{unit.name}: wrong on {differs.sum()} pixels"


@pytest.mark.parametrize("name", ["hues", "logic", "parts", "twoface", "spurious"])
def test_a_detector_is_exactly_one_or_exactly_zero(name: str) -> None:
    net = BUILDERS[name]()
    units = activations(net, stimuli_of(net)[:200], "detect.units")["detect.units"]
    assert set(units.unique().tolist()) == {0.0, 1.0}


def test_units_of_one_picture_size_are_right_at_another() -> None:
    net = BUILDERS["hues"]()
    shown = stimuli_of(net, count=60, side=64)
    units = activations(net, shown, "detect.units")["detect.units"].numpy() > 0.5
    for unit in net.units:
        assert np.array_equal(units[:, unit.index], unit.where(shown)), unit.name  # type: ignore[misc]


def test_every_unit_has_a_name_a_margin_and_a_place_in_the_net(planted: Planted) -> None:
    for unit in planted.units:
        assert unit.name and unit.margin > 0 and 0 < unit.threshold < 1
        planted.module.get_submodule(unit.layer)
        assert unit.accepts(unit.name.upper()) and all(unit.accepts(word) for word in unit.words)
        assert not unit.accepts("a cat")
        assert planted.unit(unit.name).name == unit.name
    for head in planted.heads:
        planted.module.get_submodule(head.layer)
    for path in planted.paths:
        assert len(path.layers) == len(path.channels)


def test_no_description_is_right_for_two_units_of_one_layer(planted: Planted) -> None:
    for layer in {unit.layer for unit in planted.units if unit.where is not None}:
        said = [word for unit in planted.units if unit.layer == layer for word in {unit.name, *unit.words}]
        if planted.name != "path":  # one plume in one channel of each layer
            assert len(said) == len(set(said)), sorted(word for word in said if said.count(word) > 1)


def test_captions_words_are_accepted() -> None:
    """A dual encoder that knows the world's own words can name every hue, landscape and pattern."""
    hues = BUILDERS["hues"]()
    for hue in (*WORDS["body_hue"], *LANDS):
        assert hues.unit(hue).accepts(hue)
    parts = BUILDERS["parts"]()
    for word in (*WORDS["wing"], *WORDS["tail"], "plume"):
        assert any(unit.accepts(word) for unit in parts.units), word


def test_building_draws_no_random_number_and_gives_the_same_net() -> None:
    before = torch.get_rng_state()
    for name, build in BUILDERS.items():
        first, second = build().module.state_dict(), build().module.state_dict()
        assert all(torch.equal(first[key], second[key]) for key in first), name
        assert all(value.dtype in (torch.float32, torch.bool) for value in first.values())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_planted_net_opens_as_a_model(planted: Planted) -> None:
    model = pl.load(f"testbed:planted_{planted.name}")
    assert tuple(model.labels) == planted.labels
    assert (model.layers.default.name if model.layers.default else None) == planted.default_layer
    known = set(model.layers)
    assert {unit.layer for unit in planted.units} | {head.layer for head in planted.heads} <= known
    shown = planted.pictures(planted.stimuli(3, 2))
    assert shown.shape == (2, 3, planted.size, planted.size) and 0 <= shown.min() and shown.max() <= 1
    with torch.no_grad():
        torch.testing.assert_close(model.predict(shown), planted.module(shown))


def test_a_misspelt_planted_net_is_named() -> None:
    with pytest.raises(UnknownModel, match="planted_path"):
        pl.load("testbed:planted_pat")
