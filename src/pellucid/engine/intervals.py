"""Which operations of torch can be bounded: given boxes that hold their arguments, a box that holds what they give.

Four kinds: what only moves or averages numbers, what weighs them with fixed weights, what rises everywhere, and what
falls and then rises. Everything else (softmax, norms of layers, products of two values of the picture) has no bound
here and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid import hooks
from pellucid.engine.tape import Program, Slot, Step, slots_in


@dataclass(frozen=True, eq=False)
class Interval:
    """Every number between two."""

    lower: Tensor
    upper: Tensor

    @property
    def centre(self) -> Tensor:
        return (self.lower + self.upper) / 2

    @property
    def radius(self) -> Tensor:
        return (self.upper - self.lower) / 2


_COPIES = {"clone", "alias", "detach", "_to_copy", "lift_fresh"}
_MOVES = {
    *_COPIES, "view", "_unsafe_view", "_reshape_alias", "t", "transpose", "permute", "expand", "squeeze", "unsqueeze",
    "select", "slice", "split", "split_with_sizes", "unbind", "cat", "stack", "repeat", "flip", "roll",
    "constant_pad_nd", "reflection_pad2d", "replication_pad2d", "upsample_nearest2d", "upsample_bilinear2d",
    "mean", "sum", "avg_pool2d", "_adaptive_avg_pool2d", "add",
}  # fmt: skip
_WEIGHED = {"convolution": 0, "mm": 0, "addmm": 1, "bmm": 0, "baddbmm": 1, "mul": 0, "div": 0}
_AFFINE = {*_MOVES, *_WEIGHED, "native_batch_norm", "_native_batch_norm_legit_no_training", "sub", "neg", "rsub"}
_NORMS = ("native_batch_norm", "_native_batch_norm_legit_no_training")
_RISING = {"relu", "hardtanh", "clamp", "clamp_min", "leaky_relu", "sigmoid", "tanh", "hardsigmoid", "softplus",
           "max_pool2d_with_indices"}  # fmt: skip
# Where they turn from falling to rising (a stretch that holds the place), and a little less than their least value.
_DIPS = {"gelu": (-0.8, -0.7, -0.1701), "silu": (-1.3, -1.25, -0.2785), "hardswish": (-1.5, -1.5, -0.3751)}


def spelled(step: Step) -> str:
    """The operation's name, the same for the form that writes in place."""
    name = step.operation.overloadpacket.__name__
    return name.rstrip("_") if not name.startswith("_") or name.endswith("_") else name


def affine(step: Step) -> bool:
    return spelled(step) in _AFFINE


def obstacles(program: Program) -> Iterator[tuple[int, str]]:
    """The steps that cannot be bounded, and the operation of each in words."""
    memory: dict[int, int] = {}  # which slots are views of one another
    tainted = {0}
    for place, step in enumerate(program.steps):
        given = [*slots_in((step.args, step.kwargs))]
        if tainted.isdisjoint(given):
            continue
        tainted |= {index for index in step.results if index is not None}
        written = _writes(step)
        same = {memory.get(index, index) for index in given[:1]}
        if written and any(
            other != given[0] and memory.get(other, other) in same and program.last.get(other, -1) > place
            for other in tainted
        ):
            yield place, f"{step.operation}, which writes over what other parts read"
        elif not _bounded(step, tainted):
            yield place, str(step.operation)
        if step.operation.is_view and given:
            memory.update({index: memory.get(given[0], given[0]) for index in step.results if index is not None})


def out_of_place(step: Step, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What the step gives, in the precision of its arguments and nothing written over."""
    name = spelled(step)
    if name in _COPIES:
        return args[0]
    if name in ("mean", "sum"):
        kwargs = {key: value for key, value in kwargs.items() if key != "dtype"}
    if not _writes(step):
        return step.operation(*args, **kwargs)
    packet = getattr(torch.ops.aten, name)
    return getattr(packet, step.operation.name().partition(".")[2] or "default")(*args, **kwargs)


def enclosed(step: Step, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The boxes of what a bounded step gives; tensors where no argument is a box."""
    name = spelled(step)
    if name in _DIPS:
        return _dipped(step, args, kwargs)
    if name in _NORMS:
        own = args[0]
        middle = out_of_place(step, [own.centre, *args[1:]], kwargs)
        scale = (args[4] + args[7 if name == _NORMS[0] else 6]).rsqrt() * (1 if args[1] is None else args[1].abs())
        reach = own.radius * scale.reshape(-1, *[1] * (own.radius.ndim - 2))
        return (Interval(middle[0] - reach, middle[0] + reach), *middle[1:])
    if name in ("sub", "rsub", "neg"):
        return _opposed(step, args, kwargs)
    if name in _WEIGHED:
        return _weighed(step, args, kwargs)
    lower, upper = (out_of_place(step, [_end(one, end) for one in args], kwargs) for end in ("lower", "upper"))
    if isinstance(lower, Tensor):
        return Interval(lower, upper)
    return [Interval(one, other) for one, other in zip(lower, upper, strict=True)]


# -- inside ---------------------------------------------------------------------------------------------------------


def _bounded(step: Step, tainted: set[int]) -> bool:
    name, args = spelled(step), step.args
    reads = [isinstance(one, Slot) and one.index in tainted for one in args]
    if name not in _AFFINE | _RISING | set(_DIPS) or not tainted.isdisjoint(slots_in(step.kwargs)):
        return False
    if name in _NORMS:
        return reads[0] and (name != _NORMS[0] or args[5] is False) and sum(reads) == 1
    if name in ("add", "sub", "rsub"):
        return float(step.kwargs.get("alpha", args[2] if len(args) > 2 else 1)) == 1
    if name in ("addmm", "baddbmm") and step.kwargs:
        return False  # beta and alpha
    if name == "mul":
        return sum(reads) == 1
    if name in _WEIGHED:
        return reads[_WEIGHED[name]] and sum(reads) == 1 and "rounding_mode" not in step.kwargs
    if name == "leaky_relu":
        return len(args) < 2 or 0 <= args[1] <= 1
    if name in ("clamp", "clamp_min"):
        return sum(reads) == 1 and "Tensor" not in step.operation.name()
    return True


def _writes(step: Step) -> bool:
    return bool(hooks.written(step.operation, step.args, step.kwargs))


def _weighed(step: Step, args: Sequence[Any], kwargs: dict[str, Any]) -> Interval:
    """Weights act on the middle, their magnitudes on how far it reaches to each side; what is added, on the middle."""
    name = spelled(step)
    middle = out_of_place(step, [_end(one, "centre") for one in args], kwargs)
    place = next(at for at, one in enumerate(args) if isinstance(one, Interval))
    fixed: list[Any] = [
        abs(one) if isinstance(one, (Tensor, int, float)) and not isinstance(one, bool) else one for one in args
    ]
    fixed[place] = args[place].radius
    if name == "convolution":
        reach = torch.ops.aten.convolution.default(fixed[0], fixed[1], None, *args[3:])
    elif name in ("addmm", "baddbmm"):
        reach = fixed[1] @ fixed[2]
    else:
        reach = out_of_place(step, fixed, kwargs)
    return Interval(middle - reach, middle + reach)


def _opposed(step: Step, args: Sequence[Any], kwargs: dict[str, Any]) -> Interval:
    """What falls with one argument: that one enters with its other end."""
    falling = 1 if spelled(step) == "sub" else 0
    ends = [
        [_end(one, other if at == falling else own) for at, one in enumerate(args)]
        for own, other in (("lower", "upper"), ("upper", "lower"))
    ]
    return Interval(*(out_of_place(step, one, kwargs) for one in ends))


def _dipped(step: Step, args: Sequence[Any], kwargs: dict[str, Any]) -> Interval:
    first, last, least = _DIPS[spelled(step)]
    low, high = (out_of_place(step, [_end(one, end) for one in args], kwargs) for end in ("lower", "upper"))
    turns = (args[0].lower <= last) & (args[0].upper >= first)
    lower = torch.minimum(low, high)
    return Interval(torch.where(turns, lower.clamp(max=least), lower), torch.maximum(low, high))


def _end(value: Any, end: str) -> Any:
    if isinstance(value, Interval):
        return getattr(value, end)
    return [_end(entry, end) for entry in value] if isinstance(value, (list, tuple)) else value
