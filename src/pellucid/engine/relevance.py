"""Layer-wise relevance propagation through whatever a model runs: modules, functions, operators.

While a pass is recorded, every operation that reads the picture is seen. Linear ones hand back by the rule of their
composite, batch norms as part of the layer before them, attention and products by halves, norms with their deviation
held fixed. What remains hands relevance back as it does a gradient. An operation for which this would be wrong is
refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

from pellucid import hooks
from pellucid.engine import linear_rules as rules
from pellucid.engine import norms
from pellucid.engine.linear_rules import Arrived, Bounds, Linear, LinearRule
from pellucid.engine.operations import (
    AFFINE,
    AS_GRADIENTS,
    COPIES,
    LENGTHS,
    MATRIX,
    PRODUCTS,
    QUOTIENTS,
    Watching,
    carries,
    reads,
)
from pellucid.errors import MethodUnavailable
from pellucid.hooks import BackwardRule, Walk


@dataclass(frozen=True)
class Composite:
    """Which rule each kind of layer follows.

    dense, conv: linear layers and convolutions; first: the one that reads the picture, None is the same as its kind
    attention:   what attention's weights hand back: their part of the product, or nothing (Ali et al. 2022)
    """

    dense: LinearRule
    conv: LinearRule
    first: LinearRule | None = None
    attention: float = 0.5


COMPOSITES: Mapping[str, Composite] = {
    "zero": Composite(rules.zero, rules.zero),
    "epsilon": Composite(rules.epsilon, rules.epsilon),
    "epsilon_plus": Composite(rules.epsilon, rules.z_plus),
    "epsilon_plus_flat": Composite(rules.epsilon, rules.z_plus, rules.flat),
    "epsilon_alpha2_beta1": Composite(rules.epsilon, rules.alpha_beta),
    "epsilon_alpha2_beta1_flat": Composite(rules.epsilon, rules.alpha_beta, rules.flat),
    "epsilon_gamma_box": Composite(rules.epsilon, rules.gamma, rules.z_box),
    "excitation": Composite(partial(rules.z_plus, biased=False), partial(rules.z_plus, biased=False)),
    "attention": Composite(partial(rules.gamma, size=0.05), partial(rules.gamma, size=0.25)),
    "attention_values": Composite(rules.epsilon, rules.epsilon, attention=0.0),
}


@dataclass(frozen=True)
class Flow:
    """Relevance on its way through one linear operation, per picture: what arrived, and what it handed on."""

    operation: str
    arrived: Float[Tensor, "batch"]
    handed_on: Float[Tensor, "batch"]


@dataclass(frozen=True, eq=False)
class Propagated:
    """Relevance of every number of the input, and how it flowed there, from the last operation to the first."""

    values: Float[Tensor, "batch channel height width"]
    flows: tuple[Flow, ...]


@dataclass
class Ledger:
    """What a backward under one composite left behind.

    pixels: relevance that the first layers handed to the picture
    """

    composite: Composite = field(default_factory=lambda: COMPOSITES["epsilon_plus_flat"])
    pixels: Tensor | None = None
    flows: list[Flow] = field(default_factory=list[Flow])

    def begin(self, composite: Composite) -> None:
        """Empty, for another backward."""
        self.composite, self.pixels, self.flows = composite, None, []

    def deliver(self, relevance: Tensor) -> None:
        self.pixels = relevance if self.pixels is None else self.pixels + relevance


class _Weighted(torch.autograd.Function):
    """A linear operation whose backward follows the rule in force at that moment."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, linear: Linear, first: Bounds | None, mode: Relevance) -> Tensor:
        ctx.set_materialize_grads(False)
        z = linear.forward(x, linear.weight, linear.bias)
        ctx.save_for_backward(x)
        # What follows may work in place, and a rule asks what came out of the layer itself.
        ctx.z, ctx.linear, ctx.first, ctx.mode = z.clone(), linear, first, mode
        return z

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        if gradient is None:  # a batch norm behind it was merged with it
            return None, None, None, None
        (x,) = ctx.saved_tensors
        if not ctx.mode.rule.relevance:
            return ctx.linear.plain(gradient, x), None, None, None
        return _shared(Arrived(ctx.linear, x, ctx.z, gradient), ctx.first, ctx.mode.ledger), None, None, None


class _Normalised(torch.autograd.Function):
    """A batch norm behind a linear operation: a gradient goes back to the norm, relevance past it through both."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, before: Tensor, norm: Callable[[Tensor], Tensor], slope: Tensor, linear: Linear,
        first: Bounds | None, mode: Relevance,
    ) -> Tensor:  # fmt: skip
        ctx.set_materialize_grads(False)
        z = norm(before)
        ctx.save_for_backward(x)
        ctx.z, ctx.slope, ctx.linear, ctx.first, ctx.mode = z.clone(), slope, linear, first, mode
        return z

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        nothing = (None,) * 5
        if gradient is None:
            return None, None, *nothing
        if not ctx.mode.rule.relevance:
            return None, gradient * ctx.slope.view(1, -1, *[1] * (gradient.ndim - 2)), *nothing
        (x,) = ctx.saved_tensors
        return _shared(Arrived(ctx.linear, x, ctx.z, gradient), ctx.first, ctx.mode.ledger), None, *nothing


class _Fixed(torch.autograd.Function):
    """An operation of which relevance sees another than a gradient does: `frozen` is linear around this picture."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, plain: Callable[[Tensor], Tensor], frozen: Callable[[Tensor], Tensor], mode: Relevance
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.plain, ctx.frozen, ctx.mode = plain, frozen, mode
        return plain(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        (x,) = ctx.saved_tensors
        function = ctx.frozen if ctx.mode.rule.relevance else ctx.plain
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (found,) = torch.autograd.grad(function(leaf), leaf, gradient)
        return found, None, None, None


class _Scaled(torch.autograd.Function):
    """The same tensor; relevance comes back through it by a factor, a gradient whole."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Callable[[Composite], float], mode: Relevance) -> Tensor:
        ctx.factor, ctx.mode = factor, mode
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        factor = ctx.factor(ctx.mode.ledger.composite) if ctx.mode.rule.relevance else 1.0
        return gradient if factor == 1.0 else gradient * factor, None, None


def _shared(arrived: Arrived, first: Bounds | None, ledger: Ledger) -> Tensor | None:
    """By the rule of the composite; what belongs to the picture goes to the ledger instead of further back."""
    composite, kept = ledger.composite, arrived.gradient.dtype
    if kept in (torch.bfloat16, torch.float16):  # shares are differences of what was added up
        arrived = arrived.to(torch.float32)
    kind = composite.dense if arrived.linear.weight.ndim == 2 else composite.conv
    handed: Tensor | None = None
    if first is None:
        handed = kind(arrived)
        passed = arrived.x * handed
    else:
        rule = composite.first or kind
        there = replace(arrived, bounds=first)
        passed = rule(there) if rule in rules.FOR_PICTURES else arrived.x * rule(there)
        ledger.deliver(passed.float())
    ledger.flows.append(Flow(arrived.linear.name, _sum(arrived.relevance), _sum(passed)))
    return None if handed is None else handed.to(kept)


def _sum(values: Tensor) -> Tensor:
    return values.detach().float().flatten(1).sum(dim=1)


class Relevance(Watching):
    """Sees what a model runs and gives each operation the backward that relevance asks for."""

    def __init__(self, rule: BackwardRule, bounds: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.rule, self.ledger, self.bounds = rule, Ledger(), bounds
        self._pictures: Any = WeakTensorKeyDictionary()  # the picture, also shifted and scaled -> the ends of its range
        # What came out of a linear operation -> (x, Linear, ends or None).
        self._linear: Any = WeakTensorKeyDictionary()
        self._gates: Any = WeakTensorKeyDictionary()  # what came out of a sigmoid or softmax -> its name

    @contextmanager
    def over(self, leaf: Tensor) -> Iterator[None]:
        low, high = self.bounds
        self._pictures[leaf] = low.to(leaf), high.to(leaf)
        self._shape = leaf.shape
        with super().over(leaf):
            yield

    def run(
        self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], reading: Sequence[Tensor]
    ) -> Any:
        """Runs an operation with the backward that relevance asks for."""
        if _writes(name, args, kwargs):
            for table in (self._linear, self._gates):
                table.pop(reading[0], None)
        handler = _HANDLERS.get(func)
        if handler is not None:
            return handler(self, func, args, kwargs)
        if name in PRODUCTS and len(reading) > 1:
            return self._product(func, name, args, kwargs)
        if name in QUOTIENTS and len(args) > 1 and isinstance(args[1], Tensor) and reads(args[1]):
            return func(args[0], self._scaled(args[1], _nothing), *args[2:], **kwargs)
        answer = func(*args, **kwargs)
        if name not in AS_GRADIENTS and name not in PRODUCTS and name not in QUOTIENTS and carries(answer):
            raise MethodUnavailable(
                "Layer-wise relevance propagation", f"it runs `{name}`, for which no rule is known.",
                ("integrated_gradients", "gradient_x_input"),
            )  # fmt: skip
        if isinstance(answer, Tensor):
            if name in LENGTHS:
                self._gates[answer] = "gate"
            self._follow(func, name, args, kwargs, answer, reading)
        return answer

    # -- operations with a backward of their own --------------------------------------------------------------------

    def linear(self, _func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
        given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
        linear = Linear("linear", given["weight"], given.get("bias"), functional.linear, _linear_back)
        return self._weighted(given["input"], linear)

    def convolution(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
        turned = "transpose" in func.__name__
        names = ("input", "weight", "bias", "stride", "padding", *(
            ("output_padding", "groups", "dilation") if turned else ("dilation", "groups"))
        )  # fmt: skip
        given = dict(zip(names, args, strict=False)) | kwargs
        sides = given["weight"].ndim - 2
        if given["input"].ndim != sides + 2:
            raise MethodUnavailable(
                "Layer-wise relevance propagation", "it convolves a picture without a batch axis.", ("occlusion",)
            )
        stride, dilation = _each(given.get("stride", 1), sides), _each(given.get("dilation", 1), sides)
        padding, padded = given.get("padding", 0), given["input"]
        if isinstance(padding, str):
            padded, padding = _padded(padded, padding, given["weight"].shape[2:], dilation)
        groups = int(given.get("groups", 1))
        shape = (
            stride, _each(padding, sides), dilation, turned, _each(given.get("output_padding", 0), sides), groups,
        )  # fmt: skip
        weight, plainly = given["weight"], None
        if sides == 2 and not turned:  # which other rules change too
            walk = Walk(tuple(stride), tuple(_each(padding, sides)), tuple(dilation), groups, self.rule)
            plainly = lambda gradient, x: hooks.convolved_back(gradient, x, weight, walk)
        linear = Linear(
            func.__name__, weight, given.get("bias"), partial(_convolved, shape), partial(_handed_back, shape),
            channel=1 if turned else 0, plainly=plainly,
        )  # fmt: skip
        return self._weighted(padded, linear)

    def batch_norm(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
        names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
        given: dict[str, Any] = {"eps": 1e-5, **dict(zip(names, args, strict=False)), **kwargs}
        x, mean, variance = (given.get(name) for name in names[:3])
        known = self._linear.get(x)
        if known is None or mean is None or variance is None:
            return func(*args, **kwargs)  # not behind a linear layer it scales each value, as a gradient does
        slope = (variance + given["eps"]).rsqrt()
        slope = slope if given.get("weight") is None else slope * given["weight"]
        shift = -slope * mean if given.get("bias") is None else given["bias"] - slope * mean
        source, linear, first = known
        rest = {name: value for name, value in given.items() if name != "input"}
        return _Normalised.apply(
            source, x, lambda inner: func(inner, **rest), slope, linear.merged(slope, shift), first, self
        )

    def norm(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
        """Layer, group and root-mean-square norms, and division by a length, with what divides held fixed."""
        x, rest = (args[0], args[1:]) if args else (kwargs.pop("input"), ())
        frozen = _FROZEN[func]
        return _Fixed.apply(
            x, lambda inner: func(inner, *rest, **kwargs), lambda inner: frozen(inner, *rest, **kwargs), self
        )

    def gate(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
        answer = func(*args, **kwargs)
        self._gates[answer] = "attention" if "softmax" in func.__name__ else "gate"
        return answer

    def through(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
        """An activation hands on all that arrives."""
        if func is functional.hardtanh and 0 in (kwargs.get("min_val"), *args[1:2]):
            return func(*args, **kwargs)  # a rectifier, whose backward `hooks` changes
        x, rest = (args[0], args[1:]) if args else (kwargs.pop("input"), ())

        def plain(inner: Tensor) -> Tensor:
            return func(inner, *rest, **kwargs)

        return _Fixed.apply(x, plain, _ray(plain), self)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _weighted(self, x: Tensor, linear: Linear) -> Tensor:
        first = self._pictures.get(x)
        z = _Weighted.apply(x, linear, first, self)
        self._linear[z] = (x, linear, first)
        return z

    def _product(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Tensor:
        """Both factors get half; a gate nothing, for it only says how much passes; attention as the composite says."""
        gates = [self._gates.get(entry) if isinstance(entry, Tensor) else None for entry in args]

        def factor(place: int) -> Callable[[Composite], float]:
            if gates[place] == "attention" and name in MATRIX:
                return lambda composite: composite.attention
            if any(gates[other] == "attention" for other in range(len(args)) if other != place) and name in MATRIX:
                return lambda composite: 1 - composite.attention
            if any(gates):
                return _nothing if gates[place] else _whole
            return _half

        if name == "einsum":
            parts = args[1:] if isinstance(args[1], Tensor) else args[1]
            return func(args[0], *[self._scaled(part, _half) for part in parts], **kwargs)
        return func(*[
            self._scaled(entry, factor(place)) if isinstance(entry, Tensor) and reads(entry) else entry
            for place, entry in enumerate(args)
        ], **kwargs)  # fmt: skip

    def _scaled(self, tensor: Tensor, factor: Callable[[Composite], float]) -> Tensor:
        return _Scaled.apply(tensor, factor, self)

    def _follow(
        self, func: Any, name: str, args: Any, kwargs: dict[str, Any], answer: Tensor, reading: Sequence[Tensor]
    ) -> None:
        """A copy is what it was copied from; the picture shifted and scaled by constants is still the picture."""
        source = args[0] if args and isinstance(args[0], Tensor) else None
        if source is None or len(reading) != 1:
            return
        if name in COPIES:
            for table in (self._linear, self._gates):
                if source in table:
                    table[answer] = table[source]
        known = self._pictures.get(source)
        if known is None or answer.shape != self._shape:
            return
        if name in COPIES:
            self._pictures[answer] = known
        elif name in AFFINE:
            ends = [func(end, *args[1:], **kwargs) for end in known]
            self._pictures[answer] = torch.minimum(*ends), torch.maximum(*ends)


def _nothing(_: Composite) -> float:
    return 0.0


def _whole(_: Composite) -> float:
    return 1.0


def _half(_: Composite) -> float:
    return 0.5


def _ray(plain: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """x times what the activation made of each part of it."""
    return lambda x: x * hooks.share(plain, x.detach())


def _held(centred: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    """Over a deviation that is taken as it was found."""
    return centred * (centred.detach().square().mean(dim=dims, keepdim=True) + eps).rsqrt()


def _unit(x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: None = None) -> Tensor:
    return x / x.detach().norm(p, dim, keepdim=True).clamp(min=eps)


def _writes(name: str, args: Any, kwargs: Mapping[str, Any]) -> bool:
    """Whether it changes its input in place."""
    return (
        (name.endswith("_") and not name.endswith("__"))
        or bool(kwargs.get("inplace"))
        or (len(args) > 1 and args[1] is True)
    )


def _linear_back(shares: Tensor, weight: Tensor, _: Tensor) -> Tensor:
    return shares @ weight


def _convolved(shape: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    stride, padding, dilation, turned, more, groups = shape
    return torch.convolution(x, weight, bias, stride, padding, dilation, turned, more, groups)


def _handed_back(shape: Any, shares: Tensor, weight: Tensor, x: Tensor) -> Tensor:
    stride, padding, dilation, turned, more, groups = shape
    found = torch.ops.aten.convolution_backward(
        shares, x, weight, None, stride, padding, dilation, turned, more, groups, [True, False, False]
    )
    return found[0]


def _each(value: Any, sides: int) -> list[int]:
    return [int(value)] * sides if isinstance(value, int) else [int(side) for side in value] * (sides // len(value))


def _padded(x: Tensor, padding: str, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[Tensor, int | list[int]]:
    """`same`, which torch takes without a stride only, and `valid` in numbers; uneven sides pad the picture itself."""
    if padding == "valid":
        return x, 0
    whole = [step * (side - 1) for side, step in zip(kernel, dilation, strict=True)]
    if all(side % 2 == 0 for side in whole):
        return x, [side // 2 for side in whole]
    return functional.pad(x, [part for side in reversed(whole) for part in (side // 2, side - side // 2)]), 0


_FROZEN: Mapping[Any, Callable[..., Tensor]] = {**norms.written_out(_held), functional.normalize: _unit}
_HANDLERS: Mapping[Any, Callable[..., Tensor]] = {
    functional.linear: Relevance.linear,
    **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_transpose1d, torch.conv_transpose2d,
                     torch.conv_transpose3d), Relevance.convolution),
    functional.batch_norm: Relevance.batch_norm,
    **dict.fromkeys(_FROZEN, Relevance.norm),
    **dict.fromkeys((torch.sigmoid, Tensor.sigmoid, functional.sigmoid, functional.hardsigmoid, torch.softmax,
                     Tensor.softmax, functional.softmax), Relevance.gate),
    **dict.fromkeys((torch.tanh, Tensor.tanh, functional.tanh, functional.softsign, functional.hardtanh),
                    Relevance.through),
}  # fmt: skip
