"""How much work one operation of torch is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from torch import nn

from pellucid.engine.operations import tensors_in

_FLOPS_PER_BYTE = 5  # what one core multiplies and adds while it moves a byte: 50 GFLOP/s, 10 GB/s


def work(operation: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], answer: Any) -> float:
    """Floating point operations, and bytes moved in their terms; weights are not counted, many pictures share them."""
    count = _FLOPS.get(str(getattr(operation, "overloadpacket", "")).removeprefix("aten."))
    moved = [entry for entry in tensors_in([*args, *kwargs.values(), answer]) if not isinstance(entry, nn.Parameter)]
    size = sum(entry.numel() * entry.element_size() for entry in moved)
    return (count(args, answer) if count else 0) + _FLOPS_PER_BYTE * size


def _convolved(args: Sequence[Any], answer: Any) -> float:
    return 2.0 * answer.numel() * prod(args[1].shape[1:])


def _multiplied(args: Sequence[Any], answer: Any) -> float:
    return 2.0 * answer.numel() * args[0].shape[-1]


def _attended(args: Sequence[Any], answer: Any) -> float:
    return 2.0 * prod(args[0].shape[:-1]) * args[1].shape[-2] * (args[0].shape[-1] + args[2].shape[-1])


def _attended_by_heads(args: Sequence[Any], answer: Any) -> float:
    pictures, tokens, width = args[0].shape
    return 2.0 * pictures * tokens * (4 * width**2 + 2 * tokens * width)


_FLOPS: dict[str, Callable[[Sequence[Any], Any], float]] = {
    "conv1d": _convolved,
    "conv2d": _convolved,
    "conv3d": _convolved,
    "linear": _multiplied,
    "matmul": _multiplied,
    "mm": _multiplied,
    "bmm": _multiplied,
    "addmm": lambda args, answer: 2.0 * answer.numel() * args[1].shape[-1],
    "baddbmm": lambda args, answer: 2.0 * answer.numel() * args[1].shape[-1],
    "scaled_dot_product_attention": _attended,
    "_native_multi_head_attention": _attended_by_heads,
}
