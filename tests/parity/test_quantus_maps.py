"""The same numbers as Quantus where a measure reads the map alone: localisation and complexity."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns of optional packages on import
    import quantus

from pellucid.registry import find_metric
from pellucid.trust.ground import Ground

COUNT, HEIGHT, WIDTH = 5, 15, 22
MAPS = torch.rand(COUNT, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(11)) ** 3
MASK = torch.zeros(COUNT, HEIGHT, WIDTH, dtype=torch.bool)
for _index in range(COUNT):
    MASK[_index, 2 + _index : 9, 3 : 9 + _index] = True
MAPS[0, 5, 5] = 2.0  # one that hits


@pytest.fixture(autouse=True)
def _their_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def theirs(measure: Callable[..., Any], *, segmented: bool) -> np.ndarray:
    maps = MAPS[:, None].numpy().copy()
    given = {"s_batch": MASK[:, None].numpy().copy()} if segmented else {}
    found = measure(
        abs=False, normalise=False, disable_warnings=True, display_progressbar=False, return_aggregate=False
    )(model=None, x_batch=maps.copy(), y_batch=np.zeros(COUNT, int), a_batch=maps, device="cpu", **given)
    return np.asarray(found, dtype=float)


def ours(name: str, *, truth: bool, **parameters: Any) -> np.ndarray:
    given = (Ground(MASK, MASK),) if truth else ()
    return find_metric(name).function({"map": MAPS}, *given, **parameters).values["map"].numpy()


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("relevance_mass", quantus.RelevanceMassAccuracy),
        ("relevance_rank", quantus.RelevanceRankAccuracy),
        ("pixel_auc", quantus.AUC),
        ("pointing_game", quantus.PointingGame),
    ],
)
def test_localisation(name: str, measure: Callable[..., Any]) -> None:
    assert ours(name, truth=True) == pytest.approx(theirs(measure, segmented=True), rel=1e-5)


@pytest.mark.parametrize("k", [1, 10, 200])
def test_the_k_strongest_pixels(k: int) -> None:
    assert ours("relevance_rank", truth=True, k=k) == pytest.approx(
        theirs(partial(quantus.TopKIntersection, k=k), segmented=True), rel=1e-5
    )


def test_sparseness() -> None:
    # Quantus adds 1e-7 to every pixel, which makes a map a little less sparse.
    assert ours("sparseness", truth=False) == pytest.approx(theirs(quantus.Sparseness, segmented=False), rel=1e-5)


def test_complexity() -> None:
    nats = ours("complexity", truth=False) * math.log(HEIGHT * WIDTH)
    assert nats == pytest.approx(theirs(quantus.Complexity, segmented=False), rel=1e-5)


def test_on_a_flat_map_the_peer_always_hits_and_ours_scores_the_area() -> None:
    flat = torch.ones(COUNT, HEIGHT, WIDTH)
    found = find_metric("pointing_game").function({"map": flat}, Ground(MASK, MASK)).values["map"]
    assert found.tolist() == pytest.approx(MASK.float().mean(dim=(-2, -1)).tolist())
