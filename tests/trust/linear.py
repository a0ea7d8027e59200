"""A linear model and what every pixel is worth to it: the ground on which most measures have closed forms."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.engine import Evidence, look
from pellucid.subject import VisionModel, wrap
from tests.oracles.nets import LinearPicture, pictures

CLASS = 2


def linear(height: int = 6, width: int = 8, classes: int = 4) -> VisionModel:
    return wrap(LinearPicture(height, width, classes), input_size=(height, width), activation="none")


def looked(height: int = 6, width: int = 8, batch: int = 3, **options: object) -> Evidence:
    return look(linear(height, width), pictures(batch, height, width), CLASS, **options)


def worth(evidence: Evidence, fill: str = "mean") -> Tensor:
    """What every pixel adds to f(picture) - f(fill), [batch height width]."""
    return (weight(evidence) * (evidence.inputs - evidence.fill(fill))).sum(dim=1)


def weight(evidence: Evidence) -> Tensor:
    network = evidence.model.module
    assert isinstance(network, LinearPicture)
    return network.weight[CLASS].detach()


def ends(evidence: Evidence, fill: str = "mean") -> tuple[Tensor, Tensor]:
    """f(picture) and f(fill)."""
    network = evidence.model.module
    assert network is not None
    with torch.no_grad():
        return network(evidence.inputs)[:, CLASS], network(evidence.fill(fill))[:, CLASS]


def noise(evidence: Evidence, seed: int = 0) -> Tensor:
    """A map drawn by lot."""
    return torch.randn(len(evidence), *evidence.size, generator=torch.Generator().manual_seed(seed))


def first(values: Tensor, counts: list[int], of: Tensor) -> Tensor:
    """The sum of `of` over the first so many pixels in the order of `values`, [batch count]."""
    order = values.flatten(1).argsort(dim=1, descending=True)
    gathered = of.flatten(1).gather(1, order).cumsum(dim=1)
    begun = torch.cat([torch.zeros(len(gathered), 1), gathered], dim=1)
    return begun[:, counts]
