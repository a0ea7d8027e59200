"""Ratios and sums over bunches, against closed forms; and intervals that forget who answered what."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.compute.bootstrap import interval
from pellucid.compute.resample import bunched, crossed_interval, divided, ratio, sums_interval


def test_a_ratio_that_never_varies_has_no_width_and_pairs_without_number_are_left_out() -> None:
    found = ratio([1, 2, 3, float("nan")], [2, 4, 6, 1])
    assert [found.mean, found.low, found.high] == pytest.approx([0.5] * 3) and found.count == 3
    assert np.isnan(sums_interval(np.zeros((0, 2)), divided).mean)


def test_sums_of_ones_make_the_interval_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(size=200)
    mean, sums = interval(values), sums_interval(np.stack([values, np.ones(200)], axis=1), divided)
    assert sums.mean == pytest.approx(mean.mean)
    assert [sums.low, sums.high] == pytest.approx([mean.low, mean.high], abs=0.02)


def test_what_one_owner_has_is_added_up_in_the_order_of_first_coming() -> None:
    sums, owners = bunched(np.array([[1.0, 1], [0, 1], [1, 1]]), ["a", "b", "a"])
    assert owners == ("a", "b") and sums.tolist() == [[2, 2], [0, 1]]


def test_answers_that_hang_on_the_task_alone_vary_with_tasks_and_not_with_people() -> None:
    """Twenty tasks, half of them solved by everybody: over people nothing varies, over both as much as 20 coins do."""
    tasks, people = 20, 30
    parts = np.array([[float(task % 2), 1.0] for _ in range(people) for task in range(tasks)])
    rows = [person for person in range(people) for _ in range(tasks)]
    columns = list(range(tasks)) * people
    alone = sums_interval(bunched(parts, rows)[0], divided)
    both = crossed_interval(parts, rows, columns, divided)
    coins = interval([float(task % 2) for task in range(tasks)])
    assert alone.high - alone.low == pytest.approx(0, abs=1e-12) and both.mean == 0.5
    assert both.high - both.low == pytest.approx(coins.high - coins.low, abs=0.06)
