"""The second generation of class activation maps as in pytorch-grad-cam, to 1e-3 of the largest value."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_grad_cam
import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.values import Call
from tests.oracles.asking import ask, relative
from tests.oracles.nets import pictures
from tests.parity.peers import CLASS, grad_cam_package, resnet, vit, vit_grid

INPUTS = pictures(2, 64, 64, seed=23)
SCALE = 1e6  # their small constants beside maxima vanish; a softmax of the output keeps its own scale
TOLERANCE = 1e-3
BEST = 9  # the class that the convolutional net takes these pictures for
LAYERS = [("resnet18", "layer4"), ("resnet18", "layer2"), ("vit", "blocks.3.norm1"), ("vit", "blocks.1.norm2")]


def case(where: tuple[str, str]) -> tuple[nn.Module, str, Any]:
    kind, layer = where
    return (resnet(), layer, None) if kind == "resnet18" else (vit(), layer, vit_grid)


def logit(output: Tensor) -> Tensor:
    return output[..., CLASS]


def sign_free(found: Tensor, expected: Tensor) -> float:
    """The decomposition leaves the sign open; theirs is chance, and rectified only after this stage."""
    return max(
        min(relative(ours, either.clamp(min=0)), relative(ours, (-either).clamp(min=0)))
        for ours, either in zip(found, expected, strict=True)
    )


def shown(values: Tensor) -> Tensor:
    """A map of ours as their calls return it: at input size, from 0 to 1."""
    larger = functional.interpolate(values[:, None], INPUTS.shape[-2:], mode="bilinear")[:, 0]
    low, high = larger.amin(dim=(1, 2), keepdim=True), larger.amax(dim=(1, 2), keepdim=True)
    return (larger - low) / (high - low).clamp(min=torch.finfo(torch.float32).tiny)


@pytest.mark.parametrize("where", LAYERS, ids=" ".join)
def test_kpca_cam(where: tuple[str, str]) -> None:
    network, layer, reshape = case(where)
    expected = grad_cam_package("KPCA_CAM", network, layer, INPUTS, logit, reshape)
    assert sign_free(ask("kpca_cam", network, INPUTS, CLASS, layer), expected) < TOLERANCE


@pytest.mark.parametrize("kernel", ["rbf", "poly", "cosine", "linear"])
def test_kpca_cam_with_other_kernels(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"kernel": kernel, "gamma": 0.01}
    module = pytorch_grad_cam.KPCA_CAM
    monkeypatch.setattr(pytorch_grad_cam, "KPCA_CAM", lambda **asked: module(**asked, **given))
    expected = grad_cam_package("KPCA_CAM", resnet(), "layer2", INPUTS, logit)
    assert sign_free(ask("kpca_cam", resnet(), INPUTS, CLASS, "layer2", **given), expected) < TOLERANCE


@pytest.mark.parametrize("where", LAYERS, ids=" ".join)
def test_seg_eigen_cam(where: tuple[str, str]) -> None:
    network, layer, reshape = case(where)
    expected = grad_cam_package("SegEigenCAM", network, layer, INPUTS, logit, reshape).clamp(min=0)
    assert relative(ask("seg_eigen_cam", network, INPUTS, CLASS, layer), expected) < TOLERANCE


@pytest.mark.parametrize("where", LAYERS, ids=" ".join)
def test_fem(where: tuple[str, str]) -> None:
    network, layer, reshape = case(where)
    expected = grad_cam_package("FEM", network, layer, INPUTS, logit, reshape).clamp(min=0)
    assert relative(ask("fem", network, INPUTS, CLASS, layer), expected) < TOLERANCE


def called(kind: str, where: tuple[str, str], targets: Any, **given: Any) -> Tensor:
    """What a call of theirs returns, [batch height width] from 0 to 1."""
    network, layer, reshape = case(where)
    layers = [network.get_submodule(name) for name in given.pop("layers", [layer])]
    asked = given.pop("asked", {})
    cam = getattr(pytorch_grad_cam, kind)(network, layers, reshape_transform=reshape, **given)
    try:
        return torch.from_numpy(cam(input_tensor=INPUTS.clone(), targets=targets, **asked))
    finally:
        for part in getattr(cam, "base_cam_per_layer", [getattr(cam, "base_cam", cam)]):
            kept = part.activations_and_grads
            kept.activations, kept.gradients = [], []  # theirs detaches them in place, which views refuse
            kept.release()
        network.zero_grad()


class TheirProbability:
    def __call__(self, output: Tensor) -> Tensor:
        return SCALE * output.softmax(dim=0)[BEST]


class TheirTarget:
    """They differentiate a sum over pictures: the scale leaves their constants behind."""

    def __call__(self, output: Tensor) -> Tensor:
        return SCALE * output[CLASS]


@pytest.mark.parametrize("layer", ["layer2", "layer4"])
def test_shapley_cam(layer: str) -> None:
    """For convolutions alone: on a transformer's tokens theirs fails. The probability bends where logits do not."""
    expected = called("ShapleyCAM", ("resnet18", layer), [TheirProbability()] * 2)
    target = Call(lambda output: SCALE * output.softmax(dim=1)[:, BEST], name="scaled probability")
    ours = ask("shapley_cam", resnet(), INPUTS, target, layer)
    assert relative(shown(ours), expected) < TOLERANCE
    plain = ask("grad_cam", resnet(), INPUTS, target, layer)
    assert relative(shown(plain), expected) > 10 * TOLERANCE, "here the second order makes no difference"


@pytest.mark.parametrize("where", LAYERS, ids=" ".join)
@pytest.mark.parametrize("alpha", [1.0, 0.6])
def test_finer_cam(where: tuple[str, str], alpha: float) -> None:
    """They add 1e-7 to the maximum they divide by, which is small beside these maps' own."""
    network, layer, _ = case(where)
    expected = called("FinerCAM", where, None, asked={"alpha": alpha, "target_idx": CLASS})
    assert relative(shown(ask("finer_cam", network, INPUTS, CLASS, layer, strength=alpha)), expected) < TOLERANCE


@pytest.mark.parametrize(
    ("kind", "layers"), [("resnet18", ["layer2", "layer3", "layer4"]), ("vit", ["blocks.1.norm2", "blocks.3.norm1"])]
)
def test_refine_cam(kind: str, layers: list[str]) -> None:
    """With Grad-CAM as the map that is multiplied: in Grad-CAM++ their 1e-6 stands beside squared gradients."""
    where = (kind, layers[-1])
    expected = called("RefineCAM", where, [TheirTarget()] * 2, layers=layers, base_method=pytorch_grad_cam.GradCAM)
    network, layer, _ = case(where)
    ours = ask("refine_cam", network, INPUTS, CLASS, layer, base="grad_cam", layers=layers)
    assert relative(shown(ours), expected) < TOLERANCE


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("where", [LAYERS[0], LAYERS[2]], ids=" ".join)
def test_sess(where: tuple[str, str], pool: str) -> None:
    network, layer, _ = case(where)
    expected = called("SESS", where, [logit] * 2, num_scales=3, pool=pool)
    ours = ask("sess", network, INPUTS, CLASS, layer, scales=3, fuse=pool)
    assert relative(shown(ours), expected) < TOLERANCE


def test_sess_without_its_least_probable_crops() -> None:
    network, layer, _ = case(LAYERS[0])
    expected = called("SESS", LAYERS[0], [logit] * 2, num_scales=3, pre_filter_ratio=0.5)
    ours = ask("sess", network, INPUTS, CLASS, layer, scales=3, discard=0.5)
    assert relative(shown(ours), expected) < TOLERANCE
