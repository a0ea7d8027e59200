"""A property a result has to have, and whether it has it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One check of one map: `finite`, `not flat`, `completeness` and the like.

    passed: None where the paper promises nothing, so that the figure is information only
    value:  the figure looked at (a gap, a range), None where there is none
    """

    name: str
    passed: bool | None
    value: float | None
    words: str

    def to_dict(self) -> dict[str, object]:
        return {"name": self.name, "passed": self.passed, "value": self.value, "words": self.words}
