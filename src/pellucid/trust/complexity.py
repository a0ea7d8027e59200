"""How much a reader has to look at: sparseness and complexity of a map. They say nothing about its truth."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.registry import metric
from pellucid.trust.measured import Maps, Measured, per_map

_NOT_TRUTH = "a short explanation is easier to read, not more likely to be right"


@metric("sparseness", better="higher", paper="Chalasani et al. 2020")
def sparseness(maps: Maps) -> Measured:
    """How unevenly a map spends its strength: the Gini index of its magnitudes.

    0 for a flat map, 1 - 1/pixels for a single pixel.
    """
    return Measured(per_map(maps, gini), unit="Gini index", notes=(_NOT_TRUTH,))


@metric("complexity", better="lower", paper="Bhatt et al. 2020")
def complexity(maps: Maps) -> Measured:
    """How widely a map spreads: the entropy of its magnitudes, as a share of a flat map's.

    0 for a single pixel, 1 for a flat map. Bhatt et al. give it in nats: times the logarithm of the pixels.
    """

    def share(values: Tensor) -> Tensor:
        return entropy(values) / math.log(values[0].numel())

    return Measured(per_map(maps, share), unit="share of the greatest entropy", notes=(_NOT_TRUTH,))


@metric("effective_size", better="lower", paper="Nguyen & Martinez 2020")
def effective_size(maps: Maps, *, mass: float = 0.9) -> Measured:
    """What part of the picture holds 90 % of the map's magnitude.

    mass: the share to be held
    """

    def share(values: Tensor) -> Tensor:
        size = values.double().abs().flatten(1).sort(dim=1, descending=True).values
        total = size.sum(dim=1, keepdim=True)
        reached = (size.cumsum(dim=1) < mass * total * (1 - 1e-12)).sum(dim=1) + 1
        return torch.where(total[:, 0] > 0, reached / size.shape[1], torch.ones_like(total[:, 0]))

    return Measured(per_map(maps, share), unit="share of the picture", notes=(_NOT_TRUTH,))


def gini(values: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch"]:
    """Gini index of the magnitudes; 0 where all are 0."""
    size = values.double().abs().flatten(1).sort(dim=1).values
    count = size.shape[1]
    place = torch.arange(1, count + 1, dtype=torch.float64)
    total = size.sum(dim=1)
    found = ((2 * place - count - 1) * size).sum(dim=1) / (count * total.clamp(min=1e-300))
    return torch.where(total > 0, found, torch.zeros_like(found))


def entropy(values: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch"]:
    """Entropy in nats of the magnitudes as a distribution; that of a flat map where all are 0."""
    size = values.double().abs().flatten(1)
    total = size.sum(dim=1, keepdim=True)
    share = torch.where(total > 0, size / total.clamp(min=1e-300), torch.full_like(size, 1 / size.shape[1]))
    return -torch.special.xlogy(share, share).sum(dim=1)
