"""What the leaderboard has to say of the shipped nets, on few scenes; `pellucid benchmark` says it of a hundred."""

from __future__ import annotations

import pytest

import pellucid as pl
from pellucid.registry import metrics
from pellucid.results.leaderboard import Leaderboard
from pellucid.stories.contest import DEFAULT_METRICS, FIRST, ORACLE, benchmark

TRUTHS = tuple(name for name in DEFAULT_METRICS if metrics()[name].needs_truth)
# These two spread so far from scene to scene that a hundred scenes are needed to tell maps apart.
SPREAD = ("box_localisation", "part_deletion_correlation")


@pytest.fixture(scope="module", params=["testbed:cnn", "testbed:vit"])
def board(request: pytest.FixtureRequest) -> Leaderboard:
    return benchmark(pl.load(request.param), methods=["grad_cam"], metrics=TRUTHS, scenes=20, seed=3000)


def test_the_truth_comes_first_on_every_measure_that_knows_it(board: Leaderboard) -> None:
    assert {metric: board.standing(metric, ORACLE).rank for metric in TRUTHS} == dict.fromkeys(TRUTHS, 1)


def test_the_map_shown_first_is_clearly_above_the_maps_that_know_nothing(board: Leaderboard) -> None:
    beaten = {metric for metric in TRUTHS if board.standing(metric, FIRST).beats}
    assert beaten >= set(TRUTHS) - set(SPREAD)
