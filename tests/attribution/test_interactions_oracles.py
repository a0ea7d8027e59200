"""Sets of variables screened together: exclusive or among noise, means over permutations, a planted window."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import pellucid as pl
from pellucid.attribution.interactions import (
    Screening,
    chance,
    cut_points,
    dropped_backward,
    i_score,
    interactions,
    learned,
    p_value,
    windows,
    windows_of,
)
from pellucid.cli import app
from pellucid.compute.ranking import auroc
from pellucid.errors import RequestError, ShapeError
from pellucid.results.interactions import Interactions
from pellucid.testbed import planted

QUICK = Screening(start=6, draws=60, permutations=199)


def coins(count: int = 600, variables: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise, and whether exactly one of the variables 3 and 8 is above the middle."""
    values = np.random.default_rng(seed).random((count, variables))
    return values, (values[:, 3] > 0.5) ^ (values[:, 8] > 0.5)


def test_a_score_is_n_times_the_squared_shares_where_a_set_tells_all() -> None:
    """Two cells of n/2 with means 0 and 1: each adds (n/2)^2 / 4, over n / 4."""
    x = np.array([[False], [True]] * 50)
    assert i_score(x, x[:, 0].astype(float)) == pytest.approx(50.0)
    assert i_score(x, np.ones(100)) == 0.0
    quarters = np.array(list(itertools.product([False, True], repeat=2)) * 25)
    assert i_score(quarters, (quarters[:, 0] ^ quarters[:, 1]).astype(float)) == pytest.approx(25.0)
    assert i_score(quarters[:, :1], (quarters[:, 0] ^ quarters[:, 1]).astype(float)) == 0.0


def test_the_score_by_chance_is_the_mean_over_all_orders_of_the_answers() -> None:
    x = np.array([[0, 0], [0, 1], [1, 1], [1, 1], [0, 0]], dtype=bool)
    y = np.array([1.0, 0.0, 1.0, 0.0, 0.0])
    every = [i_score(x, np.array(order)) for order in itertools.permutations(y)]
    assert chance(x) == pytest.approx(np.mean(every))


def test_of_exclusive_or_among_noise_the_pair_is_found_and_no_single_one() -> None:
    values, y = coins()
    found = interactions(values, y, screening=QUICK)
    best = found.sets[0]
    assert best.variables == (3, 8) and best.score > 10 * found.alone[1]
    assert best.corrected == pytest.approx(0.005 * len(found.sets)) and best.auc > 0.95 and found.auc > 0.95
    assert best.counts == tuple(np.array(best.counts)) and best.cells[0] < 0.1 < 0.9 < best.cells[1]
    assert "variables" not in found.sentence and "3 and 8 together" in found.sentence
    again = interactions(values, y, screening=QUICK)
    assert again == found


def test_dropping_never_gives_a_set_below_the_best_seen_and_ends_at_the_pair() -> None:
    values, y = coins(seed=2)
    x, target = values > 0.5, y.astype(float)
    for start in ([3, 8, 0, 1], [8, 3], [0, 1, 2, 4, 5, 3, 8, 9]):
        variables, score = dropped_backward(x, target, start)
        assert variables == (3, 8) and score == pytest.approx(i_score(x[:, [3, 8]], target))
    for start in ([0, 1, 2], [5]):
        variables, score = dropped_backward(x, target, start)
        every = [list(some) for size in range(1, len(start) + 1) for some in itertools.combinations(start, size)]
        assert score >= i_score(x[:, start], target) and score <= max(i_score(x[:, some], target) for some in every)


def test_p_values_of_noise_are_spread_evenly() -> None:
    draw = np.random.default_rng(5)
    found = [
        p_value(draw.random((80, 2)) > 0.5, (draw.random(80) > 0.5).astype(float), 19, seed=at) for at in range(80)
    ]
    assert 0.4 < np.mean(found) < 0.65 and np.mean(np.array(found) <= 0.05) < 0.15


def test_the_feature_is_the_mean_answer_of_the_cell_and_ties_count_half() -> None:
    values, y = coins(400)
    cuts = cut_points(values, "median")
    feature = learned(values, y.astype(float), (3, 8), cuts)
    low = (values[:, 3] <= cuts[3]) & (values[:, 8] <= cuts[8])
    assert feature.of(values)[low] == pytest.approx(np.full(int(low.sum()), y[low].mean()))
    assert auroc(np.array([True] * 4 + [False] * 6), np.zeros(10)) == 0.5
    assert auroc(np.arange(10) > 6, np.arange(10.0)) == 1.0
    slow = np.mean([(a > b) + 0.5 * (a == b) for a in feature.of(values)[y] for b in feature.of(values)[~y]])
    assert auroc(y, feature.of(values)) == pytest.approx(slow)


def test_two_means_cut_between_two_bunches_of_unequal_size() -> None:
    values = np.array([[0.0]] * 90 + [[1.0]] * 10)
    assert cut_points(values, "two_means").tolist() == [0.5]
    assert cut_points(values, "median").tolist() == [0.0]


def test_the_window_that_holds_the_pair_stands_out_in_the_map() -> None:
    draw = np.random.default_rng(1)
    maps = draw.random((500, 6, 6))
    y = (maps[:, 2, 4] > 0.5) ^ (maps[:, 3, 5] > 0.5)
    scores, made, features = windows(maps, y.astype(float))
    assert np.unravel_index(scores.argmax(), scores.shape) == (1, 2) and scores.shape == (3, 3)
    assert features[5].variables == (0, 3) and scores[1, 2] > 10 * np.sort(scores.ravel())[-2]
    assert auroc(y, made[:, 1, 2]) > 0.95
    assert np.array_equal(windows_of(features, maps), made)
    again, _, _ = windows(made, y.astype(float), window=3)  # a layer on top finds it again
    assert again.shape == (1, 1) and again[0, 0] > 50


def test_what_cannot_be_screened_is_refused() -> None:
    values, y = coins(40)
    with pytest.raises(ShapeError, match="True or False"):
        interactions(values, y.astype(float))
    with pytest.raises(ShapeError, match="one per variable"):
        interactions(values, y, names=["a"], screening=QUICK)
    with pytest.raises(RequestError, match="have the answer"):
        interactions(values, np.arange(40) == 3)
    with pytest.raises(RequestError, match="start=0"):
        Screening(start=0)
    with pytest.raises(RequestError, match="two_means"):
        Screening(cut="thirds")
    with pytest.raises(RequestError, match="window=7"):
        windows(np.zeros((4, 6, 6)), np.ones(4), window=7)


def test_sets_are_saved_in_every_form_and_read_back(tmp_path: Path) -> None:
    values, y = coins(200)
    found = interactions(values, y, screening=QUICK, windows=np.ones((2, 3)), features=np.full((2, 3), 0.7))
    assert isinstance(found, Interactions) and pl.open(found.save(tmp_path / "sets.json")) == found
    for name in ("sets.html", "sets.txt", "sets.png"):
        assert found.save(tmp_path / name).stat().st_size > 300
    with pytest.raises(RequestError, match="no map of windows"):
        interactions(values, y, screening=QUICK).save(tmp_path / "other.png")


def test_the_command_finds_filters_that_foretell_a_class_on_fresh_scenes(tmp_path: Path) -> None:
    words = ["interactions", "--class", "0", "--layer", "features.5.2", "--count", "120", "--draws", "20",
             "--out", str(tmp_path / "sets.html"), "--json"]  # fmt: skip
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert told["answer"] == "ripple swift" and told["sets"][0]["auc"] > 0.8 and told["auc"] > 0.8


def test_the_two_facts_of_a_planted_gate_are_found_among_eight() -> None:
    """`testbed:planted_logic` has a unit that fires for a plume or a fanned tail but not for both."""
    net = planted.logic()
    scenes, facts = net.stimuli(3, 400), [unit for unit in net.units if unit.layer == "detect.units"]
    values = np.stack([unit.fires(scenes) for unit in facts], axis=1).astype(float)
    (gate,) = [unit for unit in net.units if "XOR" in unit.formula]
    found = interactions(values - 0.5, gate.fires(scenes), names=[unit.name for unit in facts],
                         screening=Screening(cut="two_means", draws=40, permutations=99))  # fmt: skip
    assert set(found.sets[0].names) == {"a plume", "a fanned tail"} or {*found.sets[0].names} == {
        name for name in (unit.name for unit in facts) if name in gate.formula
    }
    assert found.sets[0].auc == 1.0


def test_noise_alone_is_said_to_foretell_nothing() -> None:
    values, _ = coins()
    y = np.random.default_rng(9).random(len(values)) > 0.5
    found = interactions(values, y, screening=QUICK)
    assert found.sets[0].corrected > 0.05 and found.sentence.startswith("Nothing was found to foretell the answer")
