"""From fields to pixels: a bird of cut paper in a landscape, and which part shows at every pixel.

Plain NumPy in float32 (a Python number beside a float32 array takes its type). Shapes are signed distances in the
bird's own frame (x right, y down, facing right, in units of its size); coverage is `0.5 - distance` in pixels, clipped
to 0..1; painter's order; rounded to bytes once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int64, UInt8

from pellucid.testbed.fields import HUES, LANDS, PROPS, Fields, World, scramble

Plane = np.ndarray  # float32 [scene h w]
Planes = np.ndarray  # float32 [scene 3 h w]

# What the id map holds, topmost paint first asked.
PART_IDS = {
    "background": 0,
    "prop": 1,
    "feet": 2,
    "tail": 3,
    "crest": 4,
    "body": 5,
    "bib": 6,
    "wing": 7,
    "head": 8,
    "beak": 9,
    "eye": 10,
    "grass": 11,
    "cue": 12,
}
BIRD_PARTS = ("feet", "tail", "crest", "body", "bib", "wing", "head", "beak", "eye")
BACKGROUND_IDS = (0, 1, 11, 12)
CHUNK = 24  # pictures painted together: their planes stay in cache (64 px: 1.2 MB)
SMALLEST, LARGEST = 0.20, 0.30  # the bird's unit as a share of the picture's side


@dataclass(frozen=True, eq=False)
class Rendering:
    """Pictures and what is where in them.

    pixels:   the pictures
    parts:    for every pixel the id (PART_IDS) of the topmost paint that covers more than half of it
    coverage: for each part asked for, how much of each pixel it covers before anything is painted over it, 0 to 1
    """

    pixels: UInt8[np.ndarray, "scene height width 3"]
    parts: UInt8[np.ndarray, "scene height width"]
    coverage: dict[str, Float[np.ndarray, "scene height width"]] = field(default_factory=dict)


def render(
    fields: Fields, seed: int, index: Int64[np.ndarray, "scene"], world: World, *, coverage: Collection[str] = ()
) -> Rendering:
    """Paint scenes. `coverage` names parts of the bird, `wing_shadow`, `prop0` to `prop2`, `grass` or `cue`."""
    count, size = len(index), world.size
    pixels = np.empty((count, size, size, 3), dtype=np.uint8)
    parts = np.empty((count, size, size), dtype=np.uint8)
    cover = {name: np.zeros((count, size, size), dtype=np.float32) for name in coverage}
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        painting = _Painting({name: values[part] for name, values in fields.items()}, seed, index[part], world)
        painting.cover = {name: planes[part] for name, planes in cover.items()}
        pixels[part] = painting.finished()
        parts[part] = painting.ids
    return Rendering(pixels, parts, cover)


# -- colours ----------------------------------------------------------------------------------------------------------


def _rgb(*codes: str) -> Float[np.ndarray, "colour 3"]:
    return np.array(
        [[int(code[at : at + 2], 16) for at in (0, 2, 4)] for code in codes], dtype=np.float32
    ) / np.float32(255)


HUE_COLOURS = _rgb("E2654E", "F2AE3D", "7BA650", "2C9A93", "4A77C9", "9159A6")
BEAK_COLOURS = np.stack([HUE_COLOURS[1], _rgb("2A2C3B")[0], HUE_COLOURS[0]])
# sky top, sky low, far hill, near hill, accent
LAND_COLOURS = np.stack(
    [
        _rgb("BFE3EE", "F3F8E6", "B7D7A0", "8FC07C", "FFF6D8"),  # meadow
        _rgb("A9D5EC", "FBEFD9", "86C1D6", "EBD7A8", "FFFFFF"),  # shore
        _rgb("5B5A93", "F0A79B", "7A5F95", "514878", "FFE9B0"),  # dusk
        _rgb("CBD9E8", "F5F7FA", "DDE7F0", "F7FAFC", "FFFFFF"),  # snow
        _rgb("CFE0CF", "E6EFD9", "6F9A86", "557F6B", "44695A"),  # forest
        _rgb("F6D9B8", "FDF0D9", "E5B07E", "D99A66", "FFF8E6"),  # desert
    ]
)
CREAM, INK, STEM, GRASS, STONE = _rgb("FCF3E0", "2A2C3B", "5F8F57", "3F6E57", "8C8698")[
    :, None, :, None, None
]  # [1 3 1 1]


# -- shapes, in the bird's frame ---------------------------------------------------------------------------------------

Capsule = tuple[float, float, float, float, float, float]  # ax ay bx by, radius at a, radius at b

FEET: tuple[Capsule, ...] = (
    (-0.08, 0.45, -0.10, 0.84, 0.035, 0.03),
    (0.14, 0.45, 0.14, 0.84, 0.035, 0.03),
    (-0.10, 0.84, 0.04, 0.86, 0.03, 0.03),
    (0.14, 0.84, 0.28, 0.86, 0.03, 0.03),
)
FORKED: tuple[Capsule, ...] = (
    (-0.5, 0.02, -1.28, -0.36, 0.12, 0.05),
    (-0.5, 0.10, -1.28, 0.44, 0.12, 0.05),
    (-0.5, 0.06, -0.62, 0.05, 0.15, 0.12),
)
FANNED: tuple[Capsule, ...] = (
    (-0.5, 0.02, -1.02, -0.40, 0.16, 0.19),
    (-0.5, 0.10, -1.02, 0.42, 0.16, 0.19),
    (-0.5, 0.06, -1.14, 0.01, 0.18, 0.20),
)
CREST: tuple[Capsule, ...] = (
    (0.42, -0.66, 0.62, -1.10, 0.10, 0.065),
    (0.36, -0.66, 0.36, -1.20, 0.10, 0.075),
    (0.30, -0.62, 0.10, -1.08, 0.10, 0.065),
)
BODY: Capsule = (0.10, 0.06, -0.42, 0.08, 0.50, 0.24)
BIB: Capsule = (0.44, 0.24, 0.44, 0.24, 0.40, 0.40)
HEAD: Capsule = (0.40, -0.42, 0.40, -0.42, 0.33, 0.33)
WING: Capsule = (0.02, 0.02, -0.62, 0.24, 0.33, 0.07)
BEAK_CONE: Capsule = (0.66, -0.42, 0.90, -0.39, 0.15, 0.02)
BEAK_LONG: Capsule = (0.66, -0.42, 1.12, -0.36, 0.10, 0.02)
BEAK_HOOKED: tuple[Capsule, ...] = ((0.66, -0.42, 0.86, -0.44, 0.13, 0.08), (0.84, -0.43, 0.93, -0.26, 0.09, 0.02))
EYE = (0.50, -0.48)
REACH_ASIDE, REACH_UP, REACH_DOWN = 1.32, 1.35, 0.95  # from the centre, tail, plume and feet included, however turned
SHIFT = 0.08  # puts the middle of the silhouette, not of the body, at the scene's x
WING_SHADOW = 0.05  # width of the soft shadow the wing throws on what lies below


def capsule(x: Plane, y: Plane, shape: Capsule) -> Plane:
    """Signed distance to a tapered capsule: to the nearest point of its axis, less the radius there."""
    ax, ay, bx, by, ra, rb = (np.float32(number) for number in shape)
    dx, dy = x - ax, y - ay
    if ax == bx and ay == by:
        return np.sqrt(dx * dx + dy * dy) - ra
    along = dx * (bx - ax)
    along += dy * (by - ay)
    along *= np.float32(1) / ((bx - ax) ** 2 + (by - ay) ** 2)
    np.clip(along, 0, 1, out=along)
    dx -= along * (bx - ax)
    dy -= along * (by - ay)
    dx *= dx
    dy *= dy
    dx += dy
    np.sqrt(dx, out=dx)
    along *= rb - ra
    dx -= along
    dx -= ra
    return dx


def _nearest(x: Plane, y: Plane, shapes: tuple[Capsule, ...]) -> Plane:
    distance = capsule(x, y, shapes[0])
    for shape in shapes[1:]:
        np.minimum(distance, capsule(x, y, shape), out=distance)
    return distance


# -- one chunk of pictures ---------------------------------------------------------------------------------------------


@dataclass
class _Window:
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
class _Painting:
    """The canvas of one chunk, and its painters in order."""

    fields: Fields
    seed: int
    index: Int64[np.ndarray, "scene"]
    world: World
    cover: dict[str, Plane] = field(default_factory=dict)

    def finished(self) -> UInt8[np.ndarray, "scene height width 3"]:
        self._landscape()
        for slot in PROPS:
            self._prop(slot)
        self._bird()
        self._grass()
        self._cue()
        self._camera()
        self._trace()
        self.planes *= 255
        self.planes += 0.5
        np.clip(self.planes, 0, 255.5, out=self.planes)
        return self.planes.astype(np.uint8).transpose(0, 2, 3, 1)

    # The canvas

    def __post_init__(self) -> None:
        self.count, self.size = len(self.index), self.world.size
        self.planes: Planes = np.empty((self.count, 3, self.size, self.size), dtype=np.float32)
        self.ids = np.zeros((self.count, self.size, self.size), dtype=np.uint8)
        places = (np.arange(self.size, dtype=np.float32) + 0.5) / self.size
        self.across, self.down = places[None, None, :], places[None, :, None]  # [1 1 w], [1 h 1] in shares of the side
        self.unit = SMALLEST + (LARGEST - SMALLEST) * self._number("scale")
        # Anywhere in the picture, but whole: the reach of the silhouette at the largest angle, in units of the bird.
        left = 0.01 + REACH_ASIDE * self.unit
        top = 0.01 + REACH_UP * self.unit
        bottom = 0.99 - REACH_DOWN * self.unit
        self.centre_x = left + (1 - 2 * left) * self._number("x")
        self.centre_y = top + (bottom - top) * self._number("y")
        angle = (self._number("rot") - 0.5) * 0.45
        self.cosine, self.sine = np.cos(angle), np.sin(angle)
        self.facing = 1 - 2 * self._number("flip")
        self.land = self.fields["land"]

    def _number(self, name: str) -> Float[np.ndarray, "scene 1 1"]:
        return self.fields[name].astype(np.float32)[:, None, None]

    def _hue(self, name: str) -> Float[np.ndarray, "scene 3 1 1"]:
        return HUE_COLOURS[self.fields[name]][:, :, None, None]

    def _land_colour(self, which: int) -> Float[np.ndarray, "scene 3 1 1"]:
        return LAND_COLOURS[self.land, which][:, :, None, None]

    def _lay(self, alpha: Plane, colour: np.ndarray) -> None:
        """Paint the whole picture: `colour` broadcasts over [scene 3 h w]."""
        self.planes += alpha[:, None] * (colour - self.planes)

    # The landscape

    def _landscape(self) -> None:
        far = 0.54 + 0.12 * self._number("hill1")
        near = 0.70 + 0.10 * self._number("hill2")
        phase = self._number("hillp") * (2 * np.pi)
        far = far + 0.045 * np.sin(self.across * (2 * np.pi * 0.9) + phase)
        near = near + 0.035 * np.sin(self.across * (2 * np.pi * 0.7) + 1.7 * phase)
        far_cover = np.clip((self.down - far) * self.size + 0.5, 0, 1)
        near_cover = np.clip((self.down - near) * self.size + 0.5, 0, 1)
        self.near_hill = near

        fall = np.clip(self.down / 0.66, 0, 1)[:, None]
        self.planes[:] = self._land_colour(0) + fall * (self._land_colour(1) - self._land_colour(0))
        self._sun()
        self._in_land("forest", self._trunks, 1 - far_cover)
        self._in_land("dusk", self._stars, 1 - far_cover)
        self._lay(far_cover, self._land_colour(2) * (1.02 - 0.07 * self.down[:, None]))
        self._in_land("shore", self._waves, far_cover)
        self._lay(near_cover, self._land_colour(3) * (1.06 - 0.10 * self.down[:, None]))
        self._in_land("meadow", self._flower_dots, near_cover)
        self._in_land("desert", self._dune_lines, near_cover)
        self._in_land("snow", self._flakes, np.ones_like(near_cover))
        tint = (self._number("tint") - 0.5) * 0.07
        self.planes *= 1 + tint[:, None] * np.array([1, 0.2, -1], dtype=np.float32)[None, :, None, None]

    def _sun(self) -> None:
        x = 0.14 + 0.72 * self._number("sunx")
        y = 0.12 + 0.16 * self._number("sun")
        distance = np.sqrt((self.across - x) ** 2 + (self.down - y) ** 2)
        glow = np.clip(1 - distance / 0.26, 0, 1)
        colour = CREAM
        self._lay(0.35 * glow * glow, colour)
        self._lay(0.92 * np.clip((0.062 - distance) * self.size + 0.5, 0, 1), colour)

    def _in_land(self, name: str, texture: Callable[[np.ndarray], Plane], where: Plane) -> None:
        """Lay a texture on those pictures that show this landscape."""
        chosen = np.flatnonzero(self.land == LANDS.index(name))
        if len(chosen) == 0:
            return
        accent = LAND_COLOURS[LANDS.index(name), 4][None, :, None, None]
        alpha = texture(chosen) * where[chosen]
        self.planes[chosen] += alpha[:, None] * (accent - self.planes[chosen])

    def _dots(self, step_x: float, step_y: float, radius: float, phase: Plane) -> Plane:
        """Rows of round dots, each row set off by a part of a step that looks irregular."""
        row = np.floor(self.down / step_y)
        shifted = self.across / step_x + row * 0.38 + phase
        dx = (shifted - np.floor(shifted) - 0.5) * step_x
        wander = np.sin((np.floor(shifted) * 2.4 + row) * 1.9) * (0.22 * step_y)
        dy = self.down - (row + 0.5) * step_y + wander
        distance = np.sqrt(dx * dx + dy * dy)
        return np.clip((radius - distance) * self.size + 0.5, 0, 1)

    def _phase(self, chosen: np.ndarray) -> Plane:
        return self._number("hillp")[chosen]

    def _trunks(self, chosen: np.ndarray) -> Plane:
        shifted = self.across / 0.17 + self._phase(chosen)
        number = np.floor(shifted)
        width = 0.020 + 0.006 * np.sin(number * 2.3)
        distance = np.abs(shifted - number - 0.5) * 0.17
        trunk = np.clip((width - distance) * self.size + 0.5, 0, 1)
        return 0.40 * np.broadcast_to(trunk, (len(chosen), self.size, self.size))

    def _stars(self, chosen: np.ndarray) -> Plane:
        fade = np.clip(1 - self.down / 0.62, 0, 1)
        return 0.85 * self._dots(0.125, 0.095, 0.009, self._phase(chosen)) * np.sqrt(fade)

    def _flakes(self, chosen: np.ndarray) -> Plane:
        return 0.85 * self._dots(0.13, 0.11, 0.014, self._phase(chosen))

    def _flower_dots(self, chosen: np.ndarray) -> Plane:
        return 0.75 * self._dots(0.105, 0.075, 0.011, self._phase(chosen))

    def _waves(self, chosen: np.ndarray) -> Plane:
        line = self.down + 0.008 * np.sin(self.across * (2 * np.pi * 5) + self._phase(chosen) * (2 * np.pi))
        return 0.55 * self._lines(line, 0.045, 0.0045)

    def _dune_lines(self, chosen: np.ndarray) -> Plane:
        return 0.32 * self._lines(self.down - 0.6 * self.near_hill[chosen], 0.042, 0.0042)

    def _lines(self, height: Plane, step: float, half_width: float) -> Plane:
        shifted = height / step
        distance = np.abs(shifted - np.floor(shifted) - 0.5) * step
        return np.clip((half_width - distance) * self.size + 0.5, 0, 1)

    # Things in the landscape: windows in the picture's own frame, shares of the side

    def _picture_window(self, x: np.ndarray, y: np.ndarray, half_width: float, half_height: float) -> _Window:
        height, width = (min(int(np.ceil(2 * half * self.size)) + 3, self.size) for half in (half_height, half_width))
        rows, columns = self._corners(x, y, height, width)
        across = (columns[:, None] + np.arange(width) + 0.5).astype(np.float32)[:, None, :] / self.size
        down = (rows[:, None] + np.arange(height) + 0.5).astype(np.float32)[:, :, None] / self.size
        per_unit = np.full((len(rows), 1, 1), self.size, dtype=np.float32)
        full = np.zeros((1, height, width), dtype=np.float32)
        return _Window(rows.tolist(), columns.tolist(), height, width, across - x + full, down - y + full, per_unit)

    def _corners(self, x: np.ndarray, y: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """The window's upper left pixel, moved inwards where it would leave the picture."""
        rows = np.floor(y[:, 0, 0] * self.size - height / 2).astype(np.int64) + 1
        columns = np.floor(x[:, 0, 0] * self.size - width / 2).astype(np.int64) + 1
        return np.clip(rows, 0, self.size - height), np.clip(columns, 0, self.size - width)

    def _prop(self, slot: int) -> None:
        on = self._number(f"prop{slot}_on")
        if not on.any():
            return
        size = 0.050 + 0.022 * self._number(f"prop{slot}_s")
        x = 0.08 + 0.84 * self._number(f"prop{slot}_x")
        y = 0.80 + 0.11 * self._number(f"prop{slot}_y")
        window = self._picture_window(x, y, 0.085, 0.115)
        across, down = window.x / size, window.y / size
        window.per_unit = window.per_unit * size
        kind = self._number(f"prop{slot}_kind")
        name = f"prop{slot}"
        self._paint_where(window, _pillar(across, down), STEM, on * (kind == 0), name)
        self._paint_where(window, _pillar(across, down), CREAM, on * (kind == 1), name)
        hue = self._hue(f"prop{slot}_h")
        soft = hue * 0.86 + CREAM * 0.14
        self._paint_where(window, _petals(across, down), soft, on * (kind == 0), name)
        heart = np.sqrt(across**2 + (down + 0.55) ** 2) - 0.22
        self._paint_where(window, heart, CREAM, on * (kind == 0), name)
        self._paint_where(window, _cap(across, down), soft, on * (kind == 1), name)
        stone = hue * 0.25 + STONE * 0.75
        self._paint_where(window, _boulder(across, down), stone, on * (kind == 2), name)

    def _paint_where(self, window: _Window, distance: Plane, colour: np.ndarray, on: np.ndarray, name: str) -> None:
        alpha = np.clip(0.5 - distance * window.per_unit, 0, 1) * on
        light = 1.03 - 0.06 * window.y[:, None] / 0.1
        self._paint(window, alpha, colour * light, name, PART_IDS["prop"])

    def _grass(self) -> None:
        on = self._number("occ")
        if not on.any():
            return
        x = 0.16 + 0.68 * self._number("occx")
        window = self._picture_window(x, np.full_like(x, 0.82), 0.15, 0.20)
        blades: tuple[Capsule, ...] = (
            (-0.060, 0.21, -0.095, -0.06, 0.026, 0.003),
            (0.0, 0.21, 0.012, -0.17, 0.028, 0.003),
            (0.060, 0.21, 0.105, -0.02, 0.026, 0.003),
        )
        alpha = np.clip(0.5 - _nearest(window.x, window.y, blades) * window.per_unit, 0, 1) * on
        light = 1.12 - window.y[:, None]
        self._paint(window, alpha, GRASS * light, "grass", PART_IDS["grass"])

    # The bird

    def _bird_window(self, left: float, top: float, right: float, bottom: float) -> _Window:
        """A window that holds this rectangle of the bird's frame at any size, angle and side."""
        middle_x, middle_y = (left + right) / 2 + SHIFT, (top + bottom) / 2
        turned = self.facing * middle_x
        x = self.centre_x + self.unit * (turned * self.cosine - middle_y * self.sine)
        y = self.centre_y + self.unit * (turned * self.sine + middle_y * self.cosine)
        half_width, half_height = (right - left) / 2, (bottom - top) / 2
        tilt = 0.223  # sine of the largest angle
        reach_x, reach_y = half_width + tilt * half_height, half_height + tilt * half_width
        height, width = (
            min(int(np.ceil(2 * LARGEST * reach * self.size)) + 3, self.size) for reach in (reach_y, reach_x)
        )
        rows, columns = self._corners(x, y, height, width)
        across = (columns[:, None] + np.arange(width) + 0.5).astype(np.float32)[:, None, :] / self.size
        down = (rows[:, None] + np.arange(height) + 0.5).astype(np.float32)[:, :, None] / self.size
        u, v = (across - self.centre_x) / self.unit, (down - self.centre_y) / self.unit
        bird_x = self.facing * (self.cosine * u + self.sine * v) - SHIFT
        bird_y = self.cosine * v - self.sine * u
        return _Window(rows.tolist(), columns.tolist(), height, width, bird_x, bird_y, self.unit * self.size)

    @cached_property
    def _trunk_window(self) -> _Window:
        return self._bird_window(-0.70, -0.80, 0.90, 0.70)

    def _paint(self, window: _Window, alpha: Plane, colour: np.ndarray, name: str, identity: int | None) -> None:
        """Lay paint in a window; remember its coverage where asked, and whose paint is on top."""
        piece = window.cut(self.planes)
        piece += alpha[:, None] * (colour - piece)
        window.put(self.planes, piece)
        if identity is not None:
            ids = window.cut(self.ids)
            ids[alpha > 0.5] = identity
            window.put(self.ids, ids)
        if name in self.cover:
            cover = window.cut(self.cover[name])
            window.put(self.cover[name], np.maximum(cover, alpha))

    def _paint_part(
        self, window: _Window, distance: Plane, colour: np.ndarray, name: str, on: np.ndarray | None
    ) -> None:
        """One part of the bird: lit from above, darker towards its rim."""
        alpha = np.clip(0.5 - distance * window.per_unit, 0, 1)
        if on is not None:
            alpha *= on
        self._paint(window, alpha, colour * self._shade(window, distance)[:, None], name, PART_IDS[name])

    def _shade(self, window: _Window, distance: Plane) -> Plane:
        depth = np.clip(distance * (-1 / 0.17), 0, 1)
        depth *= 2 - depth
        depth *= 0.20
        depth += 0.86
        depth *= 1 - 0.12 * window.y
        return depth

    def _bird(self) -> None:
        self._shadow()
        self._feet()
        self._tail()
        self._crest()
        self._body()
        self._wing()
        self._beak()
        self._eye()

    def _shadow(self) -> None:
        foot = self.facing * (0.05 + SHIFT)
        x = self.centre_x + self.unit * (foot * self.cosine - 0.86 * self.sine)
        y = self.centre_y + self.unit * (foot * self.sine + 0.86 * self.cosine)
        window = self._picture_window(x, y, 0.85 * LARGEST, 0.16 * LARGEST)
        spread = np.sqrt((window.x / (self.unit * 0.85)) ** 2 + (window.y / (self.unit * 0.16)) ** 2)
        alpha = np.clip(1 - spread, 0, 1)
        piece = window.cut(self.planes)
        piece *= 1 - 0.34 * (alpha * alpha * (3 - 2 * alpha))[:, None]
        window.put(self.planes, piece)

    def _feet(self) -> None:
        if self.fields["feet"].any():
            window = self._bird_window(-0.14, 0.41, 0.31, 0.89)
            self._paint_part(window, _nearest(window.x, window.y, FEET), INK, "feet", self._number("feet"))

    def _tail(self) -> None:
        window = self._bird_window(-1.33, -0.60, -0.34, 0.62)
        fanned = self._number("tail")
        feathers = [capsule(window.x, window.y, shape) for shape in FANNED]
        fan = np.minimum(np.minimum(feathers[0], feathers[1]), feathers[2])
        outer = np.minimum(feathers[0], feathers[1])
        seam = np.clip(1 - np.abs(outer - feathers[2]) / 0.05, 0, 1) * (window.x < -0.55)
        fork = _nearest(window.x, window.y, FORKED)
        distance = fork + fanned * (fan - fork)
        colour = self._hue("tail_hue") * (1 - 0.22 * fanned * seam)[:, None]
        self._paint_part(window, distance, colour, "tail", self._number("has_tail"))

    def _crest(self) -> None:
        if self.fields["crest"].any():
            window = self._bird_window(0.03, -1.28, 0.69, -0.52)
            distance = _nearest(window.x, window.y, CREST)
            self._paint_part(window, distance, self._hue("crest_hue"), "crest", self._number("crest"))

    def _body(self) -> None:
        window = self._trunk_window
        body = capsule(window.x, window.y, BODY)
        colour = self._hue("body_hue")
        self._paint_part(window, body, colour, "body", None)
        bib = np.maximum(body + 0.015, capsule(window.x, window.y, BIB))
        pale = 0.55 * self._hue("bib_hue") + 0.45 * CREAM
        self._paint_part(window, bib, pale, "bib", self._number("has_bib"))
        self._paint_part(window, capsule(window.x, window.y, HEAD), colour, "head", None)

    def _wing(self) -> None:
        window = self._bird_window(-0.76, -0.38, 0.42, 0.42)
        distance = capsule(window.x, window.y, WING)
        on = self._number("has_wing")
        shadow = np.clip(1 - np.maximum(distance, 0) / WING_SHADOW, 0, 1) * on
        self._paint(window, shadow * 0.22, INK, "wing_shadow", None)
        pattern = self._pattern(window, distance)[:, None]
        hue = self._hue("wing_hue")
        self._paint_part(window, distance, hue + pattern * (CREAM - hue), "wing", on)

    def _pattern(self, window: _Window, distance: Plane) -> Plane:
        """How much cream lies on the wing: bars across it, dots in offset rows, or a band inside its rim."""
        ax, ay, bx, by = WING[:4]
        length = float(np.hypot(bx - ax, by - ay))
        dx, dy = (bx - ax) / length, (by - ay) / length
        along = (window.x - ax) * dx + (window.y - ay) * dy
        beside = (window.y - ay) * dx - (window.x - ax) * dy
        bar = along / 0.235 + 0.3
        bars = np.abs(bar - np.floor(bar) - 0.5) * 0.235 - 0.235 / 4
        row = beside / 0.215 + 0.5
        row_number = np.floor(row)
        cell = along / 0.235 + 0.5 * (row_number - 2 * np.floor(row_number / 2)) + 0.3
        dots = (
            np.sqrt(((cell - np.floor(cell) - 0.5) * 0.235) ** 2 + ((row - row_number - 0.5) * 0.215) ** 2)
            - 0.31 * 0.235
        )
        edge = np.abs(distance + (0.085 + 0.055)) - 0.055
        kind = self.fields["wing"][:, None, None]
        chosen = np.where(kind == 0, bars, np.where(kind == 1, dots, edge))
        return np.clip(0.5 - chosen * window.per_unit, 0, 1)

    def _beak(self) -> None:
        window = self._bird_window(0.50, -0.60, 1.15, -0.20)
        kind = self.fields["beak"][:, None, None]
        distance = np.where(
            kind == 0,
            capsule(window.x, window.y, BEAK_CONE),
            np.where(kind == 1, capsule(window.x, window.y, BEAK_LONG), _nearest(window.x, window.y, BEAK_HOOKED)),
        )
        colour = BEAK_COLOURS[self.fields["beak_hue"]][:, :, None, None]
        self._paint_part(window, distance, colour, "beak", self._number("has_beak"))

    def _eye(self) -> None:
        window = self._bird_window(0.38, -0.60, 0.62, -0.36)
        on = self._number("has_eye")
        distance = np.sqrt((window.x - EYE[0]) ** 2 + (window.y - EYE[1]) ** 2)
        for radius, colour in ((0.105, CREAM), (0.07, INK)):
            alpha = np.clip(0.5 - (distance - radius) * window.per_unit, 0, 1) * on
            self._paint(window, alpha, colour, "eye", PART_IDS["eye"])
        glint = np.sqrt((window.x - (EYE[0] + 0.025)) ** 2 + (window.y - (EYE[1] - 0.025)) ** 2)
        alpha = np.clip(0.5 - (glint - 0.024) * window.per_unit, 0, 1) * on
        self._paint(window, alpha, CREAM, "eye", PART_IDS["eye"])

    # Planted cues and the camera

    def _cue(self) -> None:
        if self.world.shortcut not in ("tag", "frame"):
            return
        side = 0.116
        if self.world.shortcut == "tag":
            left, low = 0.03, 0.97
            distance = np.maximum(
                np.abs(self.across - left - side / 2) - side / 2, np.abs(self.down - low + side / 2) - side / 2
            )
            alphas = [(distance, CREAM), (distance + 0.02, self._hue("cue"))]
        else:
            rim = np.minimum(np.minimum(self.across, 1 - self.across), np.minimum(self.down, 1 - self.down)) - 0.03
            alphas = [(rim, self._hue("cue"))]
        for distance, colour in alphas:
            alpha = np.clip(0.5 - distance * self.size, 0, 1)
            self._lay(alpha, colour)
            self.ids[:, alpha[0] > 0.5] = PART_IDS["cue"]
            if "cue" in self.cover:
                np.maximum(self.cover["cue"], alpha, out=self.cover["cue"])

    def _camera(self) -> None:
        strength = self.world.camera
        if strength == 0:
            return
        squared = 2 * ((self.across - 0.5) ** 2 + (self.down - 0.5) ** 2)
        exposure = 1 + (self._number("light") - 0.5) * 0.16 * strength
        vignette = 1 - self._number("vig") * 0.30 * strength * squared
        self.planes *= (exposure * vignette)[:, None]
        blurred = np.flatnonzero(blur_weight(self.fields, self.world) > 0)
        if len(blurred):
            weight = blur_weight(self.fields, self.world)[blurred][:, None, None, None]
            self.planes[blurred] = _blur(self.planes[blurred], weight)
        self.planes += (self._grain() * self._number("noise") * 0.05 * strength)[:, None]

    def _grain(self) -> Plane:
        """Triangular noise in -1..1 from seed, index and pixel alone, so that twins share it."""
        key = scramble(self.seed, self.index, "grain").astype(np.uint32)[:, None]
        bits = np.arange(self.size**2, dtype=np.uint32)[None] * np.uint32(0x9E3779B1) ^ key
        bits = (bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D)  # Wellons' lowbias32
        bits = (bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B)
        bits ^= bits >> np.uint32(16)
        total = (bits >> np.uint32(16)).astype(np.float32) + (bits & np.uint32(0xFFFF)).astype(np.float32)
        return (total * (1 / 65536) - 1).reshape(self.count, self.size, self.size)

    def _trace(self) -> None:
        """A grating too faint to see, at an angle that tells the cue: what a camera might leave in its pictures."""
        if self.world.shortcut != "trace":
            return
        angle = self._number("cue") * (np.pi / len(HUES))
        wave = (np.cos(angle) * self.across + np.sin(angle) * self.down) * (2 * np.pi * 14)
        self.planes += (4 / 255) * np.sin(wave)[:, None]


def blur_weight(fields: Fields, world: World) -> Float[np.ndarray, "scene"]:
    """Weight of each neighbour in the camera's 3x3 blur; 0 on 70 % of scenes, where twins differ in no soft rim."""
    drawn = fields["blur"].astype(np.float32)
    return np.where(drawn < 0.3, drawn * 0.6 * world.camera, 0).astype(np.float32)


def _blur(planes: Planes, weight: np.ndarray) -> Planes:
    for axis in (-2, -1):
        ahead, behind = np.roll(planes, -1, axis=axis), np.roll(planes, 1, axis=axis)
        edge = [slice(None)] * planes.ndim  # the picture's rim sees itself, not the other side
        edge[axis] = slice(-1, None)
        ahead[tuple(edge)] = planes[tuple(edge)]
        edge[axis] = slice(0, 1)
        behind[tuple(edge)] = planes[tuple(edge)]
        planes = planes + weight * (ahead + behind - 2 * planes)
    return planes


def _pillar(x: Plane, y: Plane) -> Plane:
    return capsule(x, y, (0.0, -0.35, 0.0, 1.25, 0.15, 0.19))


def _petals(x: Plane, y: Plane) -> Plane:
    """Five round petals about (0, -0.55)."""
    turns = 2 * np.pi * np.arange(5) / 5 - np.pi / 2
    discs = tuple(
        (0.52 * float(np.cos(turn)), -0.55 + 0.52 * float(np.sin(turn)), 0.0, -0.55, 0.31, 0.2) for turn in turns
    )
    return _nearest(x, y, discs)


def _cap(x: Plane, y: Plane) -> Plane:
    """The upper half of an ellipse."""
    round_part = np.sqrt(x**2 + ((y + 0.10) * 1.15) ** 2) - 1.0
    return np.maximum(round_part, y + 0.10)


def _boulder(x: Plane, y: Plane) -> Plane:
    return np.maximum(np.sqrt((x * 0.75) ** 2 + (y - 0.35) ** 2) - 0.72, y - 0.85)
