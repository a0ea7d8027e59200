"""Where in the picture a set of pixels lies, in the words one would use over the phone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from numpy.typing import ArrayLike
from scipy import ndimage
from torch import Tensor

from pellucid.errors import ShapeError
from pellucid.images import masks

_NOWHERE, _SMALL = "nowhere", "a small spot "
_SPOT = 0.03  # share of the picture below which a piece is "a small spot"
_LARGE = 0.25
_MOST, _ALL = 0.6, 0.97
_PIECE = 0.15  # share of the mask below which a place is a crumb and not worth a word
_BOTH = 0.7  # share of the mask that two places must hold to stand for it
_NEAR = 0.05  # gap, in shares of the shorter side, across which the eye sees one thing
_THIN = 0.02  # thickness, in the same, of lines that are no part of a place
_EDGE = 0.25  # how near an edge, in shares of the picture, is "at the top" or "on the left side"
_BODY = 0.7  # share of the mask that must be thicker than that, or it is made of lines


def in_words(mask: Tensor | ArrayLike, seen: Tensor | ArrayLike | None = None) -> str:
    """The place of a mask [height width], as a noun phrase that fits after "Without": "the upper left".

    Size is in the words where it matters ("a small spot", "most of the picture"), shape where it is striking ("a band
    along the bottom"). What lies together is one place; at most two are named, the larger first ("the upper left and
    the lower right"), and crumbs and thin lines are not.
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
    body = _body(mask)
    places = [place for place in _together(body) if place.sum() >= _PIECE * body.sum()][:2]
    if sum(int(place.sum()) for place in places) < _BOTH * body.sum() and len(places) != 1:
        return _several(body)
    words = [_half(place) or _band(place) or _place(place) for place in places]
    if len(places) == 1:
        return words[0]
    alike, apart = all(one.startswith(_SMALL) for one in words), _cell_of(places[0]) != _cell_of(places[1])
    if alike and not apart:
        return f"two small spots {_where(*_centre(body))}"
    if not apart:
        return words[0]  # the second would be named after the same spot
    return f"small spots {' and '.join(one.removeprefix(_SMALL) for one in words)}" if alike else " and ".join(words)


def _body(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """The mask without lines that cross it or hang on it; all of it where it is made of lines."""
    thick = _grown(~_grown(~mask, _THIN / 2), _THIN / 2) & mask
    return thick if thick.sum() >= _BODY * mask.sum() else mask


def _together(mask: Bool[np.ndarray, "height width"]) -> list[Bool[np.ndarray, "height width"]]:
    """The places of a mask, largest first: pieces with next to no gap between them are one."""
    places = [piece & mask for piece in masks.connected(_grown(mask, _NEAR / 2))]
    return sorted(places, key=lambda place: -int(place.sum()))


def _grown(mask: Bool[np.ndarray, "height width"], share: float) -> Bool[np.ndarray, "height width"]:
    """The mask and what lies no further from it than a share of the picture's shorter side."""
    if not mask.any():
        return mask
    distance = ndimage.distance_transform_edt(~mask)
    return np.asarray(distance) <= share * min(mask.shape)


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


def _centre(piece: Bool[np.ndarray, "height width"]) -> tuple[float, float]:
    return _extent(piece, 0).centre, _extent(piece, 1).centre


def _cell_of(piece: Bool[np.ndarray, "height width"]) -> str:
    return _cell(*_centre(piece))


def _place(piece: Bool[np.ndarray, "height width"]) -> str:
    rows, columns = _extent(piece, 0), _extent(piece, 1)
    area = float(piece.mean())
    if area < _SPOT:
        return f"{_SMALL}{_where(rows.centre, columns.centre)}"
    if area >= _LARGE:
        return f"a large area {_where(rows.centre, columns.centre)}"
    return _cell(rows.centre, columns.centre)


_CELLS = (
    ("the upper left", "the top", "the upper right"),
    ("the left side", "the centre", "the right side"),
    ("the lower left", "the bottom", "the lower right"),
)


def _cell(row: float, column: float) -> str:
    if _third(column) == 1 and _third(row) != 1 and _EDGE <= row <= 1 - _EDGE:
        return "the upper middle" if row < 0.5 else "the lower middle"  # further in than where one looks for the top
    return _CELLS[_third(row)][_third(column)]


def _third(place: float) -> int:
    return int(np.searchsorted((0.35, 0.65), place))


def _where(row: float, column: float) -> str:
    """The cell with its preposition; around the middle the side of it one would point to."""
    if _third(row) == 1 and _EDGE <= column <= 1 - _EDGE:
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
