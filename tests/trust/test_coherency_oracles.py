"""Maps of pictures seen through maps, and the figures made of them."""

from __future__ import annotations

from collections.abc import Collection

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import pellucid as pl
from pellucid.engine import Evidence
from pellucid.registry import metrics
from pellucid.trust.coherency import adcc, arcc, coherency
from pellucid.trust.masking import average_drop
from pellucid.trust.measured import control
from pellucid.trust.road import road
from tests.oracles.nets import pictures
from tests.trust.linear import CLASS, linear
from tests.trust.test_masking_oracles import brightness


class Methods:
    """Maps made of pictures by hand; counts how often each is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, *, inputs: Tensor, names: Collection[str], **_: object) -> dict[str, Tensor]:
        self.asked += names
        made = {
            "still": torch.arange(48.0).view(1, 6, 8).expand(len(inputs), -1, -1),
            "turned": -torch.arange(48.0).view(1, 6, 8).expand(len(inputs), -1, -1),
            "bright": inputs.mean(dim=1),
            "flat": torch.zeros(len(inputs), 6, 8),
        }
        return {name: made[name] for name in names}


def maps_of(evidence: Evidence) -> dict[str, Tensor]:
    ramp = torch.arange(48.0).view(1, 6, 8).expand(len(evidence), -1, -1)
    return {"still": ramp, "turned": ramp, "bright": evidence.inputs.mean(dim=1), "flat": ramp}


def test_a_map_that_stays_is_coherent_one_that_turns_is_not_and_one_that_dies_is_unrelated() -> None:
    evidence, methods = brightness(), Methods()
    found = coherency(evidence, maps_of(evidence), methods).values  # type: ignore[arg-type]
    for name, expected in (("still", 1.0), ("turned", 0.0), ("flat", 0.5)):
        assert_close(found[name], torch.full((3,), expected))
    own = evidence.inputs.mean(dim=1)
    scaled = (own - own.amin((1, 2), True)) / (own.amax((1, 2), True) - own.amin((1, 2), True))
    again = (evidence.inputs * scaled[:, None]).mean(dim=1)
    expected = [
        float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])
        for one, other in zip(own, again, strict=True)
    ]
    assert_close(found["bright"], (1 + torch.tensor(expected)) / 2, rtol=1e-4, atol=1e-4)


def test_adcc_is_the_harmonic_mean_of_its_three_parts() -> None:
    evidence, methods = brightness(), Methods()
    maps = maps_of(evidence)
    found = adcc(evidence, maps, methods)  # type: ignore[arg-type]
    agreement = coherency(evidence, maps, methods).values["bright"]  # type: ignore[arg-type]
    assert sorted(methods.asked) == sorted(maps), "a map was made again that was known"
    lost = average_drop(evidence, maps, areas=(1.0,)).values["bright"]
    own = maps["bright"]
    scaled = (own - own.amin((1, 2), True)) / (own.amax((1, 2), True) - own.amin((1, 2), True))
    brief = 1 - scaled.mean(dim=(1, 2))
    assert_close(found.values["bright"], 3 / (1 / agreement + 1 / brief + 1 / (1 - lost)), rtol=1e-3, atol=1e-4)
    assert_close(found.values["turned"], torch.zeros(3))


def test_a_map_that_hides_nothing_or_everything_scores_nothing() -> None:
    evidence, methods = brightness(), Methods()
    maps = {"flat": torch.ones(3, 6, 8), "still": torch.zeros(3, 6, 8)}
    found = adcc(evidence, maps, methods).values  # type: ignore[arg-type]
    assert_close(found["flat"], torch.zeros(3))
    assert_close(found["still"], torch.zeros(3), atol=1e-2, rtol=0)


def test_arcc_takes_twice_road_in_place_of_the_drop() -> None:
    evidence, methods = brightness(), Methods()
    maps = maps_of(evidence)
    found = arcc(evidence, maps, methods)  # type: ignore[arg-type]
    parts = found.curves["bright"]
    kept = road(evidence, maps, parts=(0.2, 0.4, 0.6, 0.8)).values["bright"]
    assert_close(torch.tensor(parts["2 ROAD"]), (2 * kept).clamp(0, 1))
    harmonic = 3 / sum(1 / torch.tensor(parts[name]) for name in parts)
    assert_close(found.values["bright"], torch.where(kept > 0, harmonic, torch.zeros(3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["coherency", "adcc", "arcc"])
def test_real_maps_and_controls_are_made_again_one_by_one(name: str) -> None:
    model, inputs = linear(16, 16), pictures(2, 16, 16)
    heats = pl.attribute(model, inputs, ["gradient", "gradient_x_input"], target=CLASS)
    scores = {score.method: score for score in pl.evaluate(model, inputs, heats, name)}
    assert set(scores) == {"gradient", "gradient_x_input"}
    assert metrics()[name].remakes
    if name == "coherency":
        # A linear model has one gradient, and the centre is the centre.
        assert_close(torch.tensor(scores["gradient"].values), torch.ones(2))
        assert_close(torch.tensor(scores["gradient"].centre), torch.ones(2))
        assert abs(scores["gradient"].random[0] - 0.5) < 0.2, control("random")
