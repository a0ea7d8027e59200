"""The same numbers as Captum, to 1e-4 of the largest."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch
from captum import attr
from torch import nn

from tests.oracles.asking import ask, relative
from tests.oracles.nets import pictures
from tests.parity.peers import CLASS, resnet, vit

INPUTS = pictures(2, 64, 64, seed=20)
NETWORKS = {"resnet18": resnet, "vit": vit}
TOLERANCE = 1e-4


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    return NETWORKS[request.param]()


@pytest.fixture(autouse=True)
def _their_warnings() -> Iterator[None]:
    """Captum warns of every hook it sets and of inputs that need gradients."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_gradient(network: nn.Module) -> None:
    theirs = attr.Saliency(network).attribute(INPUTS.clone(), target=CLASS, abs=False)
    assert relative(ask("gradient", network, INPUTS, CLASS), theirs) < TOLERANCE


def test_gradient_times_input(network: nn.Module) -> None:
    theirs = attr.InputXGradient(network).attribute(INPUTS.clone(), target=CLASS).detach()
    assert relative(ask("gradient_x_input", network, INPUTS, CLASS), theirs) < TOLERANCE


def test_integrated_gradients(network: nn.Module) -> None:
    theirs = attr.IntegratedGradients(network).attribute(
        INPUTS.clone(), baselines=0.0, target=CLASS, n_steps=12, method="gausslegendre", internal_batch_size=8
    )
    ours = ask("integrated_gradients", network, INPUTS, CLASS, steps=12, most_steps=12, baseline="zero")
    assert relative(ours, theirs.float()) < TOLERANCE


def test_occlusion(network: nn.Module) -> None:
    """Captum shifts its last window over the border; 64 = 32 + 2 x 16 has none that hangs over."""
    theirs = attr.Occlusion(network).attribute(
        INPUTS, sliding_window_shapes=(3, 32, 32), strides=(3, 16, 16), baselines=0.0, target=CLASS
    )
    ours = ask("occlusion", network, INPUTS, CLASS, window=32, stride=16, baseline="zero")
    assert relative(ours, theirs[:, 0].float()) < TOLERANCE


@pytest.mark.parametrize("layer", ["layer2", "layer4"])
def test_grad_cam(layer: str) -> None:
    network = resnet()
    theirs = attr.LayerGradCam(network, network.get_submodule(layer)).attribute(
        INPUTS, target=CLASS, relu_attributions=True
    )
    assert relative(ask("grad_cam", network, INPUTS, CLASS, layer), theirs[:, 0].detach()) < TOLERANCE


@pytest.mark.parametrize(("ours", "theirs"), [("guided_backprop", "GuidedBackprop"), ("deconvnet", "Deconvolution")])
def test_changed_rules(ours: str, theirs: str) -> None:
    """torchvision's blocks run one in-place ReLU module twice."""
    expected = getattr(attr, theirs)(resnet()).attribute(INPUTS.clone(), target=CLASS).detach()
    assert relative(ask(ours, resnet(), INPUTS, CLASS), expected) < TOLERANCE


def test_kernel_shap_over_all_coalitions_equals_exact_shapley_values() -> None:
    segments = (torch.arange(64) // 22)[:, None].expand(-1, 64).contiguous()
    theirs = attr.ShapleyValues(vit()).attribute(
        INPUTS, baselines=0.0, target=CLASS, feature_mask=segments.expand(1, 3, -1, -1).contiguous()
    )
    ours = ask("kernel_shap", vit(), INPUTS, CLASS, segments=segments, baseline="zero")
    share = torch.stack([ours[:, segments == patch].sum(dim=1) for patch in range(3)], dim=1)
    expected = torch.stack([theirs[:, 0][:, segments == patch].mean(dim=1) for patch in range(3)], dim=1)
    assert relative(share, expected.float()) < TOLERANCE
