"""Regions that go one after the other: on a linear model the curve is a running sum."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pellucid.engine import Evidence
from pellucid.engine.perturb import squares
from pellucid.errors import RequestError
from pellucid.trust.faithfulness import deletion
from pellucid.trust.regions import aopc, aopc_lerf, region_perturbation, selectivity
from tests.trust.linear import ends, looked, noise, worth


def lost_by_hand(evidence: Evidence, values: Tensor, side: int, *, smallest_first: bool = False) -> Tensor:
    """What is lost after 0, 1, 2 ... regions, [batch step]."""
    labels, value = squares(*evidence.size, side), worth(evidence)
    regions = range(int(labels.max()) + 1)
    given, taken = (
        torch.stack([part[:, labels == one].sum(dim=1) for one in regions], dim=1) for part in (values, value)
    )
    order = given.argsort(dim=1, descending=not smallest_first)
    lost = taken.gather(1, order).cumsum(dim=1)
    return torch.cat([torch.zeros(len(lost), 1), lost], dim=1)


@pytest.mark.parametrize("side", [2, 4])  # 6 x 8 pixels: 4 leaves a row of halves
def test_aopc_is_the_mean_loss_over_the_steps(side: int) -> None:
    evidence = looked()
    maps = {"map": noise(evidence)}
    most, least = aopc(evidence, maps, region=side, steps=3, fills=("mean",)), aopc_lerf(
        evidence, maps, region=side, steps=3, fills=("mean",)
    )  # fmt: skip
    lost = lost_by_hand(evidence, maps["map"], side)[:, :4]
    assert_close(most.values["map"], lost.mean(dim=1), rtol=1e-4, atol=1e-4)
    lost = lost_by_hand(evidence, maps["map"], side, smallest_first=True)[:, :4]
    assert_close(least.values["map"], lost.mean(dim=1), rtol=1e-4, atol=1e-4)


def test_region_perturbation_leaves_the_whole_picture_out_of_the_mean() -> None:
    evidence = looked()
    maps = {"map": noise(evidence)}
    whole = aopc(evidence, maps, region=2, steps=5, fills=("mean",)).values["map"]
    without = region_perturbation(evidence, maps, region=2, steps=5, fills=("mean",)).values["map"]
    assert_close(without, whole * 6 / 5, rtol=1e-4, atol=1e-4)


def test_selectivity_of_single_pixels_is_deletion() -> None:
    evidence = looked()
    maps = {"map": noise(evidence)}
    pixelwise = selectivity(evidence, maps, region=1, fills=("mean",)).values["map"]
    deleted = deletion(evidence, maps, step=1, fills=("mean",)).values["map"]
    assert_close(pixelwise, deleted, rtol=1e-4, atol=1e-4)


def test_selectivity_is_the_area_under_the_running_sum() -> None:
    evidence = looked()
    maps = {"map": noise(evidence)}
    whole, _ = ends(evidence)
    curve = whole[:, None] - lost_by_hand(evidence, maps["map"], 2)
    found = selectivity(evidence, maps, region=2, fills=("mean",))
    assert_close(found.values["map"], torch.trapezoid(curve, dim=1) / 12, rtol=1e-4, atol=1e-4)


def test_more_steps_than_regions_take_all_of_them() -> None:
    evidence = looked()
    maps = {"map": noise(evidence)}
    found = [aopc(evidence, maps, region=4, steps=steps, fills=("mean",)).values["map"] for steps in (4, 400)]
    assert torch.equal(*found)


def test_settings_that_mean_nothing_are_refused() -> None:
    evidence = looked()
    for settings in ({"region": 0}, {"steps": 0}, {"fills": ()}):
        with pytest.raises(RequestError):
            aopc(evidence, {"map": noise(evidence)}, **settings)  # type: ignore[arg-type]
