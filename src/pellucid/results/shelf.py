"""What several results of one file share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pellucid.images import Frame
from pellucid.results.model_card import ModelCard


@dataclass(frozen=True)
class Shelf:
    """Frames and models of one file, each kept once and named by its place.

    Twenty maps of a picture are twenty times the same picture.
    """

    frames: list[Frame] = field(default_factory=list[Frame])
    models: list[ModelCard] = field(default_factory=list[ModelCard])

    def put(self, value: Frame | ModelCard) -> int:
        """The place of a Frame or a ModelCard."""
        row: list[Any] = self.frames if isinstance(value, Frame) else self.models
        for place, known in enumerate(row):
            if known is value or known == value:
                return place
        row.append(value)
        return len(row) - 1

    def to_dict(self) -> dict[str, Any]:
        return {
            "frames": [frame.to_dict() for frame in self.frames],
            "models": [model.to_dict() for model in self.models],
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Shelf:
        """The shelf that `to_dict` wrote."""
        frames = [Frame.from_dict(entry) for entry in record["frames"]]
        return cls(frames, [ModelCard.from_dict(entry) for entry in record["models"]])
