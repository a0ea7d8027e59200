"""What is known of a trained net, kept in the file of its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Card:
    """What is known of a shipped net: every figure was measured when it was trained.

    labels:        the names of its outputs; for nets that speak, the words they know
    default_layer: where maps are read unless said otherwise, chosen by measurement; `why` gives the figures
    accuracy:      what was measured -> share, 0 to 1 (an error of colours where it says so)
    recipe:        how it was trained
    rests_on:      for nets that name species: thing -> by how far the log probability of the answer falls, in the mean,
                   where the thing is painted otherwise; strongest first, without what moves it hardly at all
    """

    name: str
    labels: tuple[str, ...]
    size: int
    default_layer: str
    why: str
    accuracy: dict[str, float]
    seed: int
    recipe: dict[str, Any]
    rests_on: dict[str, float] = field(default_factory=dict[str, float])
    version: int = 1

    @property
    def figures(self) -> str:
        """What was measured, in one line."""
        return ", ".join(f"{name} {share:.3f}" for name, share in self.accuracy.items())

    def to_metadata(self) -> dict[str, str]:
        """As safetensors keeps it: one entry, for the order of several, and so the file's bytes, is left to chance."""
        return {"card": json.dumps(asdict(self))}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Card:
        values: dict[str, Any] = json.loads(metadata["card"])
        values["labels"] = tuple(values["labels"])
        return cls(**values)
