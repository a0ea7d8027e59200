"""Worlds in which the concepts are known: orthonormal directions, linear tails, attributes drawn by chance."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from pellucid.testbed import planted


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Numbers drawn from the normal distribution."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def whole(low: int, high: int, *shape: int, seed: int = 0) -> Tensor:
    """Whole numbers from `low` to below `high`."""
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed))


def orthonormal(count: int, channels: int, seed: int = 0) -> Tensor:
    """Rows at right angles, each of length 1."""
    return torch.linalg.qr(normal(channels, channels, seed=seed))[0][:count]


def linear(weight: Tensor) -> Callable[[Tensor], Tensor]:
    """A tail that pools places and weighs channels [class channel]."""
    return lambda values: (values.flatten(2).mean(dim=2) if values.ndim > 2 else values) @ weight.T


@cache
def mixed(count: int = 60) -> tuple[planted.Planted, Tensor, Tensor]:
    """The planted net of twelve features in eight channels, and its layers `mono` and `poly` over scenes."""
    net = planted.mixed()
    module = net.module
    with torch.no_grad():
        mono = module.mono(module.detect(net.pictures(net.stimuli(7, count))))
        return net, mono, module.poly(mono)


def atoms_of(net: planted.Planted) -> Tensor:
    """The directions of its dictionary, one per row."""
    return torch.tensor(net.dictionaries[0].atoms.T.copy()).float()
