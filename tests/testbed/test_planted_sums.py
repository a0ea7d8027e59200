"""Nets that are sums: what every part, pixel and landscape adds is known, so every identity has a number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import pellucid as pl
from pellucid.engine import Ablate, look
from pellucid.images import superpixels
from pellucid.testbed import truth
from pellucid.testbed.fields import SPECIES
from pellucid.testbed.planted import codes, linear_picture, part_scores, parts, spurious
from pellucid.values import Class, Contrast
from tests.testbed.planted_runs import activations, drawn

# -- parts -------------------------------------------------------------------------------------------------------------


def test_the_logits_are_the_sums_of_the_scores_and_name_the_right_species() -> None:
    shown = drawn("coded")
    logits = activations(parts(), shown)["logits"].numpy()
    assert np.array_equal(logits, part_scores().logits(shown).astype(np.float32))
    assert np.array_equal(logits.argmax(axis=1), shown.labels)
    runner_up = np.sort(logits, axis=1)[:, -2]
    assert (logits.max(axis=1) - runner_up).min() >= 2


@pytest.mark.parametrize("part", ["wing", "tail", "crest", "bib", "beak", "eye", "feet", "grass", "prop0"])
def test_removing_a_part_costs_its_score_and_nothing_where_it_has_none(part: str) -> None:
    shown = drawn("coded")[:120]
    net = parts()
    before, after = (activations(net, one)["logits"].numpy() for one in (shown, truth.remove(shown, part)))
    for label in range(len(SPECIES)):
        expected = part_scores().removal(shown, label).get(part, np.zeros(len(shown)))
        assert np.array_equal(before[:, label] - after[:, label], expected.astype(np.float32))


def test_parts_that_are_missing_add_nothing() -> None:
    shown = codes.coded_scenes(77, 300, size=32, parts_missing=0.5)
    logits = activations(parts(), shown)["logits"].numpy()
    assert np.array_equal(logits, part_scores().logits(shown).astype(np.float32))


def test_effects_measured_with_twins_equal_the_scores() -> None:
    """`truth.effect` on contrasts: what it measures by re-rendering is what the table says, 0 for all else."""
    this, that = 3, 8  # they differ in wing, tail and plume
    shown = drawn("coded")
    shown = shown[np.flatnonzero(shown.labels == this)[:40]]
    found = truth.effect(parts().module, shown, Contrast(this, that))
    for name, drops in found.drops.items():
        deciding = name in ("wing", "tail", "crest")
        expected = part_scores().change(shown, name, this, that) if deciding else np.zeros(len(shown))
        assert np.abs(drops - expected).max() < 1e-5, name
    assert set(found.causes()) == {"wing", "tail", "crest"}


def test_scores_of_the_parts_of_a_class_differ_so_that_their_order_is_known() -> None:
    """A rank correlation with the true scores then has no ties, for every class and every whole bird of it."""
    shown = drawn("coded")
    for label in range(1, len(SPECIES), 2):  # birds with a plume have three parts to remove
        birds = shown[np.flatnonzero(shown.labels == label)[:1]]
        falls = part_scores().removal(birds, label)
        assert all(float(fall[0]) > 0 for fall in falls.values())


# -- the landscape -----------------------------------------------------------------------------------------------------


def test_the_spurious_net_names_the_landscapes_species_with_the_plume_that_is_there() -> None:
    shown = drawn("background")
    named = activations(spurious(), shown)["logits"].argmax(dim=1).numpy()
    assert np.array_equal(named, 2 * shown.fields["land"] + shown.fields["crest"])
    assert (named == shown.labels).mean() == pytest.approx(1 / 6, abs=0.03)


def test_in_the_world_it_would_be_trained_in_nobody_notices() -> None:
    shown = codes.coded_scenes(903, 500, size=32, shortcut="background", strength=0.95)
    named = activations(spurious(), shown)["logits"].argmax(dim=1).numpy()
    assert np.array_equal(named == shown.labels, shown.aligned)
    assert (named == shown.labels).mean() > 0.93


def test_the_landscape_units_have_four_times_the_effect_of_a_part() -> None:
    """Ablated through the engine: each unit takes what it adds, and only from its own classes."""
    net, model = spurious(), pl.load("testbed:planted_spurious")
    shown = drawn("background")[:30]
    pictures = net.pictures(shown)
    wing, tail, crest = np.unravel_index(np.arange(12), (3, 2, 2))
    for label in (0, 7):
        evidence = look(model, pictures, Class(label))
        for unit in net.units:
            with evidence.edited(Ablate(model.layers["detect.units"], channels=[unit.index])) as without:
                effect = (evidence.score() - without.score()).numpy()
            if unit.index >= 6:
                gain = 4.0 * (unit.index - 6 == label // 2)
            else:
                adds = [*(wing[label] == np.arange(3)), *(tail[label] == np.arange(2)), 1 if crest[label] else -1]
                gain = float(adds[unit.index])
            assert np.array_equal(effect, gain * unit.fires(shown)), f"class {label}: {unit.name}"


# -- pixels ------------------------------------------------------------------------------------------------------------

SIDE = 16


def linear() -> tuple[pl.VisionModel, Tensor, Tensor, Tensor]:
    """The model, its weights [class 3 side side], and two pictures."""
    net = linear_picture(SIDE)
    weights = net.module.read.weight.detach().reshape(-1, 3, SIDE, SIDE)  # type: ignore[operator, union-attr]
    pictures = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    return pl.wrap(net.module, input_size=(SIDE, SIDE)), weights, net.module.read.bias.detach(), pictures  # type: ignore[return-value, union-attr]


@pytest.mark.parametrize("target", [0, 2])
def test_gradients_and_integrated_gradients_are_weights_times_pixels(target: int) -> None:
    model, weights, bias, pictures = linear()
    own = weights[target]
    for method, expected, asked in (
        ("gradient_x_input", own * pictures, {}),
        ("integrated_gradients", own * pictures, {"baseline": "black", "steps": 3}),
        ("integrated_gradients", own * (pictures - 1), {"baseline": "white", "steps": 3}),
    ):
        heat = pl.attribute(model, pictures, method, target=target, **asked)
        torch.testing.assert_close(heat.values, expected.sum(dim=1), rtol=1e-4, atol=1e-6)
    heat = pl.attribute(model, pictures, "integrated_gradients", target=target, baseline="black", steps=3)
    total = heat.values.sum(dim=(1, 2)) + bias[target]
    torch.testing.assert_close(total, (own * pictures).sum(dim=(1, 2, 3)) + bias[target], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("window", "stride"), [(4, 4), (5, 3)])
def test_occlusion_is_the_sum_of_weights_times_what_was_covered(window: int, stride: int) -> None:
    model, weights, _, pictures = linear()
    heat = pl.attribute(
        model, pictures, "occlusion", target=Contrast(0, 1), window=window, stride=stride, baseline="black"
    )
    worth = ((weights[0] - weights[1]) * pictures).sum(dim=1)
    starts = sorted({*range(0, SIDE - window + 1, stride), SIDE - window})
    fallen, counted = torch.zeros(2, SIDE, SIDE), torch.zeros(SIDE, SIDE)
    for top in starts:
        for left in starts:
            rows, columns = slice(top, top + window), slice(left, left + window)
            fallen[:, rows, columns] += worth[:, rows, columns].sum(dim=(1, 2))[:, None, None]
            counted[rows, columns] += 1
    torch.testing.assert_close(heat.values, fallen / counted, rtol=1e-4, atol=1e-5)


def test_kernel_shap_gives_every_piece_the_sum_of_its_own_terms() -> None:
    """The game is additive, so a piece's Shapley value is what it adds alone, however it is estimated."""
    model, weights, _, pictures = linear()
    pieces = torch.tensor(superpixels.grid(SIDE, SIDE, 3, 3))
    heat = pl.attribute(model, pictures, "kernel_shap", target=1, segments=pieces, samples=600, baseline="black")
    worth = (weights[1] * pictures).sum(dim=1)
    for piece in range(9):
        own = pieces == piece
        torch.testing.assert_close(
            heat.values[:, own].sum(dim=1), worth[:, own].sum(dim=1), rtol=1e-3, atol=1e-4, msg=f"piece {piece}"
        )


def test_completeness_holds_for_every_method_that_promises_it() -> None:
    model, weights, _, pictures = linear()
    whole = (weights[0] * pictures).sum(dim=(1, 2, 3))
    for method in ("gradient_x_input", "integrated_gradients", "kernel_shap"):
        asked = {} if method == "gradient_x_input" else {"baseline": "black"}
        heat = pl.attribute(model, pictures, method, target=0, **asked)
        torch.testing.assert_close(heat.values.sum(dim=(1, 2)), whole, rtol=1e-3, atol=1e-4, msg=method)


def test_the_linear_net_at_the_size_of_scenes_reads_their_pixels() -> None:
    net = linear_picture()
    shown = net.stimuli(3, 4)
    weights = net.module.read.weight.detach().double()  # type: ignore[union-attr]
    expected = shown.tensor().flatten(1).double() @ weights.T + net.module.read.bias.detach().double()  # type: ignore[union-attr]
    torch.testing.assert_close(net.module(net.pictures(shown)).detach().double(), expected, rtol=0, atol=1e-5)
    assert float(weights.square().sum(dim=1).mean()) == pytest.approx(1, abs=0.05)
