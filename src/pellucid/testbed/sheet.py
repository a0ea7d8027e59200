"""The sheet a chunk of pictures is painted on: planes, id map, and how paint is laid."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from pellucid.testbed.fields import Fields
from pellucid.testbed.palette import HUE_COLOURS, LAND_COLOURS
from pellucid.testbed.shapes import Plane

Planes = np.ndarray  # float32 [scene 3 h w]


@dataclass
class Window:
    """A rectangle of the same size in every picture of the chunk, where one part is painted."""

    rows: list[int]
    columns: list[int]
    height: int
    width: int
    x: Plane  # bird's frame, or the picture's where that is asked for
    y: Plane
    per_unit: Plane  # pixels in one unit of x and y, [scene 1 1]

    def cut(self, planes: np.ndarray) -> np.ndarray:
        """Copies by slices: four times as fast as fancy indexing."""
        piece = np.empty((*planes.shape[:-2], self.height, self.width), dtype=planes.dtype)
        for at, (row, column) in enumerate(zip(self.rows, self.columns, strict=True)):
            piece[at] = planes[at, ..., row : row + self.height, column : column + self.width]
        return piece

    def put(self, planes: np.ndarray, piece: np.ndarray) -> None:
        for at, (row, column) in enumerate(zip(self.rows, self.columns, strict=True)):
            planes[at, ..., row : row + self.height, column : column + self.width] = piece[at]


@dataclass
class Sheet:
    """The canvas of one chunk.

    fields: of the chunk's scenes; flat: hard edges and no light
    planes: the colours so far, 0 to 1; ids: whose paint is on top (PART_IDS); birds: of which bird, counted from 1
    cover:  for the parts that are asked for, how much of each pixel they cover before anything is painted over them
    """

    fields: Fields
    size: int
    flat: bool
    cover: dict[str, Plane] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.count = len(self.fields["land"])
        self.planes: Planes = np.empty((self.count, 3, self.size, self.size), dtype=np.float32)
        self.ids = np.zeros((self.count, self.size, self.size), dtype=np.uint8)
        self.birds: np.ndarray | None = None
        places = (np.arange(self.size, dtype=np.float32) + 0.5) / self.size
        self.across, self.down = places[None, None, :], places[None, :, None]  # [1 1 w], [1 h 1] in shares of the side

    # Fields as numbers and colours that broadcast over planes

    def number(self, name: str) -> Float[np.ndarray, "scene 1 1"]:
        return self.fields[name].astype(np.float32)[:, None, None]

    def hue(self, name: str) -> Float[np.ndarray, "scene 3 1 1"]:
        return HUE_COLOURS[self.fields[name]][:, :, None, None]

    def land_colour(self, which: int) -> Float[np.ndarray, "scene 3 1 1"]:
        return LAND_COLOURS[self.fields["land"], which][:, :, None, None]

    # Paint

    def edge(self, inside: Plane) -> Plane:
        """How much of a pixel is covered whose centre lies `inside - 0.5` pixels within a shape's edge."""
        return (inside > 0.5).astype(np.float32) if self.flat else np.clip(inside, 0, 1)

    def lit(self, light: np.ndarray) -> np.ndarray:
        """The light that falls; none is uneven on flat paper."""
        return np.ones_like(light) if self.flat else light

    def lay(self, alpha: Plane, colour: np.ndarray) -> None:
        """Paint the whole picture: `colour` broadcasts over [scene 3 h w]."""
        self.planes += alpha[:, None] * (colour - self.planes)

    def paint(self, window: Window, alpha: Plane, colour: np.ndarray, identity: int | None) -> None:
        """Lay paint in a window, and remember whose is on top."""
        piece = window.cut(self.planes)
        piece += alpha[:, None] * (colour - piece)
        window.put(self.planes, piece)
        if identity is not None:
            ids = window.cut(self.ids)
            ids[alpha > 0.5] = identity
            window.put(self.ids, ids)

    def remember(self, name: str, window: Window, alpha: Plane) -> None:
        """Keep the coverage of a part, if it is asked for."""
        if name in self.cover:
            cover = window.cut(self.cover[name])
            window.put(self.cover[name], np.maximum(cover, alpha))

    # Windows

    def window(self, x: np.ndarray, y: np.ndarray, half_width: float, half_height: float) -> Window:
        """A window about a point, in the picture's own frame: shares of the side, from that point."""
        height, width = (min(int(np.ceil(2 * half * self.size)) + 3, self.size) for half in (half_height, half_width))
        rows, columns = self.corners(x, y, height, width)
        across, down = self.places(rows, columns, height, width)
        per_unit = np.full((len(rows), 1, 1), self.size, dtype=np.float32)
        full = np.zeros((1, height, width), dtype=np.float32)
        return Window(rows.tolist(), columns.tolist(), height, width, across - x + full, down - y + full, per_unit)

    def corners(self, x: np.ndarray, y: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """The upper left pixels of windows about points, moved inwards where a window would leave the picture."""
        rows = np.floor(y[:, 0, 0] * self.size - height / 2).astype(np.int64) + 1
        columns = np.floor(x[:, 0, 0] * self.size - width / 2).astype(np.int64) + 1
        return np.clip(rows, 0, self.size - height), np.clip(columns, 0, self.size - width)

    def places(self, rows: np.ndarray, columns: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the pixels of windows lie, in shares of the side: [scene 1 w] and [scene h 1]."""
        across = (columns[:, None] + np.arange(width) + 0.5).astype(np.float32)[:, None, :] / self.size
        down = (rows[:, None] + np.arange(height) + 0.5).astype(np.float32)[:, :, None] / self.size
        return across, down
