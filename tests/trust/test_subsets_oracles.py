"""Random sets: on a linear model what a set is worth is the sum of what its pixels are worth."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from pellucid.engine import look
from pellucid.errors import RequestError
from pellucid.subject import wrap
from pellucid.trust.measured import Measured
from pellucid.trust.subsets import (
    faithfulness_correlation,
    faithfulness_estimate,
    mu_fidelity,
    pearson,
    sensitivity_n,
)
from pellucid.values import Class
from tests.oracles.nets import Pixels, pictures
from tests.trust.linear import looked, noise, worth

Asked = Callable[..., Measured]
MEASURES: dict[str, Asked] = {
    "mu_fidelity": lambda evidence, maps, **rest: mu_fidelity(evidence, maps, grid=4, samples=40, fill="mean", **rest),
    "faithfulness_correlation": lambda evidence, maps, **rest: faithfulness_correlation(
        evidence, maps, samples=40, subset=9, fill="mean", **rest
    ),
    "sensitivity_n": lambda evidence, maps, **rest: sensitivity_n(evidence, maps, samples=20, fill="mean", **rest),
    "faithfulness_estimate": lambda evidence, maps: faithfulness_estimate(evidence, maps, grid=4, fill="mean"),
}


@pytest.mark.parametrize("name", MEASURES)
def test_the_worth_of_pixels_correlates_perfectly_and_its_opposite_against(name: str) -> None:
    evidence = looked()
    value = worth(evidence)
    found = MEASURES[name](evidence, {"worth": value, "opposite": -value, "scaled": 5 * value})
    for one, expected in (("worth", 1.0), ("opposite", -1.0), ("scaled", 1.0)):
        assert_close(found.values[one], torch.full((3,), expected), rtol=0, atol=1e-4)


def test_sensitivity_n_is_one_for_every_n() -> None:
    evidence = looked()
    found = sensitivity_n(evidence, {"worth": worth(evidence)}, fill="mean")
    by_size = torch.tensor(found.curves["worth"]["correlation"])[0]
    assert found.curves["worth"]["sizes"] == ["1", "5", "14", "38"], "1 % and 3 % of 48 pixels are one pixel"
    assert_close(by_size, torch.ones_like(by_size), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", MEASURES)
def test_a_map_that_is_flat_says_nothing(name: str) -> None:
    evidence = looked()
    found = MEASURES[name](evidence, {"flat": torch.full((3, 6, 8), 0.37), "zeros": torch.zeros(3, 6, 8)})
    assert_close(found.values["zeros"], torch.zeros(3))
    if name in ("faithfulness_correlation", "sensitivity_n"):  # cells differ in size, pixels do not
        assert_close(found.values["flat"], torch.zeros(3))


@pytest.mark.parametrize("name", MEASURES)
def test_a_target_that_never_moves_cannot_be_measured(name: str) -> None:
    model = wrap(Pixels(lambda inputs: inputs[:, 0, 0, 0] * 0 + 3), input_size=(6, 8), activation="none")
    evidence = look(model, pictures(2, 6, 8), Class(0))
    found = MEASURES[name](evidence, {"map": noise(evidence)})
    assert found.values["map"].isnan().all() and set(found.skipped) == {0, 1}


@pytest.mark.parametrize("name", ["mu_fidelity", "faithfulness_correlation", "sensitivity_n"])
def test_the_seed_draws_the_sets_and_all_maps_share_them(name: str) -> None:
    evidence = looked()
    maps = {str(index): noise(evidence, index) for index in range(3)}
    first = MEASURES[name](evidence, maps)
    asked = evidence.passes.forwards
    again = MEASURES[name](evidence, {"0": maps["0"]})
    assert evidence.passes.forwards == asked and torch.equal(first.values["0"], again.values["0"])
    assert not torch.equal(MEASURES[name](evidence, maps, seed=7).values["0"], first.values["0"])


def test_a_map_that_is_not_finite_has_no_value_and_the_others_keep_theirs() -> None:
    evidence = looked()
    broken = noise(evidence)
    broken[1, 2, 3] = torch.nan
    found = mu_fidelity(evidence, {"broken": broken, "whole": noise(evidence)}, samples=20, grid=4)
    assert found.values["broken"].isnan().tolist() == [False, True, False]
    assert found.values["whole"].isfinite().all()


@given(factor=st.floats(0.01, 100), shift=st.floats(-50, 50))
@settings(max_examples=20, deadline=None)
def test_pearson_forgives_scale_and_shift_and_agrees_with_numpy(factor: float, shift: float) -> None:
    one, other = torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(3)).unbind()
    found = pearson(one, factor * other + shift)
    expected = torch.stack([torch.corrcoef(torch.stack(rows))[0, 1] for rows in zip(one, other, strict=True)])
    assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert_close(pearson(one, torch.full((4, 9), shift)), torch.zeros(4))


def test_settings_out_of_range_are_refused() -> None:
    evidence = looked()
    maps = {"map": noise(evidence)}
    for refused in (
        lambda: mu_fidelity(evidence, maps, samples=1),
        lambda: mu_fidelity(evidence, maps, grid=0),
        lambda: mu_fidelity(evidence, maps, share=0),
        lambda: faithfulness_correlation(evidence, maps, subset=48),
        lambda: sensitivity_n(evidence, maps, sizes=()),
        lambda: sensitivity_n(evidence, maps, sizes=(0.5, 1.0)),
    ):
        with pytest.raises(RequestError):
            refused()


def test_the_spread_is_about_how_far_the_value_moves_with_other_sets() -> None:
    evidence = looked(batch=1)
    maps = {"map": worth(evidence) + 2 * noise(evidence)}
    found = [mu_fidelity(evidence, maps, grid=4, samples=30, fill="mean", seed=seed) for seed in range(40)]
    moved = float(torch.stack([one.values["map"] for one in found]).std())
    stated = float(torch.stack([one.spread["map"] for one in found]).mean())
    assert 0.6 < stated / moved < 1.6, f"stated {stated:.3f}, moved {moved:.3f}"
