"""Does a map depend on what the model has learned? A map that outlives all weights shows the picture only."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.errors import MethodUnavailable, RequestError
from pellucid.registry import metric
from pellucid.results import Heatmaps, Score
from pellucid.subject import VisionModel
from pellucid.values.seed import Seed

Remake = Callable[[VisionModel], Float[Tensor, "batch height width"]]


@metric(
    "model_randomisation",
    better="lower",
    paper="Adebayo et al. 2018",
    range=(-1.0, 1.0),
    cost=lambda depths=4: 3 * depths,
)
def model_randomisation(
    model: VisionModel, heat: Heatmaps, *, remake: Remake, depths: int = 4, seed: int | None = None
) -> Score:
    """How much of the map is left when the model's weights are made random, from the output downwards.

    remake:  the same map for another model (same pictures, targets, method and parameters)
    depths:  stops on the way from the last layer to the first; at the last stop nothing learned is left
    returns: rank correlation with the map of the trained model, after full randomisation; about 0 is right, 1 says that
             the map ignores the model. The curve has every stop. The spread is that between the last two stops

    The caller's network is copied, never changed. Raises MethodUnavailable for a black box.
    """
    if model.module is None:
        raise MethodUnavailable(
            "model_randomisation", "a black box has no weights that could be made random.", ("deletion",)
        )
    if depths < 1:
        raise RequestError(f"depths={depths}; expected at least 1.")
    original = heat.one_channel
    root = Seed(heat.seed if seed is None else seed)
    network = copy.deepcopy(model.module)
    layers = [module for module in network.modules() if _own_state(module)]
    layers.reverse()
    stops = sorted({max(1, round(len(layers) * (index + 1) / depths)) for index in range(depths)})
    likeness: list[Tensor] = []
    done = 0
    for stop in stops:
        for position in range(done, stop):
            randomise(layers[position], root.child("layer", position))
        done = stop
        likeness.append(rank_correlation(original, remake(model.with_module(network))))
    curve = torch.stack(likeness)  # [stop batch]
    before_last = curve[-2] if len(curve) > 1 else curve[-1]
    return Score(
        metric="model_randomisation",
        method=heat.method,
        values=tuple(curve[-1].tolist()),
        random=tuple(0.0 for _ in original),
        centre=tuple(1.0 for _ in original),
        edge=tuple(1.0 for _ in original),
        spread=tuple((curve[-1] - before_last).abs().tolist()),
        better="lower",
        fills=(),
        order="weights made random from the last layer to the first",
        unit="rank correlation",
        curves={"layers": [float(stop) for stop in stops], "similarity": curve.tolist()},
        notes=("centre and edge maps ignore the model, so they score 1",),
    )


def randomise(module: nn.Module, seed: Seed) -> None:
    """Fresh weights for one module in place, as if training had not begun.

    Matrices and kernels are normal with the spread of what was there, scales 1, offsets 0, statistics 0 and 1. It has a
    generator of its own: `reset_parameters` would draw from the global one.
    """
    with torch.no_grad():
        for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if not value.is_floating_point():
                continue
            if name in ("running_mean", "bias"):
                value.zero_()
            elif name == "running_var" or (name == "weight" and value.ndim == 1):
                value.fill_(1.0)
            else:
                noise = torch.randn(value.shape, generator=seed.child(name).generator())
                value.copy_((noise * _spread(value)).to(value))


def rank_correlation(
    one: Float[Tensor, "batch height width"], other: Float[Tensor, "batch height width"]
) -> Float[Tensor, "batch"]:
    """Spearman's correlation of two maps of each picture, -1 to 1; 0 where one of them is flat."""
    first, second = _ranks(one), _ranks(other)
    first, second = first - first.mean(dim=1, keepdim=True), second - second.mean(dim=1, keepdim=True)
    scale = first.norm(dim=1) * second.norm(dim=1)
    return torch.where(scale > 0, (first * second).sum(dim=1) / scale.clamp(min=1e-30), torch.zeros_like(scale))


def _ranks(values: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch pixel"]:
    """Ranks of the pixels; equal values share the mean of their places."""
    return torch.stack([_shared_ranks(one) for one in values.detach().cpu().flatten(1)])


def _shared_ranks(values: Float[Tensor, "pixel"]) -> Float[Tensor, "pixel"]:
    _, place, count = values.unique(return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    return (last - (count.double() + 1) / 2)[place]


def _own_state(module: nn.Module) -> Sequence[nn.Parameter]:
    return list(module.parameters(recurse=False))


def _spread(value: Tensor) -> float:
    """Standard deviation, or 1 / sqrt(width) where the values are all alike (fresh biases and scales)."""
    spread = float(value.float().std(correction=0)) if value.numel() > 1 else 0.0
    return spread if spread > 0 else float(value.shape[-1]) ** -0.5 if value.ndim else 1.0
