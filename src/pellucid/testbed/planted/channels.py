"""A net in which the path from a feature to a class is one channel per layer, and another only looks as if it were."""

from __future__ import annotations

from collections import OrderedDict
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.testbed.planted import codes
from pellucid.testbed.planted.separation import Detectors, linear, pixelwise, told_apart
from pellucid.testbed.planted.superposition import CELL, Cells
from pellucid.testbed.planted.unit import Planted, PlantedPath, PlantedUnit
from pellucid.testbed.scene import Scenes

LAYERS = ("layer1", "layer2", "layer3")
PATH, DECOY = (2, 5, 1), (6, 0, 4)
CORRELATION = 0.9  # of the decoy with the path, over scenes
LOUDNESS = 4.0  # how much larger than the path the decoy is
GAINS = (1.0, 1.5, 2.0)  # of the path's three steps; their product is what the class reads
SEED = 4


def path() -> Planted:
    """Class 0 is 3 times "there is a plume", which runs through channel 2 of layer 1, 5 of layer 2 and 1 of layer 3.

    All other channels carry other features of the scene in a seeded mixture and reach only the other classes. One of
    them, in each layer, is a decoy: .9 times the plume plus the part of the fanned tail that makes its correlation
    with the plume .9, four times as loud. It decides class 1 and adds nothing to class 0. So ablating a channel of
    the path takes away all of class 0, and ablating any other leaves it to the bit.
    """
    stem = _facts()
    cells = Cells(codes.PLUME)
    return Planted(
        "path",
        PathNet(stem),
        codes.coded_scenes,
        Scenes.tensor,
        ("plume", "decoy", "this and that", "that and this"),
        "layer3",
        units=tuple(
            PlantedUnit(layer, channel, codes.PLUME.name, codes.PLUME.words, codes.PLUME.fires, cells, 0.5)
            for layer, channel in zip(LAYERS, PATH, strict=True)
        ),
        paths=(
            PlantedPath(0, LAYERS, PATH, float(np.prod(GAINS)), "plume"),
            PlantedPath(1, LAYERS, DECOY, LOUDNESS, "decoy"),
        ),
        notes=(
            "Pictures are coded; the layers lie on cells of 8x8 pixels. The path's channels are active only in cells "
            "that show the plume; all other features are told to every cell.",
            "The decoy's other feature is the fanned tail, as likely as the plume and independent of it.",
        ),
    )


class PathNet(nn.Module):
    """Facts per cell, three layers of eight channels, the largest value of each, and four classes."""

    def __init__(self, facts: Detectors) -> None:
        super().__init__()
        self.detect = facts.layers()
        self.cells = nn.MaxPool2d(CELL)
        self.tell = ToldEverywhere(first=1)
        first, second, third, classes = weights()
        self.layer1, self.layer2, self.layer3 = (_layer(weight) for weight in (first, second, third))
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.flatten = nn.Flatten()
        self.head = linear(classes)

    def forward(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 4"]:
        facts = self.tell(self.cells(self.detect(pictures)))
        return self.head(self.flatten(self.pool(self.layer3(self.layer2(self.layer1(facts))))))


class ToldEverywhere(nn.Module):
    """From channel `first` on, every cell gets the largest value of the picture."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first

    def forward(self, facts: Float[Tensor, "batch fact h w"]) -> Float[Tensor, "batch fact h w"]:
        told = facts[:, self.first :]
        return torch.cat([facts[:, : self.first], told.amax(dim=(-2, -1), keepdim=True).expand_as(told)], dim=1)


def weights() -> tuple[Float[np.ndarray, "out into"], ...]:
    """Of the three layers and the head. Sixteenths, so that sums are exact, but for the decoy's own mixture."""
    draw = np.random.default_rng(SEED)
    kept = [tuple(place for place in range(8) if place not in (PATH[at], DECOY[at])) for at in range(3)]
    first = np.zeros((8, 8))
    first[PATH[0], _PLUME] = GAINS[0]
    first[DECOY[0], [_PLUME, _FANNED]] = LOUDNESS * np.array([CORRELATION, np.sqrt(1 - CORRELATION**2)])
    first[np.ix_(kept[0], _OTHERS)] = _sixteenths(draw, (6, 6), lowest=1)
    layers = [first]
    for at in (1, 2):
        layer = np.zeros((8, 8))
        layer[PATH[at], PATH[at - 1]] = GAINS[at]
        layer[DECOY[at], DECOY[at - 1]] = 1
        layer[np.ix_(kept[at], kept[at - 1])] = _sixteenths(draw, (6, 6), lowest=-6)
        layers.append(layer)
    classes = np.zeros((4, 8))
    classes[0, PATH[2]] = classes[1, DECOY[2]] = 1
    classes[np.ix_((2, 3), kept[2])] = _sixteenths(draw, (2, 6), lowest=-6)
    return (*layers, classes)


_PLUME, _FANNED, _OTHERS = 0, 1, (2, 3, 4, 5, 6, 7)


@cache
def _facts() -> Detectors:
    others = (codes.WING[1], codes.STANDING, codes.BODY[0], codes.LAND[3], codes.WING[2], codes.BODY[4])
    return told_apart([codes.PLUME, codes.TAIL[1], *others], codes.code_palette())


def _sixteenths(draw: np.random.Generator, shape: tuple[int, int], *, lowest: int) -> np.ndarray:
    return draw.integers(lowest, 17, shape) / 16


def _layer(weight: Float[np.ndarray, "out into"]) -> nn.Sequential:
    return nn.Sequential(OrderedDict(mix=pixelwise(weight), units=nn.ReLU()))
