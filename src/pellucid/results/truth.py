"""The right answer, where it is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from jaxtyping import Bool
from markupsafe import Markup
from rich.console import RenderableType

from pellucid.canvas import fragments, terminal
from pellucid.canvas.words import percent
from pellucid.results.encoding import from_plain, to_plain
from pellucid.results.result import Result


@dataclass(frozen=True, eq=False)
class Truth(Result):
    """What the answer depends on, known because the picture was made that way or marked by a person.

    mask:     bool [height width] on the original pixels, grown by one pixel
    ungrown:  the same before it was grown
    words:    what it is ("the ring around the seed")
    boxes:    (left, top, right, bottom) in original pixels
    """

    noun: ClassVar[str] = "truth"

    mask: Bool[np.ndarray, "height width"]
    ungrown: Bool[np.ndarray, "height width"] | None = None
    words: str = ""
    boxes: tuple[tuple[float, ...], ...] = ()

    @property
    def share(self) -> float:
        """Part of the picture it covers, 0 to 1."""
        return float(np.asarray(self.mask).mean())

    @property
    def text(self) -> str:
        return f"{self.words or 'The known cause'} ({percent(self.share)} of the picture)"

    def to_dict(self) -> dict[str, Any]:
        return {
            "mask": to_plain(np.asarray(self.mask, dtype=bool)),
            "ungrown": None if self.ungrown is None else to_plain(np.asarray(self.ungrown, dtype=bool)),
            "words": self.words,
            "boxes": to_plain(self.boxes),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Truth:
        """The truth that `to_dict` wrote."""
        values = cast("dict[str, Any]", from_plain(dict(record)))
        return cls(values["mask"], values["ungrown"], values["words"], tuple(tuple(box) for box in values["boxes"]))

    def fragment(self) -> Markup:
        return fragments.sentence(self.text)

    def __rich__(self) -> RenderableType:
        return terminal.sentence(self.text)
