"""In which ways pictures are like known ones: each learner's map, nearest neighbours and purity of clusters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from markupsafe import Markup
from rich.console import RenderableType
from skimage import filters
from torch.nn.functional import interpolate

from pellucid.canvas import fragments, terminal
from pellucid.canvas.raster import Pixels
from pellucid.canvas.words import number, percent
from pellucid.errors import RequestError
from pellucid.images import Frame, Geometry
from pellucid.images.masks import dice
from pellucid.results.drawing import plate_of, plate_under, sheet_of
from pellucid.results.encoding import from_plain, to_plain
from pellucid.results.result import Result


@dataclass(frozen=True, eq=False)
class Subspaces(Result):
    """What each learner of an embedding makes of pictures.

    maps:       where each learner looks, 0 to 1, on the grid of the features
    groups:     the learner that each picture was divided to
    neighbours: positions of the known pictures nearest in each subspace, nearest first; `distances` 0 to 2
    purity:     of each learner, the share of known pictures in clusters of their class, 0 to 1; NaN where none is its
    answers:    classes of the known pictures; `known` their pictures, empty where there are none
    """

    noun: ClassVar[str] = "subspaces"

    labels: tuple[str, ...]
    frames: tuple[Frame, ...]
    maps: Float[np.ndarray, "picture learner h w"]
    groups: Int64[np.ndarray, "picture"]
    neighbours: Int64[np.ndarray, "picture learner near"]
    distances: Float[np.ndarray, "picture learner near"]
    purity: tuple[float, ...]
    answers: tuple[int, ...]
    known: tuple[Frame, ...] = ()

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def learners(self) -> int:
        return self.maps.shape[1]

    def on_frame(self, picture: int = 0, learner: int | None = None) -> Float[np.ndarray, "height width"]:
        """Where a learner looks, on the original pixels; None is the one that the picture was divided to."""
        self._check_picture(picture)
        geometry = self._geometry(picture)
        grid = torch.from_numpy(self.maps[picture, self._learner(picture, learner)])
        larger = interpolate(grid[None, None].float(), geometry.size, mode="bilinear", align_corners=False)[0, 0]
        return geometry.to_frame(larger)

    def mask(self, picture: int = 0, learner: int | None = None) -> Bool[np.ndarray, "height width"]:
        """The part a learner looks at, cut at Otsu's threshold: a weak label of the object. Nothing of a flat map.

        What the model never saw is outside of it, and does not enter the threshold.
        """
        values, seen = self.on_frame(picture, learner), self._geometry(picture).seen
        if not seen.any() or np.ptp(values[seen]) == 0:
            return np.zeros_like(seen)
        return (values > filters.threshold_otsu(values[seen])) & seen

    def dice(self, truth: Bool[np.ndarray, "height width"], picture: int = 0, learner: int | None = None) -> float:
        """How well `mask` covers a true one: twice what they share over both areas, 0 to 1."""
        return dice(self.mask(picture, learner), truth)

    def votes(self, picture: int = 0, learner: int | None = None) -> dict[str, float]:
        """The share of each class among a picture's neighbours in one subspace, commonest first."""
        self._check_picture(picture)
        near = [self.answers[at] for at in self.neighbours[picture, self._learner(picture, learner)]]
        counts = sorted(((near.count(one) / len(near), self.labels[one]) for one in set(near)), key=lambda one: -one[0])
        return {name: share for share, name in counts}

    @property
    def sentence(self) -> str:
        """How many ways of being alike there are, and how well each tells classes apart."""
        pure = ", ".join(f"learner {at} {_share(share)}" for at, share in enumerate(self.purity, start=1))
        several = "one learner" if self.learners == 1 else f"{self.learners} learners"
        return f"{len(self)} pictures seen by {several}; purity of their clusters: {pure}."

    def to_dict(self) -> dict[str, Any]:
        held = {name: to_plain(getattr(self, name)) for name in ("maps", "groups", "neighbours", "distances")}
        return {"labels": list(self.labels), **held, "purity": to_plain(self.purity), "answers": list(self.answers),
                "frames": [one.to_dict() for one in self.frames],
                "known": [one.to_dict() for one in self.known]}  # fmt: skip

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Subspaces:
        """The reading that `to_dict` wrote."""
        frames, known = (tuple(Frame.from_dict(one) for one in record[name]) for name in ("frames", "known"))
        held = {name: from_plain(record[name]) for name in ("maps", "groups", "neighbours", "distances")}
        return cls(tuple(record["labels"]), frames, purity=tuple(from_plain(record["purity"])),
                   answers=tuple(record["answers"]), known=known, **held)  # fmt: skip

    def fragment(self) -> Markup:
        tiles = [fragments.tile(pixels, said, said, side=200) for row in self._rows() for pixels, said in row]
        table = fragments.table("Nearest in each subspace", _COLUMNS, self._told())
        return Markup("{}{}").format(fragments.gallery("In which ways alike", self.sentence, tiles, _CAUTION), table)

    def __rich__(self) -> RenderableType:
        return terminal.table(self.sentence, _COLUMNS, self._told())

    def _writers(self) -> Mapping[str, Callable[[], bytes]]:
        return {**super()._writers(), ".png": self._png}

    def _png(self) -> bytes:
        rows = self._rows()
        width = len(rows[0]) * (_EACH + _GAP) - _GAP
        return sheet_of(self.sentence, rows, width=max(width, 2 * _EACH), plate=(_EACH, _EACH), size=20, gap=_GAP)

    def _rows(self) -> list[list[tuple[Pixels, str]]]:
        """Of each picture and learner the map, and beside it the nearest known pictures, if they can be drawn."""
        return [self._row(at, learner) for at in range(min(len(self), _SHOWN)) for learner in range(self.learners)]

    def _row(self, at: int, learner: int) -> list[tuple[Pixels, str]]:
        frame, own = self.frames[at], " (its own)" if self.groups[at] == learner else ""
        under = plate_under(frame, self.on_frame(at, learner), self._geometry(at), signed=False)
        near = zip(self.neighbours[at, learner].tolist(), self.distances[at, learner].tolist(), strict=True)
        drawn = [
            (plate_of(self.known[one]), f"{self.labels[self.answers[one]]}, {number(apart)} apart")
            for one, apart in (list(near)[:_NEAR] if self.known else ())
        ]
        return [(under, f"{frame.name}: learner {learner + 1}{own}"), *drawn]

    def _told(self) -> list[list[str]]:
        return [
            [frame.name, f"{learner + 1}{' (its own)' if self.groups[at] == learner else ''}",
             ", ".join(f"{name} {percent(share)}" for name, share in self.votes(at, learner).items()),
             number(float(self.distances[at, learner, 0])), _share(self.purity[learner])]
            for at, frame in enumerate(self.frames) for learner in range(self.learners)
        ]  # fmt: skip

    def _geometry(self, picture: int) -> Geometry:
        frame = self.frames[picture]
        return frame.geometry or Geometry.identity(frame.height, frame.width)

    def _check_picture(self, picture: int) -> None:
        if not 0 <= picture < len(self):
            raise RequestError(f"picture={picture}; there are {len(self)}, counted from 0.")

    def _learner(self, picture: int, learner: int | None) -> int:
        chosen = int(self.groups[picture]) if learner is None else learner
        if not 0 <= chosen < self.learners:
            raise RequestError(f"learner={learner}; there are {self.learners}, counted from 0.")
        return chosen


def _share(value: float) -> str:
    return "unknown" if value != value else percent(value)


_SHOWN, _NEAR, _EACH, _GAP = 4, 5, 240, 20
_COLUMNS = ("picture", "learner", "classes of its neighbours", "nearest", "purity of the learner")
_CAUTION = "A learner answers for its own group of pictures; in others it may tell nothing apart."
