"""The same maps as pytorch-grad-cam, to 1e-4 of the largest value, before anybody scales for display."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.values import Call
from tests.oracles.asking import ask, relative
from tests.oracles.nets import pictures
from tests.parity.peers import CLASS, grad_cam_package, plain_full_grad, resnet, vit, vit_grid

INPUTS = pictures(2, 64, 64, seed=21)
SMALL = pictures(2, 32, 32, seed=22)  # one pass per channel: smaller pictures
SCALE = 1e9  # their 1e-6 beside squared gradients and 1e-7 beside maxima become small, and no denominator is near zero
TOLERANCE = 1e-4

GRADIENT_CAMS = {
    "grad_cam": "GradCAM",
    "grad_cam_pp": "GradCAMPlusPlus",
    "layer_cam": "LayerCAM",
    "xgrad_cam": "XGradCAM",
    "hires_cam": "HiResCAM",
}


def their_target(output: Tensor) -> Tensor:
    return SCALE * output[CLASS]


OUR_TARGET = Call(lambda output: SCALE * output[:, CLASS], name="scaled logit")
LAYERS = [("resnet18", "layer4"), ("resnet18", "layer2"), ("vit", "blocks.3.norm1"), ("vit", "blocks.1.norm2")]


def both(ours: str, theirs: str, where: tuple[str, str], **parameters: object) -> tuple[Tensor, Tensor]:
    kind, layer = where
    network, reshape = (resnet(), None) if kind == "resnet18" else (vit(), vit_grid)
    found = ask(ours, network, INPUTS, OUR_TARGET, layer, **parameters)
    return found, grad_cam_package(theirs, network, layer, INPUTS, their_target, reshape)


@pytest.mark.parametrize("where", LAYERS, ids=" ".join)
@pytest.mark.parametrize("name", GRADIENT_CAMS)
def test_gradient_cams(name: str, where: tuple[str, str]) -> None:
    """HiResCAM keeps its sign here, as in its paper; theirs is rectified after this stage."""
    found, expected = both(name, GRADIENT_CAMS[name], where)
    expected = expected if name == "hires_cam" else expected.clamp(min=0)
    assert relative(found, expected) < TOLERANCE


@pytest.mark.parametrize("where", LAYERS, ids=" ".join)
@pytest.mark.parametrize(("name", "theirs"), [("eigen_cam", "EigenCAM"), ("eigen_grad_cam", "EigenGradCAM")])
def test_eigen_cams(name: str, theirs: str, where: tuple[str, str]) -> None:
    """They always centre and leave the sign to chance: ours must be the map in one of its two signs.

    Eigen-CAM is rectified, theirs after this stage; the class-specific form keeps its sign here.
    """
    found, expected = both(name, theirs, where, center=True)
    shown = (lambda values: values.clamp(min=0)) if name == "eigen_cam" else (lambda values: values)
    for ours, either in zip(found, expected, strict=True):
        assert min(relative(ours, shown(either)), relative(ours, shown(-either))) < TOLERANCE


@pytest.mark.parametrize("where", [("resnet18", "layer1"), ("vit", "blocks.3.norm1")], ids=" ".join)
def test_score_cam(where: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """They align corners when they upsample masks, against the convention of everything else here; not in this test.

    The target is the plain logit: a softmax over channels of a thousandfold one is a single channel.
    """
    aligned = lambda size: lambda values: functional.interpolate(values, size=size, mode="bilinear")
    monkeypatch.setattr(nn, "UpsamplingBilinear2d", aligned)
    kind, layer = where
    network, inputs, reshape = (resnet(), SMALL, None) if kind == "resnet18" else (vit(), INPUTS[:1], vit_grid)
    expected = grad_cam_package("ScoreCAM", network, layer, inputs, lambda output: output[CLASS], reshape)
    ours, theirs = ask("score_cam", network, inputs, CLASS, layer), expected.clamp(min=0)
    # A dead channel takes a share of their softmax, which scales the whole map; it takes none of ours.
    scale = (ours.sum(dim=(1, 2)) / theirs.sum(dim=(1, 2)))[:, None, None]
    assert (scale >= 1 - TOLERANCE).all() and relative(ours, scale * theirs) < TOLERANCE


def test_ablation_cam() -> None:
    """For convolutions alone: in a transformer theirs puts minus ten million in a channel's place, not zero.

    They divide by the logit, whose sign then turns the weights; ours divide by its magnitude.
    """
    network, layer = resnet(), "layer1"
    with torch.no_grad():
        best = int(network(SMALL).amin(dim=0).argmax())
        assert network(SMALL)[:, best].min() > 0
    expected = grad_cam_package("AblationCAM", network, layer, SMALL, lambda output: output[best])
    assert relative(ask("ablation_cam", network, SMALL, best, layer), expected.clamp(min=0)) < TOLERANCE


def test_fullgrad(capsys: pytest.CaptureFixture[str]) -> None:
    """Theirs reads the bias of every convolution and batch norm, which is every bias on a grid of a ResNet."""
    their_full_grad = plain_full_grad()(resnet(), [])
    expected = torch.from_numpy(their_full_grad(INPUTS.clone(), targets=[their_target] * 2))
    their_full_grad.activations_and_grads.release()
    resnet().zero_grad()
    assert relative(ask("fullgrad", resnet(), INPUTS, OUR_TARGET), expected) < TOLERANCE
