"""Does a map depend on what the model has learned? A map that outlives all weights shows the picture only."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from pellucid.engine import Evidence
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.registry import metric
from pellucid.subject import VisionModel
from pellucid.trust.likeness import correlation, histogram_entropy, rank_correlation, structure
from pellucid.trust.measured import Maps, Measured, Remake
from pellucid.values.seed import Seed
from pellucid.values.target import Class

Likeness = Callable[[Tensor, Tensor], Tensor]


@metric(
    "model_randomisation", better="lower", paper="Adebayo et al. 2018", range=(-1.0, 1.0), remakes=True, limit=0.6,
    cost=lambda depths=4: 3 * depths,
)  # fmt: skip
def model_randomisation(model: VisionModel, maps: Maps, remake: Remake, *, depths: int = 4, seed: int = 0) -> Measured:
    """How much of the map's order is left while the model's weights are made random, from the output downwards.

    depths:  stops on the way from the last layer to the first; at the last one nothing learned is left
    returns: rank correlation with the map of the trained model, mean over the stops: about 0 is right, 1 says that the
             map ignores the model. The curve has every stop, the spread is that over the stops. A map fails above 0.6,
             where guided backpropagation stands and the gradient does not

    The caller's network is copied, never changed. Raises MethodUnavailable for a black box.
    """
    return _randomised(model, maps, remake, depths, seed, rank_correlation, "rank correlation")


@metric(
    "structure_randomisation", better="lower", paper="Adebayo et al. 2018", range=(-1.0, 1.0), remakes=True, limit=0.5,
    cost=lambda depths=4: 3 * depths,
)  # fmt: skip
def structure_randomisation(
    model: VisionModel, maps: Maps, remake: Remake, *, depths: int = 4, seed: int = 0
) -> Measured:
    """How alike the maps look to the eye while the model's weights are made random.

    As `model_randomisation`, by structural similarity of the magnitudes (Wang et al. 2004), each map scaled to 0..1: it
    sees edges and shapes where ranks see the many pixels that are almost nothing. A map fails above 0.5.
    """
    return _randomised(model, maps, remake, depths, seed, structure, "structural similarity")


@metric("efficient_randomisation", better="higher", paper="Hedstroem et al. 2024", range=(float("-inf"), float("inf")),
        remakes=True, cost=3)  # fmt: skip
def efficient_randomisation(model: VisionModel, maps: Maps, remake: Remake, *, seed: int = 0) -> Measured:
    """How much more complex the map becomes when all weights are made random.

    Relative rise of the entropy of the map's values in 100 bins (eMPRT): a map of what was learned is simpler than one
    of random weights. About 0 for maps that ignore the model. Flat maps have no value.
    """
    *_, (_, network) = randomised(_own(model), 1, Seed(seed))
    made = remake(model=model.with_module(network))
    values: dict[str, Tensor] = {}
    for name, one in maps.items():
        before, after = histogram_entropy(one), histogram_entropy(made[name])
        values[name] = torch.where(before > 0, (after - before) / before.clamp(min=1e-12), torch.nan)
    return Measured(values, unit="relative rise of the entropy")


@metric("picture_randomisation", better="lower", paper="Adebayo et al. 2018; Sixt et al. 2020", range=(-1.0, 1.0),
        remakes=True, limit=0.6, cost=3)  # fmt: skip
def picture_randomisation(evidence: Evidence, maps: Maps, remake: Remake) -> Measured:
    """How much of the map is left when the picture becomes noise and the question stays.

    Rank correlation of the map with that of coloured noise for the same target: about 0 is right, 1 says that the map
    does not look at the picture, as deconvnet's does not in a network without pooling. A map fails above 0.6.
    """
    made = remake(inputs=evidence.fill("noise"))
    return Measured({name: rank_correlation(one, made[name]) for name, one in maps.items()}, unit="rank correlation")


@metric("class_sensitivity", better="lower", paper="Rebuffi et al. 2020", range=(-1.0, 1.0), remakes=True, cost=1)
def class_sensitivity(evidence: Evidence, maps: Maps, remake: Remake) -> Measured:
    """How alike the maps of the target and of the least likely class are.

    Pearson correlation, -1 to 1; 1 for a map that is blind to what is asked, as those that explain no class are by
    construction (rollout, Eigen-CAM). Lower is better: two classes that have nothing in common should not share a map.
    Where the target is the least likely class itself, the most likely one is taken.
    """
    outputs = evidence.output()
    least, most = outputs.argmin(dim=-1).tolist(), outputs.argmax(dim=-1).tolist()
    others = [
        Class(high) if target == Class(low) else Class(low)
        for target, low, high in zip(evidence.targets, least, most, strict=True)
    ]
    other = remake(targets=others)
    return Measured({name: correlation(one, other[name]) for name, one in maps.items()}, unit="correlation")


def _randomised(
    model: VisionModel, maps: Maps, remake: Remake, depths: int, seed: int, alike: Likeness, unit: str
) -> Measured:
    if depths < 1:
        raise RequestError(f"depths={depths}; expected at least 1.")
    likeness: list[dict[str, Tensor]] = []
    stops: list[int] = []
    for stop, network in randomised(_own(model), depths, Seed(seed)):
        made = remake(model=model.with_module(network))
        likeness.append({name: alike(values, made[name]) for name, values in maps.items()})
        stops.append(stop)
    curves = {name: torch.stack([row[name] for row in likeness]) for name in maps}  # [stop batch]
    return Measured(
        values={name: curve.mean(dim=0) for name, curve in curves.items()},
        spread={name: curve.std(dim=0, correction=0) for name, curve in curves.items()},
        curves={
            name: {"layers": [float(stop) for stop in stops], "similarity": curve.tolist()}
            for name, curve in curves.items()
        },
        order="weights made random from the last layer to the first",
        unit=unit,
        notes=("centre and edge maps ignore the model, so they score 1",),
    )


def _own(model: VisionModel) -> nn.Module:
    if model.module is None:
        raise MethodUnavailable(
            "Model randomisation", "a black box has no weights that could be made random.", ("deletion",)
        )
    return model.module


def randomised(module: nn.Module, depths: int, seed: Seed) -> Iterator[tuple[int, nn.Module]]:
    """A copy of the network with ever more of its layers made random, from the last: (layers so far, network).

    One network is changed on the way, so each is to be used before the next is asked for.
    """
    network = copy.deepcopy(module)
    layers = [layer for layer in network.modules() if list(layer.parameters(recurse=False))]
    layers.reverse()
    stops = sorted({max(1, round(len(layers) * (index + 1) / depths)) for index in range(depths)})
    done = 0
    for stop in stops:
        for position in range(done, stop):
            randomise(layers[position], seed.child("layer", position))
        done = stop
        yield stop, network


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


def _spread(value: Tensor) -> float:
    """Standard deviation, or 1 / sqrt(width) where the values are all alike (fresh biases and scales)."""
    spread = float(value.float().std(correction=0)) if value.numel() > 1 else 0.0
    return spread if spread > 0 else float(value.shape[-1]) ** -0.5 if value.ndim else 1.0
