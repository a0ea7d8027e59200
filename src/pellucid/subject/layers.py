"""The layers of a model, found and laid on the grid by one probing pass."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, cast

import torch
from torch import Tensor, nn

from pellucid import hooks
from pellucid.errors import MethodUnavailable, ModelError, UnknownLayer
from pellucid.subject.clips import Filmstrip
from pellucid.subject.footprint import Footprint, footprint
from pellucid.values import Layer
from pellucid.values.layer import Order

_MAX_PREFIX_TOKENS = 64
_PROBE_BATCH = 2  # tells the batch axis from the others
_NOT_A_DEFAULT = ("Linear", "Dropout", "Identity", "Flatten", "Pool", "DropPath", "Unflatten")


@dataclass(frozen=True)
class LayerTree(Mapping[str, Layer]):
    """Every layer by name, in order of execution, for one input size.

    default:      where methods look when no layer is named; None where there is no grid
    why:          the reason for that choice, in words
    blocks:       the repeated token blocks of a transformer
    footprint:    what one sample holds in memory
    silent:       layers on a grid that no gradient of the answer reaches
    flows:        whether the answer has a gradient at all; it has none where the model detaches its values
    """

    entries: dict[str, Layer]
    default: Layer | None
    why: str
    input_size: tuple[int, int]
    blocks: tuple[str, ...] = ()
    footprint: Footprint = field(default_factory=Footprint)
    last_module: str = ""
    silent: frozenset[str] = field(default_factory=frozenset)
    flows: bool = True

    def __getitem__(self, name: str) -> Layer:
        """The layer of that name; `conv#2` is the second call of a module that runs more than once."""
        if isinstance(name, str) and name in self.entries:
            layer = self.entries[name]
            if layer.calls > 1 and "#" not in name:
                warnings.warn(
                    f"{name} runs {layer.calls} times; taking the last call, {layer.name}. "
                    f"Name {name}#1 to {name}#{layer.calls} to choose.",
                    stacklevel=2,
                )
            return layer
        raise UnknownLayer(name, list(self.entries))

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def grid_layers(self) -> list[Layer]:
        """The layers that lie on a grid over the picture."""
        return [layer for name, layer in self.entries.items() if layer.spatial and name == layer.name]

    def chosen(self, method: str, name: str | None = None) -> Layer:
        """The layer of that name, or the default one. Raises UnknownLayer, MethodUnavailable where there is none."""
        if name is not None:
            return self[name]
        if self.default is None:
            raise MethodUnavailable(method, self.why, ("integrated_gradients", "occlusion"))
        return self.default

    def to_dict(self) -> dict[str, Any]:
        default = self.default.name if self.default else None
        return {"default": default, "why": self.why, "input_size": list(self.input_size),
                "layers": [layer.to_dict() for name, layer in self.entries.items() if name == layer.name]}  # fmt: skip


@dataclass
class _Seen:
    """What one call of one module gave in the probing pass."""

    name: str
    module: nn.Module
    call: int
    index: int
    tensor: Tensor
    given: Tensor | None  # its first input
    plain: bool  # a tensor or a tuple, not a record with named parts


def probe(
    network: nn.Module, inputs: Tensor, run: Any, preferred: str | None = None, preferred_why: str | None = None
) -> LayerTree:
    """Runs the network once, forward and backward, and reads kind, grid and call count of every layer.

    inputs:    [2 channel height width], any plausible values
    run:       network output -> [batch classes], differentiable
    preferred: the layer the model's own card names, where it does
    """
    seen, totals = [], Counter[str]()
    last_leaf = ""

    def note(name: str, call: int, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal last_leaf
        totals[name] = call
        if not any(True for _ in module.children()):
            last_leaf = type(module).__name__
        tensor = first_tensor(output)
        if tensor is not None and name:
            plain = isinstance(output, (Tensor, tuple, list)) and not hasattr(output, "keys")
            seen.append(_Seen(name, module, call, len(seen), tensor, first_tensor(inputs), plain))

    with hooks.guest(network), torch.inference_mode(False), torch.enable_grad(), hooks.watched(network, None, note):
        leaf = inputs.detach().clone().requires_grad_(inputs.is_floating_point())
        answer = run(network(leaf.clone()))
    size = (int(inputs.shape[-2]), int(inputs.shape[-1]))
    entries = _entries(seen, totals, size, len(inputs), isinstance(network, Filmstrip))
    gradients = _first_that_reaches(seen, entries, answer)
    silent = frozenset(entry for entry, layer in entries.items() if layer.spatial and not _felt(layer, gradients))
    default, why = _default(seen, entries, silent, preferred, preferred_why)
    leaves = [one for one in seen if not any(True for _ in one.module.children())]
    held = footprint(network, (one.tensor for one in leaves), answer, len(inputs))
    return LayerTree(
        entries, default, why, size, _blocks(network, entries), held, last_leaf, silent, answer.requires_grad
    )


def first_tensor(output: Any) -> Tensor | None:
    """The tensor a module's output consists of, or begins with."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, (tuple, list)):
        return next((entry for entry in output if isinstance(entry, Tensor)), None)
    return None


def to_grid(values: Tensor, layer: Layer) -> Tensor:
    """A layer's output as [batch channel h w]; vectors become [batch channel 1 1]. Raises ModelError otherwise."""
    if layer.order == "nchw":
        return values
    if layer.order == "nhwc":
        return values.permute(0, 3, 1, 2)
    if layer.order == "ncthw":
        return values.flatten(2, 3)
    if layer.kind == "tokens" and layer.grid is not None:
        tokens = values.transpose(0, 1) if layer.order == "tbc" else values
        rows, columns = layer.grid
        cells = tokens[:, layer.prefix_tokens : layer.prefix_tokens + rows * columns]
        return cells.transpose(1, 2).unflatten(2, (rows, columns))
    if layer.kind == "vector":
        return values[:, :, None, None]
    raise ModelError(f"The output of {layer.name}, of shape {list(values.shape)}, does not lie on a grid.")


def from_grid(grid: Tensor, values: Tensor, layer: Layer) -> Tensor:
    """`values` (a layer's output) with its grid replaced by [batch channel h w]; prefix tokens stay."""
    if layer.order == "nchw":
        return grid
    if layer.order == "nhwc":
        return grid.permute(0, 2, 3, 1)
    if layer.order == "ncthw":
        return grid.unflatten(2, (layer.instants, -1))
    if layer.kind == "vector":
        return grid.flatten(1)
    tokens = values.transpose(0, 1) if layer.order == "tbc" else values
    cells = grid.flatten(2).transpose(1, 2)
    whole = torch.cat(
        [tokens[:, : layer.prefix_tokens], cells, tokens[:, layer.prefix_tokens + cells.shape[1] :]], dim=1
    )
    return whole.transpose(0, 1) if layer.order == "tbc" else whole


# -- reading shapes -------------------------------------------------------------------------------------------------


def _entries(
    seen: list[_Seen], totals: Counter[str], size: tuple[int, int], batch: int, films: bool
) -> dict[str, Layer]:
    entries: dict[str, Layer] = {}
    instants: dict[tuple[int, int], int] = {}  # of the maps of a film, by their grid
    grids: list[tuple[int, int]] = []  # of maps, in order; token layers take theirs from the last that fits
    prefixes: Counter[int] = Counter()
    previous = "nchw"
    for one in seen:
        calls = totals[one.name]
        name = one.name if calls == 1 else f"{one.name}#{one.call}"
        layer = _read_film(one, name, calls, batch) if films else None
        layer = layer or _read(one, name, calls, size, batch, grids, prefixes, previous)
        if layer.order == "ncthw" and layer.grid is not None:
            instants[layer.grid] = layer.instants
        elif layer.kind == "tokens" and layer.grid in instants:
            layer = replace(layer, instants=instants[layer.grid])
        entries[name] = layer
        if layer.kind == "map" and layer.grid is not None:
            grids.append(layer.grid)
            previous = layer.order
        if layer.kind == "tokens":
            prefixes[layer.prefix_tokens] += 1
        if calls > 1 and one.call == calls:
            entries[one.name] = layer
    return entries


def _read(
    one: _Seen, name: str, calls: int, size: tuple[int, int], batch: int, grids: list[tuple[int, int]],
    prefixes: Counter[int], previous: str,
) -> Layer:  # fmt: skip
    shape = tuple(one.tensor.shape)
    known: dict[str, Any] = {
        "calls": calls, "module": type(one.module).__name__, "index": one.index, "shape": shape[1:],
    }  # fmt: skip
    if len(shape) == 2 and shape[0] == batch:
        return Layer(name, "vector", "", None, channels=shape[1], **known)
    if len(shape) == 4 and shape[0] == batch and not _is_attention(one.tensor):
        order = _map_order(one, shape, size, previous)
        if order == "nchw":
            return Layer(name, "map", "nchw", shape[2:], channels=shape[1], **known)
        if order == "nhwc":
            return Layer(name, "map", "nhwc", shape[1:3], channels=shape[3], **known)
    if len(shape) == 3 and not _is_attention(one.tensor):
        orders: tuple[tuple[Order, int, int], ...] = (("btc", shape[1], shape[0]), ("tbc", shape[0], shape[1]))
        for order, tokens, at_batch in orders:
            found = _token_grid(tokens, size, grids, prefixes) if at_batch == batch else None
            if found is not None:
                grid, prefix = found
                return Layer(name, "tokens", order, grid, prefix, channels=shape[2], **known)
    return Layer(name, "none", "", None, channels=shape[-1] if shape else 0, **known)


def _read_film(one: _Seen, name: str, calls: int, batch: int) -> Layer | None:
    """A map over time and space, its instants one below another; None for anything else."""
    shape = tuple(one.tensor.shape)
    if len(shape) != 5 or shape[0] != batch:
        return None
    return Layer(
        name, "map", "ncthw", (shape[2] * shape[3], shape[4]), channels=shape[1], calls=calls,
        module=type(one.module).__name__, index=one.index, shape=shape[1:], instants=shape[2],
    )  # fmt: skip


def _is_attention(tensor: Tensor) -> bool:
    if tensor.shape[-1] < 2 or not tensor.is_floating_point():
        return False
    values = tensor.detach().float()
    return bool((values >= 0).all()) and bool(((values.sum(dim=-1) - 1).abs() < 1e-2).all())


def _map_order(one: _Seen, shape: tuple[int, ...], size: tuple[int, int], previous: str) -> str | None:
    fits = {"nchw": _fits(shape[2], shape[3], size), "nhwc": _fits(shape[1], shape[2], size)}
    if fits["nchw"] and fits["nhwc"]:
        kind = type(one.module).__name__
        if isinstance(one.module, nn.Conv2d) or "BatchNorm" in kind or "GroupNorm" in kind:
            return "nchw"
        if isinstance(one.module, (nn.Linear, nn.LayerNorm)) and not kind.endswith("2d"):
            return "nhwc"
        return previous
    return next((order for order, fit in fits.items() if fit), None)


def _fits(rows: int, columns: int, size: tuple[int, int]) -> bool:
    """Whether rows x columns can be a picture of `size`, shrunk (or a little padded) alike in both directions."""
    height, width = size
    if rows == columns == 1:
        return True
    if rows > 2 * height or columns > 2 * width or rows < 1 or columns < 1:
        return False
    # One cell more or less, from rounding and borders, must reconcile the two strides.
    slack = 2
    by_rows = ((height / (rows + slack)), height / max(rows - slack, 0.5))
    by_columns = ((width / (columns + slack)), width / max(columns - slack, 0.5))
    return by_rows[0] <= by_columns[1] and by_columns[0] <= by_rows[1] and _balanced(rows, columns, size)


def _balanced(rows: int, columns: int, size: tuple[int, int]) -> bool:
    return abs(rows * size[1] - columns * size[0]) <= 3 * max(size) + rows


def _token_grid(
    tokens: int, size: tuple[int, int], grids: list[tuple[int, int]], prefixes: Counter[int]
) -> tuple[tuple[int, int], int] | None:
    likely = [prefix for prefix, _ in prefixes.most_common()]
    for rows, columns in reversed(grids):
        prefix = tokens - rows * columns
        if rows * columns > 1 and 0 <= prefix <= min(_MAX_PREFIX_TOKENS, rows * columns):
            return (rows, columns), prefix
    for prefix in [*likely, 0, 1, 2, 5, 4, 3, *range(6, 18)]:
        rows = round(((tokens - prefix) * size[0] / size[1]) ** 0.5) if tokens > prefix else 0
        if rows < 2 or (tokens - prefix) % rows:
            continue
        columns = (tokens - prefix) // rows
        if columns == ceil(size[1] * rows / size[0]) or columns == size[1] * rows // size[0]:
            return (rows, columns), prefix
    return None


# -- choosing -------------------------------------------------------------------------------------------------------


def _first_that_reaches(seen: list[_Seen], entries: dict[str, Layer], answer: Tensor) -> dict[int, Tensor]:
    """Gradients of the answer; of the last vector before it where the head is all zeros, as in an untrained one."""
    vectors = [tensor for one in reversed(seen) for tensor in (one.tensor, one.given) if tensor is not None]
    vectors = [tensor for tensor in vectors if tensor.ndim == 2 and len(tensor) == len(answer)]
    found: dict[int, Tensor] = {}
    for source in [answer, *vectors]:
        found = _reaches(seen, source)
        if any(layer.spatial and _felt(layer, found) for layer in entries.values()):
            break
    return found


def _reaches(seen: list[_Seen], answer: Tensor) -> dict[int, Tensor]:
    """The gradient of the answer at each call, by index; calls that it does not reach are missing."""
    able = [one for one in seen if one.tensor.requires_grad]
    if not able or not answer.requires_grad or not answer.is_floating_point():
        return {}
    tensors = [one.tensor for one in able]
    with hooks.going_back(answer.device):
        weights = torch.linspace(1, 2, answer.shape[1], device=answer.device)
        found = torch.autograd.grad((answer * weights).sum(), tensors, allow_unused=True, retain_graph=True)
    arrived = cast("Sequence[Tensor | None]", found)  # torch's declaration leaves the None out
    pairs = zip(able, arrived, strict=True)
    return {one.index: gradient for one, gradient in pairs if gradient is not None}


def _felt(layer: Layer, gradients: dict[int, Tensor]) -> bool:
    gradient = gradients.get(layer.index)
    return gradient is not None and bool(to_grid(gradient, layer).abs().max() > 0)


def _default(
    seen: list[_Seen], entries: dict[str, Layer], silent: frozenset[str], preferred: str | None, why: str | None
) -> tuple[Layer | None, str]:
    if preferred is not None:
        if preferred not in entries:
            raise UnknownLayer(preferred, list(entries))
        return entries[preferred], why or "named by the model's own card"
    spatial = [one for one in seen if one.plain and _named(one, entries).spatial]
    if not spatial:
        return None, "none of its layers lies on a grid over the picture."
    reached = [one for one in spatial if _named(one, entries).name not in silent]
    usable = [one for one in reached if _may_be_default(one, _named(one, entries), entries)]
    if not usable:
        return None, "the answer's gradient reaches no layer that lies on a grid."
    chosen = _named(usable[-1], entries)
    if chosen.kind == "tokens" and chosen.prefix_tokens and any(
        entries[name].index > chosen.index and entries[name].kind == "tokens" for name in silent
    ):  # fmt: skip
        return chosen, "the last layer whose patch tokens still reach the answer; after it only the class token does"
    return chosen, "the last layer on a grid before the answer is pooled over the picture"


def _named(one: _Seen, entries: dict[str, Layer]) -> Layer:
    return entries.get(f"{one.name}#{one.call}") or entries[one.name]


def _may_be_default(one: _Seen, layer: Layer, entries: dict[str, Layer]) -> bool:
    leaf = not any(True for _ in one.module.children())
    if leaf and any(word in layer.module for word in _NOT_A_DEFAULT):
        return False
    if layer.kind != "tokens":
        return True
    widths = Counter(
        entry.channels for entry in entries.values() if entry.kind == "tokens" and entry.grid == layer.grid
    )
    return layer.channels == widths.most_common(1)[0][0] and (not leaf or "Norm" in layer.module)


def _blocks(network: nn.Module, entries: dict[str, Layer]) -> tuple[str, ...]:
    """The longest run of numbered siblings that all give tokens of one width: the blocks of a transformer."""
    runs: dict[str, list[str]] = {}
    for name, layer in entries.items():
        match = re.fullmatch(r"(.*?)\.?(\w*?\d+)", name)
        if match and layer.kind == "tokens" and any(True for _ in network.get_submodule(name.split("#")[0]).children()):
            runs.setdefault(match.group(1), []).append(name)
    return tuple(max(runs.values(), key=len, default=[]))
