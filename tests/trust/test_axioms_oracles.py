"""Nothing where nothing matters, and the same where nothing changed: on linear pictures both are known by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.engine import Evidence, look
from pellucid.engine.perturb import cells
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.subject import wrap
from pellucid.trust.axioms import input_invariance, non_sensitivity, perturbation_axiom, relative_difference, shifted
from pellucid.trust.subsets import faithfulness_estimate
from pellucid.values import Class, Preprocess
from tests.guests import unchanged
from tests.nets import Twin
from tests.oracles.nets import LinearPicture, Pixels, pictures
from tests.trust.linear import CLASS, linear, looked, noise, worth

CELLS = cells(6, 8, 2)


def blind_in_the_first_cell() -> Evidence:
    network = LinearPicture(6, 8, 4)
    with torch.no_grad():
        network.weight[..., CELLS == 0] = 0
    return look(wrap(network, input_size=(6, 8), activation="none"), pictures(3, 6, 8), CLASS)


# -- nothing where nothing matters ------------------------------------------------------------------------------------


def test_it_counts_the_cells_that_only_one_of_map_and_model_calls_nothing() -> None:
    evidence = blind_in_the_first_cell()
    right = worth(evidence, "black")
    less, opposite = right * (CELLS != 1), (CELLS == 0).float().expand(3, -1, -1)
    maps = {
        "right": right,
        "less": less,
        "all": torch.ones(3, 6, 8),
        "none": torch.zeros(3, 6, 8),
        "opposite": opposite,
    }
    found = non_sensitivity(evidence, maps, grid=2)
    told = {"right": (0, 0), "less": (1, 0), "all": (0, 1), "none": (3, 0), "opposite": (3, 1)}
    for name, (overlooked, invented) in told.items():
        assert_close(found.values[name], torch.full((3,), (overlooked + invented) / 4))
        assert found.curves[name] == {"overlooked": [overlooked] * 3, "invented": [invented] * 3, "cells": 4}


def test_signs_and_scales_of_a_map_do_not_count() -> None:
    evidence = blind_in_the_first_cell()
    values = noise(evidence) * (CELLS != 2)
    found = non_sensitivity(evidence, {"map": values, "other": -1e-6 * values}, grid=2).values
    assert torch.equal(found["map"], found["other"]) and (found["map"] == 0.5).all()


def test_what_counts_as_nothing_is_a_part_of_the_largest() -> None:
    evidence = blind_in_the_first_cell()
    faint = torch.ones(3, 6, 8)
    faint[:, CELLS == 0] = 0.01
    for least, expected in ((1e-3, 0.25), (0.02, 0.0)):
        assert_close(
            non_sensitivity(evidence, {"map": faint}, grid=2, least=least).values["map"], torch.full((3,), expected)
        )


def test_a_model_that_looks_at_nothing_deserves_an_empty_map() -> None:
    model = wrap(Pixels(lambda inputs: inputs[:, 0, 0, 0] * 0 + 3), input_size=(6, 8), activation="none")
    found = non_sensitivity(
        look(model, pictures(2, 6, 8), Class(0)), {"none": torch.zeros(2, 6, 8), "all": torch.ones(2, 6, 8)}
    )
    assert not found.values["none"].any() and (found.values["all"] == 1).all()


def test_it_asks_nothing_that_another_measure_of_single_cells_has_asked() -> None:
    evidence = looked()
    maps = {"map": noise(evidence)}
    faithfulness_estimate(evidence, maps, grid=4)
    asked = evidence.passes.forwards
    non_sensitivity(evidence, maps, grid=4)
    assert evidence.passes.forwards == asked == 1 + 4 * 4


@pytest.mark.parametrize("least", [-0.1, 1.0])
def test_a_least_that_cannot_be_is_refused(least: float) -> None:
    evidence = looked()
    with pytest.raises(RequestError, match="least"):
        non_sensitivity(evidence, {"map": noise(evidence)}, least=least)


# -- the same where nothing changed -----------------------------------------------------------------------------------


def expected_of_contributions(model: pl.VisionModel, inputs: Tensor, shift: float, baseline: Tensor) -> Tensor:
    """w * (x - b) of a linear model against w * (x + s - b): the difference is w * s, whatever the picture."""
    network = model.module
    assert isinstance(network, LinearPicture)
    weight = network.weight[CLASS].detach()
    std = torch.tensor(model.preprocess.std if model.preprocess else (1.0, 1.0, 1.0)).view(3, 1, 1)
    before = (weight * (inputs - baseline)).sum(dim=1)
    added = (weight * shift / std).sum(dim=0)
    longer = torch.maximum(before.flatten(1).norm(dim=1), (before + added).flatten(1).norm(dim=1))
    return added.norm() / longer


@pytest.mark.parametrize("shift", [-1.0, 0.25])
@pytest.mark.parametrize("method", ["gradient_x_input", "integrated_gradients"])
def test_contributions_to_a_linear_model_move_by_its_weights_times_the_shift(method: str, shift: float) -> None:
    preprocess = Preprocess(size=(6, 8), mean=(0.4, 0.5, 0.6), std=(0.2, 0.5, 1.0))
    model = wrap(LinearPicture(6, 8), input_size=(6, 8), activation="none", preprocess=preprocess)
    inputs = pictures(2, 6, 8)
    own: dict[str, Any] = {"baseline": "black"} if method == "integrated_gradients" else {}
    heat = pl.attribute(model, inputs, method, target=CLASS, **own)
    (score,) = pl.evaluate(model, inputs, heat, "input_invariance", shift=shift)
    black = -torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1) / torch.tensor([0.2, 0.5, 1.0]).view(3, 1, 1)
    baseline = black if own else torch.zeros(3, 1, 1)
    assert torch.tensor(score.values) == pytest.approx(
        expected_of_contributions(model, inputs, shift, baseline), rel=1e-4
    )
    limit = pl.metrics()["input_invariance"].limit
    assert limit is not None and min(score.values) > limit


@pytest.mark.parametrize("method", ["gradient", "centre", "edge", "occlusion"])
def test_maps_that_have_no_zero_of_their_own_stay(method: str) -> None:
    """Occlusion covers with the picture's own mean, which is shifted with it."""
    inputs = pictures(2, 12, 14)
    own: dict[str, Any] = {"window": 4, "stride": 4, "baseline": "mean"} if method == "occlusion" else {}
    model = wrap(LinearPicture(), input_size=(12, 14), activation="none")
    heat = pl.attribute(model, inputs, method, target=CLASS, **own)
    (score,) = pl.evaluate(model, inputs, heat, "input_invariance")
    assert max(score.values) < (1e-5 if method in ("occlusion", "edge") else 1e-12)
    assert score.curves is not None and score.curves["rank correlation"] == pytest.approx([1.0, 1.0], abs=1e-6)
    assert max(score.centre or ()) == 0 and min(score.random) > 0.5


def test_integrated_gradients_from_a_baseline_that_moves_with_the_picture_stay() -> None:
    model, inputs = linear(), pictures(2, 6, 8)
    heat = pl.attribute(model, inputs, "integrated_gradients", target=CLASS, baseline="mean")
    assert max(pl.evaluate(model, inputs, heat, "input_invariance")[0].values) < 1e-5


@pytest.mark.parametrize(("method", "fails"), [
    ("gradient", False), ("layer_cam", False), ("lrp", False), ("gradient_x_input", True),
    ("layer_integrated_gradients", True),
])  # fmt: skip
def test_the_shipped_nets_keep_and_lose_their_maps_as_the_paper_says(method: str, fails: bool) -> None:
    limit = pl.metrics()["input_invariance"].limit
    assert limit is not None
    for name in ("cnn", "vit") if method != "lrp" else ("cnn",):
        model, frames = pl.load(f"testbed:{name}"), pl.testbed.scenes(7, 2).frames()
        heat = pl.attribute(model, frames, method)
        values = pl.evaluate(model, frames, heat, "input_invariance")[0].values
        assert all((value > limit) == fails for value in values), values


def test_the_shifted_network_is_the_same_function_with_the_same_layers_and_the_callers_is_not_touched() -> None:
    network, inputs = Twin().eval(), pictures(2, 12, 14)
    with unchanged(network):
        other = shifted(network, torch.full((1, 3, 1, 1), 0.5))
        assert_close(other(inputs + 0.5), network(inputs), atol=1e-5, rtol=1e-5)
    assert isinstance(other, Twin) and [*dict(other.named_modules())] == [*dict(network.named_modules())]
    sequence = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 14, 4))
    assert_close(shifted(sequence, torch.ones(1, 3, 1, 1))(inputs + 1), sequence(inputs), atol=1e-5, rtol=1e-5)


def test_lengths_of_differences() -> None:
    one = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    for other, expected in ((one, 0.0), (-one, 2.0), (2 * one, 0.5), (0 * one, 1.0)):
        assert_close(relative_difference(one, other), torch.full((2,), expected))
    assert not relative_difference(0 * one, 0 * one).any()


def test_what_cannot_be_shifted_is_refused() -> None:
    inputs = pictures(2, 12, 14)
    heat = pl.attribute(wrap(Twin(), input_size=(12, 14)), inputs, "edge", target=1)
    box = wrap(lambda pictures: pictures.mean(dim=(2, 3)), input_size=(12, 14))
    with pytest.raises(MethodUnavailable, match="black box"):
        pl.evaluate(box, inputs, heat, "input_invariance")
    with pytest.raises(RequestError, match="shift=0"):
        pl.evaluate(wrap(Twin(), input_size=(12, 14)), inputs, heat, "input_invariance", shift=0)
    patched = Twin()
    patched.forward = lambda given: Twin.forward(patched, given)  # type: ignore[method-assign]
    with pytest.raises(MethodUnavailable, match="answers otherwise"):
        pl.evaluate(wrap(patched, input_size=(12, 14)), inputs, heat, "input_invariance")


def test_maps_are_remade_by_the_shifted_network_on_the_shifted_pictures() -> None:
    evidence, seen = looked(), []
    maps = {"map": noise(evidence)}

    def remake(*, model: pl.VisionModel | None = None, inputs: Tensor | None = None, **_: object) -> dict[str, Tensor]:
        assert model is not None and inputs is not None
        seen.append((model.predict(inputs), inputs - evidence.inputs))
        return maps

    found = input_invariance(evidence, evidence.model, maps, remake, shift=0.5)
    ((answers, moved),) = seen
    assert_close(answers, evidence.output(), atol=1e-4, rtol=1e-5)
    assert_close(moved, torch.full_like(moved, 0.5), atol=1e-6, rtol=0)
    assert not found.values["map"].any()


# -- less where there is less -----------------------------------------------------------------------------------------


def test_what_a_linear_model_took_from_a_region_is_gone_when_the_region_is() -> None:
    """Filled with zeros a cell contributes 0; the gradient stays as it was, and a map of what is dark gets more."""
    evidence = looked()

    def maps_of(inputs: Tensor) -> dict[str, Tensor]:
        right = evidence.at(inputs).input_gradient() * inputs
        return {
            "right": right.sum(dim=1), "slopes": evidence.at(inputs).input_gradient().sum(dim=1),
            "dark": (3 - inputs.abs()).clamp(min=0).sum(dim=1), "broken": right.sum(dim=1) * torch.nan,
        }  # fmt: skip

    def remake(*, inputs: Tensor, **_: object) -> dict[str, Tensor]:
        return maps_of(inputs)

    found = perturbation_axiom(evidence, maps_of(evidence.inputs), remake, grid=3, regions=2, fill="zero").values
    assert found["right"].tolist() == [1.0] * 3
    assert found["slopes"].tolist() == [0.5] * 3
    assert found["dark"].tolist() == [0.0] * 3
    assert found["broken"].isnan().all()


def test_controls_that_ignore_the_picture_obey_no_axiom() -> None:
    model, inputs = wrap(Twin(), input_size=(15, 22)), pictures(4, 15, 22)
    heat = pl.attribute(model, inputs, "gradient_x_input", target=1)
    (score,) = pl.evaluate(model, inputs, heat, "perturbation_axiom", grid=4)
    assert score.centre == (0.5,) * 4 and all(0 <= value <= 1 for value in (*score.values, *score.random))
    with pytest.raises(RequestError, match="at least 1"):
        pl.evaluate(model, inputs, heat, "perturbation_axiom", regions=0)


def test_a_target_that_nothing_holds_up_has_no_value() -> None:
    model = wrap(Pixels(lambda inputs: inputs.sum(dim=(1, 2, 3)) * 0), input_size=(6, 8), activation="none")
    heat = pl.attribute(model, pictures(2, 6, 8), "gradient", target=0)
    (score,) = pl.evaluate(model, pictures(2, 6, 8), heat, "perturbation_axiom", grid=2)
    assert torch.tensor(score.values).isnan().all() and any("none of its cells" in note for note in score.notes)
