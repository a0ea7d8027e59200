"""Why two pictures are alike to a model: which places of one answer which places of the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from markupsafe import Markup
from rich.console import RenderableType
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.canvas import fragments, terminal
from pellucid.canvas.raster import Pixels
from pellucid.canvas.words import number, percent
from pellucid.errors import RequestError
from pellucid.images import Frame, Geometry
from pellucid.results.drawing import plate_of, plate_under, sheet_of
from pellucid.results.encoding import map_from_plain, map_to_plain
from pellucid.results.model_card import ModelCard
from pellucid.results.result import Result

Point = tuple[int, int]


@dataclass(frozen=True)
class Match:
    """Where a point of one picture is answered in the other; points are row and column in pixels of the pictures.

    of:    in which picture was asked, 0 or 1
    found: the middle of the cell that answers most; None where no place of the other picture adds to the likeness
    share: how much of all that answers lies in that cell, 0 to 1
    """

    of: int
    asked: Point
    found: Point | None
    share: float


@dataclass(frozen=True, eq=False)
class Pair(Result):
    """The likeness of two pictures, shared out among pairs of places.

    values:   what each place of the first and each of the second add to it together, with sign
    sizes:    rows and columns of the two model inputs
    constant: what comes from biases, alone or with places; `gap`: from what bends between the layer and the embedding
    asked:    points to be drawn: picture (0 or 1), row, column in its pixels
    """

    noun: ClassVar[str] = "pair"

    values: Float[Tensor, "h1 w1 h2 w2"]
    frames: tuple[Frame, Frame]
    sizes: tuple[tuple[int, int], tuple[int, int]]
    constant: float
    gap: float
    layer: str
    embedding: str | None = None
    normalised: bool = True
    asked: tuple[tuple[int, int, int], ...] = ()
    model: ModelCard = field(default_factory=lambda: ModelCard("unknown"))
    notes: tuple[str, ...] = ()

    @property
    def likeness(self) -> float:
        """The model's own likeness of the two: places, constant and gap together."""
        return float(self.values.double().sum()) + self.constant + self.gap

    def overall(self, of: int = 0) -> Float[np.ndarray, "height width"]:
        """What each pixel of one of the pictures adds, over all places of the other; on its original pixels."""
        return self._laid(self.values.sum(dim=(0, 1) if _side(of) else (2, 3)), of)

    def answers(self, row: int, column: int, of: int = 0) -> Float[Tensor, "h w"]:
        """What each place of the other picture adds together with one point of this one, rectified; on its grid.

        Between the middles of four cells the point has the bilinear mean of theirs, beyond the outermost theirs.
        Raises RequestError for a point that the model never saw.
        """
        pairs = self.values.permute(2, 3, 0, 1) if _side(of) else self.values
        weights = [
            _taps(place / side * cells - 0.5, cells)
            for place, side, cells in zip(self._in_input((row, column), of), self.sizes[of], pairs.shape, strict=False)
        ]
        return torch.einsum("i,j,ijxy->xy", *weights, pairs).clamp(min=0)

    def point_map(self, row: int, column: int, of: int = 0) -> Float[np.ndarray, "height width"]:
        """`answers`, laid on the original pixels of the other picture."""
        return self._laid(self.answers(row, column, of), 1 - of)

    def match(self, row: int, column: int, of: int = 0) -> Match:
        """Where a point of one picture is answered most in the other."""
        answers = self.answers(row, column, of)
        total = float(answers.sum())
        if total <= 0:
            return Match(of, (row, column), None, 0.0)
        best = int(answers.argmax())
        rows, columns = answers.shape
        middle = (best // columns + 0.5) / rows, (best % columns + 0.5) / columns
        return Match(of, (row, column), self._in_frame(middle, 1 - of), float(answers.max()) / total)

    def asking(self, row: int, column: int, of: int = 0) -> Pair:
        """The same pair with one more point to be drawn. Raises RequestError for one that the model never saw."""
        self._in_input((row, column), of)
        return replace(self, asked=(*self.asked, (of, row, column)))

    def reweighted(self, weights: Float[Tensor, "h1 w1"]) -> float:
        """The likeness if each place of the first picture counted as much as asked, for search by a part of it.

        weights: 1 leaves a place as it is, 0 leaves it out; constant and gap stay
        """
        if weights.shape != self.values.shape[:2]:
            grid = tuple(self.values.shape[:2])
            raise RequestError(f"weights has shape {tuple(weights.shape)}; expected one per place, {grid}.")
        return float((self.values.sum(dim=(2, 3)) * weights).double().sum()) + self.constant + self.gap

    @property
    def sentence(self) -> str:
        """How alike they are, and how much of that the maps tell."""
        kind = "cosine" if self.normalised else "product"
        names = f"{self.frames[0].name} and {self.frames[1].name}"
        shares = [float(self.values.double().sum()), self.constant, self.gap]
        least = 1e-5 * max(map(abs, shares))  # what is below it is rounding
        told = ", ".join(
            f"{number(value if abs(value) > least else 0)} from {what}"
            for value, what in zip(shares, ("pairs of places", "constants", "what bends after the layer"), strict=True)
        )
        return f"{names} have a likeness ({kind}) of {number(self.likeness)}: {told}."

    def to_dict(self) -> dict[str, Any]:
        return {
            "values": map_to_plain(self.values), "frames": [frame.to_dict() for frame in self.frames],
            "sizes": [list(size) for size in self.sizes], "constant": self.constant, "gap": self.gap,
            "layer": self.layer, "embedding": self.embedding, "normalised": self.normalised,
            "asked": [list(point) for point in self.asked], "model": self.model.to_dict(), "notes": list(self.notes),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Pair:
        """The pair that `to_dict` wrote, its values rounded to float16."""
        one, other = (Frame.from_dict(frame) for frame in record["frames"])
        first, second = (tuple(size) for size in record["sizes"])
        return cls(
            map_from_plain(record["values"]), (one, other), (first, second), record["constant"], record["gap"],
            record["layer"], record["embedding"], record["normalised"], tuple(tuple(at) for at in record["asked"]),
            ModelCard.from_dict(record["model"]), tuple(record["notes"]),
        )  # fmt: skip

    def fragment(self) -> Markup:
        tiles = [
            fragments.tile(pixels, caption, caption) for row in self._rows() for pixels, caption in row
        ]  # fmt: skip
        return fragments.gallery("Point to point", self.sentence, tiles, " ".join(self.notes))

    def __rich__(self) -> RenderableType:
        rows = [[f"{self.frames[at.of].name} {at.asked}", str(at.found), percent(at.share)] for at in self._matches()]
        return terminal.table(self.sentence, ["point", "answered at (row, column)", "its share"], rows)

    def _writers(self) -> Mapping[str, Callable[[], bytes]]:
        return {**super()._writers(), ".png": self._png}

    # -- drawing ----------------------------------------------------------------------------------------------------

    def _png(self) -> bytes:
        return sheet_of(self.sentence, self._rows(), width=2 * _EACH + 32, plate=(_EACH, 900), size=22, gap=32)

    def _rows(self) -> list[list[tuple[Pixels, str]]]:
        """The two overall maps, then for each point the picture it lies in and where the other answers."""
        whole = [
            (self._over(self.overall(of), of, signed=True), f"{frame.name}: what adds to the likeness")
            for of, frame in enumerate(self.frames)
        ]
        return [whole, *(self._row(at) for at in self._matches())]

    def _row(self, at: Match) -> list[tuple[Pixels, str]]:
        this, other = self.frames[at.of], self.frames[1 - at.of]
        answer = self._over(self.point_map(*at.asked, at.of), 1 - at.of, signed=False)
        if at.found is None:
            said = f"{other.name}: nothing answers"
        else:
            answer = _marked(answer, at.found, (other.height, other.width))
            said = f"{other.name}: answered most at row {at.found[0]}, column {at.found[1]}"
        asked = _marked(plate_of(this), at.asked, (this.height, this.width))
        pair = [(asked, f"{this.name}: the point asked about"), (answer, said)]
        return pair[::-1] if at.of else pair

    def _matches(self) -> list[Match]:
        return [self.match(row, column, of) for of, row, column in self.asked]

    def _over(self, values: Float[np.ndarray, "rows columns"], of: int, *, signed: bool) -> Pixels:
        return plate_under(self.frames[of], values, self._geometry(of), signed=signed)

    # -- places -----------------------------------------------------------------------------------------------------

    def _geometry(self, of: int) -> Geometry:
        return self.frames[_side(of)].geometry or Geometry.identity(*self.sizes[of])

    def _laid(self, grid: Float[Tensor, "h w"], of: int) -> Float[np.ndarray, "height width"]:
        larger = interpolate(grid[None, None], self.sizes[of], mode="bilinear", align_corners=False)[0, 0]
        return self._geometry(of).to_frame(larger)

    def _in_input(self, point: Point, of: int) -> tuple[float, float]:
        row, column = point
        frame = self.frames[_side(of)]
        if not (0 <= row < frame.height and 0 <= column < frame.width):
            raise RequestError(f"{frame.name} has {frame.height} x {frame.width} pixels; there is no pixel {point}.")
        box = self._geometry(of).box_to_input((column, row, column + 1, row + 1))
        if box is None:
            raise RequestError(f"The model never saw pixel {point} of {frame.name}: it was cut away.")
        return (box[1] + box[3]) / 2, (box[0] + box[2]) / 2

    def _in_frame(self, middle: tuple[float, float], of: int) -> Point | None:
        """The pixel at a place given in shares of the model input; None on border that was added."""
        down, across = (share * side for share, side in zip(middle, self.sizes[of], strict=True))
        box = self._geometry(of).box_to_frame((across - 0.5, down - 0.5, across + 0.5, down + 0.5))
        return None if box is None else (int((box[1] + box[3]) / 2), int((box[0] + box[2]) / 2))


_EACH = 560


def _side(of: int) -> int:
    if of not in (0, 1):
        raise RequestError(f"of={of!r}; expected 0, the first picture, or 1, the second.")
    return of


def _taps(place: float, cells: int) -> Float[Tensor, "cells"]:
    """Bilinear weights of a place between the middles of cells; beyond the outermost those count alone."""
    place = min(max(place, 0.0), cells - 1.0)
    low = min(int(place), cells - 1)
    weights = torch.zeros(cells)
    weights[low] += 1 - (place - low)
    weights[min(low + 1, cells - 1)] += place - low
    return weights


def _marked(pixels: Pixels, point: Point, size: tuple[int, int]) -> Pixels:
    """A ring around a point of a picture of `size`, white on black, so that it shows on any ground."""
    height, width = pixels.shape[:2]
    down, across = (point[0] + 0.5) / size[0] * height, (point[1] + 0.5) / size[1] * width
    distance = np.hypot(np.arange(height)[:, None] + 0.5 - down, np.arange(width)[None] + 0.5 - across)
    radius = max(6.0, max(height, width) / 36)
    ring = np.abs(distance - radius)
    drawn = np.where((ring < radius / 3)[..., None], 0, pixels)
    return np.where((ring < radius / 6)[..., None], 255, drawn).astype(np.uint8)
