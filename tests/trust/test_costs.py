"""Every measure of removal costs exactly the passes that it declares."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

import pellucid as pl
from pellucid.engine import look
from pellucid.engine.maps import compute
from pellucid.errors import RequestError
from pellucid.registry import find_method, metrics
from pellucid.stories.measure import Subject
from pellucid.stories.request import batches_of
from pellucid.subject import wrap
from pellucid.values import Class
from tests.nets import Twin
from tests.oracles.nets import pictures

SIZE = (24, 32)
ASKED: Mapping[str, Mapping[str, Any]] = {
    "deletion": {"steps": 5}, "insertion": {"step": 200, "fills": ("blur", "mean", "noise")},
    "insertion_minus_deletion": {"steps": 4, "order": "absolute"}, "comprehensiveness": {}, "sufficiency": {},
    "pixel_perturbation": {}, "positive_perturbation": {}, "negative_perturbation": {"fills": ("black", "mean")},
    "aopc": {}, "aopc_lerf": {"steps": 4}, "region_perturbation": {"region": 7, "steps": 3}, "selectivity": {},
    "road": {}, "road_morf": {"parts": (0.1, 0.2)}, "road_lerf": {}, "average_drop": {}, "increase_in_confidence": {},
    "average_gain": {"areas": (0.5,)}, "win_share": {}, "accuracy_information_curve": {"thresholds": (0.1, 0.5)},
    "softmax_information_curve": {"thresholds": (0.1, 0.5)}, "infidelity": {"samples": 7},
    "mu_fidelity": {"samples": 9}, "faithfulness_correlation": {"samples": 9},
    "sensitivity_n": {"samples": 3}, "faithfulness_estimate": {"grid": 3}, "non_sensitivity": {"grid": 3},
    "monotonicity_arya": {}, "monotonicity_nguyen": {"grid": 3, "samples": 2},
    "robustness_sr": {"searches": 2, "steps": 2}, "robustness_sr_complement": {"searches": 2, "steps": 2},
    "completeness": {}, "coherency": {}, "adcc": {}, "arcc": {},
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_a_measure_costs_what_it_declares(name: str) -> None:
    model, inputs = wrap(Twin(), input_size=SIZE), pictures(2, *SIZE)
    heats = {one: pl.attribute(model, inputs, one, target=1) for one in ("gradient", "gradient_x_input")}
    evidence = look(model, inputs, Class(1))
    asked = Subject(model, batches_of(model, inputs)[0], heats, evidence)
    assert len(asked.maps) == 5
    measure, before = metrics()[name], evidence.passes.cost
    found = asked.measure(measure, ASKED[name])
    size = {"size": SIZE} if any("size" in _keywords(part) for part in (measure.cost, measure.shared)) else {}
    declared = 5 * measure.passes(**ASKED[name], **size) + measure.shared_passes(**ASKED[name], **size)
    assert evidence.passes.cost - before == declared
    assert found.passes == declared or (measure.remakes and found.passes > declared)
    assert set(found.values) == set(asked.maps)
    for values in found.values.values():
        assert values.shape == (2,) and values.dtype == torch.float32
        inside = values[~values.isnan()]
        assert ((inside >= measure.range[0] - 1e-6) & (inside <= measure.range[1] + 1e-6)).all()
    assert found.unit and all(isinstance(curve, Mapping) for curve in found.curves.values())


def test_a_score_says_what_it_took_how_much_of_it_is_there_and_what_was_drawn() -> None:
    model, inputs = wrap(Twin(), input_size=SIZE), pictures(2, *SIZE)
    heat = pl.attribute(model, inputs, "gradient", target=1)
    asked = ["deletion", "max_sensitivity", "sparseness"]
    curves, shaken, still = pl.evaluate(model, inputs, heat, asked, steps=4, samples=3, seed=5)
    deletion = metrics()["deletion"]
    assert curves.passes == 4 * deletion.passes(steps=4) + deletion.shared_passes(steps=4)
    assert (curves.seed, curves.kept) == (5, 2) and (still.seed, still.passes) == (None, 0)
    assert (shaken.seed, shaken.kept) == (5, 2) and shaken.passes >= 3 * 2  # a gradient is a forward and a backward
    lost = replace(curves, values=(curves.values[0], float("nan")))
    assert lost.kept == 1 and "1 of 2 pictures" in lost.fragment()


@pytest.mark.parametrize("name", ASKED)
def test_the_declared_parameters_are_those_of_the_measure(name: str) -> None:
    """A cost that does not know a parameter would be wrong when it is given, so it must take every one."""
    measure = metrics()[name]
    parameters = [
        entry.name for entry in inspect.signature(measure.function).parameters.values()
        if entry.kind is inspect.Parameter.KEYWORD_ONLY
    ]  # fmt: skip
    defaults = {entry: inspect.signature(measure.function).parameters[entry].default for entry in parameters}
    assert measure.passes(**defaults) == measure.passes()
    assert measure.shared_passes(**defaults) == measure.shared_passes()


REMAKING = {"coherency", "adcc", "arcc"}


@pytest.mark.parametrize("name", sorted(set(ASKED) - {"completeness"} - REMAKING))
def test_a_map_that_is_not_finite_has_no_value_and_leaves_the_others_alone(name: str) -> None:
    model, inputs = wrap(Twin(), input_size=SIZE), pictures(2, *SIZE)
    evidence, clean = look(model, inputs, Class(1)), look(model, inputs, Class(1))
    whole = compute(evidence, find_method("gradient"))
    broken = whole.clone()
    broken[0, 3, 4] = torch.nan
    measure = metrics()[name]
    offered = {"model": model} if "model" in inspect.signature(measure.function).parameters else {}
    found = measure.function(evidence=evidence, maps={"broken": broken, "whole": whole}, **offered, **ASKED[name])
    assert found.values["broken"].isnan()[0]
    expected = measure.function(evidence=clean, maps={"other": whole, "whole": whole}, **offered, **ASKED[name])
    if name != "win_share":
        torch.testing.assert_close(found.values["whole"], expected.values["whole"], equal_nan=True)


def test_maps_of_other_pictures_and_unknown_parameters_are_refused() -> None:
    model, inputs = wrap(Twin(), input_size=SIZE), pictures(1, *SIZE)
    heat = pl.attribute(model, inputs, "gradient", target=1)
    with pytest.raises(RequestError, match="no parameter"):
        pl.evaluate(model, inputs, heat, "comprehensiveness", portions=(0.1,))


def _keywords(cost: object) -> set[str]:
    """What a declared cost reads; those that hand their keywords on are taken to read `size`."""
    if not callable(cost):
        return set()
    known = inspect.signature(cost).parameters
    return set(known) | ({"size"} if "rest" in known else set())
