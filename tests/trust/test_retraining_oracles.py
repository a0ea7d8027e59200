"""Nets are trained on pictures of which it is known where the class stands, so that the right score is known too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.compute.train import Recipe
from pellucid.errors import NotLearned, RequestError, ShapeError
from pellucid.registry import metrics
from pellucid.trust.retraining import (
    FromScratch,
    GradCamAt,
    IntegratedGradients,
    SmoothGrad,
    Split,
    alignment,
    gradient_times_input,
    here,
    input_gradient,
    kar,
    key_of,
    label_randomisation,
    roar,
    simulatability,
)
from pellucid.trust.retraining.erasing import erased, silhouettes, taken
from pellucid.trust.retraining.explainers import mass_inside
from pellucid.trust.retraining.learning import Facts, Job, Record, accuracy, drawn
from pellucid.trust.retraining.students import evened
from pellucid.values import Class, Seed
from tests.guests import unchanged
from tests.oracles.nets import PooledConv, pictures

SIDE, PLACE = 8, (3, 4)
HELD = 400


def one_layer() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 2))


def two_layers() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 32), nn.ReLU(), nn.Linear(32, 2))


LINEAR = FromScratch(one_layer, Recipe(40, 0.05, batch=64))
WIDE = FromScratch(two_layers, Recipe(30, 0.02, batch=64))


def signs(count: int, seed: int, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """Pictures of one colour whose class is the sign of one pixel; the others are noise."""
    generator = Seed(seed).generator()
    labels = torch.arange(count) % 2
    drawn_pictures = noise * torch.randn(count, 1, SIDE, SIDE, generator=generator)
    drawn_pictures[:, 0, PLACE[0], PLACE[1]] = 2.0 * labels - 1
    return drawn_pictures, labels


def one_pixel(count: int = 300, noise: float = 0.1) -> Split:
    return Split(*signs(count, 1, noise), *signs(HELD, 2, noise))


def both(data: Split, make: object) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Maps of both parts: (pictures, classes) -> {name: maps}."""
    assert callable(make)
    return make(data.pictures, data.labels), make(data.held_out, data.held_labels)


def right_and_random(shown: Tensor, _classes: Tensor) -> dict[str, Tensor]:
    right = torch.zeros(len(shown), SIDE, SIDE)
    right[:, PLACE[0], PLACE[1]] = 1
    lot = torch.rand(len(shown), SIDE, SIDE, generator=Seed(len(shown)).generator())
    return {"right": right, "control random": lot}


def telling(shown: Tensor, classes: Tensor) -> dict[str, Tensor]:
    """A map that knows nothing of the picture and names the class by its side."""
    maps = torch.rand(len(shown), SIDE, SIDE, generator=Seed(7).generator())
    half = SIDE // 2
    maps[classes == 0, :, :half] += 1
    maps[classes == 1, :, half:] += 1
    return {"telling": maps, "control random": right_and_random(shown, classes)["control random"]}


# -- remove and retrain ---------------------------------------------------------------------------------------------


def test_removal_by_the_right_map_leaves_chance_and_by_lot_what_was_not_hit() -> None:
    """The pixel is gone from the share t of the pictures; of those half are guessed: 0.5 t + (1 - t)."""
    data = one_pixel()
    found = roar(*both(data, right_and_random), data, LINEAR, levels=(0.1, 0.5), seeds=(0,))
    assert found.row(part="whole pictures", map="right")["accuracy"] == 1.0
    for level in (0.1, 0.5):
        assert found.row(map="right", level=level)["accuracy"] == pytest.approx(0.5, abs=0.08)
        expected = 0.5 * level + (1 - level)
        assert found.row(map="control random", level=level)["accuracy"] == pytest.approx(expected, abs=0.08)
    best = found.rows[0]
    assert best["map"] == "right" and best["beats"] and best["best control"] == "control random"
    assert best["leak"] == pytest.approx(0.5, abs=0.08)
    assert best["low"] <= best["area"] <= best["high"]


def test_keeping_the_right_pixels_is_enough_and_keeping_some_by_lot_is_not() -> None:
    """The pixel stays in the share t of the pictures; the others are guessed: t + 0.5 (1 - t)."""
    data = one_pixel()
    found = kar(*both(data, right_and_random), data, LINEAR, levels=(0.1, 0.5), seeds=(0,))
    for level in (0.1, 0.5):
        assert found.row(map="right", level=level)["accuracy"] == 1.0
        expected = level + 0.5 * (1 - level)
        assert found.row(map="control random", level=level)["accuracy"] == pytest.approx(expected, abs=0.08)
    assert found.better == "higher" and found.rows[0]["map"] == "right" and found.rows[0]["beats"]
    assert found.rows[0]["area"] == pytest.approx(1.0)


def test_a_map_that_names_the_class_by_its_shape_is_told_by_the_shape_alone() -> None:
    data = one_pixel()
    found = kar(*both(data, telling), data, LINEAR, levels=(0.3,), seeds=(0,))
    assert found.row(map="telling")["leak"] > 0.95
    assert found.row(map="control random")["leak"] == pytest.approx(0.5, abs=0.08)


def test_the_area_is_that_of_the_accuracies_over_the_levels() -> None:
    data = one_pixel(60)
    found = roar(*both(data, right_and_random), data, LINEAR, levels=(0.2, 0.6), seeds=(0,))
    whole, low, high = (found.row(map="right", level=level)["accuracy"] for level in (0.0, 0.2, 0.6))
    assert found.row(map="right")["area"] == pytest.approx((0.2 * (whole + low) / 2 + 0.4 * (low + high) / 2) / 0.6)


def test_the_interval_over_seeds_is_students_and_there_is_none_of_one() -> None:
    data = one_pixel(60)
    found = roar(*both(data, right_and_random), data, WIDE, levels=(0.5,), seeds=(0, 1, 2))
    each = np.array(found.row(map="control random", level=0.5)["each seed"])
    detail = found.row(map="control random", level=0.5)
    reach = 4.302653 * each.std(ddof=1) / 3**0.5  # of two degrees of freedom
    assert detail["high over seeds"] - each.mean() == pytest.approx(reach, abs=1e-5)
    row = found.row(map="control random")
    assert row["low over seeds"] <= row["area"] <= row["high over seeds"]
    alone = roar(*both(data, right_and_random), data, WIDE, levels=(0.5,), seeds=(0,))
    assert "low over seeds" not in alone.rows[0]


def test_the_same_seed_gives_the_same_table_and_another_one_another() -> None:
    data = one_pixel(60)
    maps = both(data, right_and_random)
    asked = {"levels": (0.5,), "seeds": (3,)}
    one, same = (roar(*maps, data, WIDE, **asked) for _ in range(2))
    assert one == same
    assert one != roar(*maps, data, WIDE, levels=(0.5,), seeds=(4,))


def test_pixels_go_in_the_order_of_the_map_and_ties_by_lot() -> None:
    ramp = torch.arange(SIDE * SIDE).float().view(1, SIDE, SIDE).expand(2, -1, -1)
    gone = taken(ramp, 0.25, False, Seed(0))
    assert torch.equal(gone, ramp >= 48) and torch.equal(taken(ramp, 0.25, True, Seed(0)), ~gone)
    flat = taken(torch.zeros(200, SIDE, SIDE), 0.25, False, Seed(0))
    assert flat.flatten(1).sum(dim=1).eq(16).all()
    assert float(flat.float().mean(dim=0).max()) < 0.45  # 0.25 with standard deviation 0.03 where all pixels are alike


def test_what_is_gone_has_the_mean_colour_and_shapes_have_two_colours() -> None:
    shown = (torch.rand(5, 3, SIDE, SIDE, generator=Seed(0).generator()) * 255).to(torch.uint8)
    gone = torch.zeros(5, SIDE, SIDE, dtype=torch.bool)
    gone[:, :2] = True
    without = erased(shown, gone, torch.tensor([1.2, 2.0, 3.0]))
    assert without.dtype == torch.uint8 and without[0, :, 0, 0].tolist() == [1, 2, 3]
    assert torch.equal(without[:, :, 2:], shown[:, :, 2:])
    shape = silhouettes(shown, gone)
    assert len(shape[:, 0].unique()) == 2 and shape.dtype == torch.uint8


@pytest.mark.parametrize("levels", [(), (0.0,), (1.1,), (0.5, 0.5)])
def test_levels_that_cannot_be_are_refused(levels: Sequence[float]) -> None:
    data = one_pixel(20)
    with pytest.raises(RequestError, match="levels"):
        roar(*both(data, right_and_random), data, LINEAR, levels=levels)


def test_maps_that_do_not_fit_are_refused() -> None:
    data = one_pixel(20)
    training, held = both(data, right_and_random)
    with pytest.raises(ShapeError, match=r"maps_of_training\['right'\]"):
        roar({**training, "right": held["right"]}, held, data, LINEAR)
    with pytest.raises(RequestError, match="same names"):
        roar({"right": training["right"]}, held, data, LINEAR)
    with pytest.raises(RequestError, match="no numbers"):
        roar({**training, "right": training["right"] * torch.nan}, held, data, LINEAR)
    with pytest.raises(RequestError, match="seeds"):
        roar(training, held, data, LINEAR, seeds=())
    with pytest.raises(ShapeError, match="Split.pictures"):
        replace(data, labels=data.labels[:3])


# -- classes by lot -------------------------------------------------------------------------------------------------


def explain(net: nn.Module, shown: Tensor, classes: Tensor) -> dict[str, Tensor]:
    edges = shown[:, 0].abs()
    return {"gradient": gradient_times_input(net, shown, classes).detach(), "control edge": edges}


def test_a_map_of_what_was_learned_changes_with_the_labels_and_one_of_the_picture_does_not() -> None:
    data = one_pixel(40)
    found = label_randomisation(explain, data, FromScratch(two_layers, Recipe(150, 0.02, batch=40)), explained=20)
    assert all(detail["known"] > 0.95 for detail in found.details)
    assert found.row(labels="permuted")["held out"] == pytest.approx(0.5, abs=0.2)
    assert found.row(map="control edge")["similarity"] == pytest.approx(1.0, abs=1e-6)
    assert not found.row(map="control edge")["clearly"]
    row = found.row(map="gradient")
    assert row["similarity"] < 0.5 < 1.0 and row["low"] <= row["similarity"] <= row["high"]
    assert found.rows[0]["map"] == "gradient" and found.trainings == 3


def test_nets_that_did_not_learn_are_not_compared() -> None:
    with pytest.raises(NotLearned, match="more than 95%") as refused:
        label_randomisation(explain, one_pixel(200), FromScratch(one_layer, Recipe(3, 1e-3)), explained=2)
    assert refused.value.reached < 0.95
    with pytest.raises(RequestError, match="explained"):
        label_randomisation(explain, one_pixel(20), LINEAR, explained=HELD + 1)


# -- students -------------------------------------------------------------------------------------------------------


def test_the_rule_as_a_map_helps_a_student_and_the_class_as_a_map_does_not() -> None:
    """Twelve pictures, as much noise as signal: enough for who is shown the pixel, not for who is told the class."""
    data = one_pixel(12, noise=1.0)
    student = FromScratch(one_layer, Recipe(150, 0.05, batch=24))
    training, held = both(data, right_and_random)
    told, told_held = both(data, telling)
    training["telling"], held["telling"] = told["telling"], told_held["telling"]
    found = simulatability(training, held, data, student, share=1 / 64, seeds=(0,))
    right, telltale = found.row(map="right"), found.row(map="telling")
    assert right["gain"] > 0.25 and right["low"] > 0.2 and right["adjusted"] > 0.25
    assert right["gain"] > found.row(map="control random")["gain"] + 0.2
    assert abs(telltale["adjusted"]) < 0.06
    assert found.rows[0]["map"] == "right" and found.trainings == 1 + 3 * 2


def test_a_map_that_names_the_class_leaks() -> None:
    data = one_pixel(60, noise=1.0)
    found = simulatability(*both(data, telling), data, LINEAR, share=0.4, seeds=(0,))
    assert found.row(map="telling")["leaking"] > 0.95
    assert found.row(map="control random")["leaking"] == pytest.approx(0.5, abs=0.1)
    assert abs(found.row(map="telling")["adjusted"]) < 0.06


def test_both_groups_count_alike_in_the_adjusted_gain() -> None:
    gains = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    leaks = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    assert_close(evened(gains, leaks).mean(dim=1), torch.tensor([0.5, 0.25]))


# -- alignment ------------------------------------------------------------------------------------------------------


def half_lit(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """The class stands in the left half, and the right half is black; the mask is the left half."""
    shown, labels = signs(count, seed)
    shown = shown.roll(-2, dims=3)
    shown[..., SIDE // 2 :] = 0
    masks = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    masks[..., : SIDE // 2] = True
    return shown, labels, masks


def lit() -> tuple[Split, Tensor, Tensor]:
    shown, labels, masks = half_lit(100, 1)
    held, held_labels, held_masks = half_lit(60, 2)
    return Split(shown, labels, held, held_labels), masks, held_masks


def test_a_linear_net_can_be_talked_into_any_gradient_where_nothing_is_but_not_into_gradient_times_input() -> None:
    """Weights on black pixels are free, so the gradient goes where it is told; times the picture they are nothing."""
    data, masks, held = lit()
    net = LINEAR(data.pictures, data.labels, seed=0)
    found = alignment(
        net, data, masks, held, {"gradient": input_gradient, "gradient_x_input": gradient_times_input},
        Recipe(60, 0.05, batch=50), weights=(4.0,),
    )  # fmt: skip
    assert accuracy(net, data.held_out, data.held_labels) > 0.97
    assert all(detail["accuracy"] > 0.95 and detail["held"] for detail in found.details)
    fooled = found.row(**{"trained for": "gradient", "map": "gradient", "measure": "mass"})
    assert fooled["misaligned"] < 0.5 * fooled["original"] and fooled["gap"] > 0.4 and fooled["low"] > 0.3
    for trained in ("gradient", "gradient_x_input"):
        sound = found.row(**{"trained for": trained, "map": "gradient_x_input", "measure": "mass"})
        assert sound["misaligned"] == sound["aligned"] == pytest.approx(1.0) and sound["gap"] == pytest.approx(0.0)


def test_the_average_precision_falls_where_the_gradient_is_talked_away() -> None:
    data, masks, held = lit()
    net = LINEAR(data.pictures, data.labels, seed=0)
    found = alignment(net, data, masks, held, {"smoothgrad": SmoothGrad(2)}, Recipe(40, 0.05, batch=50), weights=(4.0,))
    row = found.row(measure="precision")
    assert row["aligned"] >= row["original"] > row["misaligned"] and row["low"] > 0.1


def test_paths_and_noise_in_the_graph_give_what_is_known() -> None:
    """A linear net has one gradient everywhere; of a curved one the parts sum to the rise from black."""
    data, _, _ = lit()
    net, shown, classes = LINEAR(data.pictures, data.labels, seed=0), data.pictures[:5], data.labels[:5]
    assert_close(SmoothGrad(3, 0.4)(net, shown, classes), input_gradient(net, shown, classes))
    assert_close(IntegratedGradients(2)(net, shown, classes), gradient_times_input(net, shown, classes))
    curved, odd = PooledConv(), pictures(3, 13, 11)
    asked = torch.tensor([1, 3, 0])
    found = IntegratedGradients(200)(curved, odd, asked)
    rise = (curved(odd) - curved(torch.zeros_like(odd))).gather(1, asked[:, None])[:, 0]
    assert_close(found.sum(dim=(1, 2)), rise, atol=1e-3, rtol=1e-3)
    model = pl.wrap(curved, input_size=(13, 11), activation="none")
    theirs = pl.attribute(model, odd, "integrated_gradients", target=[Class(one) for one in asked.tolist()], steps=200)
    assert_close(found.detach(), theirs.one_channel, atol=2e-3, rtol=1e-2)
    assert found.requires_grad and SmoothGrad(2)(curved, odd, asked).requires_grad


def test_a_weight_of_nothing_changes_nothing_but_what_training_does() -> None:
    data, masks, held = lit()
    net = WIDE(data.pictures, data.labels, seed=0)
    with unchanged(net):
        found = alignment(
            net, data, masks, held, {"gradient": input_gradient}, Recipe(10, 1e-3, batch=50), weights=(0.0,)
        )
    for measure in ("mass", "rank", "precision", "pointing"):
        row = found.row(measure=measure)
        assert row["gap"] == 0.0 and row["aligned"] == row["plain"]
        assert row["plain"] == pytest.approx(row["original"], abs=0.05)


def test_a_net_that_loses_its_answers_has_no_gap() -> None:
    """Every weight spoils more than nothing may be lost, so nothing is said but that."""
    data, masks, held = lit()
    net = LINEAR(data.pictures, data.labels, seed=0)
    away = ~held
    away[:, 0] = True
    found = alignment(
        net, data, ~masks, away, {"times": gradient_times_input}, Recipe(40, 0.3, batch=50), weights=(500.0,), drop=-1.0
    )
    assert all(row["gap"] != row["gap"] for row in found.rows)
    assert any("no weight kept the accuracy" in note for note in found.notes)


def test_the_maps_in_the_graph_are_those_of_the_methods() -> None:
    net, shown = PooledConv(), pictures(2, 12, 14)
    classes = torch.tensor([1, 3])
    model = pl.wrap(net, input_size=(12, 14), activation="none")
    asked = [Class(one) for one in classes.tolist()]
    mine = {"gradient": input_gradient, "gradient_x_input": gradient_times_input, "grad_cam": GradCamAt("relu")}
    for name, one in mine.items():
        theirs = pl.attribute(model, shown, name, target=asked, **({"layer": "relu"} if name == "grad_cam" else {}))
        values = one(net, shown, classes)
        assert_close(values.detach(), theirs.one_channel, atol=1e-5, rtol=1e-4)
        inside = mass_inside(values, torch.ones(2, 12, 14, dtype=torch.bool))
        assert_close(inside.detach(), torch.ones(2))
        assert values.requires_grad
    with pytest.raises(RequestError, match="no layer"):
        GradCamAt("conv9")(net, shown, classes)
    with pytest.raises(RequestError, match="no map"):
        GradCamAt("head")(net, shown, classes)


# -- work -----------------------------------------------------------------------------------------------------------


def test_every_picture_comes_once_before_any_comes_twice() -> None:
    seen = torch.cat([drawn(10, 5, step, 3) for step in range(2)])
    assert sorted(seen.tolist()) == list(range(10))
    assert not torch.equal(seen, torch.cat([drawn(10, 5, step, 3) for step in (2, 3)]))
    assert drawn(3, 64, 5, 0).sort().values.tolist() == [0, 1, 2]


def test_training_leaves_the_callers_random_state_and_gives_the_same_net_again() -> None:
    data, before = one_pixel(40), torch.get_rng_state()
    one, same = (WIDE(data.pictures, data.labels, seed=5) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for mine, theirs in zip(one.parameters(), same.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_key_names_all_that_decides_a_training() -> None:
    keys: set[str] = set()

    def noting(job: Job, asked: Sequence[Facts]) -> list[Record]:
        keys.update(key_of(job, one) for one in asked)
        return here(job, asked[:0]) or [{"right": "1" * HELD} for _ in asked]

    def trainings(data: Split, recipe: FromScratch, level: float, seed: int, dim: float = 1.0) -> int:
        maps = [{name: dim * values for name, values in part.items()} for part in both(data, right_and_random)]
        before = len(keys)
        roar(*maps, data, recipe, levels=(level,), seeds=(seed,), work=noting)
        return len(keys) - before

    data = one_pixel(20)
    assert trainings(data, LINEAR, 0.5, 0) == 5 and trainings(data, LINEAR, 0.5, 0) == 0
    assert trainings(data, LINEAR, 0.6, 0) == 4 and trainings(data, LINEAR, 0.5, 0, dim=0.5) == 4
    assert trainings(data, LINEAR, 0.5, 1) == trainings(data, WIDE, 0.5, 0) == 5
    assert trainings(replace(data, pictures=data.pictures + 1), LINEAR, 0.5, 0) == 5


@pytest.mark.parametrize("name", ["roar", "kar", "label_randomisation", "simulatability", "alignment", "consistency"])
def test_measures_that_train_say_so_and_are_not_run_on_maps_alone(name: str) -> None:
    measure = metrics()[name]
    assert measure.trains and measure.summary.endswith(".")
    model, shown = pl.wrap(PooledConv(), input_size=(12, 14)), pictures(1, 12, 14)
    heat = pl.attribute(model, shown, "gradient", target=1)
    with pytest.raises(RequestError, match=f"{name} trains nets.*pellucid retrain"):
        pl.evaluate(model, shown, heat, name)
