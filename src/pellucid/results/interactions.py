"""Sets of variables that foretell an answer together, with what each cell of a set says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from rich.console import RenderableType

from pellucid.canvas import fragments, painting, terminal
from pellucid.canvas.overlay import overlay
from pellucid.canvas.raster import Pixels
from pellucid.canvas.words import listed, number
from pellucid.errors import RequestError
from pellucid.results.encoding import from_plain, to_plain
from pellucid.results.model_card import ModelCard
from pellucid.results.result import Result


@dataclass(frozen=True)
class Interaction:
    """One set.

    names, variables: its variables, and their numbers
    score, chance:    its I-score on the samples that found it, and the mean over all orders of the answers
    held_out:         its I-score on the other samples; p, corrected: how often permuted answers reach that there
    auc:              of its feature on the other samples: 0.5 is chance, 1 is all
    cells, counts:    the mean answer and the number of samples of each cell; bit i of a cell's number is whether the
                      i-th variable lies above its cut
    """

    names: tuple[str, ...]
    variables: tuple[int, ...]
    score: float
    chance: float
    held_out: float
    p: float
    corrected: float
    auc: float
    cells: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Interactions(Result):
    """The best sets of all, highest I-score first.

    label:   the answer that is foretold; names: of all variables
    alone:   the best single variable and its I-score, on the samples that found the sets
    auc:     of all sets' features together in a linear rule, on the others
    samples: how many found the sets, and how many judged them; share: of all, with the answer
    windows, features: of a map over windows, each window's I-score and the AUC of its feature on the other samples
    """

    noun: ClassVar[str] = "interactions"

    label: str
    names: tuple[str, ...]
    sets: tuple[Interaction, ...]
    alone: tuple[str, float]
    auc: float
    samples: tuple[int, int]
    share: float
    model: ModelCard = field(default_factory=lambda: ModelCard("unknown"))
    windows: Float[np.ndarray, "rows columns"] | None = None
    features: Float[np.ndarray, "rows columns"] | None = None

    @property
    def sentence(self) -> str:
        """The best set, and whether one of its variables would do."""
        best = self.sets[0]
        sure = f"p {number(best.corrected)} on {self.samples[1]} other samples, AUC {number(best.auc)}"
        if best.corrected > _SURE:
            return (
                f"Nothing was found to foretell {self.label}: the best set, {listed(best.names)}, does not stand up "
                f"(I-score {number(best.score)}; {sure})."
            )
        if len(best.names) == 1:
            return f"What foretells {self.label} best is {best.names[0]} alone: I-score {number(best.score)} ({sure})."
        name, score = self.alone
        return (
            f"What foretells {self.label} best are {listed(best.names)} together: I-score {number(best.score)} "
            f"({sure}); the best single one, {name}, has {number(score)}."
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "label": self.label, "names": list(self.names), "sets": to_plain([asdict(one) for one in self.sets]),
            "alone": list(self.alone), "auc": to_plain(self.auc), "samples": list(self.samples), "share": self.share,
            "model": self.model.to_dict(), "windows": to_plain(self.windows), "features": to_plain(self.features),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Interactions:
        """The sets that `to_dict` wrote."""
        lists = ("names", "variables", "cells", "counts")
        rows: list[dict[str, Any]] = [
            from_plain(one) | {name: tuple(one[name]) for name in lists} for one in record["sets"]
        ]
        sets = tuple(Interaction(**row) for row in rows)
        name, score = record["alone"]
        found, held = record["samples"]
        return cls(
            record["label"], tuple(record["names"]), sets, (name, score), from_plain(record["auc"]), (found, held),
            record["share"], ModelCard.from_dict(record["model"]), from_plain(record["windows"]),
            from_plain(record["features"]),
        )  # fmt: skip

    def fragment(self) -> Markup:
        table = fragments.table("Sets", _HEAD, self._rows())
        cells = fragments.table("What the best set says", _CELL_HEAD, self._cells(self.sets[0]))
        tiles = [fragments.tile(pixels, said, said, side=320) for pixels, said in self._plates()]
        return Markup("{}{}{}").format(
            fragments.gallery("What foretells it together", self.sentence, tiles, _CAUTION), table, cells
        )

    def __rich__(self) -> RenderableType:
        return terminal.table(self.sentence, list(_HEAD), self._rows())

    def _writers(self) -> Mapping[str, Callable[[], bytes]]:
        return {**super()._writers(), ".png": self._png, ".txt": self._text}

    def _rows(self) -> list[list[str]]:
        return [
            [listed(one.names), number(one.score), number(one.chance), number(one.held_out), number(one.corrected),
             number(one.auc)] for one in self.sets
        ]  # fmt: skip

    def _cells(self, one: Interaction) -> list[list[str]]:
        """The cells with samples, the highest mean first."""
        order = sorted((at for at, count in enumerate(one.counts) if count), key=lambda at: -one.cells[at])
        return [
            [listed([f"{name} {'high' if at >> bit & 1 else 'low'}" for bit, name in enumerate(one.names)]),
             number(one.cells[at]), str(one.counts[at])] for at in order[:_MOST_CELLS]
        ]  # fmt: skip

    def _plates(self) -> list[tuple[Pixels, str]]:
        maps = [(self.windows, "I-score of every window"), (self.features, "AUC above 0.5 of every window's feature")]
        plates: list[tuple[Pixels, str]] = []
        for values, said in maps:
            if values is not None:
                shown = values - 0.5 if values is self.features else values
                grey = np.full((*values.shape, 3), 235, dtype=np.uint8)
                plates.append((overlay(grey, np.nan_to_num(shown).clip(min=0), signed=False).pixels,
                               f"{said}; at most {number(float(np.nanmax(values)))}"))  # fmt: skip
        return plates

    def _png(self) -> bytes:
        plates = self._plates()
        if not plates:
            raise RequestError("These sets have no map of windows to draw; save them as .html, .txt or .json.")
        row = painting.row([
            painting.column([painting.plate(pixels, _EACH), painting.text(said, 20, _EACH, painting.MUTED)], 12)
            for pixels, said in plates
        ], 40)  # fmt: skip
        words = [painting.text(self.sentence, 26, 2 * _EACH), row, painting.text(_CAUTION, 20, 2 * _EACH)]
        return painting.png(painting.framed(painting.column(words, 28), 48))

    def _text(self) -> bytes:
        rows = [" | ".join(row) for row in [list(_HEAD), *self._rows()]]
        cells = [" | ".join(row) for row in [list(_CELL_HEAD), *self._cells(self.sets[0])]]
        return "\n".join([self.sentence, "", *rows, "", *cells, "", _CAUTION, ""]).encode()


_SURE = 0.05
_HEAD = ("together", "I-score", "by chance", "on other samples", "p, corrected", "AUC")
_CELL_HEAD = ("where", "share with the answer", "samples")
_MOST_CELLS, _EACH = 16, 480
_CAUTION = "What foretells an answer need not cause it: a set may go along with what decides."
