"""Detectors of colour whose weights are the solution of a linear program, so that they cannot err within a margin.

A detector fires on a convex set of colours: the points on the inner side of a few planes. Each plane is the one that
keeps the concept's colours and the nearest other colour furthest apart; planes are added until no colour is left.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pellucid.errors import SceneError
from pellucid.testbed.planted.unit import PlantedUnit

STEEPNESS = 4.0  # of the flanks between 1 and 0

# Name of a paint -> corners of the colours it can show.
Palette = Mapping[str, Float[np.ndarray, "corner 3"]]


@dataclass(frozen=True, eq=False)
class Concept:
    """Something that the colour of a single pixel tells.

    paints: names of the palette's paints that show it; no other paint may lie between them
    where:  scenes -> the pixels that show it
    """

    name: str
    words: tuple[str, ...]
    paints: tuple[str, ...]
    where: Callable[[Any], Bool[np.ndarray, "scene height width"]]

    def fires(self, scenes: Any) -> Bool[np.ndarray, "scene"]:
        """Whether each scene shows it anywhere."""
        return np.any(self.where(scenes), axis=(1, 2))


@dataclass(frozen=True, eq=False)
class Plane:
    """Colours with `normal . colour + offset` below 0 lie inside; no colour of the palette is nearer than `margin`."""

    normal: Float[np.ndarray, "3"]
    offset: float
    margin: float


@dataclass(frozen=True, eq=False)
class Detectors:
    """The planes that tell each concept from all other paints of a palette."""

    concepts: tuple[Concept, ...]
    bounds: tuple[tuple[Plane, ...], ...]

    @property
    def margins(self) -> tuple[float, ...]:
        """For each concept how much every channel of every pixel may be off, as a share of the range, while the answers
        stay exactly 0 and 1."""
        return tuple((1 - 1 / STEEPNESS) * min(plane.margin for plane in own) for own in self.bounds)

    def layers(self) -> nn.Sequential:
        """1x1 convolutions; the last layer, `units`, is 1 on the pixels of each concept and 0 on all others."""
        flat = [plane for own in self.bounds for plane in own]
        owner = np.repeat(np.arange(len(self.bounds)), [len(own) for own in self.bounds])
        belongs = (owner[None] == np.arange(len(self.bounds))[:, None]).astype(np.float64)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["separate"] = pixelwise(
            STEEPNESS * np.stack([plane.normal / plane.margin for plane in flat]),
            STEEPNESS * np.array([plane.offset / plane.margin for plane in flat]),
        )  # below 0 inside, and above 1 outside of at least one plane; between them within 1 / STEEPNESS of its margin
        layers["rectify"] = nn.ReLU()
        layers["gather"] = pixelwise(-belongs, np.ones(len(self.bounds)))
        layers["units"] = nn.ReLU()
        return nn.Sequential(layers)

    def units(self, layer: str = "detect.units") -> tuple[PlantedUnit, ...]:
        """What is known of the channels of `layers().units`, under the name the net has for it."""
        return tuple(
            PlantedUnit(layer, at, concept.name, concept.words, concept.fires, concept.where, margin)
            for at, (concept, margin) in enumerate(zip(self.concepts, self.margins, strict=True))
        )


def told_apart(concepts: Sequence[Concept], palette: Palette) -> Detectors:
    """Detectors of the concepts, which fire on no other paint of the palette.

    Raises SceneError where a concept cannot be told from another paint.
    """
    return Detectors(tuple(concepts), tuple(planes(concept.paints, palette) for concept in concepts))


def planes(paints: Sequence[str], palette: Palette) -> tuple[Plane, ...]:
    """Planes such that the given paints lie inside all of them and each other paint outside of at least one."""
    own = np.concatenate([palette[name] for name in paints])
    centre = own.mean(axis=0)
    waiting = {name: corners for name, corners in palette.items() if name not in set(paints)}
    found: list[Plane] = []
    while waiting:
        nearest = min(waiting, key=lambda name: float(np.abs(waiting[name] - centre).max(axis=1).min()))
        plane = widest(own, waiting[nearest])
        if plane.margin < 1e-4:
            raise SceneError(f"The paints {', '.join(paints)} cannot be told from {nearest} by their colour.")
        found.append(plane)
        waiting = {
            name: corners
            for name, corners in waiting.items()
            if name != nearest and (corners @ plane.normal + plane.offset).min() < plane.margin
        }
    return tuple(found)


def widest(inner: Float[np.ndarray, "inside 3"], outer: Float[np.ndarray, "outside 3"]) -> Plane:
    """The plane that keeps two sets of colours furthest apart, distance being the largest difference of a channel.

    Linear program over (u, v, offset, margin) with normal = u - v, sum(u + v) <= 1: maximise the margin subject to
    normal . x + offset <= -margin inside and >= margin outside. The margin is 0 where the two cannot be parted.
    """
    from scipy.optimize import linprog

    ones_in, ones_out = np.ones((len(inner), 1)), np.ones((len(outer), 1))
    rows = np.vstack(
        [
            np.hstack([inner, -inner, ones_in, ones_in]),
            np.hstack([-outer, outer, -ones_out, ones_out]),
            [[1.0] * 6 + [0.0, 0.0]],
        ]
    )
    limits = np.array([0.0] * (len(inner) + len(outer)) + [1.0])
    goal = np.array([0.0] * 7 + [-1.0])
    answer: Any = linprog(goal, A_ub=rows, b_ub=limits, bounds=[(0, None)] * 6 + [(None, None)] * 2)
    if not answer.success:
        raise SceneError(f"The linear program that parts colours has no solution: {answer.message}")
    solution = np.asarray(answer.x, dtype=np.float64)
    return Plane(solution[:3] - solution[3:6], float(solution[6]), float(solution[7]))


def pixelwise(weight: Float[np.ndarray, "out into"], bias: Float[np.ndarray, "out"] | None = None) -> nn.Conv2d:
    """A 1x1 convolution with these weights."""
    with torch.random.fork_rng(devices=[]):  # the first weights are thrown away; the caller's generator stays put
        layer = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bias is not None)
    fill(layer.weight, weight[:, :, None, None])
    if bias is not None:
        assert layer.bias is not None
        fill(layer.bias, bias)
    return layer


def linear(weight: Float[np.ndarray, "out into"], bias: Float[np.ndarray, "out"] | None = None) -> nn.Linear:
    """A linear layer with these weights."""
    with torch.random.fork_rng(devices=[]):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    fill(layer.weight, weight)
    if bias is not None:
        fill(layer.bias, bias)
    return layer


def fill(parameter: Tensor, values: np.ndarray) -> None:
    """Set a parameter."""
    with torch.no_grad():
        parameter.copy_(torch.tensor(values))


class Presence(nn.Module):
    """Detectors, the largest value of each over the picture, and what is made of these.

    detect: ends in `units`, [batch concept height width], 1 where a concept shows
    answer: takes what is present anywhere, [batch concept] of 0 and 1
    """

    def __init__(self, detect: nn.Sequential, answer: nn.Module) -> None:
        super().__init__()
        self.detect = detect
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.present = nn.Flatten()
        self.answer = answer

    def forward(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        return self.answer(self.present(self.pool(self.detect(pictures))))
