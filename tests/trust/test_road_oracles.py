"""Pixels replaced by what their neighbours say."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from pellucid.engine.perturb import ranking
from pellucid.errors import RequestError
from pellucid.images import baselines
from pellucid.trust.measured import control
from pellucid.trust.road import consistency, road, road_lerf, road_morf
from pellucid.values import Seed
from tests.trust.linear import CLASS, looked, noise


def test_each_order_is_what_the_model_says_to_the_imputed_pictures() -> None:
    evidence = looked()
    values = noise(evidence)
    network = evidence.model.module
    assert network is not None
    ranks = ranking(values, Seed(0))  # no ties, so any seed
    left = {}
    for name, gone in (("morf", ranks < 12), ("lerf", ranks >= 36)):
        imputed = baselines.fill(evidence.inputs, "road", None, evidence.seed.child("fill", "road"), mask=gone)
        with torch.no_grad():
            left[name] = network(imputed)[:, CLASS]
    parts = (0.25,)
    assert_close(road_morf(evidence, {"map": values}, parts=parts).values["map"], left["morf"], rtol=1e-4, atol=1e-4)
    assert_close(road_lerf(evidence, {"map": values}, parts=parts).values["map"], left["lerf"], rtol=1e-4, atol=1e-4)
    both = road(evidence, {"map": values}, parts=parts).values["map"]
    assert_close(both, (left["lerf"] - left["morf"]) / 2, rtol=1e-4, atol=1e-4)


def test_all_three_share_their_pictures_and_a_map_changes_its_sign_with_its_opposite() -> None:
    evidence = looked()
    maps = {"map": noise(evidence), "opposite": -noise(evidence)}
    found = road(evidence, maps)
    asked = evidence.passes.forwards
    road_morf(evidence, maps), road_lerf(evidence, maps)
    assert evidence.passes.forwards == asked == 1 + 2 * 2 * 7
    assert_close(found.values["map"], -found.values["opposite"], rtol=1e-3, atol=1e-3)


def test_decisions_are_counted_where_asked_for() -> None:
    evidence = looked()
    maps = {"map": noise(evidence)}
    counted, height = road_morf(evidence, maps, read="decision"), road_morf(evidence, maps)
    assert set((counted.values["map"] * 7).round(decimals=4).tolist()) <= set(map(float, range(8)))
    assert "decision" in counted.unit and "score" in height.unit
    with pytest.raises(RequestError, match="prediction or decision"):
        road_morf(evidence, maps, read="accuracy")


def test_orders_that_rank_the_maps_alike_are_consistent() -> None:
    most = {name: torch.tensor([[level]]) for name, level in (("a", 0.1), ("b", 0.2), ("c", 0.4))}
    least = {name: torch.tensor([[level]]) for name, level in (("a", 0.9), ("b", 0.8), ("c", 0.5))}
    assert consistency(most, least) == pytest.approx(1)
    assert consistency(most, {name: -rows for name, rows in least.items()}) == pytest.approx(-1)
    few = {name: most[name] for name in ("a", "b")} | {control("random"): most["c"]}
    assert consistency(few, few) is None
