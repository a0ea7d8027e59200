"""Where in the picture a set of pixels lies, in the words one would use over the phone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from numpy.typing import ArrayLike
from torch import Tensor

from pellucid.errors import ShapeError
from pellucid.images import masks

_NOWHERE = "nowhere"
_SPOT = 0.03  # share of the picture below which a piece is "a small spot"
_LARGE = 0.25
_MOST, _ALL = 0.6, 0.97
_PIECE = 0.15  # share of the mask below which a piece is a crumb and not worth a word


def in_words(mask: Tensor | ArrayLike, seen: Tensor | ArrayLike | None = None) -> str:
    """The place of a mask [height width], as a noun phrase that fits after "Without": "the upper left".

    Size is in the words where it matters ("a small spot", "most of the picture"), shape where it is striking ("a band
    along the bottom"), and pieces are named apart ("the upper left and the lower right").
    seen: what the model saw of the picture; a mask that is all of it says so
    """
    array = _boolean(mask)
    visible = _visible(array, seen)
    if not array.any():
        return _NOWHERE
    if not visible.all() and share(array, visible) >= _MOST:
        return "all that the model saw" if share(array, visible) >= _ALL else "most of what the model saw"
    if array.mean() >= _ALL:
        return "the whole picture"
    return _rim(array) or _most(array) or _pieces(array)


def share(mask: Tensor | ArrayLike, seen: Tensor | ArrayLike | None = None) -> float:
    """Part of the picture (or of what the model saw of it) that the mask covers, 0 to 1."""
    array = _boolean(mask)
    visible = _visible(array, seen)
    return int((array & visible).sum()) / max(1, int(visible.sum()))


def share_in_words(mask: Tensor | ArrayLike, seen: Tensor | ArrayLike | None = None) -> str:
    """The same in per cent: "12 % of the picture", "less than 1 % of the picture"."""
    part, whole = share(mask, seen), "of the picture" if seen is None else "of what the model saw"
    if 0 < part < 0.01:
        return f"less than 1 % {whole}"
    if 0.99 < part < 1:
        return f"more than 99 % {whole}"
    return f"{part:.0%}".replace("%", " %") + f" {whole}"


@dataclass(frozen=True)
class _Extent:
    """Where a mask lies along one axis, 0 to 1: its centre of mass and the span that holds the middle 90 %."""

    centre: float
    low: float
    high: float

    @property
    def span(self) -> float:
        return self.high - self.low


def _extent(mask: Bool[np.ndarray, "height width"], axis: int) -> _Extent:
    weights = mask.sum(axis=1 - axis).astype(float)
    places = (np.arange(len(weights)) + 0.5) / len(weights)
    cumulative = np.cumsum(weights) / weights.sum()
    half = 0.5 / len(weights)
    low, high = (float(places[np.searchsorted(cumulative, part - 1e-9)]) for part in (0.05, 0.95))
    return _Extent(float((weights * places).sum() / weights.sum()), low - half, high + half)


def _rim(mask: Bool[np.ndarray, "height width"]) -> str | None:
    """All the way round with nothing in the middle."""
    height, width = mask.shape
    if min(height, width) < 6:
        return None
    middle = mask[height // 4 : height - height // 4, width // 4 : width - width // 4]
    sides = (mask[0].mean(), mask[-1].mean(), mask[:, 0].mean(), mask[:, -1].mean())
    return "the border all around" if min(sides) > 0.7 and middle.mean() < 0.1 else None


def _most(mask: Bool[np.ndarray, "height width"]) -> str | None:
    if mask.mean() < _MOST:
        return None
    rest = [piece for piece in masks.connected(~mask) if piece.sum() > 0.5 * (~mask).sum()]
    missing = _cell(_extent(rest[0], 0).centre, _extent(rest[0], 1).centre) if rest else None
    return f"most of the picture except {missing}" if missing and (~mask).mean() > 0.1 else "most of the picture"


def _pieces(mask: Bool[np.ndarray, "height width"]) -> str:
    whole = _half(mask) or _band(mask)
    if whole is not None:
        return whole
    found = masks.connected(mask)
    large = [piece for piece in found if piece.sum() >= _PIECE * mask.sum()]
    if len(large) == 1 and large[0].sum() >= 0.6 * mask.sum():
        return _band(large[0]) or _place(large[0])
    places = list(dict.fromkeys(_half(piece) or _band(piece) or _place(piece) for piece in large))
    if len(places) == 1:
        return places[0] if len(large) == 1 else _several(mask)
    return f"{places[0]} and {places[1]}" if len(places) == 2 else _several(mask)


def _several(mask: Bool[np.ndarray, "height width"]) -> str:
    rows, columns = _extent(mask, 0), _extent(mask, 1)
    if rows.span > 0.6 and columns.span > 0.6:
        return "several spots all over the picture"
    if rows.span > 0.6 or columns.span > 0.6:
        return f"several spots {_stripe(rows, columns)}"
    return f"several spots {_where(rows.centre, columns.centre)}"


def _stripe(rows: _Extent, columns: _Extent) -> str:
    return _along(rows.centre, _ROW_BANDS) if columns.span >= rows.span else _along(columns.centre, _COLUMN_BANDS)


_ROW_BANDS = (
    "along the top",
    "across the upper part",
    "across the middle",
    "across the lower part",
    "along the bottom",
)
_COLUMN_BANDS = (
    "along the left edge", "down the left part", "down the middle", "down the right part", "along the right edge",
)  # fmt: skip


def _along(centre: float, names: tuple[str, ...]) -> str:
    return names[int(np.searchsorted((0.2, 0.4, 0.6, 0.8), centre))]


def _half(mask: Bool[np.ndarray, "height width"]) -> str | None:
    height, width = mask.shape
    halves = {
        "the upper half": (slice(0, height // 2), slice(None)),
        "the lower half": (slice(height - height // 2, None), slice(None)),
        "the left half": (slice(None), slice(0, width // 2)),
        "the right half": (slice(None), slice(width - width // 2, None)),
    }
    for words, window in halves.items():
        inside = int(mask[window].sum())
        if inside > 0.85 * mask[window].size > 0 and inside > 0.85 * mask.sum():
            return words
    return None


def _band(mask: Bool[np.ndarray, "height width"]) -> str | None:
    """From side to side (or top to bottom), thin, and filled."""
    rows, columns = _extent(mask, 0), _extent(mask, 1)
    if mask.mean() < 0.6 * rows.span * columns.span:
        return None
    if columns.span > 0.75 and rows.span < 0.4:
        return f"a band {_along(rows.centre, _ROW_BANDS)}"
    if rows.span > 0.75 and columns.span < 0.4:
        return f"a band {_along(columns.centre, _COLUMN_BANDS)}"
    return None


def _place(piece: Bool[np.ndarray, "height width"]) -> str:
    rows, columns = _extent(piece, 0), _extent(piece, 1)
    area = float(piece.mean())
    if area < _SPOT:
        return f"a small spot {_where(rows.centre, columns.centre)}"
    if area >= _LARGE:
        return f"a large area {_where(rows.centre, columns.centre)}"
    return _cell(rows.centre, columns.centre)


_CELLS = (
    ("the upper left", "the top", "the upper right"),
    ("the left side", "the centre", "the right side"),
    ("the lower left", "the bottom", "the lower right"),
)


def _cell(row: float, column: float) -> str:
    return _CELLS[_third(row)][_third(column)]


def _third(place: float) -> int:
    return int(np.searchsorted((0.35, 0.65), place))


def _where(row: float, column: float) -> str:
    """The cell with its preposition; around the middle the side of it one would point to."""
    if _third(row) == 1 and _third(column) == 1:
        return _beside_the_centre(row - 0.5, column - 0.5)
    words = _cell(row, column)
    if words.endswith("side"):
        return f"on {words}"
    return f"at {words}" if words in ("the top", "the bottom") else f"in {words}"


def _beside_the_centre(down: float, right: float) -> str:
    near = 0.06
    vertical = "" if abs(down) < near else "below" if down > 0 else "above"
    sideways = "" if abs(right) < near else "right of" if right > 0 else "left of"
    if vertical and sideways:  # two words are a mouthful; the clearer direction is enough unless both are alike
        if abs(down) > 2 * abs(right):
            sideways = ""
        elif abs(right) > 2 * abs(down):
            vertical = ""
        else:
            return f"{vertical} and {sideways} the centre"
    return f"{vertical or sideways} the centre" if vertical or sideways else "in the centre"


def _boolean(mask: Tensor | ArrayLike) -> Bool[np.ndarray, "height width"]:
    array = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if array.ndim != 2 or not array.size:
        raise ShapeError("The mask", got=array.shape, expected="[height width]")
    return array.astype(bool)


def _visible(
    mask: Bool[np.ndarray, "height width"], seen: Tensor | ArrayLike | None
) -> Bool[np.ndarray, "height width"]:
    if seen is None:
        return np.ones_like(mask)
    visible = _boolean(seen)
    if visible.shape != mask.shape:
        raise ShapeError("What was seen", got=visible.shape, expected=f"that of the mask, {list(mask.shape)}")
    return visible
