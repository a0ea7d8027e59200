"""Differences from a reference handed back through whatever a model runs, so that nothing of them is lost.

Shrikumar et al. 2017 (DeepLIFT): each part of a network turns a difference of its input into a difference of its
output, and their ratio, the multiplier, takes the place of the slope. Picture and reference run through the model as
the two halves of one batch. The rescale rule gives activations their multiplier. What has two varying factors
(attention, gates, norms) is shared half and half, which is exact too: a1 b1 - a0 b0 = (a1 - a0) (b1 + b0) / 2 +
(b1 - b0) (a1 + a0) / 2. So the map adds up to the difference of the target whatever the architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pellucid import hooks
from pellucid.engine import norms
from pellucid.engine.operations import AS_GRADIENTS, LENGTHS, MATRIX, PRODUCTS, QUOTIENTS, Watching, carries, reads
from pellucid.errors import MethodUnavailable

_CLOSE = 1e-6  # a difference below this is none: the slope stands in


class _Bent(torch.autograd.Function):
    """An activation, number by number: its multiplier is how much further out it is for how much further in."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(x.clone())  # what follows may work in place
        ctx.function = function
        return function(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        (x,) = ctx.saved_tensors
        return gradient * _multiplier(ctx.function, x), None


class _Product(torch.autograd.Function):
    """The product of two tensors that both differ: each meets the mean of the other."""

    @staticmethod
    def forward(ctx: Any, one: Tensor, other: Tensor, product: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(one.clone(), other.clone())
        ctx.product = product
        return product(one, other)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        one, other = (_mean(tensor).requires_grad_() for tensor in ctx.saved_tensors)
        with torch.enable_grad():
            first, second = torch.autograd.grad(ctx.product(one, other), (one, other), gradient)
        return first, second, None


class _Largest(torch.autograd.Function):
    """A pool that keeps the largest: it gained what the place that won did, or lost what the one before it did."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, pool: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(x.clone())
        ctx.pool = pool
        return pool(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        (x,) = ctx.saved_tensors
        now, before = x.detach().chunk(2)
        found, natural = [], None
        with torch.enable_grad():
            leaves = [half.clone().requires_grad_() for half in (now, before)]
            pooled = [ctx.pool(leaf) for leaf in leaves]
            higher = torch.maximum(*[one.detach() for one in pooled])
            gains = (higher - pooled[1].detach(), pooled[0].detach() - higher)
            half = gradient.chunk(2)[0]
            for leaf, out, gain in zip(leaves, pooled, gains, strict=True):
                found.append(torch.autograd.grad(out, leaf, half * gain, retain_graph=leaf is leaves[0])[0])
            (natural,) = torch.autograd.grad(pooled[0], leaves[0], half)
        apart = now - before
        shared = torch.where(apart.abs() > _CLOSE, (found[0] + found[1]) / apart, natural)
        return torch.cat([shared, torch.zeros_like(shared)]), None


class Differences(Watching):
    """Gives what a model runs the backward of multipliers; the batch is pictures, then as many references."""

    def run(
        self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], reading: Sequence[Tensor]
    ) -> Any:
        """Runs an operation with the backward of multipliers."""
        handler = _HANDLERS.get(func) or _NAMED.get(name)
        if handler is not None:
            return handler(func, name, args, kwargs)
        if name in PRODUCTS and len(reading) > 1:
            return _product(func, name, args, kwargs)
        if name in QUOTIENTS and isinstance(args[1], Tensor) and reads(args[1]):
            inverse = _Bent.apply(args[1], torch.reciprocal)
            return _product(torch.mul, "mul", (args[0], inverse), {}) if reads(args[0]) else args[0] * inverse
        answer = func(*args, **kwargs)
        if name not in _STRAIGHT and name not in PRODUCTS and name not in QUOTIENTS and carries(answer):
            raise MethodUnavailable(
                "DeepLIFT", f"it runs `{name}`, for which no multiplier is known.",
                ("integrated_gradients", "expected_gradients"),
            )  # fmt: skip
        return answer


def _mean(tensor: Tensor) -> Tensor:
    """The mean of picture and reference, for both halves."""
    now, before = tensor.detach().chunk(2)
    middle = (now + before) / 2
    return torch.cat([middle, middle])


def _multiplier(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    value, slope = hooks.traced(function, x)
    (x1, x0), (y1, y0) = x.detach().chunk(2), value.chunk(2)
    apart = x1 - x0
    ratio = torch.where(apart.abs() > _CLOSE, (y1 - y0) / apart, slope.chunk(2)[0])
    return torch.cat([ratio, ratio])


# -- operations -----------------------------------------------------------------------------------------------------


def _bent(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Tensor:
    in_place = bool(kwargs.pop("inplace", False)) or (name.endswith("_") and not name.endswith("__"))
    x, rest = (args[0], args[1:]) if args else (kwargs.pop("input"), ())
    if name in ("relu", "relu6", "silu", "hardswish", "mish", "hardsigmoid") and rest:
        in_place, rest = in_place or bool(rest[0]), ()
    plain = _OUT_OF_PLACE.get(name, func)
    answer = _Bent.apply(x, lambda inner: plain(inner, *rest, **kwargs))
    return x.copy_(answer) if in_place else answer


def _pooled(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Tensor:
    x, rest = (args[0], args[1:]) if args else (kwargs.pop("input"), ())
    if name in ("max", "amax") and not (rest or kwargs):
        raise MethodUnavailable("DeepLIFT", "it takes the largest of a whole batch.", ("integrated_gradients",))
    if name == "max":
        raise MethodUnavailable("DeepLIFT", "it takes a maximum with its place.", ("integrated_gradients",))
    return _Largest.apply(x, lambda inner: func(inner, *rest, **kwargs))


def _product(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Tensor:
    if name == "einsum":
        parts = args[1:] if isinstance(args[1], Tensor) else args[1]
        return _Product.apply(*parts, lambda one, other: func(args[0], one, other))
    if name in ("baddbmm", "addmm", "addcmul", "addbmm"):
        raise MethodUnavailable("DeepLIFT", f"it runs `{name}` on what varies.", ("integrated_gradients",))
    one, other = (args[1], args[0]) if name.startswith("__r") else (args[0], args[1])
    plain = torch.matmul if name in MATRIX else torch.mul
    answer = _Product.apply(one, other, plain)
    in_place = name.endswith("_") and (not name.endswith("__") or name.startswith("__i"))
    return args[0].copy_(answer) if in_place else answer


def _softmax(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Tensor:
    """exp over its sum; any constant may be taken off first, here the larger of the two halves' maxima."""
    given = dict(zip(("input", "dim"), args, strict=False)) | kwargs
    x, dim = given["input"], int(given["dim"])
    now, before = x.detach().amax(dim=dim, keepdim=True).chunk(2)
    most = torch.maximum(now, before)
    raised = _Bent.apply(x - torch.cat([most, most]), torch.exp)
    inverse = _Bent.apply(raised.sum(dim=dim, keepdim=True), torch.reciprocal)
    return _Product.apply(raised, inverse.expand_as(raised), torch.mul)


def _unit(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Tensor:
    given: dict[str, Any] = {"p": 2.0, "dim": 1, "eps": 1e-12}
    given |= dict(zip(("input", "p", "dim", "eps"), args, strict=False)) | kwargs
    if given["p"] != 2:
        raise MethodUnavailable("DeepLIFT", "it divides by a norm other than the Euclidean.", ("integrated_gradients",))
    x = given["input"]
    length = _Bent.apply(x, torch.square).sum(dim=given["dim"], keepdim=True)
    scale = _Bent.apply(length, lambda total: total.clamp(min=given["eps"] ** 2).rsqrt())
    return _Product.apply(x, scale.expand_as(x), torch.mul)


def _length(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Tensor:
    given = dict(zip(("input", "ord" if "vector" in name else "p", "dim", "keepdim"), args, strict=False)) | kwargs
    if given.get("p", given.get("ord", 2)) not in (2, "fro") or given.get("dim") is None:
        raise MethodUnavailable("DeepLIFT", "it takes a norm other than the Euclidean.", ("integrated_gradients",))
    total = _Bent.apply(given["input"], torch.square).sum(dim=given["dim"], keepdim=bool(given.get("keepdim", False)))
    return _Bent.apply(total, torch.sqrt)


def _norm(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Tensor:
    x, rest = (args[0], args[1:]) if args else (kwargs.pop("input"), ())
    return _NORMS[func](x, *rest, **kwargs)


def _normed(centred: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    spread = _Bent.apply(centred, torch.square).mean(dim=dims, keepdim=True)
    scale = _Bent.apply(spread, lambda value: (value + eps).rsqrt())
    return _Product.apply(centred, scale.expand_as(centred), torch.mul)


_NORMS = norms.written_out(_normed)
_OUT_OF_PLACE: Mapping[str, Any] = {
    "relu_": torch.relu, "clamp_": torch.clamp, "clamp_min_": torch.clamp_min, "hardtanh_": functional.hardtanh,
    "leaky_relu_": functional.leaky_relu, "elu_": functional.elu, "celu_": functional.celu, "selu_": functional.selu,
    "sigmoid_": torch.sigmoid, "tanh_": torch.tanh, "exp_": torch.exp, "sqrt_": torch.sqrt, "square_": torch.square,
    "mul_": torch.mul,
}  # fmt: skip
_BENT = {
    "relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "gelu", "silu", "hardswish", "mish", "elu", "elu_", "selu",
    "selu_", "celu", "celu_", "softplus", "hardtanh", "hardtanh_", "clamp", "clamp_", "clamp_min", "clamp_min_",
    "sigmoid", "sigmoid_", "hardsigmoid", "tanh", "tanh_", "softsign", "exp", "exp_", "log", "sqrt", "sqrt_", "rsqrt",
    "square", "square_", "pow", "__pow__", "reciprocal", "abs", "__abs__",
}  # fmt: skip
_NAMED: Mapping[str, Callable[..., Tensor]] = {
    **dict.fromkeys(_BENT, _bent),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "amax",
                     "max", "boolean_dispatch", "fn"), _pooled),
    **dict.fromkeys(("norm", "vector_norm", "linalg_vector_norm"), _length),
}  # fmt: skip
_HANDLERS: Mapping[Any, Callable[..., Tensor]] = {
    **dict.fromkeys((torch.softmax, Tensor.softmax, functional.softmax), _softmax),
    **dict.fromkeys(_NORMS, _norm),
    functional.normalize: _unit,
}  # fmt: skip
# What is linear in what varies, whose gradient is its multiplier.
_STRAIGHT = (AS_GRADIENTS - _BENT - set(_NAMED) - LENGTHS - {"prelu", "topk", "sort", "maximum", "minimum"}) | {
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "batch_norm",
}  # fmt: skip
