"""One line of what the model says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from markupsafe import Markup
from rich.console import RenderableType

from pellucid.canvas import fragments, terminal
from pellucid.canvas.words import percent
from pellucid.results.result import Result


@dataclass(frozen=True, eq=False)
class Prediction(Result):
    """One class and how sure the model is of it. probability: 0 to 1; NaN where the model gives none."""

    noun: ClassVar[str] = "prediction"

    index: int
    label: str
    probability: float

    @property
    def text(self) -> str:
        return f"{self.label}, {percent(self.probability)}"

    def to_dict(self) -> dict[str, Any]:
        known = self.probability == self.probability
        return {"index": self.index, "label": self.label, "probability": self.probability if known else None}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Prediction:
        """The prediction that `to_dict` wrote."""
        probability = record["probability"]
        return cls(
            int(record["index"]), str(record["label"]), float("nan") if probability is None else float(probability)
        )

    def fragment(self) -> Markup:
        return fragments.sentence(self.text)

    def __rich__(self) -> RenderableType:
        return terminal.sentence(self.text)
