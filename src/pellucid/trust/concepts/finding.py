"""What every measure of concepts gives: a frozen answer that says how much it is based on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import ShapeError
from pellucid.values.seed import Seed


@dataclass(frozen=True, eq=False, kw_only=True)
class Finding:
    """One finished measurement. It holds numbers, no model.

    kept, total: how many items (pictures, concepts, decisions: the class says which) could be measured, of how many
    seed:        of everything that was drawn
    skipped:     why something has no value, by its name
    """

    kept: int
    total: int
    seed: int = 0
    skipped: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything it holds in JSON's own kinds; what is not a finite number is None."""
        held = {entry.name: plain(getattr(self, entry.name)) for entry in fields(self)}
        return {"kind": type(self).__name__, **held}


def plain(value: Any) -> Any:
    """A value in JSON's own kinds: arrays and tensors as nested lists, dataclasses as objects."""
    if isinstance(value, Finding):
        return value.to_dict()
    if isinstance(value, (Tensor, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in cast("Iterable[Any]", value)]
    return value


def unit_rows(vectors: Tensor) -> Tensor:
    """Every row at length 1; a row of zeros stays."""
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def random_directions(count: int, channels: int, seed: Seed) -> Tensor:
    """Unit vectors that point anywhere, all directions alike [count channels]."""
    return unit_rows(torch.randn(count, channels, generator=seed.generator()))


def halves(count: int, held_out: float, seed: Seed) -> tuple[Tensor, Tensor]:
    """Places to learn from and places to measure on, drawn by chance; at least one of each where there are two."""
    order = torch.randperm(count, generator=seed.child("halves").generator())
    measured = min(max(1, round(held_out * count)), count - 1)
    return order[measured:], order[:measured]


def same_length(name: str, got: int, expected: int, of: str) -> None:
    """Raises ShapeError unless two things are of the same items."""
    if got != expected:
        raise ShapeError(name, got=(got,), expected=f"{expected}: one per {of}")
