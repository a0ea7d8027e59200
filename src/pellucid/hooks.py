"""The only file that reaches into a running model: hooks, modes, changed backward rules, captured attention.

The caller's model is a guest. Everything here is a context manager that leaves modes, flags, hooks and random state as
they were, also after an exception. One lock per network keeps two threads from seeing each other's changes; hooks fire
only in the thread that placed them.
"""

from __future__ import annotations

import threading
import types
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_locks: weakref.WeakKeyDictionary[nn.Module, threading.RLock] = weakref.WeakKeyDictionary()
_locks_guard = threading.Lock()
_CHECKPOINT_FLAGS = ("grad_checkpointing", "gradient_checkpointing")  # timm, transformers


@contextmanager
def guest(network: nn.Module, *, frozen: bool = False) -> Iterator[None]:
    """The network in evaluation mode and to ourselves; on the way out every flag is what it was.

    frozen: parameters ask for no gradient meanwhile, so that a graph begins only where we begin one: what lies before
            keeps nothing in memory
    """
    with _lock(network), ExitStack() as restore:
        modules = list(network.modules())
        # Someone else's backward hooks would fire without the gradients that they count on.
        frozen = frozen and not any(vars(module).get("_backward_hooks") for module in modules)
        asking = [one for one in network.parameters() if one.requires_grad] if frozen else []
        restore.callback(_ask_for_gradients, asking, True)
        _ask_for_gradients(asking, False)
        training = [module for module in modules if module.training]
        restore.callback(_set_flags, training, "training", True)
        _set_flags(training, "training", False)
        for flag in _CHECKPOINT_FLAGS:
            # Recomputing in the backward pass would run our hooks twice.
            flagged = [module for module in modules if vars(module).get(flag) is True]
            restore.callback(_set_flags, flagged, flag, True)
            _set_flags(flagged, flag, False)
        devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
        restore.enter_context(torch.random.fork_rng(devices=list(devices)))
        restore.enter_context(torch.autocast(device_type=_device_type(network), enabled=False))
        yield


@contextmanager
def going_back(device: torch.device) -> Iterator[None]:
    """Gradients on and autocast off, whatever the caller's mode: a backward obeys both as a forward does."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device_type=device.type, enabled=False):
        yield


def _lock(network: nn.Module) -> threading.RLock:
    with _locks_guard:
        return _locks.setdefault(network, threading.RLock())


def _set_flags(modules: Iterable[nn.Module], flag: str, value: bool) -> None:
    for module in modules:
        # Not module.eval(): subclasses override train() to keep some layers frozen.
        setattr(module, flag, value)


def _ask_for_gradients(parameters: Iterable[nn.Parameter], asked: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(asked)


def _device_type(network: nn.Module) -> str:
    first = next(network.parameters(), None)
    return first.device.type if first is not None else "cpu"


OnOutput = Callable[[str, int, nn.Module, tuple[Any, ...], Any], Any]


@contextmanager
def watched(network: nn.Module, names: Iterable[str] | None, on_output: OnOutput) -> Iterator[None]:
    """Calls `on_output(name, call, module, inputs, output)` whenever a named module has run.

    names: dotted names; None watches every module. What `on_output` returns, unless None, takes the output's place.
    call:  1 for the first run of that module in this pass, 2 for the second
    """
    modules = dict(network.named_modules(remove_duplicate=names is None))
    calls: dict[str, int] = {}
    thread = threading.get_ident()
    handles: list[Any] = []

    def attach(name: str, module: nn.Module) -> None:
        def fire(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            if threading.get_ident() != thread:
                return None
            calls[name] = calls.get(name, 0) + 1
            return on_output(name, calls[name], module, inputs, output)

        handles.append(module.register_forward_hook(fire))

    try:
        for name in modules if names is None else names:
            attach(name, modules[name])
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def bypassed(modules: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Each module runs the given function instead of its own forward."""
    before = {module: vars(module).get("forward") for module in modules}
    try:
        for module, stand_in in modules.items():
            vars(module)["forward"] = stand_in
        yield
    finally:
        for module, original in before.items():
            if original is None:
                vars(module).pop("forward", None)
            else:
                vars(module)["forward"] = original


# -- single operations ----------------------------------------------------------------------------------------------

OnOperation = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]


class _Operations(TorchDispatchMode):
    """Hands every operation of this thread over instead of running it."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip it, torch would import its compiler first: seconds, and a hundred megabytes

    def __init__(self, on_operation: OnOperation) -> None:
        super().__init__()
        self.on_operation = on_operation

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.on_operation(func, args, kwargs or {})


@contextmanager
def operations(on_operation: OnOperation) -> Iterator[None]:
    """Calls `on_operation(operation, args, kwargs)`, which runs it and gives its result, for all that torch does."""
    with _Operations(on_operation):
        yield


@contextmanager
def bare_operations(device: torch.device) -> Iterator[None]:
    """For operations written down before and run again without the model: what `guest` promises, and no gradients."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with (
        torch.inference_mode(),
        torch.autocast(device_type=device.type, enabled=False),
        torch.random.fork_rng(devices=list(devices)),
    ):
        yield


def written(operation: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
    """The arguments that the operation changes in place."""
    found: list[Any] = []
    for place, argument in enumerate(operation._schema.arguments):  # noqa: SLF001  torch has no public view of it
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[place] if place < len(args) else kwargs.get(argument.name)
            found += given if isinstance(given, (list, tuple)) else [given]
    return [entry for entry in found if entry is not None]


OnFunction = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]


class _Functions(TorchFunctionMode):
    """Hands every call of torch in this thread over, as the model wrote it: functions, methods, operators."""

    def __init__(self, on_function: OnFunction) -> None:
        super().__init__()
        self.on_function = on_function

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.on_function(func, args, dict(kwargs or {}))


@contextmanager
def functions(on_function: OnFunction) -> Iterator[None]:
    """Calls `on_function(function, args, kwargs)`, which runs it and gives its result, for all asked of torch."""
    with _Functions(on_function):
        yield


# -- backward rules -------------------------------------------------------------------------------------------------


class BackwardRule:
    """Which rule one recorded pass follows when its backward runs: natural, guided, deconvnet, resampled, relevance.

    Under `relevance` an activation hands on all that arrives. `resampled` is guided at the rectifiers; convolutions
    that skip places hand back without skipping any.
    One recording serves several backwards: set `name`, run the backward, set the next.
    """

    def __init__(self) -> None:
        self.name = "natural"
        self.rectifiers = 0
        self.smooth: set[str] = set()  # activations that are no rectifiers, to which the rule applies by analogy

    @property
    def relevance(self) -> bool:
        return self.name == "relevance"


class _Rectifier(torch.autograd.Function):
    """An activation whose backward follows the rule in force at that moment."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, function: Callable[[Tensor], Tensor], rule: BackwardRule) -> Tensor:
        ctx.save_for_backward(value.clone())  # an in-place activation overwrites its input
        ctx.function, ctx.rule = function, rule
        return function(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        (value,) = ctx.saved_tensors
        if ctx.rule.name == "natural":
            return gradient * traced(ctx.function, value)[1], None, None
        if ctx.rule.relevance:
            return gradient * share(ctx.function, value), None, None
        upstream = gradient.clamp(min=0)
        if ctx.rule.name == "deconvnet":
            return upstream, None, None
        return upstream * traced(ctx.function, value)[1] * (value > 0), None, None


class _Strided(torch.autograd.Function):
    """A convolution that skips places; under the rule `resampled` its backward does not.

    A backward through a stride leaves a lattice, since some pixels were under more windows than others. Instead the
    gradient is spread over the places that were skipped (nearest neighbour, its sum kept) and goes back as if the
    stride had been 1 (Oramas et al., ICLR 2019).
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, weight: Tensor, bias: Tensor | None, walk: Walk) -> Tensor:
        ctx.save_for_backward(value, weight)
        ctx.walk = walk
        return functional.conv2d(value, weight, bias, walk.stride, walk.padding, walk.dilation, walk.groups)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        value, weight = ctx.saved_tensors
        return convolved_back(gradient, value, weight, ctx.walk), None, None, None


class Walk(NamedTuple):
    """How a convolution goes over its input, and the rule its backward obeys."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    rule: BackwardRule


def convolved_back(gradient: Tensor, value: Tensor, weight: Tensor, walk: Walk) -> Tensor:
    """The gradient in the input of a convolution over rows and columns, by the rule in force."""
    gradient, weight = gradient.to(value.dtype), weight.to(value.dtype)  # autocast may have narrowed them
    stride = walk.stride
    if walk.rule.name == "resampled" and max(stride) > 1:
        reach = [rate * (side - 1) for rate, side in zip(walk.dilation, weight.shape[2:], strict=True)]
        sides = zip(value.shape[2:], walk.padding, reach, strict=True)
        every = [side + 2 * around - across for side, around, across in sides]
        spread = functional.interpolate(gradient.contiguous(), size=every, mode="nearest")
        gradient, stride = spread * (gradient[0, 0].numel() / spread[0, 0].numel()), (1, 1)
    back, _, _ = torch.ops.aten.convolution_backward(
        gradient, value, weight, None, stride, walk.padding, walk.dilation, False, (0, 0), walk.groups,
        (True, False, False),
    )  # fmt: skip
    return back


def traced(function: Callable[[Tensor], Tensor], value: Tensor) -> tuple[Tensor, Tensor]:
    """What an activation makes of each number, and its slope there."""
    with torch.enable_grad():
        leaf = value.detach().clone().requires_grad_()  # the function may work in place
        made = function(leaf)
        (slope,) = torch.autograd.grad(made.sum(), leaf)
    return made.detach(), slope


def share(function: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    """What came out over what went in; the slope where nothing went in."""
    made, slope = traced(function, value)
    return torch.where(value.abs() > _NEXT_TO_NOTHING, made / value, slope)


_NEXT_TO_NOTHING = 1e-6
_IN_PLACE = {torch.relu_, Tensor.relu_, functional.relu_, functional.leaky_relu_, functional.elu_, functional.selu_,
             functional.celu_, functional.rrelu_, Tensor.clamp_min_}  # fmt: skip
_RECTIFIERS = {torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, functional.relu, functional.relu_,
               functional.relu6, torch.clamp, Tensor.clamp, torch.clamp_min, Tensor.clamp_min, Tensor.clamp_min_,
               functional.hardtanh, functional.hardtanh_}  # fmt: skip
_SMOOTH = {functional.gelu, functional.silu, functional.hardswish, functional.mish, functional.elu, functional.elu_,
           functional.leaky_relu, functional.leaky_relu_, functional.selu, functional.celu,
           functional.softplus}  # fmt: skip


class _ChangedRectifiers(TorchFunctionMode):
    """Sees every activation in this thread, as module, function, method, in place or not."""

    def __init__(self, rule: BackwardRule) -> None:
        super().__init__()
        self.rule = rule

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is functional.conv2d:
            return self._convolved(args, kwargs)
        if (func not in _RECTIFIERS and func not in _SMOOTH) or not _rectifies(func, args, kwargs):
            return func(*args, **kwargs)
        in_place = bool(kwargs.pop("inplace", False)) or func in _IN_PLACE or func is functional.hardtanh_
        value, rest = args[0] if args else kwargs.pop("input"), args[1:]
        if func in (functional.relu, functional.relu6, functional.silu, functional.hardswish, functional.mish) and rest:
            in_place, rest = in_place or bool(rest[0]), ()
        plain = _OUT_OF_PLACE.get(func, func)
        if func in _RECTIFIERS:
            self.rule.rectifiers += 1
        else:
            self.rule.smooth.add(getattr(func, "__name__", "activation"))
        answer = _Rectifier.apply(value, lambda inner: plain(inner, *rest, **kwargs), self.rule)
        return value.copy_(answer) if in_place else answer

    def _convolved(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        value, padding, stride = given["input"], given.get("padding", 0), _both(given.get("stride", 1))
        if max(stride) == 1 or value.ndim != 4:
            return functional.conv2d(*args, **kwargs)
        around = (0, 0) if padding == "valid" else _both(padding)  # no other word is allowed beside a stride
        walk = Walk(stride, around, _both(given.get("dilation", 1)), int(given.get("groups", 1)), self.rule)
        return _Strided.apply(value, given["weight"], given.get("bias"), walk)


def _both(size: Any) -> tuple[int, ...]:
    """A size for rows and columns, given as one number or as two."""
    return (int(size), int(size)) if isinstance(size, int) else tuple(int(one) for one in (*size, *size)[:2])


_OUT_OF_PLACE: dict[Any, Any] = {
    torch.relu_: torch.relu,
    Tensor.relu_: torch.relu,
    functional.relu_: torch.relu,
    Tensor.clamp_min_: torch.clamp_min,
    functional.elu_: functional.elu,
    functional.leaky_relu_: functional.leaky_relu,
    functional.hardtanh_: functional.hardtanh,
}


def _rectifies(func: Any, args: Any, kwargs: Mapping[str, Any]) -> bool:
    """A clamp is a rectifier if it cuts below at zero; any other clamp is left alone."""
    if func in (torch.clamp, Tensor.clamp):
        low = kwargs.get("min", args[1] if len(args) > 1 else None)
        return isinstance(low, (int, float)) and low == 0
    if func in (torch.clamp_min, Tensor.clamp_min, Tensor.clamp_min_):
        low = kwargs.get("min", args[1] if len(args) > 1 else None)
        return isinstance(low, (int, float)) and low == 0
    if func in (functional.hardtanh, functional.hardtanh_):
        return kwargs.get("min_val", args[1] if len(args) > 1 else -1.0) == 0
    return True


@contextmanager
def switchable_rectifiers(rule: BackwardRule) -> Iterator[None]:
    """Passes recorded inside obey `rule` in every later backward."""
    with _ChangedRectifiers(rule):
        yield


# -- attention ------------------------------------------------------------------------------------------------------


class Attended(NamedTuple):
    """One attention, inside the graph: what was compared, what was mixed, and what came out.

    query, key: [batch head token channel], up to a factor; None where the model wrote their comparison in a way that is
                not known here
    value, output: [batch head token channel]
    """

    probabilities: Tensor
    query: Tensor | None
    key: Tensor | None
    value: Tensor
    output: Tensor

    def detached(self) -> Attended:
        """The same as float32, outside the graph."""
        query, key = (None if part is None else part.detach().float() for part in (self.query, self.key))
        value, output = self.value.detach().float(), self.output.detach().float()
        return Attended(self.probabilities.detach().float(), query, key, value, output)


OnAttention = Callable[[Attended], None]
Reweighed = Callable[[Tensor], Tensor]


class _AttentionCapture(TorchFunctionMode):
    """Turns fused attention into its plain formula, so that the probabilities exist, and hands them over.

    as_one:    numbers of the attentions, in order of execution, whose heads compare and mix as a single one
    reweighed: probabilities -> those that the values are mixed by instead
    """

    def __init__(
        self, on_attention: OnAttention, as_one: Collection[int] = (), reweighed: Reweighed | None = None
    ) -> None:
        super().__init__()
        self.on_attention, self.as_one, self.reweighed, self.count = on_attention, as_one, reweighed, 0
        self.candidates: dict[int, tuple[Tensor, Tensor]] = {}  # a softmax and what it was of, by the softmax's id
        self.compared: tuple[Tensor, Tensor, Tensor] | None = None  # likeness of query and key, and these two

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is functional.scaled_dot_product_attention:
            return self._fused(*args, **kwargs)
        if func is functional.multi_head_attention_forward:
            return self._multi_head(args, kwargs)
        if func in _PRODUCTS and args and id(args[0]) in self.candidates:
            # Probabilities are what multiplies the values from the left; other softmaxes never do.
            probabilities, likeness = self.candidates.pop(id(args[0]))
            compared = self.compared if self.compared is not None and likeness is self.compared[0] else None
            value = args[1] if len(args) > 1 else next(iter(kwargs.values()))
            return self._mixed(likeness, probabilities, compared, value)
        answer = func(*args, **kwargs)
        if func in _SOFTMAX and answer.ndim in (3, 4):
            self.candidates[id(answer)] = answer, args[0] if args else kwargs["input"]
        elif func in _PRODUCTS and len(args) > 1 and answer.ndim == 4:
            self.compared = answer, args[0], args[1].transpose(-2, -1)
        elif self.compared is not None and func.__name__ in _CARRIES and args and args[0] is self.compared[0]:
            self.compared = answer, *self.compared[1:]
        return answer

    def _mixed(
        self, likeness: Tensor, probabilities: Tensor, compared: tuple[Tensor, Tensor, Tensor] | None, value: Tensor
    ) -> Tensor:
        """The values mixed by the probabilities, and all of it handed over."""
        number, self.count = self.count, self.count + 1
        if number in self.as_one and likeness.ndim == 4:
            # Products of the joined channels are the sums of the heads'; their number is divided by as its root.
            joined = likeness.sum(dim=1, keepdim=True) * likeness.shape[1] ** -0.5
            probabilities = joined.softmax(dim=-1).expand_as(likeness)
        if self.reweighed is not None:
            probabilities = self.reweighed(probabilities)
        output = probabilities @ value
        _, query, key = compared or (None, None, None)
        self.on_attention(Attended(probabilities, query, key, value, output))
        return output

    def _fused(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
        is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
    ) -> Tensor:  # fmt: skip
        if enable_gqa:
            key = key.repeat_interleave(query.size(-3) // key.size(-3), dim=-3)
            value = value.repeat_interleave(query.size(-3) // value.size(-3), dim=-3)
        factor: float = query.size(-1) ** -0.5 if scale is None else scale
        likeness = query @ key.transpose(-2, -1) * factor
        if is_causal:
            allowed = torch.ones(likeness.shape[-2:], dtype=torch.bool, device=likeness.device).tril()
            likeness = likeness.masked_fill(~allowed, float("-inf"))
        if attn_mask is not None:
            masked = attn_mask.dtype == torch.bool
            likeness = likeness.masked_fill(~attn_mask, float("-inf")) if masked else likeness + attn_mask
        return self._mixed(likeness, likeness.softmax(dim=-1), (likeness, query, key), value)

    def _multi_head(self, args: Any, kwargs: dict[str, Any]) -> Any:
        wanted, averaged = kwargs.get("need_weights", True), kwargs.get("average_attn_weights", True)
        kwargs["need_weights"] = False
        seen: list[Attended] = []
        # The copy does not ask again whether someone overrides it, which would lead straight back here.
        with _AttentionCapture(seen.append, {0} if self.count in self.as_one else (), self.reweighed):
            output, _ = _multi_head_attention(*args, **kwargs)
        self.count += len(seen)
        for attended in seen:
            self.on_attention(attended)
        if not wanted:
            return output, None
        return output, seen[0].probabilities.mean(dim=1) if averaged else seen[0].probabilities


_SOFTMAX = {torch.softmax, Tensor.softmax, functional.softmax}
_PRODUCTS = {torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm}
# What models do to likenesses before the softmax; the rows and columns stay those of queries and keys.
_CARRIES = {"mul", "__mul__", "__imul__", "mul_", "div", "__truediv__", "__itruediv__", "div_", "add", "__add__",
            "__iadd__", "add_", "sub", "__sub__", "masked_fill", "masked_fill_", "float", "to",
            "contiguous"}  # fmt: skip
_multi_head_attention = types.FunctionType(
    functional.multi_head_attention_forward.__code__,
    {**vars(functional), "has_torch_function": lambda _tensors: False},
    "multi_head_attention",
    functional.multi_head_attention_forward.__defaults__,
)


@contextmanager
def captured_attention(
    on_attention: OnAttention, as_one: Collection[int] = (), reweighed: Reweighed | None = None
) -> Iterator[None]:
    """Calls `on_attention` of every attention, [batch head query key] inside the graph, in order of execution.

    as_one:    numbers of those, from 0, whose heads are to work as a single one: the model then answers otherwise
    reweighed: probabilities -> those that each attention mixes by instead, of the same shape
    """
    with _AttentionCapture(on_attention, as_one, reweighed):
        yield


# -- constants ------------------------------------------------------------------------------------------------------

OnConstant = Callable[[Tensor, Tensor, bool], None]


class _ConstantCapture(TorchFunctionMode):
    """Sees every operation that adds a constant per channel, wherever in a module it stands."""

    def __init__(self, on_constant: OnConstant) -> None:
        super().__init__()
        self.on_constant = on_constant

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        answer = func(*args, **kwargs)
        constant = _constant(func, args, kwargs, answer)
        if constant is None:
            return answer
        self.on_constant(answer, constant.detach().float(), func is functional.linear)
        # What follows may work in place; what was handed over must stay.
        return answer.clone()


_WITH_BIAS = {
    functional.linear, torch.conv1d, torch.conv2d, torch.conv3d,
    torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d,
}  # fmt: skip


def _constant(func: Any, args: Any, kwargs: Mapping[str, Any], answer: Any) -> Tensor | None:
    """What the operation adds: a bias, beta - gamma * mean / deviation of a batch norm, the ceiling of a ReLU6."""
    if func in _WITH_BIAS:
        return kwargs.get("bias", args[2] if len(args) > 2 else None)
    if func in (functional.relu6, functional.hardtanh, functional.hardtanh_):
        low, high = (0.0, 6.0) if func is functional.relu6 else _bounds(args, kwargs)
        return answer.detach() * ((answer >= high) | (answer <= low))  # out there it is constant
    if func is not functional.batch_norm:
        return None
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    given: dict[str, Any] = {"eps": 1e-5, **dict(zip(names, args, strict=False)), **kwargs}
    mean, variance, weight, bias = (given.get(name) for name in ("running_mean", "running_var", "weight", "bias"))
    if mean is None or variance is None:
        return None
    slope = (variance.float() + given["eps"]).rsqrt()
    slope = slope if weight is None else slope * weight.float()
    shift = -slope * mean.float()
    return shift if bias is None else shift + bias.float()


def _bounds(args: Any, kwargs: Mapping[str, Any]) -> tuple[float, float]:
    low = kwargs.get("min_val", args[1] if len(args) > 1 else -1.0)
    return low, kwargs.get("max_val", args[2] if len(args) > 2 else 1.0)


@contextmanager
def captured_constants(on_constant: OnConstant) -> Iterator[None]:
    """Calls `on_constant(output, constant, channels_last)` for all that adds one, in order of execution.

    constant: [channel], or of the output's shape where it differs from place to place
    """
    with _ConstantCapture(on_constant):
        yield
