"""What is known of a net whose weights were set by hand: the true function of its units, heads, paths and layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor, nn

# What a net looks at: scenes, gratings or tiles, whichever its `stimuli` gives.
Stimuli = Any


@dataclass(frozen=True, eq=False)
class PlantedUnit:
    """One channel, and what it truly fires on.

    layer, index: where it is; `layer` as `pellucid layers` names it
    name:      what it fires on, in the words a good description would use
    words:     other descriptions that are as right
    fires:     stimuli -> whether the unit fires anywhere in each picture, read from the scene, not from the net
    where:     stimuli -> the pixels on which it fires; None for a unit that has no place (a gate, a vector's entry)
    margin:    how far the nearest case is from being decided otherwise, always above 0. For detectors of colour the
               largest change that every channel of a pixel may suffer, as a share of its range; for the rest in units
               of the activation
    threshold: it fires where its activation is above this
    formula:   for logical combinations: AND, OR, NOT, XOR or `2 OF` over names; else empty
    """

    layer: str
    index: int
    name: str
    words: tuple[str, ...]
    fires: Callable[[Stimuli], Bool[np.ndarray, "picture"]]
    where: Callable[[Stimuli], Bool[np.ndarray, "picture height width"]] | None
    margin: float
    threshold: float = 0.5
    formula: str = ""

    def accepts(self, said: str) -> bool:
        """Whether a description is right: the name or one of its synonyms, upper and lower case alike."""
        return said.strip().lower() in {known.lower() for known in (self.name, *self.words)}


@dataclass(frozen=True, eq=False)
class PlantedHead:
    """One attention head, and which token each token reads through it.

    layer:    the attention module
    head:     which of its heads
    works:    whether its output is anything but 0
    looks_at: stimuli -> for each query token the one key token that gets all attention
    """

    layer: str
    head: int
    name: str
    works: bool
    looks_at: Callable[[Stimuli], Int64[np.ndarray, "picture query"]]


@dataclass(frozen=True)
class PlantedPath:
    """The channels through which one class gets its evidence: one per layer.

    gain: how much the class's logit falls, per unit of what runs through the path, when any of them is ablated
    """

    target: int
    layers: tuple[str, ...]
    channels: tuple[int, ...]
    gain: float
    name: str


@dataclass(frozen=True, eq=False)
class PlantedDictionary:
    """The directions of which a layer's activations are sums: activation = `atoms` @ features.

    features:  the layer in which each feature has a channel to itself
    atoms:     one unit vector per feature
    names:     what each feature stands for
    coherence: largest absolute cosine between two atoms
    """

    layer: str
    features: str
    atoms: Float[np.ndarray, "channel feature"]
    names: tuple[str, ...]
    coherence: float


@dataclass(frozen=True, eq=False)
class Planted:
    """A net set by hand, with the truth about it.

    module:   takes pictures [batch 3 height width] in 0..1, gives [batch classes]
    stimuli:  (seed, count) -> that many scenes, gratings or tiles for which every claim here is exact
    pictures: stimuli -> the pictures as the net takes them
    labels:   the classes' names
    default_layer: where its units lie on a grid; None where the net has no grid
    size:     side of the pictures
    notes:    what else is known of it, as sentences
    """

    name: str
    module: nn.Module
    stimuli: Callable[[int, int], Stimuli]
    pictures: Callable[[Stimuli], Float32[Tensor, "picture 3 height width"]]
    labels: tuple[str, ...]
    default_layer: str | None = None
    size: int = 64
    units: tuple[PlantedUnit, ...] = ()
    heads: tuple[PlantedHead, ...] = ()
    paths: tuple[PlantedPath, ...] = ()
    dictionaries: tuple[PlantedDictionary, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def unit(self, name: str) -> PlantedUnit:
        """The unit of that name."""
        return next(unit for unit in self.units if unit.name == name)
