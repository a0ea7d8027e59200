"""Layer, group and root-mean-square norms written out, so that each can say how it is divided by its deviation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Divided = Callable[[Tensor, tuple[int, ...], float], Tensor]
"""(centred values, axes, eps) -> values over the root of their mean square over these axes plus eps."""


def written_out(divided: Divided) -> Mapping[Any, Callable[..., Tensor]]:
    """By torch's function, the same divided by `divided`; arguments are those of torch, the first by place."""
    layer, group, rms = (partial(norm, divided) for norm in (_layer_norm, _group_norm, _rms_norm))
    return {
        functional.layer_norm: layer, torch.layer_norm: layer, functional.group_norm: group, torch.group_norm: group,
        functional.rms_norm: rms,
    }  # fmt: skip


def _layer_norm(
    divided: Divided, x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None,
    bias: Tensor | None = None, eps: float = 1e-5, cudnn_enable: bool = True,
) -> Tensor:  # fmt: skip
    dims = _last(normalized_shape)
    return _affine(divided(x - x.mean(dim=dims, keepdim=True), dims, eps), weight, bias)


def _rms_norm(
    divided: Divided, x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:  # fmt: skip
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    return _affine(divided(x, _last(normalized_shape), eps), weight, None)


def _group_norm(
    divided: Divided, x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5, cudnn_enabled: bool = True,
) -> Tensor:  # fmt: skip
    parts = x.unflatten(1, (num_groups, -1)).flatten(2)
    found = divided(parts - parts.mean(dim=2, keepdim=True), (2,), eps).view_as(x)
    shape = (1, -1, *[1] * (x.ndim - 2))
    return _affine(found, *[None if one is None else one.view(shape) for one in (weight, bias)])


def _last(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(range(-len(shape), 0))


def _affine(values: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    values = values if weight is None else values * weight
    return values if bias is None else values + bias
