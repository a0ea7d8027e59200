"""Intervals that hold the mean as often as they say, and p values that keep their word where nothing differs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from pellucid.compute.bootstrap import class_mean, difference, holm, interval, p_value, ratio, wilson


def test_the_interval_of_many_values_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(1).normal(3, 2, 4000)
    found = interval(values)
    half = 1.96 * values.std() / 4000**0.5
    assert found.mean == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.06)
    assert found.count == 4000


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    held = sum(one.low <= 0 <= one.high for one in (interval(generator.normal(0, 1, 60), seed) for seed in range(200)))
    # 95 % of 200 with standard deviation 3.1; the percentile interval of 60 values covers a little less.
    assert 178 <= held <= 200


def test_what_could_not_be_measured_is_left_out_and_counted() -> None:
    found = interval([1.0, float("nan"), 3.0])
    assert (found.mean, found.count) == (2.0, 2)
    nothing = interval([float("nan")])
    assert nothing.count == 0 and nothing.mean != nothing.mean and not nothing.above_zero


def test_in_the_mean_over_classes_a_class_of_many_counts_as_one_of_few() -> None:
    assert class_mean([1.0, 0.0, 0.0, 0.0, float("nan")], ["wren", "swift", "swift", "swift", "wren"]) == 0.5
    assert np.isnan(class_mean([float("nan")], ["wren"]))


def test_a_paired_difference_is_surer_than_an_unpaired_one() -> None:
    generator = np.random.default_rng(3)
    scene = generator.normal(0, 10, 80)  # what is common to both
    one, other = scene + 1 + generator.normal(0, 0.5, 80), scene + generator.normal(0, 0.5, 80)
    assert difference(one, other).above_zero
    assert interval(one).low < interval(other).high


def test_a_ratio_of_sums_weighs_items_by_their_wholes() -> None:
    found = ratio([1.0, 6.0, 0.0, float("nan")], [1.0, 3.0, 0.0, 1.0])
    assert found.mean == pytest.approx(7 / 4) and found.count == 2 and found.low == 1.0 and found.high == 2.0
    generator = np.random.default_rng(5)
    parts = generator.normal(3, 1, 500)
    alike, alone = ratio(parts, np.full(500, 2.0)), interval(parts / 2)
    assert (alike.mean, alike.low, alike.high) == pytest.approx((alone.mean, alone.low, alone.high))
    assert ratio([1.0], [0.0]).count == 0 and np.isnan(ratio([], []).mean)


def test_without_a_difference_small_p_values_are_as_rare_as_they_say() -> None:
    generator = np.random.default_rng(4)
    found = [p_value(generator.normal(0, 1, 50), generator.normal(0, 1, 50), seed) for seed in range(200)]
    assert stats.kstest(found, "uniform").pvalue > 0.001
    assert p_value([1.0, 2.0], [1.0, 2.0]) == 1.0
    assert p_value(np.ones(30) + generator.normal(0, 0.1, 30), np.zeros(30)) < 0.002


def test_holm_is_the_published_correction() -> None:
    corrected = holm({"a": 0.01, "b": 0.04, "c": 0.03})
    assert corrected == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == pytest.approx({"a": 1.0, "b": 1.0})


def test_the_same_seed_gives_the_same_interval_and_touches_no_global_state() -> None:
    values = np.arange(20.0)
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    assert interval(values, 5) == interval(values, 5) != interval(values, 6)
    assert (np.random.get_state()[1] == state).all()  # type: ignore[union-attr]


@given(hits=some.integers(0, 60), more=some.integers(0, 60))
def test_the_interval_of_a_share_is_wilsons(hits: int, more: int) -> None:
    found, other = wilson(hits, hits + more), wilson(more, hits + more)
    if hits + more == 0:
        assert np.isnan(found.mean) and found.count == 0
        return
    theirs = stats.binomtest(hits, hits + more).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert found.low == pytest.approx(1 - other.high, abs=1e-9)
