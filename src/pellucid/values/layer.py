"""The address of a layer, and what its output looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["map", "tokens", "vector", "none"]
Order = Literal["nchw", "nhwc", "ncthw", "btc", "tbc", ""]


@dataclass(frozen=True)
class Layer:
    """An address inside a model.

    kind:          `map` and `tokens` lie on a grid over the picture; `vector` has one value per channel; `none` is
                   anything else (windows, attention weights, several tensors of unclear meaning)
    order:         how the grid lies in memory: nchw, nhwc, ncthw (t instants), btc (batch token channel) or tbc
    grid:          rows and columns of the grid for the input size that was probed
    prefix_tokens: tokens before the grid: class, distillation, registers
    calls:         how often one forward runs the module; `name#2` addresses the second call
    index:         position in the order of execution
    instants:      of a model of films, over how many instants the grid reaches; its rows are theirs, one below another
    """

    name: str
    kind: Kind
    order: Order = ""
    grid: tuple[int, int] | None = None
    prefix_tokens: int = 0
    channels: int = 0
    calls: int = 1
    module: str = ""
    index: int = 0
    shape: tuple[int, ...] = ()
    instants: int = 1

    @property
    def spatial(self) -> bool:
        """Whether the output lies on a grid of more than one cell."""
        return self.grid is not None and self.grid != (1, 1)

    def to_dict(self) -> dict[str, object]:
        return {
            "name": self.name, "kind": self.kind, "order": self.order, "grid": list(self.grid) if self.grid else None,
            "prefix_tokens": self.prefix_tokens, "channels": self.channels, "calls": self.calls,
            "module": self.module, "index": self.index, "shape": list(self.shape),
            "instants": self.instants,
        }  # fmt: skip


def layer_from_dict(record: dict[str, object]) -> Layer:
    """The layer that `Layer.to_dict` wrote."""
    values = dict(record)
    grid = values["grid"]
    values["grid"] = tuple(grid) if isinstance(grid, list) else None
    values["shape"] = tuple(values["shape"])  # type: ignore[arg-type]  # JSON knows no tuples
    return Layer(**values)  # type: ignore[arg-type]  # the keys are the fields
