"""Which support pixels a few-shot segmenter segmented a query by, class by class and shot by shot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from markupsafe import Markup
from rich.console import RenderableType
from torch import Tensor
from torch.nn.functional import conv2d

from pellucid.canvas import fragments, terminal
from pellucid.canvas.overlay import outline
from pellucid.canvas.raster import Pixels, resized
from pellucid.canvas.words import listed, number, percent
from pellucid.errors import RequestError, ShapeError
from pellucid.images import Frame, Geometry, masks
from pellucid.results.drawing import plate_of, plate_under, sheet_of
from pellucid.results.encoding import from_plain, map_from_plain, map_to_plain, to_plain
from pellucid.results.model_card import ModelCard
from pellucid.results.result import Result

KINDS = ("plain", "masked", "signed")
_KERNEL, _SIGMA = 31 / 384, 50 / 384  # of the shorter side: as published for pictures of 384 pixels


@dataclass(frozen=True, eq=False)
class SupportMaps(Result):
    """The support pixels of each class.

    values:  at least 0, 1 in sum over all shots of a class; 0 for a class of which the query holds nothing
    classes: their names, without the background
    said:    the class of each pixel of the query, 0 the background, then as in `classes`
    marked:  the class of each support pixel, alike
    query, frames: the query's picture and those of the shots
    levels:  names of the levels of features; `weights`: what each counted for, 1 in sum per class
    explained: `predicted`, `truth` or `all` query pixels
    """

    noun: ClassVar[str] = "support maps"

    values: Float[Tensor, "class shot height width"]
    classes: tuple[str, ...]
    said: UInt8[np.ndarray, "rows columns"]
    marked: UInt8[np.ndarray, "shot height width"]
    query: Frame
    frames: tuple[Frame, ...]
    levels: tuple[str, ...]
    weights: Float[Tensor, "class level"]
    explained: str = "predicted"
    model: ModelCard = field(default_factory=lambda: ModelCard("unknown"))
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        expected = (len(self.classes), len(self.frames), *self.marked.shape[1:])
        if tuple(self.values.shape) != expected:
            raise ShapeError("SupportMaps.values", got=tuple(self.values.shape), expected=f"{list(expected)}")

    def variant(
        self, of: str | None = None, kind: str = "plain", *, dilated: int = 0
    ) -> Float[Tensor, "shot height width"]:
        """One class's maps on the model input, all shots.

        of:      the class; None is the first
        kind:    `plain`; `masked`, times the softly blurred mask of the class; `signed`, what is matched outside of the
                 mask counts against
        dilated: pixels by which the mask is widened first
        """
        at = self._at(of)
        if kind not in KINDS:
            raise RequestError(f"kind={kind!r}; expected {', '.join(KINDS)}.")
        if kind == "plain":
            return self.values[at]
        wide = torch.from_numpy(np.stack([masks.dilate(one == at + 1, dilated) for one in self.marked])).float()
        return self.values[at] * (_softened(wide) if kind == "masked" else 2 * wide - 1)

    def map(self, shot: int = 0, of: str | None = None, kind: str = "plain") -> Float[np.ndarray, "height width"]:
        """One class's map of one shot, on that picture's own pixels; per input pixel, so it sums to more there."""
        return self._geometry(self.frames[shot], self.marked.shape[1:]).to_frame(self.variant(of, kind)[shot])

    def by_shot(self, of: str | None = None) -> list[float]:
        """How much of a class's map lies in each shot, 1 in sum: a ranking of the support."""
        return self.values[self._at(of)].double().sum(dim=(1, 2)).tolist()

    def inside(self, of: str | None = None) -> float:
        """How much of a class's map lies on the support pixels that are marked as that class, 0 to 1."""
        at = self._at(of)
        return float(self.values[at][torch.from_numpy(self.marked == at + 1)].double().sum())

    def area(self, of: str | None = None) -> float:
        """How much of the support is marked as a class: what `inside` would be of a map that knows nothing."""
        return float((self.marked == self._at(of) + 1).mean())

    @property
    def sentence(self) -> str:
        """What of the query is segmented, and how much of what it is matched to is marked."""
        told: list[str] = []
        for at, name in enumerate(self.classes):
            if not bool(self.values[at].any()):
                told.append(f"nothing as {name}")
                continue
            told.append(
                f"{percent(float((self.said == at + 1).mean()))} as {name}, matched to support of which "
                f"{percent(self.inside(name))} is marked ({percent(self.area(name))} of all pixels are)"
            )
        return f"Of {self.query.name}, as the model saw it, is segmented: {'; '.join(told)}."

    def to_dict(self) -> dict[str, Any]:
        return {
            "values": map_to_plain(self.values), "classes": list(self.classes), "said": to_plain(self.said),
            "marked": to_plain(self.marked), "query": self.query.to_dict(),
            "frames": [frame.to_dict() for frame in self.frames], "levels": list(self.levels),
            "weights": map_to_plain(self.weights), "explained": self.explained, "model": self.model.to_dict(),
            "notes": list(self.notes),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> SupportMaps:
        """The maps that `to_dict` wrote, values rounded to float16."""
        return cls(
            map_from_plain(record["values"]), tuple(record["classes"]), from_plain(record["said"]),
            from_plain(record["marked"]), Frame.from_dict(record["query"]),
            tuple(Frame.from_dict(frame) for frame in record["frames"]), tuple(record["levels"]),
            map_from_plain(record["weights"]), record["explained"], ModelCard.from_dict(record["model"]),
            tuple(record["notes"]),
        )  # fmt: skip

    def fragment(self) -> Markup:
        tiles = [
            fragments.tile(pixels, caption, caption)
            for kind in ("plain", "signed") for row in self._rows(kind) for pixels, caption in row
        ]  # fmt: skip
        return fragments.gallery("What the query is matched to", self.sentence, tiles, " ".join(self.notes))

    def __rich__(self) -> RenderableType:
        rows = [
            [
                name, percent(self.inside(name)), percent(self.area(name)),
                listed([percent(one) for one in self.by_shot(name)]),
                listed([f"{level} {number(float(one))}" for level, one in zip(self.levels, weights, strict=True)]),
            ]
            for name, weights in zip(self.classes, self.weights, strict=True)
        ]  # fmt: skip
        return terminal.table(self.sentence, ["class", "on marked", "marked", "by shot", "levels"], rows)

    def _writers(self) -> Mapping[str, Callable[[], bytes]]:
        return {**super()._writers(), ".png": self._png}

    # -- drawing ----------------------------------------------------------------------------------------------------

    def _png(self) -> bytes:
        rows = [*self._rows("plain"), *self._rows("signed")]
        width = min(3, 1 + len(self.frames)) * (_EACH + 28)
        return sheet_of(self.sentence, rows, width=width, plate=(_EACH, 700), size=20, gap=28)

    def _rows(self, kind: str) -> list[list[tuple[Pixels, str]]]:
        """For each class the query with what is segmented as that, and every shot with its map."""
        return [self._row(at, name, kind) for at, name in enumerate(self.classes)]

    def _row(self, at: int, name: str, kind: str) -> list[tuple[Pixels, str]]:
        query = _lit(self.query, self._geometry(self.query, self.said.shape).mask_to_frame(self.said == at + 1))
        row = [(query, f"{self.query.name}: segmented as {name}")]
        by_shot = self.by_shot(name)
        for shot, frame in enumerate(self.frames):
            geometry = self._geometry(frame, self.marked.shape[1:])
            pixels = plate_under(frame, self.map(shot, name, kind), geometry, signed=kind == "signed")
            what = f"{percent(by_shot[shot])} of what {name} is matched to"
            row.append((pixels, f"{frame.name}: {what}" + (", signed by its mask" if kind == "signed" else "")))
        return row

    # -- places -----------------------------------------------------------------------------------------------------

    def _at(self, of: str | None) -> int:
        if of is None:
            return 0
        if of not in self.classes:
            raise RequestError(f"There is no class {of!r}. Known: {', '.join(self.classes)}.")
        return self.classes.index(of)

    def _geometry(self, frame: Frame, size: tuple[int, ...]) -> Geometry:
        return frame.geometry or Geometry.identity(size[0], size[1])


_EACH = 420


def _lit(frame: Frame, mask: np.ndarray) -> Pixels:
    """The picture with all but a mask of its pixels in grey."""
    shown = plate_of(frame)
    large = resized(np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2), (shown.shape[0], shown.shape[1]))
    return outline(shown, large[..., 0] > 127)


def _softened(marked: Float[Tensor, "shot height width"]) -> Float[Tensor, "shot height width"]:
    """Blurred by a Gaussian that is cut off; near the border by the part of it that lies inside."""
    side = min(marked.shape[-2:])
    reach = max(1, round(_KERNEL * side / 2))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / (_SIGMA * side)) ** 2)
    kernel = torch.outer(weights, weights)[None, None]
    found, all_of_it = (conv2d(one[:, None], kernel, padding=reach)[:, 0] for one in (marked, torch.ones_like(marked)))
    return found / all_of_it
