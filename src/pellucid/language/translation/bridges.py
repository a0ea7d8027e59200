"""The small nets that learn: from vectors of a vision model to prefix vectors of a language model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pellucid.compute.train import seeded
from pellucid.language.translation.ports import Features
from pellucid.testbed.nets import Block

_PREFIX_OF_ONE, _PREFIX_OF_SLOTS = 4, 10
_PAPER_WIDTH, _PAPER_DEPTH = 768, 12


@dataclass(frozen=True)
class Shape:
    """How large a bridge is.

    channels: of each slot
    width:    of the language model's vectors; scale: their usual length
    prefix:   how many prefix vectors it gives
    inner:    width of the encoder over slots; depth: its blocks, 0 for the net that reads a single vector
    """

    channels: tuple[int, ...]
    width: int
    scale: float
    prefix: int
    inner: int
    depth: int

    @classmethod
    def of(cls, channels: Sequence[int], width: int, scale: float, *, slots: bool) -> Shape:
        """TExplain's net for one vector; DeViL's encoder for slots, its 12 blocks only where the width is theirs."""
        if not slots:
            return cls(tuple(channels), width, scale, _PREFIX_OF_ONE, 2 * width, 0)
        depth = max(2, round(_PAPER_DEPTH * min(1.0, width / _PAPER_WIDTH)))
        return cls(tuple(channels), width, scale, _PREFIX_OF_SLOTS, min(width, _PAPER_WIDTH), depth)

    def build(self, generator_seed: int) -> Bridge:
        """The untrained net; the caller's generator stays put."""
        with seeded(generator_seed):
            return Slots(self) if self.depth else Single(self)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Shape:
        values: dict[str, Any] = dict(record)
        values["channels"] = tuple(values["channels"])
        return cls(**values)


class Bridge(nn.Module):
    """Vectors of a vision model become prefix vectors. Each slot is first brought to mean 0 and spread 1."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        for slot, count in enumerate(shape.channels):
            self.register_buffer(f"mean{slot}", torch.zeros(count))
            self.register_buffer(f"spread{slot}", torch.ones(count))

    def settle(self, features: Features) -> None:
        """Take mean and spread from what it will learn from."""
        for slot, values in enumerate(features.slots):
            rows = values.flatten(0, 1)
            self.get_buffer(f"mean{slot}").copy_(rows.mean(dim=0))
            # A channel that never moves stays at 0 whatever it is divided by.
            spread = rows.std(dim=0)
            self.get_buffer(f"spread{slot}").copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))

    def standard(self, vectors: Sequence[Float[Tensor, "row channel"]]) -> list[Float[Tensor, "row channel"]]:
        place = self.get_buffer("mean0")
        return [
            (one.to(place) - self.get_buffer(f"mean{slot}")) / self.get_buffer(f"spread{slot}")
            for slot, one in enumerate(vectors)
        ]

    def forward(
        self, vectors: Sequence[Float[Tensor, "row channel"]], there: Bool[Tensor, "row slot"] | None = None
    ) -> Float[Tensor, "row prefix width"]:
        raise NotImplementedError


class Single(Bridge):
    """Three linear layers from one vector to a few prefix vectors of the usual length (TExplain)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        inner, out = shape.inner, shape.prefix * shape.width
        self.layers = nn.Sequential(
            nn.Linear(shape.channels[0], inner), nn.GELU(), nn.Linear(inner, inner), nn.GELU(), nn.Linear(inner, out)
        )
        self.norm = nn.LayerNorm(shape.width)

    def forward(
        self, vectors: Sequence[Float[Tensor, "row channel"]], there: Bool[Tensor, "row slot"] | None = None
    ) -> Float[Tensor, "row prefix width"]:
        given = self.layers(self.standard(vectors)[0]).unflatten(1, (self.shape.prefix, self.shape.width))
        return self.norm(given) * (self.shape.scale / math.sqrt(self.shape.width))


class Slots(Bridge):
    """Slots and learnt queries in one encoder; what the queries become is the prefix (DeViL).

    What a slot that is not there holds cannot reach the prefix: it is set to nothing before it is projected, and its
    token is not looked at.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        inner = shape.inner
        heads = next(count for count in (12, 8, 4, 2, 1) if inner % count == 0)
        self.project = nn.ModuleList(nn.Linear(count, inner) for count in shape.channels)
        self.places = nn.Parameter(torch.randn(len(shape.channels), inner) * 0.02)
        self.queries = nn.Parameter(torch.randn(shape.prefix, inner) * 0.02)
        self.blocks = nn.ModuleList(Block(inner, heads, ratio=4) for _ in range(shape.depth))
        self.norm, self.out = nn.LayerNorm(inner), nn.Linear(inner, shape.width)
        nn.init.normal_(self.out.weight, std=shape.scale / math.sqrt(shape.width * inner))
        nn.init.zeros_(self.out.bias)

    def forward(
        self, vectors: Sequence[Float[Tensor, "row channel"]], there: Bool[Tensor, "row slot"] | None = None
    ) -> Float[Tensor, "row prefix width"]:
        rows, place = len(vectors[0]), self.places
        if there is None:
            there = torch.ones(rows, len(vectors), dtype=torch.bool)
        there = there.to(place.device)
        known = [
            torch.where(there[:, slot, None], one, torch.zeros_like(one))
            for slot, one in enumerate(self.standard(vectors))
        ]
        slots = torch.stack([own(one) for own, one in zip(self.project, known, strict=True)], dim=1) + place
        tokens = torch.cat([slots, self.queries.expand(rows, -1, -1)], dim=1)
        seen = torch.cat([there, torch.ones(rows, len(self.queries), dtype=torch.bool, device=there.device)], dim=1)
        for block in self.blocks:
            tokens = block(tokens, seen)
        return self.out(self.norm(tokens[:, len(vectors) :]))
