"""What a result remembers of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from markupsafe import Markup
from rich.console import RenderableType

from pellucid.canvas import fragments, terminal
from pellucid.results.result import Result


@dataclass(frozen=True, eq=False)
class ModelCard(Result):
    """Enough to say which model it was; never the model.

    spec:        what `pl.load` takes to make it again; None or empty for a module that was wrapped
    fingerprint: hash of the weights; the same digits are the same weights
    kind:        class name of the module, or "black box"
    why_layer:   why the default layer is the default, as a sentence
    """

    noun: ClassVar[str] = "model"

    name: str
    spec: str | None = None
    fingerprint: str = ""
    kind: str = ""
    classes: int = 0
    dtype: str = ""
    notes: tuple[str, ...] = ()
    default_layer: str = ""
    why_layer: str = ""

    @property
    def facts(self) -> dict[str, str]:
        """What is known of it, for a table."""
        known = {
            "model": self.name, "load it with": self.spec, "kind": self.kind, "classes": str(self.classes),
            "numbers": self.dtype, "fingerprint": self.fingerprint, "default layer": self.default_layer,
            "why that layer": self.why_layer, "notes": " ".join(self.notes),
        }  # fmt: skip
        return {name: fact for name, fact in known.items() if fact}

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ModelCard:
        """The card that `to_dict` wrote."""
        values: dict[str, Any] = {**record, "notes": tuple(record["notes"])}
        return cls(**values)

    def fragment(self) -> Markup:
        return fragments.facts(self.name, self.facts)

    def __rich__(self) -> RenderableType:
        return terminal.facts(self.name, self.facts)
