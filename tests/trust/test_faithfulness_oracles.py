"""On a linear model with a fixed fill, deletion and insertion have closed forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import pellucid as pl
from pellucid.engine import Evidence, look
from pellucid.engine.perturb import ranking
from pellucid.errors import RequestError, ShapeError
from pellucid.images.baselines import KINDS
from pellucid.images.baselines import fill as baseline
from pellucid.results import Heatmaps, Score
from pellucid.subject import VisionModel, wrap
from pellucid.trust.faithfulness import (
    Curves,
    curve_passes,
    deletion,
    even,
    insertion_minus_deletion,
    perturbation_curves,
)
from pellucid.trust.measured import CONTROLS
from pellucid.values import Call, Class, Contrast, Seed, Similar, Target, Unit
from tests.guests import unchanged
from tests.nets import Twin
from tests.oracles.nets import LinearPicture, pictures

CLASS = 2


def linear(height: int, width: int) -> VisionModel:
    return wrap(LinearPicture(height, width), input_size=(height, width), activation="none")


def heat_of(model: VisionModel, inputs: Tensor, values: Tensor) -> Heatmaps:
    """Maps drawn by hand, as if a method had made them."""
    return replace(pl.attribute(model, inputs, "random", target=CLASS), values=values, method="by hand")


def measured(model: VisionModel, inputs: Tensor, values: Tensor, metric: str, **parameters: object) -> Score:
    return pl.evaluate(model, inputs, heat_of(model, inputs, values), metric, **parameters)[0]


def worth_of(evidence: Evidence, fill: str) -> tuple[Tensor, Tensor, Tensor]:
    """f(x), f(fill), and what every pixel adds to f(x) - f(fill): weight times difference."""
    filled = evidence.fill(fill)
    network = evidence.model.module
    assert isinstance(network, LinearPicture)
    with torch.no_grad():
        ends = [network(each)[:, CLASS] for each in (evidence.inputs, filled)]
        return ends[0], ends[1], (network.weight[CLASS] * (evidence.inputs - filled)).sum(dim=1)


def area_by_hand(start: Tensor, worth: Tensor, values: Tensor) -> Tensor:
    """Area under the curve that begins at `start` and loses pixel after pixel, the largest of `values` first."""
    order = values.flatten(1).argsort(dim=1, descending=True)
    lost = worth.flatten(1).gather(1, order).cumsum(dim=1)
    curve = start[:, None] - torch.cat([torch.zeros(len(lost), 1), lost], dim=1)
    return (curve[:, 1:] + curve[:, :-1]).mean(dim=1) / 2


@pytest.mark.parametrize("fill", ["mean", "blur", "noise", "black"])
def test_areas_on_a_linear_model_are_those_worked_out_by_hand(fill: str) -> None:
    model, inputs = linear(5, 6), pictures(3, 5, 6)
    values = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(4))
    whole, empty, worth = worth_of(look(model, inputs, CLASS), fill)
    for metric, expected in (
        ("deletion", area_by_hand(whole, worth, values)),
        ("insertion", area_by_hand(empty, -worth, values)),
    ):
        score = measured(model, inputs, values, metric, steps=31, fills=(fill,))
        assert_close(torch.tensor(score.values), expected, rtol=1e-4, atol=1e-4)


def test_what_one_curve_loses_the_other_one_gains() -> None:
    model, inputs = linear(5, 6), pictures(3, 5, 6)
    evidence = look(model, inputs, CLASS)
    whole, empty, _ = worth_of(evidence, "mean")
    values = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(5))
    curves = perturbation_curves(evidence, {"map": values}, fractions=even(11), fills=("mean",))
    both = curves.deletion["map"][0] + curves.insertion["map"][0]
    assert_close(both, (whole + empty)[:, None].expand_as(both), rtol=1e-4, atol=1e-4)


def test_a_map_and_its_opposite_share_the_ends_between_them() -> None:
    model, inputs = linear(5, 6), pictures(3, 5, 6)
    whole, empty, _ = worth_of(look(model, inputs, CLASS), "mean")
    values = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(6))
    there, back = (
        torch.tensor(measured(model, inputs, sign * values, "deletion", steps=31, fills=("mean",)).values)
        for sign in (1, -1)
    )
    assert_close(there + back, whole + empty, rtol=1e-4, atol=1e-4)


def test_the_order_of_worth_is_the_best_of_all_orders_and_its_opposite_the_worst() -> None:
    model, picture = linear(2, 3), pictures(1, 2, 3)
    every = torch.tensor(list(permutations(range(6))), dtype=torch.float32).view(-1, 2, 3)
    inputs = picture.expand(len(every), -1, -1, -1).contiguous()
    _, _, worth = worth_of(look(model, picture, CLASS), "mean")
    for metric, best, worst in (("deletion", min, max), ("insertion", max, min)):
        areas = measured(model, inputs, every, metric, steps=7, fills=("mean",)).values
        perfect, backwards = (
            measured(model, picture, sign * worth, metric, steps=7, fills=("mean",)).values[0] for sign in (1, -1)
        )
        assert perfect == pytest.approx(best(areas), abs=1e-4)
        assert backwards == pytest.approx(worst(areas), abs=1e-4)


def test_random_maps_are_worth_the_mean_of_both_ends() -> None:
    model, picture = linear(5, 6), pictures(1, 5, 6)
    many = torch.rand(400, 5, 6, generator=torch.Generator().manual_seed(7))
    inputs = picture.expand(400, -1, -1, -1).contiguous()
    whole, empty, _ = worth_of(look(model, picture, CLASS), "mean")
    for metric in ("deletion", "insertion"):
        areas = torch.tensor(measured(model, inputs, many, metric, steps=11, fills=("mean",)).values)
        error = float(areas.std()) / 400**0.5
        assert abs(float(areas.mean() - (whole + empty)[0] / 2)) < 4 * error


def test_the_gain_is_insertion_less_deletion_and_changes_its_sign_with_the_map() -> None:
    model, inputs = linear(5, 6), pictures(2, 5, 6)
    _, _, worth = worth_of(look(model, inputs, CLASS), "mean")
    asked = {"steps": 31, "fills": ("mean",)}
    gain, deletion, insertion = (
        torch.tensor(measured(model, inputs, worth, metric, **asked).values)
        for metric in ("insertion_minus_deletion", "deletion", "insertion")
    )
    assert_close(gain, insertion - deletion)
    opposite = measured(model, inputs, -worth, "insertion_minus_deletion", **asked).values
    assert (gain > 0).all()
    assert_close(torch.tensor(opposite), -gain, rtol=1e-4, atol=1e-4)


def test_only_the_ranking_of_a_map_counts() -> None:
    model, inputs = linear(5, 6), pictures(2, 5, 6)
    values = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(8))
    one, other = (measured(model, inputs, each, "deletion", steps=9) for each in (values, (3 * values).exp() - 7))
    assert one.values == other.values


def test_equal_values_are_ordered_by_the_seed_and_not_by_their_place() -> None:
    flat = torch.zeros(2, 16, 16)
    ranks = ranking(flat, Seed(0))
    assert torch.equal(ranks, ranking(flat, Seed(0))) and not torch.equal(ranks, ranking(flat, Seed(1)))
    assert torch.equal(ranks[0].flatten().sort().values, torch.arange(256))
    reading_order = torch.stack([ranks[0].flatten().float(), torch.arange(256.0)])
    assert abs(float(torch.corrcoef(reading_order)[0, 1])) < 0.2
    half = ranks[0] < 128
    assert int(half.sum()) == 128 and 40 < int(half[:8].sum()) < 88


def test_ties_never_overtake_a_larger_value() -> None:
    steps = torch.arange(64).div(16, rounding_mode="floor").view(1, 8, 8).float()
    ranks = ranking(steps, Seed(3))
    for level in range(4):
        expected = torch.arange(16) + 16 * (3 - level)
        assert torch.equal(ranks[steps == level].sort().values, expected)


def test_a_flat_maps_area_moves_with_the_seed_and_a_strict_maps_does_not() -> None:
    model, inputs = linear(5, 6), pictures(1, 5, 6)
    strict = torch.randperm(30, generator=torch.Generator().manual_seed(9)).view(1, 5, 6).float()

    def area(values: Tensor, seed: int) -> float:
        return measured(model, inputs, values, "deletion", steps=9, fills=("mean",), seed=seed).values[0]

    assert area(torch.ones(1, 5, 6), 0) == area(torch.ones(1, 5, 6), 0) != area(torch.ones(1, 5, 6), 1)
    assert area(strict, 0) == area(strict, 1)


@pytest.mark.parametrize("metric", ["deletion", "insertion", "insertion_minus_deletion"])
def test_every_score_carries_the_controls_as_they_score_themselves(metric: str) -> None:
    model, inputs = wrap(Twin(), input_size=(12, 12)), pictures(2, 12, 12)
    score = pl.evaluate(model, inputs, pl.attribute(model, inputs, "gradient_x_input", target=1), metric, steps=5)[0]
    for control in CONTROLS:
        alone = pl.evaluate(model, inputs, pl.attribute(model, inputs, control, target=1), metric, steps=5)[0]
        assert_close(torch.tensor(getattr(score, control)), torch.tensor(alone.values))
        assert score.controls(1)[control] == getattr(score, control)[1]
    assert len(score.values) == len(score.spread) == 2


def test_the_spread_is_that_over_the_fills_and_the_value_their_mean() -> None:
    model, inputs = linear(5, 6), pictures(2, 5, 6)
    values = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(10))
    fills = ("blur", "mean", "noise")

    def score(named: Sequence[str]) -> Score:
        return measured(model, inputs, values, "deletion", steps=9, fills=named)

    together, alone = score(fills), torch.tensor([score((fill,)).values for fill in fills])
    assert together.fills == fills
    assert_close(torch.tensor(together.values), alone.mean(dim=0))
    assert_close(torch.tensor(together.spread), alone.std(dim=0, correction=0))
    assert score(("mean",)).spread == ()  # nothing was varied, which is not to be read as certainty


def test_areas_over_the_side_weigh_the_first_pixels_more() -> None:
    falling = torch.tensor([[[1.0, 0.0, 0.0]]])
    rising = torch.tensor([[[0.0, 1.0, 1.0]]])
    for over, area in (("fraction", 0.25 / 2), ("side", 0.5 / 2)):
        curves = Curves((0.0, 0.25, 1.0), ("mean",), {"map": falling}, {"map": rising}, "probability", over)
        assert float(curves.area("deletion", "map")) == pytest.approx(area)
        assert float(curves.gain("map")) == pytest.approx(1 - 2 * area)


def test_both_ends_of_the_curves_are_the_picture_and_the_fill() -> None:
    model, inputs = wrap(Twin(), input_size=(12, 12)), pictures(2, 12, 12)
    evidence = look(model, inputs, 1)
    curves = perturbation_curves(evidence, {"map": torch.rand(2, 12, 12)}, fractions=(0, 0.3, 1), fills=("blur",))
    whole, empty = (
        model.probabilities(model.predict(each))[:, 1] for each in (inputs, evidence.fill("blur"))
    )  # fmt: skip
    deleted, inserted = curves.deletion["map"][0], curves.insertion["map"][0]
    for found, expected in (
        (deleted[:, 0], whole), (deleted[:, -1], empty), (inserted[:, 0], empty), (inserted[:, -1], whole),
    ):  # fmt: skip
        assert_close(found, expected)


def test_curves_take_as_many_passes_as_announced() -> None:
    model, inputs = wrap(Twin(), input_size=(12, 12)), pictures(2, 12, 12)
    evidence = look(model, inputs, Class(1))
    before = evidence.passes.forwards
    maps = {"one": torch.rand(2, 12, 12), "other": torch.rand(2, 12, 12)}
    perturbation_curves(evidence, maps, fractions=even(6), fills=("blur", "mean"))
    assert evidence.passes.forwards - before == curve_passes(2, 6, 2) == 1 + 2 + 2 * 2 * 2 * 4
    perturbation_curves(evidence, maps, fractions=even(6), fills=("mean",))
    perturbation_curves(evidence, {"the same": maps["one"].clone()}, fractions=(0, 0.4, 1), fills=("blur",))
    assert evidence.passes.forwards - before == curve_passes(2, 6, 2), "what was asked before ran again"


def test_outputs_without_a_probability_are_not_called_one() -> None:
    model, inputs = linear(5, 6), pictures(1, 5, 6)
    assert "probability" not in measured(model, inputs, torch.rand(1, 5, 6), "deletion", steps=3).unit
    sure = wrap(Twin(), input_size=(12, 12))
    heat = pl.attribute(sure, pictures(1, 12, 12), "random", target=1)
    assert "probability" in pl.evaluate(sure, pictures(1, 12, 12), heat, "deletion", steps=3)[0].unit


def test_measuring_leaves_the_model_as_it_was() -> None:
    network, inputs = Twin("in-place functional").train(), pictures(2, 12, 12)
    with unchanged(network):
        model = wrap(network, input_size=(12, 12))
        heat = pl.attribute(model, inputs, "random", target=1)
        pl.evaluate(model, inputs, heat, ("deletion", "insertion"), steps=4)


@pytest.mark.parametrize("fractions", [(0.0,), (0.1, 1.0), (0.0, 0.9), (0.0, 0.5, 0.5, 1.0), (0.0, 0.7, 0.3, 1.0)])
def test_curves_that_do_not_rise_from_nothing_to_all_are_refused(fractions: tuple[float, ...]) -> None:
    evidence = look(linear(5, 6), pictures(1, 5, 6), CLASS)
    with pytest.raises(RequestError, match="from 0 to 1"):
        perturbation_curves(evidence, {"map": torch.rand(1, 5, 6)}, fractions=fractions)


def test_what_cannot_be_measured_is_refused() -> None:
    model, inputs = linear(5, 6), pictures(2, 5, 6)
    heat = heat_of(model, inputs, torch.rand(2, 5, 6))
    with pytest.raises(RequestError, match="at least 2"):
        pl.evaluate(model, inputs, heat, "deletion", steps=1)
    with pytest.raises(RequestError, match="fills is empty"):
        pl.evaluate(model, inputs, heat, "deletion", fills=())
    with pytest.raises(ShapeError):
        pl.evaluate(model, inputs, heat[0], "deletion")
    with pytest.raises(ShapeError):
        pl.evaluate(model, inputs, replace(heat, values=torch.rand(2, 6, 5)), "deletion")


def test_absolute_order_takes_the_largest_magnitudes_first() -> None:
    model, inputs = linear(5, 6), pictures(2, 5, 6)
    values = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(11))
    asked = {"steps": 9, "fills": ("mean",)}
    absolute = measured(model, inputs, values, "insertion", order="absolute", **asked)
    assert absolute.values == measured(model, inputs, values.abs(), "insertion", **asked).values
    assert absolute.values != measured(model, inputs, values, "insertion", **asked).values
    assert absolute.order.startswith("absolute")


def test_steps_in_pixels_are_points_so_many_pixels_apart() -> None:
    model, inputs = linear(5, 6), pictures(2, 5, 6)
    values = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(12))
    by_pixel = measured(model, inputs, values, "deletion", step=7, fills=("mean",))
    assert by_pixel.curves is not None
    assert by_pixel.curves["fractions"] == pytest.approx([0, 7 / 30, 14 / 30, 21 / 30, 28 / 30, 1])
    whole = measured(model, inputs, values, "deletion", step=1, fills=("mean",)).curves
    assert whole is not None
    picked = torch.tensor(whole["deletion"])[..., [0, 7, 14, 21, 28, 30]]
    assert_close(torch.tensor(by_pixel.curves["deletion"]), picked)
    with pytest.raises(RequestError, match="step=0"):
        measured(model, inputs, values, "deletion", step=0)


@pytest.mark.parametrize("fill", KINDS)
def test_every_fill_ends_in_the_picture_and_in_nothing_but_fill(fill: str) -> None:
    model, inputs = linear(5, 6), pictures(2, 5, 6)
    evidence = look(model, inputs, CLASS)
    curves = perturbation_curves(evidence, {"map": torch.rand(2, 5, 6)}, fractions=even(4), fills=(fill,))
    everything = torch.ones(2, 5, 6, dtype=torch.bool)
    emptied = baseline(inputs, fill, None, evidence.seed.child("fill", fill), mask=everything)
    whole, empty = (model.predict(each)[:, CLASS] for each in (inputs, emptied))
    for curve, start, end in ((curves.deletion, whole, empty), (curves.insertion, empty, whole)):
        assert_close(curve["map"][0, :, 0], start)
        assert_close(curve["map"][0, :, -1], end)


@pytest.mark.parametrize(
    "target",
    [Contrast(0, 2), Call(lambda outputs: outputs[:, 1] ** 2), Similar(pictures(1, 5, 6, seed=9)), Unit("norm", 3)],
)
def test_any_target_can_be_followed(target: Target) -> None:
    """A likeness, a contrast, a unit inside: the curve is the target's own value on the changed pictures."""
    model, inputs = wrap(Twin(), input_size=(5, 6)), pictures(2, 5, 6)
    evidence = look(model, inputs, target)
    values = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(13))
    found = deletion(evidence, {"map": values}, steps=4, fills=("mean",))
    gone = torch.zeros(2, 30, dtype=torch.bool).scatter_(1, values.flatten(1).topk(10).indices, True).view(2, 1, 5, 6)
    (expected,) = evidence.scores_at([torch.where(gone, evidence.fill("mean"), inputs)])
    curve = torch.tensor(found.curves["map"]["deletion"])[0]
    assert_close(curve[:, 1], expected)
    assert_close(curve[:, 0], evidence.score())
    assert "probability" not in found.unit
    least, most = curve.amin(dim=1, keepdim=True), curve.amax(dim=1, keepdim=True)
    scaled = torch.trapezoid((curve - least) / (most - least), dim=1) / 3
    assert_close(torch.tensor(found.curves["map"]["scaled"])[0], scaled, rtol=1e-3, atol=1e-4)


def test_one_curve_alone_does_not_pay_for_the_other() -> None:
    model, inputs = wrap(Twin(), input_size=(12, 12)), pictures(2, 12, 12)
    evidence = look(model, inputs, Class(1))
    maps = {"one": torch.rand(2, 12, 12), "other": torch.rand(2, 12, 12)}
    deletion(evidence, maps, steps=6, fills=("blur", "mean"))
    assert evidence.passes.forwards == 1 + 2 + 2 * 2 * 4
    insertion_minus_deletion(evidence, maps, steps=6, fills=("blur", "mean"))
    assert evidence.passes.forwards == curve_passes(2, 6, 2)
