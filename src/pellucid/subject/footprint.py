"""What one sample holds in memory while a model looks at it, read off a pass that is still there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn


@dataclass(frozen=True)
class Footprint:
    """Bytes for one sample.

    outputs: all that single operations put out, as if nothing were let go; what batches are cut by
    widest:  the largest of these outputs
    graph:   what is kept for the way back, parameters not counted; 0 where no gradient flows
    """

    outputs: int = 0
    widest: int = 0
    graph: int = 0


def footprint(network: nn.Module, outputs: Iterable[Tensor], answer: Tensor, batch: int) -> Footprint:
    """The footprint of one forward over `batch` samples, whose graph hangs on `answer`."""
    sizes = [tensor.numel() * tensor.element_size() for tensor in outputs]
    weights = {_storage(tensor)[0] for tensor in (*network.parameters(), *network.buffers())}
    kept = dict(_storage(tensor) for tensor in _saved(answer))
    graph = sum(size for place, size in kept.items() if place not in weights)
    return Footprint(sum(sizes) // batch, max(sizes, default=0) // batch, graph // batch)


def _saved(answer: Tensor) -> Iterator[Tensor]:
    """Every tensor that the graph behind `answer` holds on to; one may come several times."""
    waiting: list[Any] = [answer.grad_fn]
    seen: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
        for name in dir(node):
            if name.startswith("_saved_") or name == "saved_tensors":
                yield from _tensors(node, name)


def _tensors(node: Any, name: str) -> Iterator[Tensor]:
    try:
        held = getattr(node, name)
    except RuntimeError:  # changed in place since, so that the way back is closed: the pass itself will say so
        return
    entries = cast("tuple[Any, ...]", held) if isinstance(held, (tuple, list)) else (held,)
    yield from (entry for entry in entries if isinstance(entry, Tensor))


def _storage(tensor: Tensor) -> tuple[int, int]:
    """Where its numbers lie, and how many bytes are there."""
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()
