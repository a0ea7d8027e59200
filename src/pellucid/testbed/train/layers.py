"""Which layer of a net its maps are read from, chosen by measurement."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pellucid.testbed.scene import Scenes, scenes
from pellucid.testbed.train.classifiers import answers
from pellucid.testbed.train.pictures import digits
from pellucid.testbed.train.plans import PLANS, POINTING_SEED
from pellucid.testbed.truth import causal, grown


def best_layer(name: str, net: nn.Module, layers: tuple[str, ...]) -> tuple[str, str]:
    """The layer whose Grad-CAM is best, and the figures.

    Where the net is known to read the deciding parts: how often the maximum points at them. Elsewhere: how far the
    prediction falls when the tenth of the picture that the map ranks highest is blurred away.
    """
    if name == "digits":
        pictures, drawn = digits(held_out=True)[0][:200].float() / 255, None
    else:
        drawn = scenes(POINTING_SEED, 200, **PLANS[name].settings)
        pictures = drawn.tensor()
    if drawn is not None and drawn.world.shortcut is None:
        figures = {layer: _pointing(net, layer, drawn) for layer in layers}
        what = "the share whose Grad-CAM maximum lies in a deciding part (grown by 1 pixel)"
    else:
        figures = {layer: _fall(net, layer, pictures) for layer in layers}
        what = "the mean fall of log probability when Grad-CAM's highest tenth is blurred away"
    best = max(figures, key=lambda layer: figures[layer])
    listing = ", ".join(f"{layer} {figure:.2f}" for layer, figure in figures.items())
    return best, f"chosen by measurement on {len(pictures)} fresh pictures, {what}: {listing}"


def grad_cam(net: nn.Module, layer: str, pictures: Float[Tensor, "picture 3 h w"]) -> Float[Tensor, "picture h w"]:
    """Grad-CAM of the predicted class at picture size, to choose a layer below the engine (Selvaraju et al. 2017)."""
    tap = _Tap(net.get_submodule(layer))
    net.set_submodule(layer, tap)
    try:
        with torch.enable_grad():
            net(pictures).amax(dim=1).sum().backward()
    finally:
        net.set_submodule(layer, tap.inner)
        net.zero_grad(set_to_none=True)
    assert tap.seen is not None and tap.seen.grad is not None
    activation, gradient = _on_grid(tap.seen.detach()), _on_grid(tap.seen.grad)
    cam = (gradient.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1, keepdim=True).clamp(min=0)
    return functional.interpolate(cam, size=pictures.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


class _Tap(nn.Module):
    """Stands in a layer's place and keeps what it gave."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.seen: Tensor | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        seen: Tensor = self.inner(inputs)
        seen.retain_grad()
        self.seen = seen
        return seen


def _on_grid(values: Tensor) -> Float[Tensor, "picture channel h w"]:
    """Tokens laid on their square grid, the class token left out."""
    if values.ndim == 4:
        return values
    side = round((values.shape[1] - 1) ** 0.5)
    return values[:, 1:].transpose(1, 2).unflatten(2, (side, side))


def _pointing(net: nn.Module, layer: str, drawn: Scenes) -> float:
    right = answers(net, drawn.tensor()).numpy() == drawn.labels
    maps = grad_cam(net, layer, drawn.tensor()).flatten(1).numpy()
    wide = grown(causal(drawn)).reshape(len(drawn), -1)
    return float(wide[np.arange(len(drawn)), maps.argmax(axis=1)][right].mean())


def _fall(net: nn.Module, layer: str, pictures: Tensor) -> float:
    maps = grad_cam(net, layer, pictures).flatten(1)
    top = torch.zeros_like(maps).scatter(1, maps.topk(maps.shape[1] // 10, dim=1).indices, 1.0)
    shown = top.view(len(pictures), 1, *pictures.shape[-2:])
    blurred = functional.avg_pool2d(functional.pad(pictures, (8, 8, 8, 8), mode="reflect"), 17, stride=1)
    with torch.no_grad():
        before, after = (net(x).log_softmax(dim=1) for x in (pictures, pictures * (1 - shown) + blurred * shown))
    first = before.argmax(dim=1, keepdim=True)
    return float((before - after).gather(1, first).mean())
