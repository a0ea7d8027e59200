"""The peers' own numbers, before they are scaled for display."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from functools import cache
from typing import Any

import pytorch_grad_cam
import torch
from torch import Tensor, nn

from tests.oracles.nets import seeded

CLASS = 3


@cache
def resnet() -> nn.Module:
    """ResNet-18 with weights, biases and batch statistics from a seed."""
    from torchvision.models import resnet18

    return seeded(resnet18(num_classes=10), seed=11)


@cache
def vit() -> nn.Module:
    """The smallest timm ViT for pictures of 64 x 64, random weights."""
    import timm

    return seeded(
        timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=64, num_classes=10, depth=4), seed=12
    )


def vit_grid(tokens: Tensor) -> Tensor:
    """What pytorch-grad-cam asks its users to write."""
    return tokens[:, 1:].reshape(len(tokens), 4, 4, -1).permute(0, 3, 1, 2)


def grad_cam_package(
    kind: str, network: nn.Module, layer: str, inputs: Tensor, target: Callable[[Tensor], Tensor],
    reshape: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """The map [batch h w] of pytorch-grad-cam on the layer's grid, rectified but not yet scaled or resized."""
    module, targets = network.get_submodule(layer), [target] * len(inputs)
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        cam = getattr(pytorch_grad_cam, kind)(model=network, target_layers=[module], reshape_transform=reshape)
        try:
            outputs = cam.activations_and_grads(inputs)
            if cam.uses_gradients:
                torch.stack([target(output) for output in outputs]).sum().backward()
            kept = cam.activations_and_grads
            slopes = kept.gradients[0].numpy() if cam.uses_gradients else None
            found = cam.get_cam_image(inputs, module, targets, kept.activations[0].numpy(), slopes, False)
        finally:
            kept.release()
            network.zero_grad()
    return torch.from_numpy(found)


def plain_full_grad() -> Any:
    """pytorch-grad-cam's FullGrad without its last scaling."""

    class Plain(pytorch_grad_cam.FullGrad):
        def aggregate_multi_layers(self, maps: Any) -> Any:
            return maps.sum(axis=1)

    return Plain
