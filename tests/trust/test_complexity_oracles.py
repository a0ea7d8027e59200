"""Sparseness, spread and agreement of maps whose figures are known in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from pellucid.trust.agreement import rank_agreement, sign_agreement, top_agreement, transport_distance
from pellucid.trust.complexity import complexity, effective_size, sparseness

SHAPE = (1, 10, 12)
PIXELS = 120


def one_pixel() -> torch.Tensor:
    values = torch.zeros(SHAPE)
    values[0, 4, 7] = -3.0
    return values


def test_one_pixel_is_as_sparse_as_can_be_and_a_flat_map_as_wide() -> None:
    maps = {"one": one_pixel(), "flat": torch.full(SHAPE, 0.2), "nothing": torch.zeros(SHAPE)}
    assert [float(sparseness(maps).values[name]) for name in maps] == pytest.approx([1 - 1 / PIXELS, 0, 0])
    assert [float(complexity(maps).values[name]) for name in maps] == pytest.approx([0, 1, 1])
    assert [float(effective_size(maps).values[name]) for name in maps] == pytest.approx([1 / PIXELS, 0.9, 1])


def test_equal_pixels_among_nothing_have_closed_forms() -> None:
    values = torch.zeros(SHAPE)
    values[0, 0] = 5.0  # 12 of 120
    maps = {"map": values}
    assert float(sparseness(maps).values["map"]) == pytest.approx(1 - 12 / PIXELS)
    assert float(complexity(maps).values["map"]) == pytest.approx(math.log(12) / math.log(PIXELS))
    assert float(effective_size(maps, mass=0.5).values["map"]) == pytest.approx(6 / PIXELS)


@pytest.mark.parametrize("factor", [1e-12, 3.0, -7.0])
def test_scale_and_sign_of_a_map_change_nothing(factor: float) -> None:
    values = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    for measure in (sparseness, complexity, effective_size):
        found, scaled = (float(measure({"map": one}).values["map"]) for one in (values, factor * values))
        assert scaled == pytest.approx(found, rel=1e-4)


def test_equal_maps_agree_and_opposite_ones_do_not() -> None:
    values = torch.randperm(PIXELS, generator=torch.Generator().manual_seed(2)).float().view(SHAPE) - 60
    same = {"a": values, "b": 2 * values}
    assert float(rank_agreement(same).values["a"]) == pytest.approx(1)
    assert float(top_agreement(same).values["a"]) == pytest.approx(1)
    assert float(sign_agreement(same).values["a"]) == pytest.approx(1)
    opposite = {"a": values, "b": -values}
    assert float(rank_agreement(opposite).values["a"]) == pytest.approx(-1)
    assert float(top_agreement(opposite).values["a"]) == 0 == float(sign_agreement(opposite).values["a"])


def test_agreement_is_the_mean_over_the_other_methods_and_controls_do_not_count() -> None:
    values = torch.randperm(PIXELS, generator=torch.Generator().manual_seed(3)).float().view(SHAPE)
    maps = {"a": values, "b": values, "c": -values, "control random": -values}
    found = rank_agreement(maps).values
    assert float(found["a"]) == pytest.approx(0) and float(found["c"]) == pytest.approx(-1)
    assert float(found["control random"]) == pytest.approx(-1 / 3)
    assert math.isnan(float(rank_agreement({"a": values, "control random": values}).values["a"]))


def test_a_map_is_carried_as_far_as_its_mass_lies_away() -> None:
    here, there, half = torch.zeros(3, 1, 16, 32).unbind()
    here[0, 0, 0] = 3.0
    there[0, 0, 16] = 1.0
    half[0, 0, 0] = half[0, 0, 16] = 1.0
    diagonal = math.hypot(16, 32)
    far = transport_distance({"a": here, "b": there}).values
    assert float(far["a"]) == pytest.approx(16 / diagonal) == pytest.approx(float(far["b"]))
    assert float(transport_distance({"a": here, "b": half}).values["a"]) == pytest.approx(8 / diagonal)
    assert float(transport_distance({"a": here, "b": 5 * here}).values["a"]) == pytest.approx(0, abs=1e-9)
    nothing = transport_distance({"a": here, "b": there, "c": -here}).values
    assert float(nothing["a"]) == pytest.approx(16 / diagonal) and math.isnan(float(nothing["c"]))


def test_unrelated_maps_share_what_chance_gives() -> None:
    generator = torch.Generator().manual_seed(4)
    maps = {"a": torch.rand(40, 32, 32, generator=generator), "b": torch.rand(40, 32, 32, generator=generator)}
    assert float(top_agreement(maps, top=0.1).values["a"].mean()) == pytest.approx(0.1, abs=0.02)
