"""Changes made to a model's inside while it runs, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.subject.layers import from_grid, to_grid
from pellucid.values import Layer


@dataclass(frozen=True, eq=False)
class Edit:
    """A change of what one layer hands on."""

    layer: Layer

    def __call__(self, values: Tensor) -> Tensor:
        """The layer's output, changed; the given tensor stays as it is."""
        grid = to_grid(values, self.layer)
        changed = from_grid(self.changed(grid).to(values.dtype), values, self.layer)
        return _laid_out_as(values, changed)

    def changed(self, grid: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Ablate(Edit):
    """The given channels of the layer hand on `value` instead."""

    channels: Sequence[int] = ()
    value: float = 0.0

    def changed(self, grid: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        without = grid.clone()
        without[:, list(self.channels)] = self.value
        return without


@dataclass(frozen=True, eq=False)
class Replace(Edit):
    """The layer hands on the given values, [batch channel h w]."""

    values: Float[Tensor, "batch channel h w"]

    def changed(self, grid: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        return self.values.to(grid)


@dataclass(frozen=True, eq=False)
class Add(Edit):
    """`amount` times a direction [channel] is added everywhere on the grid."""

    direction: Float[Tensor, "channel"]
    amount: float = 1.0

    def changed(self, grid: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        return grid + self.amount * self.direction.to(grid)[None, :, None, None]


@dataclass(frozen=True, eq=False)
class Watch(Edit):
    """Nothing changes; what the layer hands on is kept in `seen`, within the graph where there is one."""

    seen: list[Float[Tensor, "batch channel h w"]] = field(default_factory=list)

    def changed(self, grid: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        self.seen.append(grid)
        return grid


def _laid_out_as(values: Tensor, changed: Tensor) -> Tensor:
    """`changed` in the memory layout of `values`: what comes next in the model may accept no other."""
    formats = [torch.contiguous_format, *([torch.channels_last] if values.ndim == 4 else [])]
    for layout in formats:
        if values.is_contiguous(memory_format=layout):
            return changed.contiguous(memory_format=layout)
    return changed
