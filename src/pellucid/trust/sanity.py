"""Does a map depend on what the model has learned? A map that outlives all weights shows the picture only."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.engine import Evidence
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.registry import metric
from pellucid.subject import VisionModel
from pellucid.trust.contrast import next_classes
from pellucid.trust.likeness import Likeness, correlation, histogram_entropy, likeness, rank_correlation
from pellucid.trust.measured import Maps, Measured, Remake, control, spread_of
from pellucid.values.seed import Seed
from pellucid.values.target import Class, Target

_MODES = {
    "cascading": "weights made random from the last layer to the first",
    "independent": "weights of one layer made random at a time",
}
_OTHERS = ("least", "second")


def _passes(*, depths: int = 4, draws: int = 1, smooth: int = 1, **_: Any) -> float:
    return 3 * smooth * (depths * draws + (smooth > 1))


@metric(
    "model_randomisation", better="lower", paper="Adebayo et al. 2018", range=(-1.0, 1.0), remakes=True, limit=0.6,
    cost=_passes,
)  # fmt: skip
def model_randomisation(
    evidence: Evidence, model: VisionModel, maps: Maps, remake: Remake, *, depths: int = 4, mode: str = "cascading",
    alike: str = "spearman", draws: int = 1, smooth: int = 1, noise: float = 0.1, seed: int = 0,
) -> Measured:  # fmt: skip
    """How much of the map's order is left while the model's weights are made random, from the output downwards.

    depths:  stops on the way from the last layer to the first; at the last one nothing learned is left
    mode:    `cascading`, or `independent`: at every stop the layer that is reached alone is random, all others are as
             learned
    alike:   how maps are compared: `spearman`, `absolute_spearman` (without signs), `pearson`, `ssim` or `hog`; the
             paper has all but Pearson's
    draws:   of random weights; with several the spread is that over their means
    smooth:  maps are averages over so many noisy pictures; 50 is smooth MPRT (Hedstroem et al. 2024), 1 the picture
             itself
    noise:   standard deviation of that noise, in parts of the picture's range
    returns: rank correlation, or what `alike` names, with the map of the trained model, mean over the stops: about 0 is
             right, 1 says that the map ignores the model. The curve has every stop, the spread is that over the stops.
             A map fails above 0.6, where guided backpropagation stands and the gradient does not

    The caller's network is copied, never changed. Raises MethodUnavailable for a black box.
    """
    walk = _Walk(depths, mode, draws, smooth, noise, seed)
    return _randomised(evidence, model, maps, remake, walk, likeness(alike))


@metric(
    "structure_randomisation", better="lower", paper="Adebayo et al. 2018", range=(-1.0, 1.0), remakes=True, limit=0.5,
    cost=_passes,
)  # fmt: skip
def structure_randomisation(
    evidence: Evidence, model: VisionModel, maps: Maps, remake: Remake, *, depths: int = 4, mode: str = "cascading",
    draws: int = 1, smooth: int = 1, noise: float = 0.1, seed: int = 0,
) -> Measured:  # fmt: skip
    """How alike the maps look to the eye while the model's weights are made random.

    As `model_randomisation`, by structural similarity of the magnitudes (Wang et al. 2004), each map scaled to 0..1: it
    sees edges and shapes where ranks see the many pixels that are almost nothing. A map fails above 0.5.
    """
    walk = _Walk(depths, mode, draws, smooth, noise, seed)
    return _randomised(evidence, model, maps, remake, walk, likeness("ssim"))


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
def class_sensitivity(evidence: Evidence, maps: Maps, remake: Remake, *, other: str = "least") -> Measured:
    """How alike the maps of the target and of another class are.

    other:   the `least` likely class, as in the paper (where that is the target itself, the most likely one), or the
             `second`, which the model ranks highest beside the target: the class it is most easily taken for, so the
             harder question
    returns: Pearson correlation, -1 to 1; 1 for a map that is blind to what is asked, as those that explain no class
             are by construction (rollout, Eigen-CAM). Lower is better: two classes that have nothing in common should
             not share a map; close ones may share some of it
    """
    if other not in _OTHERS:
        raise RequestError(f"other={other!r}; expected {' or '.join(_OTHERS)}.")
    made = remake(targets=_least(evidence) if other == "least" else next_classes(evidence)[0])
    return Measured({name: correlation(one, made[name]) for name, one in maps.items()}, unit="correlation")


def _least(evidence: Evidence) -> list[Target]:
    outputs = evidence.output()
    least, most = outputs.argmin(dim=-1).tolist(), outputs.argmax(dim=-1).tolist()
    return [
        Class(high) if target == Class(low) else Class(low)
        for target, low, high in zip(evidence.targets, least, most, strict=True)
    ]


@dataclass(frozen=True)
class _Walk:
    """The way through random networks, as `model_randomisation` has it."""

    depths: int
    mode: str
    draws: int
    smooth: int
    noise: float
    seed: int

    def __post_init__(self) -> None:
        for name in ("depths", "draws", "smooth"):
            if getattr(self, name) < 1:
                raise RequestError(f"{name}={getattr(self, name)}; expected at least 1.")
        if self.mode not in _MODES:
            raise RequestError(f"mode={self.mode!r}; expected {' or '.join(_MODES)}.")
        if not self.noise > 0:
            raise RequestError(f"noise={self.noise}; expected a part of the picture's range above 0.")


def _randomised(
    evidence: Evidence, model: VisionModel, maps: Maps, remake: Remake, walk: _Walk, alike: Likeness
) -> Measured:
    own = dict(maps)
    if walk.smooth > 1:
        own |= _seen(evidence, remake, walk, model)
        own |= {name: one for name, one in maps.items() if name == control("random")}  # under one noise it is one map
    found: list[dict[str, Tensor]] = []
    stops: list[int] = []
    for draw in range(walk.draws):
        seed = Seed(walk.seed) if draw == 0 else Seed(walk.seed).child("draw", draw)
        for stop, network in randomised(_own(model), walk.depths, seed, walk.mode):
            made = _seen(evidence, remake, walk, model.with_module(network))
            found.append({name: alike.measure(own[name], made[name]) for name in maps})
            stops.append(stop)
    rows = {
        name: torch.stack([row[name] for row in found]).unflatten(0, (walk.draws, -1)) for name in maps
    }  # [draw stop batch]
    varied = {name: row.mean(dim=1) if walk.draws > 1 else row[0] for name, row in rows.items()}
    return Measured(
        values={name: row.mean(dim=(0, 1)) for name, row in rows.items()},
        spread=spread_of(varied),
        curves={
            name: {
                "layers": [float(stop) for stop in stops[: row.shape[1]]], "similarity": row.mean(dim=0).tolist(),
                "draws": row.mean(dim=1).tolist(),
            }
            for name, row in rows.items()
        },
        order=_MODES[walk.mode],
        unit=alike.words,
        notes=("centre and edge maps ignore the model, so they score 1",),
    )  # fmt: skip


def _seen(evidence: Evidence, remake: Remake, walk: _Walk, model: VisionModel) -> dict[str, Tensor]:
    """The maps of another network, averaged over noisy pictures where that is asked for."""
    if walk.smooth == 1:
        return remake(model=model)
    strength = walk.noise * (evidence.inputs.amax(dim=(1, 2, 3)) - evidence.inputs.amin(dim=(1, 2, 3)))
    total: dict[str, Tensor] = {}
    for index in range(walk.smooth):
        generator = Seed(walk.seed).child("smooth", index).generator()
        drawn = torch.randn(evidence.inputs.shape, generator=generator).to(evidence.inputs)
        made = remake(model=model, inputs=evidence.inputs + drawn * strength[:, None, None, None])
        total = {name: total.get(name, 0) + one / walk.smooth for name, one in made.items()}
    return total


def _own(model: VisionModel) -> nn.Module:
    if model.module is None:
        raise MethodUnavailable(
            "Model randomisation", "a black box has no weights that could be made random.", ("deletion",)
        )
    return model.module


def randomised(module: nn.Module, depths: int, seed: Seed, mode: str = "cascading") -> Iterator[tuple[int, nn.Module]]:
    """A copy of the network with layers made random, from the last: (layers so far, network).

    mode: `cascading` makes ever more of them random, `independent` the last of those so far alone

    One network is changed on the way, so each is to be used before the next is asked for.
    """
    network = copy.deepcopy(module)
    layers = [layer for layer in network.modules() if list(layer.parameters(recurse=False))]
    layers.reverse()
    stops = sorted({max(1, round(len(layers) * (index + 1) / depths)) for index in range(depths)})
    done = 0
    for stop in stops:
        last = layers[stop - 1]
        learned = [(one, one.detach().clone()) for one in (*last.parameters(False), *last.buffers(False))]
        for position in range(done if mode == "cascading" else stop - 1, stop):
            randomise(layers[position], seed.child("layer", position))
        done = stop
        yield stop, network
        if mode == "independent":
            with torch.no_grad():
                for one, before in learned:
                    one.copy_(before)


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
