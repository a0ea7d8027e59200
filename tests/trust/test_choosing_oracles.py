"""Which explanation foretells which changes: models for which the best linear reading is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import pellucid as pl
from pellucid.cli import app
from pellucid.engine import Evidence, look
from pellucid.errors import RequestError, ShapeError
from pellucid.stories.neighbourhoods import neighbourhoods
from pellucid.subject import VisionModel, wrap
from pellucid.trust.choosing import Surrogate, choose_by_neighbourhood
from pellucid.trust.neighbourhoods import (
    Change,
    coalitions,
    fade,
    noise,
    random_segments,
    single_segments,
    your_own,
)
from tests.nets import TinyViT
from tests.oracles.nets import pictures

HEIGHT, WIDTH, PIXELS = 5, 7, 35


class Summed(nn.Module):
    """The sum over pixels and colours of a function of each, weighted."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(0.5 + torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(4)))

    def forward(self, inputs: Tensor) -> Tensor:
        total = (self.weight * self.function(inputs)).flatten(1).sum(dim=1)
        return torch.stack([total, -total], dim=1)


def model_of(function: Callable[[Tensor], Tensor]) -> VisionModel:
    return wrap(Summed(function), input_size=(HEIGHT, WIDTH), activation="none")


def weight_of(model: VisionModel) -> Tensor:
    assert isinstance(model.module, Summed)
    return model.module.weight.detach()


def test_every_explanation_of_a_linear_model_foretells_all_of_it() -> None:
    model = model_of(lambda inputs: inputs)
    flat = torch.full((2, 3, HEIGHT, WIDTH), 0.5)
    flat[:, :, 0, 0], flat[:, :, 0, 1] = 0.499, 0.501  # a picture of one colour would have no range for noise
    asked = ("gradient", "smoothgrad", "integrated_gradients", "kernel_shap", "occlusion", "lime")
    found = neighbourhoods(
        model, flat, asked, sigmas=(0.15,), fill="black", grid=WIDTH, target=0, samples=24, method_samples=300
    )
    for column in found.columns:
        for name in ("gradient", "smoothgrad 0.15", "integrated_gradients", "kernel_shap", "occlusion", "lime"):
            if name in column.values:  # LIME's ridge takes a little off its coefficients
                assert column.values[name].mean == pytest.approx(1.0, abs=0.03 if name == "lime" else 1e-3), column.head
    assert found.column("segments").values["control random"].mean < 0.9


@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_the_slope_averaged_over_noise_wins_under_that_noise_and_holds_what_is_worked_out_by_hand(sigma: float) -> None:
    """Of sin(k x) under noise s the mean slope is k cos(k x) exp(-k²s²/2), and no other line fits as well (Stein)."""
    k = 3.0
    model = model_of(lambda inputs: torch.sin(k * inputs))
    inputs = torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(7))
    inputs = (inputs - inputs.min()) / (inputs.max() - inputs.min())  # a range of 1, so that sigma is a sigma
    weight = weight_of(model)

    def slopes(s: float) -> Surrogate:
        return Surrogate(weight * k * torch.cos(k * inputs) * math.exp(-((k * s) ** 2) / 2), "slopes")

    rows = {f"smoothgrad {s:g}": slopes(s) for s in (0.1, 0.5)} | {"gradient": slopes(0.0)}
    evidence = look(model, inputs, 0)
    found = choose_by_neighbourhood(evidence, rows, [noise(sigma)], samples=3000, seed=1)
    for column in found.columns:
        assert column.winner == column.recommended == f"smoothgrad {sigma:g}" and column.agrees
        assert f"Choose SmoothGrad {sigma:g}" in column.sentence
    said = weight * k * torch.cos(k * inputs) * math.exp(-((k * sigma) ** 2) / 2)
    square = 0.5 * (1 - torch.cos(2 * k * inputs) * math.exp(-2 * (k * sigma) ** 2))
    spread = (weight**2 * (square - (torch.sin(k * inputs) * math.exp(-((k * sigma) ** 2) / 2)).square())).sum()
    explained = float((sigma * said).square().sum() / spread)
    assert found.column(f"noise {sigma:g}").values[f"smoothgrad {sigma:g}"].mean == pytest.approx(explained, abs=0.06)


def test_an_intercept_at_the_picture_loses_what_a_curved_model_gains_on_average() -> None:
    """Of x² under noise s the mean rises by s² a colour and pixel: as published, that is missed by every slope."""
    model, inputs = model_of(torch.square), pictures(1, HEIGHT, WIDTH)
    rows = {"gradient": Surrogate(2 * weight_of(model) * inputs, "slopes")}
    found = {
        kind: choose_by_neighbourhood(look(model, inputs, 0), rows, [noise(0.1)], samples=2000, intercept=kind)
        for kind in ("picture", "free")
    }
    free, picture = (found[kind].column("noise 0.1").values["gradient"].mean for kind in ("free", "picture"))
    sigma = 0.1 * float(inputs.max() - inputs.min())
    weight = weight_of(model)
    variance = float((weight * 2 * inputs).square().sum() * sigma**2 + 2 * 3 * weight.square().sum() * sigma**4)
    shift = float(3 * weight.sum()) * sigma**2
    assert free == pytest.approx(float((weight * 2 * inputs).square().sum()) * sigma**2 / variance, abs=0.04)
    assert free - picture == pytest.approx(shift**2 / variance, rel=0.15)


def test_integrated_gradients_win_on_the_way_and_hold_three_quarters_of_a_square() -> None:
    """Of x² the slope per share t left is 2 t x², its mean is x²: 1 - E(2t - 1)² / E(2t)² = 3/4, the gradient's 0."""
    model, inputs = model_of(torch.square), pictures(1, HEIGHT, WIDTH)
    asked = ("gradient", "integrated_gradients")
    found = neighbourhoods(model, inputs, asked, sigmas=(0.1,), fill="zero", target=0, samples=2000)
    way = found.column("fade", "slopes")
    assert way.winner == way.recommended == "integrated_gradients"
    assert way.values["integrated_gradients"].mean == pytest.approx(0.75, abs=0.02)
    assert way.values["gradient"].mean == pytest.approx(0.0, abs=0.1)


def test_lime_and_shapley_win_where_segments_go_and_occlusion_where_one_goes() -> None:
    """A model whose pixels help each other: what a segment is worth depends on how many others there are."""

    class Together(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            halves = inputs.mean(dim=1).flatten(1).split(18, dim=1)
            total = torch.relu(halves[0].sum(dim=1)) * halves[1].sum(dim=1)
            return torch.stack([total, -total], dim=1)

    model = wrap(Together(), input_size=(HEIGHT, WIDTH), activation="none")
    inputs = 0.2 + torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2))
    found = neighbourhoods(
        model, inputs, ("lime", "kernel_shap", "occlusion", "gradient"), sigmas=(0.1,), fill="black", grid=WIDTH,
        target=0, samples=200, method_samples=800,
    )  # fmt: skip
    for name, own in (("segments", "lime"), ("coalitions", "kernel_shap"), ("one segment", "occlusion")):
        column = found.column(name)
        assert column.recommended == own and column.agrees, (name, column.values)
    assert found.column("one segment").values["occlusion"].mean == pytest.approx(1.0, abs=1e-4)
    assert found.column("one segment").values["kernel_shap"].mean < 0.8
    assert not found.everywhere and "Here, too, none is" in found.sentence


def test_a_perturber_of_ones_own_gives_what_the_same_changes_give_and_a_wrong_map_is_warned_of() -> None:
    model, inputs = model_of(lambda inputs: inputs), pictures(2, HEIGHT, WIDTH)

    def blacken(evidence: Evidence, generator: torch.Generator) -> Change:
        gone = torch.rand(1, *evidence.size, generator=generator) < 0.3
        return Change(torch.where(gone[:, None], evidence.fill("zero"), evidence.inputs), gone.float())

    right = (weight_of(model) * inputs).sum(dim=1)
    rows = {"right": Surrogate(right, "contributions"), "lime": Surrogate(-right, "contributions")}
    around = [your_own(blacken, fill="zero"), random_segments(WIDTH, "zero")]
    found = choose_by_neighbourhood(look(model, inputs, 0), rows, around, samples=32)
    yours = found.column("yours")
    assert yours.winner == "right" and yours.values["right"].mean == pytest.approx(1.0, abs=1e-5)
    assert yours.recommended is None
    (warned,) = found.warnings
    assert "LIME was fitted to such changes and should win" in warned


def test_shares_that_fade_apart_are_foretold_by_what_pixels_contribute() -> None:
    model, inputs = model_of(lambda inputs: inputs), pictures(2, HEIGHT, WIDTH)
    rows = {"own": Surrogate((weight_of(model) * inputs).sum(dim=1), "contributions")}
    found = choose_by_neighbourhood(look(model, inputs, 0), rows, [fade(0.5, "zero", together=False)], samples=16)
    assert [column.loss for column in found.columns] == ["answers", "slopes"]
    assert all(column.values["own"].mean == pytest.approx(1.0, abs=1e-5) for column in found.columns)
    assert fade(0.99).own == ("gradient", "gradient_x_input") and fade().own == ("integrated_gradients",)


def test_a_black_box_has_no_slopes_and_what_it_lacks_is_said() -> None:
    inner = Summed(torch.square)

    def box(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            return inner(inputs)

    found = neighbourhoods(
        wrap(box, input_size=(HEIGHT, WIDTH)),
        pictures(1, HEIGHT, WIDTH),
        ("gradient", "occlusion"),
        sigmas=(0.1,),
        target=0,
        samples=8,
    )
    assert {column.loss for column in found.columns} == {"answers"}
    assert found.rows[0] == "occlusion" and any("gradient is left out" in note for note in found.notes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_transformer_at_an_odd_batch_is_compared_and_saved(dtype: torch.dtype, tmp_path: Path) -> None:
    model = wrap(TinyViT().to(dtype), input_size=(12, 16))
    found = neighbourhoods(
        model, pictures(3, 12, 16).to(dtype), ("gradient", "smoothgrad", "lime", "grad_cam"), sigmas=(0.1,), grid=3,
        samples=8, method_samples=40,
    )  # fmt: skip
    assert found.pictures == 3 and all(math.isfinite(one.values[one.winner].mean) for one in found.columns)
    again = pl.open(found.save(tmp_path / "table.json"))
    assert again == found and again.columns[0].sentence == found.columns[0].sentence
    assert found.save(tmp_path / "table.png").stat().st_size > 5000
    told = found.save(tmp_path / "table.txt").read_text()
    page = found.save(tmp_path / "table.html").read_text()
    for words in ("No explanation is best under every kind of change", "Where one segment alone is taken away"):
        assert words in told and words in page


def test_what_cannot_be_compared_is_refused() -> None:
    model, inputs = model_of(torch.square), pictures(1, HEIGHT, WIDTH)
    evidence, rows = look(model, inputs, 0), {"map": Surrogate(torch.rand(1, HEIGHT, WIDTH))}
    with pytest.raises(RequestError, match="at least 8"):
        choose_by_neighbourhood(evidence, rows, [single_segments()], samples=4)
    with pytest.raises(RequestError, match="at least one"):
        choose_by_neighbourhood(evidence, {}, [coalitions()])
    with pytest.raises(RequestError, match="sigma"):
        noise(0.0)
    with pytest.raises(RequestError, match="least"):
        fade(1.0)
    with pytest.raises(ShapeError, match="slopes"):
        Surrogate(torch.rand(1, HEIGHT, WIDTH), "slopes")


def test_the_command_names_a_method_for_each_kind_of_change(tmp_path: Path) -> None:
    out = tmp_path / "choose.txt"
    asked = ["neighbourhoods", "scene:7", "--methods", "gradient,occlusion", "--sigmas", "0.05", "--samples", "16"]
    done = CliRunner().invoke(app, [*asked, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "Choose Occlusion: it was fitted to such changes." in out.read_text()
