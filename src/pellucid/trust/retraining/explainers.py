"""Maps inside the graph: what a net can be trained on, because the map itself has a gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from pellucid import hooks
from pellucid.engine.maps import upsampled
from pellucid.errors import RequestError
from pellucid.values.seed import Seed

Pictures = Float[Tensor, "picture channel h w"]
Classes = Int64[Tensor, "picture"]


@runtime_checkable
class Differentiable(Protocol):
    """A map of each picture for one class of it, [picture h w], through which gradients reach the net's weights."""

    def __call__(self, net: nn.Module, pictures: Pictures, classes: Classes) -> Float[Tensor, "picture h w"]: ...


def input_gradient(net: nn.Module, pictures: Pictures, classes: Classes) -> Float[Tensor, "picture h w"]:
    """The largest magnitude among the colours of the class's gradient (Simonyan et al. 2014)."""
    return _slope(net, pictures, classes)[1].abs().amax(dim=1)


def gradient_times_input(net: nn.Module, pictures: Pictures, classes: Classes) -> Float[Tensor, "picture h w"]:
    """The class's gradient times the picture, summed over colours (Shrikumar et al. 2016)."""
    shown, slope = _slope(net, pictures, classes)
    return (slope * shown).sum(dim=1)


@dataclass(frozen=True)
class IntegratedGradients:
    """Integrated gradients from a picture of one value (Sundararajan et al. 2017), summed over colours.

    steps: points in the middle of as many equal parts of the way; baseline: the value it begins at
    """

    steps: int = 8
    baseline: float = 0.0

    def __call__(self, net: nn.Module, pictures: Pictures, classes: Classes) -> Float[Tensor, "picture h w"]:
        start = torch.full_like(pictures, self.baseline)
        shares = (torch.arange(self.steps) + 0.5) / self.steps
        slopes = [
            _slope(net, torch.lerp(start, pictures, share), classes)[1]
            for share in shares.to(pictures.device, pictures.dtype)
        ]
        return (torch.stack(slopes).mean(dim=0) * (pictures - start)).sum(dim=1)


@dataclass(frozen=True)
class SmoothGrad:
    """The mean gradient over noisy copies (Smilkov et al. 2017), its largest magnitude among the colours.

    samples: copies, of the same noise in every step, so that what is learned is the net's doing
    noise:   standard deviation, as part of each picture's own range
    """

    samples: int = 8
    noise: float = 0.15
    seed: int = 0

    def __call__(self, net: nn.Module, pictures: Pictures, classes: Classes) -> Float[Tensor, "picture h w"]:
        span = pictures.amax(dim=(1, 2, 3), keepdim=True) - pictures.amin(dim=(1, 2, 3), keepdim=True)
        generator = Seed(self.seed).child("smoothgrad").generator()
        slopes = [
            _slope(net, pictures + self.noise * span * drawn.to(pictures), classes)[1]
            for drawn in torch.randn(self.samples, 1, *pictures.shape[1:], generator=generator)
        ]
        return torch.stack(slopes).mean(dim=0).abs().amax(dim=1)


@dataclass(frozen=True)
class GradCamAt:
    """Grad-CAM at one layer (Selvaraju et al. 2017), enlarged to the picture."""

    layer: str

    def __call__(self, net: nn.Module, pictures: Pictures, classes: Classes) -> Float[Tensor, "picture h w"]:
        kept: list[Tensor] = []

        def keep(_name: str, _call: int, _module: nn.Module, _inputs: Any, output: Any) -> Tensor:
            kept.append(output)
            return output.clone()  # an in-place ReLU behind it must not change what is kept

        if self.layer not in dict(net.named_modules()):
            raise RequestError(f"The net has no layer {self.layer!r}.")
        with torch.enable_grad(), hooks.watched(net, [self.layer], keep):
            score = _score(net(pictures), classes)
            if len(kept) != 1 or kept[0].ndim != 4:
                raise RequestError(f"{self.layer} holds no map [picture channel h w] that is made once in a pass.")
            (slope,) = torch.autograd.grad(score, kept[0], create_graph=True)
            coarse = (slope.mean(dim=(-2, -1), keepdim=True) * kept[0]).sum(dim=1).clamp(min=0)
        return upsampled(coarse, (int(pictures.shape[-2]), int(pictures.shape[-1])))


def mass_inside(maps: Float[Tensor, "picture h w"], masks: Bool[Tensor, "picture h w"]) -> Float[Tensor, "picture"]:
    """Share of the positive values that lies in the mask, in the graph: 0 to 1, and 0 where nothing is positive."""
    positive = maps.clamp(min=0)
    total = positive.sum(dim=(-2, -1))
    return (positive * masks).sum(dim=(-2, -1)) / total.clamp(min=1e-12)


def _slope(net: nn.Module, pictures: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        shown = pictures.detach().clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(_score(net(shown), classes), shown, create_graph=True)
    return shown, slope


def _score(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).sum()
