"""O3: convolution, ReLU, global mean, linear head: every class activation map has a closed form."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from pellucid.values import Call
from tests.oracles.asking import ask, evidence_of, values_of
from tests.oracles.nets import PooledConv, pictures

CLASS = 2
NETWORK = PooledConv()
INPUTS = pictures(3, 37, 53)  # odd on purpose: a grid of 19 x 27
FEATURES = NETWORK.features(INPUTS).detach()
CELLS = FEATURES.shape[2] * FEATURES.shape[3]
WEIGHT = NETWORK.head.weight.detach()[CLASS]
SUMMANDS = WEIGHT[:, None, None] * FEATURES / CELLS


def cam(name: str, **parameters: object) -> torch.Tensor:
    return ask(name, NETWORK, INPUTS, CLASS, "relu", **parameters)


def test_grad_cam_is_cam_by_the_number_of_cells() -> None:
    assert_close(cam("grad_cam"), SUMMANDS.sum(dim=1).clamp(min=0), rtol=1e-4, atol=1e-7)


def test_hires_cam_keeps_the_sign_and_sums_to_the_logit() -> None:
    assert_close(cam("hires_cam"), SUMMANDS.sum(dim=1), rtol=1e-4, atol=1e-7)
    assert_close(cam("hires_cam").sum(dim=(1, 2)), NETWORK(INPUTS).detach()[:, CLASS], rtol=1e-4, atol=1e-6)


def test_layer_cam_takes_the_channels_that_speak_for_the_class() -> None:
    assert_close(cam("layer_cam"), SUMMANDS.clamp(min=0).sum(dim=1), rtol=1e-4, atol=1e-7)


def test_xgrad_cam_conserves_gradient_times_activation() -> None:
    """The gradient is the same everywhere, so the weighted mean of it is that gradient."""
    assert_close(cam("xgrad_cam"), SUMMANDS.sum(dim=1).clamp(min=0), rtol=1e-4, atol=1e-7)


def test_ablation_cam_weighs_a_channel_by_its_part_of_the_logit() -> None:
    logit = NETWORK(INPUTS).detach()[:, CLASS]
    weights = WEIGHT * FEATURES.mean(dim=(2, 3)) / logit.abs()[:, None]
    expected = (weights[:, :, None, None] * FEATURES).sum(dim=1).clamp(min=0)
    assert_close(cam("ablation_cam"), expected, rtol=1e-3, atol=1e-5)


def test_grad_cam_pp_with_one_gradient_per_channel() -> None:
    """Where G is constant alpha = 1 / (2 + G sum A), and the weight is cells x alpha x relu(G)."""
    slope = (WEIGHT / CELLS)[None, :].double()
    alpha = 1 / (2 + slope * FEATURES.double().sum(dim=(2, 3)))
    weights = CELLS * alpha * slope.clamp(min=0)
    expected = (weights[:, :, None, None] * FEATURES).sum(dim=1).clamp(min=0)
    assert_close(cam("grad_cam_pp").double(), expected, rtol=1e-3, atol=1e-6)


def test_smooth_grad_cam_pp_without_noise_is_grad_cam_pp() -> None:
    assert_close(cam("smooth_grad_cam_pp", samples=1, noise=0.0), cam("grad_cam_pp"), rtol=1e-4, atol=1e-7)


def test_smooth_maps_of_a_partition_of_channels_sum_to_the_whole() -> None:
    """Nothing is cut off here: activations and weights of this method are never negative."""
    parts = [cam("smooth_grad_cam_pp", samples=3, channels=part) for part in ([0, 2], [1, 3, 5], [4])]
    assert_close(torch.stack(parts).sum(dim=0), cam("smooth_grad_cam_pp", samples=3), rtol=1e-4, atol=1e-7)


def test_smooth_maps_of_neurons_are_zero_elsewhere_and_say_their_share() -> None:
    evidence = evidence_of(NETWORK, INPUTS, CLASS)
    whole = values_of("smooth_grad_cam_pp", evidence, "relu", samples=2)
    mask = torch.zeros(19, 27, dtype=torch.bool)
    mask[3:9, 4:20] = True
    part = values_of("smooth_grad_cam_pp", evidence, "relu", samples=2, neurons=mask)
    assert_close(part, whole * mask)
    shares = part.sum(dim=(1, 2)) / whole.sum(dim=(1, 2))
    assert f"{shares.min():.0%} to {shares.max():.0%}" in evidence.notes[-1], evidence.notes
    one = values_of("smooth_grad_cam_pp", evidence, "relu", samples=2, neurons=[(0, 1, 2), (4, 1, 2)])
    assert one.flatten(1).count_nonzero(dim=1).max() <= 1


def test_score_cam_weighs_channels_by_the_scores_under_their_masks() -> None:
    scores = []
    for channel in range(6):
        mask = torch.nn.functional.interpolate(FEATURES[:, channel : channel + 1], (37, 53), mode="bilinear")
        low, high = mask.amin(dim=(2, 3), keepdim=True), mask.amax(dim=(2, 3), keepdim=True)
        scores.append(NETWORK(INPUTS * (mask - low) / (high - low)).detach()[:, CLASS])
    weights = torch.stack(scores, dim=1).softmax(dim=1)
    expected = (weights[:, :, None, None] * FEATURES).sum(dim=1)
    assert_close(cam("score_cam"), expected, rtol=1e-4, atol=1e-6)


def test_score_cam_can_keep_to_the_channels_that_vary_most() -> None:
    chosen = FEATURES.flatten(2).var(dim=2).argmax(dim=1)
    expected = torch.stack([features[channel] for features, channel in zip(FEATURES, chosen, strict=True)])
    assert_close(cam("score_cam", top=1), expected, rtol=1e-4, atol=1e-6)


def test_guided_grad_cam_is_the_product_of_its_two_parts() -> None:
    region = torch.nn.functional.interpolate(cam("grad_cam")[:, None], (37, 53), mode="bilinear")
    assert_close(cam("guided_grad_cam"), region * ask("guided_backprop", NETWORK, INPUTS, CLASS))


@pytest.mark.parametrize("name", ["grad_cam", "layer_cam", "hires_cam", "xgrad_cam", "grad_cam_pp", "eigen_grad_cam"])
def test_a_constant_added_to_the_logit_changes_nothing(name: str) -> None:
    shifted = ask(name, NETWORK, INPUTS, Call(lambda output: output[:, CLASS] + 7, name="shifted"), "relu")
    assert_close(shifted, cam(name), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["grad_cam", "layer_cam", "hires_cam", "xgrad_cam", "eigen_grad_cam"])
def test_a_scaled_logit_scales_the_map(name: str) -> None:
    scaled = ask(name, NETWORK, INPUTS, Call(lambda output: 3 * output[:, CLASS], name="scaled"), "relu")
    assert_close(scaled, 3 * cam(name), rtol=1e-4, atol=1e-7)


def test_eigen_cam_finds_the_one_pattern_of_a_rank_one_layer() -> None:
    """Every channel a multiple of the first: the map is that pattern, in positive sign, for every class."""
    network = PooledConv()
    with torch.no_grad():
        network.conv.weight.copy_(
            network.conv.weight[:1] * torch.tensor([1.0, 0.5, 2.0, 0.1, 1.5, 3.0])[:, None, None, None]
        )
    pattern = network.features(INPUTS).detach()[:, 0]
    found = ask("eigen_cam", network, INPUTS, CLASS, "relu")
    assert_close(found / found.amax(dim=(1, 2), keepdim=True), pattern / pattern.amax(dim=(1, 2), keepdim=True))
    assert_close(found, ask("eigen_cam", network, INPUTS, 0, "relu"))


@pytest.mark.parametrize("center", [False, True])
def test_eigen_cam_is_the_projection_on_the_first_singular_vector(center: bool) -> None:
    matrix = FEATURES.double().flatten(2).transpose(1, 2)
    matrix = matrix - matrix.mean(dim=1, keepdim=True) if center else matrix
    _, vectors = torch.linalg.eigh(matrix.transpose(1, 2) @ matrix)
    projection = (matrix @ vectors[:, :, -1:]).squeeze(2).unflatten(1, FEATURES.shape[2:])
    follows = (projection * (FEATURES.mean(dim=1) - FEATURES.mean(dim=(1, 2, 3))[:, None, None])).sum(dim=(1, 2))
    expected = (projection * follows.sign()[:, None, None]).clamp(min=0)
    assert_close(cam("eigen_cam", center=center).double(), expected, rtol=1e-4, atol=1e-6)


def test_guided_backprop_and_deconvnet_follow_their_rules() -> None:
    """One ReLU: guided keeps relu(R) where the unit fired, deconvnet keeps relu(R) everywhere."""
    before = NETWORK.conv(INPUTS).detach()
    upstream = (WEIGHT / CELLS).clamp(min=0)[:, None, None].expand_as(before)
    back = lambda slope: torch.nn.grad.conv2d_input(INPUTS.shape, NETWORK.conv.weight, slope, 2, 1).detach()
    assert_close(ask("guided_backprop", NETWORK, INPUTS, CLASS), back(upstream * (before > 0)), rtol=1e-4, atol=1e-7)
    assert_close(ask("deconvnet", NETWORK, INPUTS, CLASS), back(upstream), rtol=1e-4, atol=1e-7)


def test_guided_backprop_is_the_gradient_where_nothing_is_negative() -> None:
    network = PooledConv()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    positive = INPUTS.abs()
    assert_close(ask("guided_backprop", network, positive), ask("gradient", network, positive))
