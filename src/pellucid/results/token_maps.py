"""Where a model that speaks looked for each of its words, less what only the words before it looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from rich.console import RenderableType
from torch import Tensor

from pellucid.canvas import fragments, terminal
from pellucid.canvas.raster import Pixels
from pellucid.canvas.words import number, percent
from pellucid.errors import RequestError, ShapeError
from pellucid.images import Frame
from pellucid.results.drawing import map_on, sheet_of
from pellucid.results.encoding import map_from_plain, map_to_plain
from pellucid.results.result import Result


@dataclass(frozen=True, eq=False)
class TokenMaps(Result):
    """One picture, the words said of it, and a map for each.

    maps:      0 upward, as the base method and the scales give them; cleaned: less what is the context's
    relevance: of word j for word t, [t, j]: the rank correlation of what could have stood in either's place; -1 to 1,
               0 where j does not come before t
    share:     how much of the context's map was subtracted from each word's (the least squares scale), 0 upward
    """

    noun: ClassVar[str] = "token maps"

    words: tuple[str, ...]
    maps: Float[Tensor, "word height width"]
    cleaned: Float[Tensor, "word height width"]
    relevance: Float[Tensor, "word word"]
    share: Float[Tensor, "word"]
    frame: Frame
    base: str
    scales: tuple[float, ...]
    writer: str = "unknown"

    def __post_init__(self) -> None:
        if not len(self.words) == len(self.maps) == len(self.cleaned) == len(self.relevance) == len(self.share):
            raise ShapeError("TokenMaps", got=(len(self.maps), len(self.relevance)), expected=f"{len(self.words)}, one "
                             "per word")  # fmt: skip

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def kept(self, at: int) -> float:
        """How much of a word's map is left, 0 to 1; NaN where there was none."""
        return float(self.cleaned[at].sum() / self.maps[at].sum()) if bool(self.maps[at].any()) else float("nan")

    def closest(self, at: int) -> int | None:
        """The word before it that is most relevant to it; None for the first."""
        return int(self.relevance[at, :at].argmax()) if at else None

    @property
    def sentence(self) -> str:
        """What was said, and how much of the maps was the context's."""
        found = [share for share in map(self.kept, range(len(self.words))) if share == share]
        return (
            f"{self.writer} says “{self.text}”; of where it looked for a word, {percent(float(np.mean(found)))} "
            f"is left when what it looked at for other words before is taken off."
        )

    def to_dict(self) -> dict[str, Any]:
        tensors = {name: map_to_plain(getattr(self, name)) for name in _TENSORS}
        return {"words": list(self.words), **tensors, "frame": self.frame.to_dict(), "base": self.base,
                "scales": list(self.scales), "writer": self.writer}  # fmt: skip

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> TokenMaps:
        """The maps that `to_dict` wrote."""
        tensors = {name: map_from_plain(record[name]) for name in _TENSORS}
        return cls(words=tuple(record["words"]), **tensors, frame=Frame.from_dict(record["frame"]), base=record["base"],
                   scales=tuple(record["scales"]), writer=record["writer"])  # fmt: skip

    def fragment(self) -> Markup:
        tiles = [
            fragments.tile(self._plate(maps[at]), f"{self.words[at]}, {kind}", f"{self.words[at]}, {kind}", side=200)
            for at in self._shown() for kind, maps in (("as it is", self.maps), ("less its context", self.cleaned))
        ]  # fmt: skip
        table = fragments.table("Words", _HEAD, self._rows())
        return Markup("{}{}").format(fragments.gallery("Word by word", self.sentence, tiles, _CAUTION), table)

    def __rich__(self) -> RenderableType:
        return terminal.table(self.sentence, list(_HEAD), self._rows())

    def _writers(self) -> Mapping[str, Callable[[], bytes]]:
        return {**super()._writers(), ".png": self._png}

    def _png(self) -> bytes:
        shown = self._shown()
        rows: list[Sequence[tuple[Pixels, str]]] = []
        for first in range(0, len(shown), _ACROSS):
            some = shown[first : first + _ACROSS]
            rows.append([(self._plate(self.maps[at]), self.words[at]) for at in some])
            rows.append([(self._plate(self.cleaned[at]), f"{self.words[at]}: {percent(self.kept(at))} is left")
                         for at in some])  # fmt: skip
        return sheet_of(self.sentence, rows, width=_ACROSS * 200, plate=(180, 180), size=18, gap=20)

    def _shown(self) -> list[int]:
        """The words with a map, commas left out."""
        found = [at for at, word in enumerate(self.words) if word.isalpha() and bool(self.maps[at].any())]
        if not found:
            raise RequestError("No word of this text has a map that is above zero anywhere.")
        return found

    def _plate(self, values: Float[Tensor, "height width"]) -> Pixels:
        return map_on(self.frame, values, signed=False)

    def _rows(self) -> list[list[str]]:
        rows: list[list[str]] = []
        for at, word in enumerate(self.words):
            near = self.closest(at)
            said = "" if near is None else f"{self.words[near]} ({number(float(self.relevance[at, near]))})"
            rows.append([word, said, number(float(self.share[at])), percent(self.kept(at))])
        return rows


_TENSORS = ("maps", "cleaned", "relevance", "share")
_HEAD = ("word", "most relevant before it", "of the context's map taken off", "of its map left")
_ACROSS = 6
_CAUTION = "What a word shares with words before it is taken for theirs, also where both mean the same place."
