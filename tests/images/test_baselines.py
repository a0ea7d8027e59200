"""What is put where something was removed, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch.testing import assert_close

from pellucid.errors import RequestError, ShapeError
from pellucid.images import baselines
from pellucid.values import Preprocess, Seed

IMAGENET = Preprocess((20, 26), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
MEAN, STD = (torch.tensor(values)[:, None, None] for values in (IMAGENET.mean, IMAGENET.std))


def model_inputs(count: int = 3, height: int = 20, width: int = 26, seed: int = 0) -> torch.Tensor:
    raw = torch.rand(count, 3, height, width, generator=Seed(seed).generator())
    return (raw - MEAN) / STD


@pytest.mark.parametrize(("kind", "colour"), [("black", 0.0), ("white", 1.0)])
def test_black_and_white_are_colours_not_numbers(kind: str, colour: float) -> None:
    raw = baselines.fill(model_inputs(), kind, IMAGENET) * STD + MEAN
    assert_close(raw, torch.full_like(raw, colour))


def test_zero_is_the_tensors_zero() -> None:
    assert not baselines.fill(model_inputs(), "zero", IMAGENET).any()


def test_the_mean_is_each_pictures_own_colour() -> None:
    inputs = model_inputs()
    filled = baselines.fill(inputs, "mean", IMAGENET)
    assert_close(filled.std(dim=(-2, -1)), torch.zeros(3, 3))
    assert_close(filled[:, :, 0, 0], inputs.mean(dim=(-2, -1)))


def test_noise_covers_the_colours_evenly_and_obeys_its_seed() -> None:
    inputs = model_inputs(2, 60, 60)
    raw = baselines.fill(inputs, "noise", IMAGENET, 7) * STD + MEAN
    assert raw.min() > -1e-6
    assert raw.max() < 1 + 1e-6
    shares = torch.histc(raw, 4, 0, 1) / raw.numel()
    assert (shares - 0.25).abs().max() < 0.02, shares
    assert_close(baselines.fill(inputs, "noise", IMAGENET, Seed(7)) * STD + MEAN, raw)
    assert not torch.equal(baselines.fill(inputs, "noise", IMAGENET, 8) * STD + MEAN, raw)


def test_noise_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    baselines.fill(model_inputs(), "noise", IMAGENET)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", baselines.KINDS)
def test_a_fill_does_not_depend_on_the_rest_of_the_batch_nor_on_place(kind: str) -> None:
    inputs, mask = model_inputs(4), torch.zeros(20, 26, dtype=torch.bool)
    mask[5:9, 5:15] = True
    together = baselines.fill(inputs, kind, IMAGENET, 3, mask=mask)
    for index in (0, 3):
        assert_close(baselines.fill(inputs[index : index + 1], kind, IMAGENET, 3, mask=mask)[0], together[index])
    assert_close(baselines.fill(inputs.flip(0), kind, IMAGENET, 3, mask=mask), together.flip(0))


@pytest.mark.parametrize("kind", baselines.KINDS)
def test_a_fill_keeps_shape_and_dtype_and_leaves_its_input_alone(kind: str) -> None:
    mask = torch.ones(20, 26, dtype=torch.bool)
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        inputs = model_inputs().to(dtype).requires_grad_()
        before = inputs.detach().clone()
        filled = baselines.fill(inputs, kind, IMAGENET, mask=mask)
        assert (filled.shape, filled.dtype, filled.requires_grad) == (inputs.shape, dtype, False)
        assert torch.isfinite(filled).all()
        assert torch.equal(inputs, before)
        filled.zero_()
        assert torch.equal(inputs, before), "the fill shares its memory with the input"


def test_blur_is_a_gaussian_away_from_the_border() -> None:
    inputs = model_inputs(1, 61, 75)
    ours = baselines.blur(inputs, 2.5)[0, 1].numpy()
    theirs = ndimage.gaussian_filter(inputs[0, 1].double().numpy(), 2.5, truncate=12)
    np.testing.assert_allclose(ours[15:-15, 15:-15], theirs[15:-15, 15:-15], atol=1e-5)


@given(height=st.integers(1, 40), width=st.integers(1, 40), sigma=st.floats(0, 30))
@settings(max_examples=30, deadline=None)
def test_blur_keeps_a_flat_picture_flat_up_to_its_border(height: int, width: int, sigma: float) -> None:
    flat = torch.full((1, 3, height, width), 0.7)
    assert_close(baselines.blur(flat, sigma), flat)


def test_the_blurs_width_grows_with_the_picture() -> None:
    """The same scene at twice the size, blurred, is the blurred scene at twice the size."""
    small = model_inputs(1, 40, 52)
    small = baselines.blur(small, 3.0)
    large = torch.nn.functional.interpolate(small, scale_factor=2, mode="bilinear")
    there = torch.nn.functional.avg_pool2d(baselines.fill(large, "blur", IMAGENET), 2)
    off = (there - baselines.fill(small, "blur", IMAGENET)).abs().max()
    assert off < 0.02, f"off by {off}"


def test_inpainting_continues_a_ramp_exactly() -> None:
    """A linear function solves Laplace's equation, so nothing of it is lost."""
    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(26.0), indexing="ij")
    ramp = torch.stack([rows, columns, 2 * rows - columns])[None] / 50
    mask = torch.zeros(1, 20, 26, dtype=torch.bool)
    mask[:, 4:15, 6:19] = True
    filled = baselines.fill(torch.where(mask[:, None], torch.tensor(9.0), ramp), "inpaint", mask=mask)
    assert_close(filled, ramp, atol=1e-4, rtol=0)


def test_inpainting_touches_nothing_outside_the_mask_and_stays_within_the_colours_around() -> None:
    inputs = model_inputs()
    mask = torch.rand(3, 20, 26, generator=Seed(5).generator()) > 0.3
    mask[2] = False
    filled = baselines.fill(inputs, "inpaint", IMAGENET, mask=mask)
    kept = (~mask)[:, None].expand_as(inputs)
    assert torch.equal(filled[kept], inputs[kept])
    assert filled.min() >= inputs.min() - 1e-5
    assert filled.max() <= inputs.max() + 1e-5


def test_inpainting_everything_gives_the_mean_colour() -> None:
    inputs = model_inputs()
    everything = torch.ones(20, 26, dtype=torch.bool)
    assert_close(baselines.fill(inputs, "inpaint", mask=everything), baselines.fill(inputs, "mean"))


def test_what_cannot_be_filled_is_refused() -> None:
    with pytest.raises(RequestError, match="blur"):
        baselines.fill(model_inputs(), "blurr")
    with pytest.raises(ShapeError, match="mask"):
        baselines.fill(model_inputs(), "inpaint")
    with pytest.raises(ShapeError, match="batch 3"):
        baselines.fill(model_inputs()[0], "blur")


def test_road_puts_the_weighted_mean_of_all_neighbours_in_a_single_hole() -> None:
    """Direct neighbours count 1/6, diagonal ones 1/12; at the border the weights that are left are made a mean."""
    inputs = model_inputs(1)
    weights = torch.tensor([[1.0, 2.0, 1.0], [2.0, 0.0, 2.0], [1.0, 2.0, 1.0]]) / 12
    for row, column in ((7, 9), (0, 0), (19, 12)):
        mask = torch.zeros(20, 26, dtype=torch.bool)
        mask[row, column] = True
        filled = baselines.fill(inputs, "road", IMAGENET, 4, mask=mask)
        inside = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if 0 <= row + a < 20 and 0 <= column + b < 26]
        total = sum(float(weights[1 + a, 1 + b]) for a, b in inside)
        mean = sum(weights[1 + a, 1 + b] * inputs[0, :, row + a, column + b] for a, b in inside) / total
        assert (filled[0, :, row, column] - mean).abs().max() < 0.06, "noise of 0.01 beyond six deviations"
        assert torch.equal(filled[:, :, ~mask], inputs[:, :, ~mask])


def test_road_without_its_noise_solves_the_system_that_the_paper_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every removed pixel is the mean of its neighbours with the removed ones among them: a dense solve agrees."""
    monkeypatch.setattr(baselines, "_ROAD_NOISE", 0.0)
    inputs = model_inputs(2, 9, 11)
    mask = torch.rand(2, 9, 11, generator=Seed(5).generator()) > 0.4
    filled = baselines.fill(inputs, "road", IMAGENET, mask=mask)
    kernel = torch.tensor([[1.0, 2.0, 1.0], [2.0, 0.0, 2.0], [1.0, 2.0, 1.0]])[None, None] / 12
    around = torch.nn.functional.conv2d(filled.flatten(0, 1)[:, None], kernel, padding=1)[:, 0].view_as(filled)
    share = torch.nn.functional.conv2d(torch.ones(1, 1, 9, 11), kernel, padding=1)[0, 0]
    gone = mask[:, None].expand_as(filled)
    assert_close((around / share)[gone], filled[gone], atol=1e-5, rtol=0)


def test_road_continues_flat_pictures_and_ramps_exactly_but_for_its_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(26.0), indexing="ij")
    ramp = torch.stack([rows, columns, torch.full((20, 26), 13.0)])[None] / 50
    mask = torch.zeros(1, 20, 26, dtype=torch.bool)
    mask[:, 4:15, 6:19] = True
    holed = torch.where(mask[:, None], torch.tensor(9.0), ramp)
    noise = (baselines.fill(holed, "road", mask=mask) - ramp)[mask[:, None].expand_as(ramp)]
    assert abs(float(noise.std()) - 0.01) < 0.002 and abs(float(noise.mean())) < 0.002
    monkeypatch.setattr(baselines, "_ROAD_NOISE", 0.0)
    assert_close(baselines.fill(holed, "road", mask=mask), ramp, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", baselines.KINDS)
def test_grey_pictures_are_filled_with_grey(kind: str) -> None:
    mask = torch.ones(20, 26, dtype=torch.bool)
    filled = baselines.fill(model_inputs()[:, :1], kind, IMAGENET, mask=mask)
    assert filled.shape == (3, 1, 20, 26) and torch.isfinite(filled).all()
    if kind == "black":
        assert_close(filled[0, 0, 0, 0], ((0 - MEAN) / STD).mean())
