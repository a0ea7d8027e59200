"""Ways from a baseline to the picture: closed forms, and the published formulas written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.testing import assert_close

from pellucid.attribution import bent_paths
from pellucid.errors import ParameterError
from pellucid.registry import find_method
from pellucid.subject import wrap
from tests.oracles.asking import ask, evidence_of, relative, values_of
from tests.oracles.nets import LinearPicture, Pixels, Twin, pictures

HEIGHT, WIDTH, CLASS = 12, 14, 2
LINEAR, INPUTS = LinearPicture(HEIGHT, WIDTH), pictures(3, HEIGHT, WIDTH)
WEIGHT = LINEAR.weight.detach()[CLASS]
NETWORK, LARGER = Twin("module"), pictures(2, 37, 53)


def slope(network: nn.Module, points: np.ndarray | Tensor, target: int = CLASS) -> Tensor:
    leaf = torch.as_tensor(points).float().requires_grad_()
    return torch.autograd.grad(network(leaf)[:, target].sum(), leaf)[0].double()


# -- many baselines --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_expected_gradients_of_a_linear_model_compare_with_the_mean_reference(noise: float) -> None:
    references = pictures(4, HEIGHT, WIDTH, seed=5)
    found = ask("expected_gradients", LINEAR, INPUTS, CLASS, references=references, samples=400, noise=noise)
    expected = WEIGHT * (INPUTS - references.mean(dim=0))
    assert_close(found, expected, rtol=1e-4, atol=1e-4 if noise == 0 else 0.5)


def test_without_references_the_usual_baselines_take_their_place() -> None:
    evidence = evidence_of(LINEAR, INPUTS, CLASS)
    mean = torch.stack([evidence.fill(kind) for kind in ("black", "white", "mean", "blur", "noise")]).mean(dim=0)
    assert_close(values_of("expected_gradients", evidence, samples=50), WEIGHT * (INPUTS - mean), rtol=1e-4, atol=1e-4)


def test_expected_gradients_of_a_product_share_it_equally() -> None:
    """O4: from zero, x1 x2 has x1 x2 / 2 for each, here up to where the points fall in their stretches."""
    network = Pixels(lambda inputs: inputs[:, 0, 0, 0] * inputs[:, 1, 3, 3])
    found = ask("expected_gradients", network, INPUTS, 0, references=torch.zeros(1, 3, HEIGHT, WIDTH), samples=100)
    half = INPUTS[:, 0, 0, 0] * INPUTS[:, 1, 3, 3] / 2
    assert_close(found[:, 0, 0, 0], half, rtol=0.01, atol=1e-4)
    assert_close(found.flatten(1).sum(dim=1), 2 * half, rtol=0.01, atol=1e-4)


def test_expected_gradients_report_how_complete_they_are() -> None:
    evidence = evidence_of(LINEAR, INPUTS, CLASS)
    method = find_method("gradient_shap")
    values = values_of("gradient_shap", evidence, samples=50)
    checks = method.promise(evidence, values, {"samples": 50})
    assert method.name == "expected_gradients" and [check.passed for check in checks] == [True] * 3
    assert all(check.passed is None for check in method.promise(evidence, 2 * values, {"samples": 50}))


def test_references_of_another_size_are_refused() -> None:
    from pellucid.engine.parameters import Place, checked

    with pytest.raises(ParameterError, match="12 x 14"):
        checked(find_method("expected_gradients"), {"references": torch.zeros(2, 3, 5, 5)}, Place((12, 14)))


# -- out of a blur ---------------------------------------------------------------------------------------------------


def published_blur_ig(network: nn.Module, picture: np.ndarray, sigma: float, steps: int) -> np.ndarray:
    """Xu et al. 2020, equation 8, with the derivative over a hundredth of a pixel; blur of scipy, zeros outside."""
    total = np.zeros_like(picture)
    blur = lambda width: ndimage.gaussian_filter(picture, (0, width, width), mode="constant") if width else picture
    for step in range(steps):
        width = sigma * step / steps
        change = (blur(width + 0.01) - blur(width)) / 0.01
        total -= sigma / steps * change * slope(network, blur(width)[None])[0].numpy()
    return total


@pytest.mark.parametrize(("sigma", "steps"), [(10.0, 20), (4.0, 7)])
def test_blur_ig_is_the_published_sum(sigma: float, steps: int) -> None:
    found = ask("blur_ig", NETWORK, LARGER, CLASS, sigma=sigma, steps=steps)
    for ours, picture in zip(found, LARGER.double().numpy(), strict=True):
        assert relative(ours.double(), torch.from_numpy(published_blur_ig(NETWORK, picture, sigma, steps))) < 1e-3


def test_blur_ig_of_a_linear_model_is_weight_times_what_the_blur_took() -> None:
    """A smooth picture, so that nothing is lost in the first steps, which no cut-off Gaussian of that width sees."""
    rows, columns = torch.arange(HEIGHT)[:, None] / HEIGHT, torch.arange(WIDTH)[None, :] / WIDTH
    smooth = (torch.sin(3 * rows) + torch.cos(2 * columns)).expand(1, 3, -1, -1).contiguous()
    evidence = evidence_of(LINEAR, smooth, CLASS)
    found = values_of("blur_ig", evidence, sigma=3.0, steps=300)
    taken = WEIGHT * (smooth - bent_paths._blurred(smooth, 3.0))
    assert relative(found, taken) < 0.05, relative(found, taken)


def test_blur_ig_knows_the_gap_that_it_leaves() -> None:
    evidence = evidence_of(NETWORK, LARGER, CLASS)
    method = find_method("blur_ig")
    values = values_of("blur_ig", evidence, steps=20)
    blurred = bent_paths._blurred(LARGER, 50 / 299 * 37)
    shared = (NETWORK(LARGER) - NETWORK(blurred)).detach()[:, CLASS]
    gaps = (values.flatten(1).sum(dim=1) - shared).abs() / shared.abs()
    assert [check.value for check in method.promise(evidence, values, {"steps": 20})] == pytest.approx(
        gaps.tolist(), rel=1e-3
    )


# -- around where the model is steep ---------------------------------------------------------------------------------


def published_guided_ig(
    network: nn.Module, picture: np.ndarray, steps: int, fraction: float, distance: float
) -> np.ndarray:
    """Kapishnikov et al. 2021, algorithm 1 with its anchored bound, from zeros, one picture."""
    end, at, gained = picture.astype(float), np.zeros(picture.shape), np.zeros(picture.shape)
    for step in range(1, steps + 1):
        steep = slope(network, at[None])[0].numpy()
        rank = np.abs(steep)
        floor, ceiling = max(step / steps - distance, 0) * end, min(step / steps + distance, 1) * end
        goal = np.abs(end).sum() * (1 - step / steps)
        for _round in range(10_000):
            caught = np.where(np.abs(at) < np.abs(floor), floor, at)
            gained += (caught - at) * steep
            at, left = caught, np.abs(end - caught).sum() - goal
            if left <= 1e-9 * max(1, goal):
                break
            rank = np.where(at == ceiling, np.inf, rank)
            bar = np.sort(rank, axis=None)[int(fraction * (rank.size - 1))]
            moves = (rank <= bar) & np.isfinite(rank)
            possible = np.abs(ceiling - at)[moves].sum()
            onward = np.where(moves, ceiling if left > possible else at + left / possible * (ceiling - at), at)
            gained += (onward - at) * steep
            at = onward
            if left <= possible:
                break
    return gained


@pytest.mark.parametrize(("fraction", "distance"), [(0.25, 0.02), (0.1, 1.0), (0.5, 0.2)])
def test_guided_ig_goes_the_published_way(fraction: float, distance: float) -> None:
    given = {"steps": 12, "fraction": fraction, "distance": distance}
    found = ask("guided_ig", NETWORK, LARGER, CLASS, baseline="zero", **given)
    for ours, picture in zip(found, LARGER.double().numpy(), strict=True):
        theirs = torch.from_numpy(published_guided_ig(NETWORK, picture, *given.values()))
        assert relative(ours.double(), theirs) < 1e-3, relative(ours.double(), theirs)


@pytest.mark.parametrize("baseline", ["black", "white", "blur"])
def test_guided_ig_of_a_linear_model_is_weight_times_way(baseline: str) -> None:
    start = evidence_of(LINEAR, INPUTS, CLASS).fill(baseline)
    found = ask("guided_ig", LINEAR, INPUTS, CLASS, baseline=baseline, steps=9, fraction=0.1, distance=1.0)
    assert_close(found, WEIGHT * (INPUTS - start), rtol=1e-4, atol=1e-4)


def test_guided_ig_without_room_goes_straight() -> None:
    """Then it is the left Riemann sum of integrated gradients."""
    expected = torch.zeros_like(LARGER).double()
    for step in range(10):
        expected += LARGER.double() / 10 * slope(NETWORK, LARGER * step / 10)
    found = ask("guided_ig", NETWORK, LARGER, CLASS, baseline="zero", distance=0.0, steps=10)
    assert relative(found.double(), expected) < 1e-4


def test_guided_ig_leaves_a_picture_that_is_its_baseline_alone() -> None:
    inputs = INPUTS.clone()
    inputs[1] = 0
    found = ask("guided_ig", LINEAR, inputs, CLASS, baseline="zero", steps=5)
    assert not found[1].any() and found[0].any()
    assert_close(found[2:], ask("guided_ig", LINEAR, inputs[2:], CLASS, baseline="zero", steps=5))


def test_on_a_guided_way_values_that_do_not_interact_get_their_own_rise() -> None:
    """Whichever goes first, a sum of functions of single values is shared as they rise."""
    network = Pixels(lambda inputs: 0.1 * inputs[:, 0, 0, 0] + (3 * inputs[:, 1, 0, 0]).tanh())
    picture = torch.zeros(1, 3, 1, 2)
    picture[0, 0, 0, 0], picture[0, 1, 0, 0] = 1.0, 1.0
    model = wrap(network, input_size=(1, 2))
    found = ask("guided_ig", model, picture, 0, baseline="zero", steps=200, fraction=0.01, distance=1.0)
    assert float(found[0, 0, 0, 0]) == pytest.approx(0.1, rel=1e-3)
    assert float(found[0, 1, 0, 0]) == pytest.approx(float(np.tanh(3)), rel=0.02)
