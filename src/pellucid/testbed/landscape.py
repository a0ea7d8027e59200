"""What stands behind and before the birds: sky, hills, their textures, props and grass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pellucid.testbed import shapes
from pellucid.testbed.fields import LANDS
from pellucid.testbed.palette import CREAM, GRASS, LAND_COLOURS, PART_IDS, STEM, STONE
from pellucid.testbed.shapes import Capsule, Plane
from pellucid.testbed.sheet import Sheet, Window

BLADES: tuple[Capsule, ...] = (
    (-0.060, 0.21, -0.095, -0.06, 0.026, 0.003),
    (0.0, 0.21, 0.012, -0.17, 0.028, 0.003),
    (0.060, 0.21, 0.105, -0.02, 0.026, 0.003),
)


def paint_landscape(sheet: Sheet) -> None:
    """Sky, sun, two rolling hills, and one texture per landscape."""
    _Landscape(sheet).paint()


def paint_prop(sheet: Sheet, slot: int) -> None:
    """A flower, a mushroom or a stone on the near hill, where the scene has one in this place."""
    on = sheet.number(f"prop{slot}_on")
    if not on.any():
        return
    size = 0.050 + 0.022 * sheet.number(f"prop{slot}_s")
    x = 0.08 + 0.84 * sheet.number(f"prop{slot}_x")
    y = 0.80 + 0.11 * sheet.number(f"prop{slot}_y")
    window = sheet.window(x, y, 0.085, 0.115)
    across, down = window.x / size, window.y / size
    window.per_unit = window.per_unit * size
    kind = sheet.number(f"prop{slot}_kind")
    hue = sheet.hue(f"prop{slot}_h")
    soft = hue * 0.86 + CREAM * 0.14
    heart = np.sqrt(across**2 + (down + 0.55) ** 2) - 0.22
    for distance, colour, shown in (
        (shapes.pillar(across, down), STEM, kind == 0),
        (shapes.pillar(across, down), CREAM, kind == 1),
        (shapes.petals(across, down), soft, kind == 0),
        (heart, CREAM, kind == 0),
        (shapes.cap(across, down), soft, kind == 1),
        (shapes.boulder(across, down), hue * 0.25 + STONE * 0.75, kind == 2),
    ):
        _paint_where(sheet, window, distance, colour, on * shown, f"prop{slot}")


def paint_grass(sheet: Sheet) -> None:
    """Three blades before the bird, where the scene has them."""
    on = sheet.number("occ")
    if not on.any():
        return
    x = 0.16 + 0.68 * sheet.number("occx")
    window = sheet.window(x, np.full_like(x, 0.82), 0.15, 0.20)
    alpha = sheet.edge(0.5 - shapes.nearest(window.x, window.y, BLADES) * window.per_unit) * on
    light = sheet.lit(1.12 - window.y[:, None])
    sheet.paint(window, alpha, GRASS * light, PART_IDS["grass"])
    sheet.remember("grass", window, alpha)


def _paint_where(sheet: Sheet, window: Window, distance: Plane, colour: np.ndarray, on: np.ndarray, name: str) -> None:
    alpha = sheet.edge(0.5 - distance * window.per_unit) * on
    light = sheet.lit(1.03 - 0.06 * window.y[:, None] / 0.1)
    sheet.paint(window, alpha, colour * light, PART_IDS["prop"])
    sheet.remember(name, window, alpha)


class _Landscape:
    """The painter of everything behind the props."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        self.across, self.down, self.size = sheet.across, sheet.down, sheet.size
        self.land = sheet.fields["land"]

    def paint(self) -> None:
        sheet = self.sheet
        far = 0.54 + 0.12 * sheet.number("hill1")
        near = 0.70 + 0.10 * sheet.number("hill2")
        phase = sheet.number("hillp") * (2 * np.pi)
        far = far + 0.045 * np.sin(self.across * (2 * np.pi * 0.9) + phase)
        near = near + 0.035 * np.sin(self.across * (2 * np.pi * 0.7) + 1.7 * phase)
        far_cover = sheet.edge((self.down - far) * self.size + 0.5)
        near_cover = sheet.edge((self.down - near) * self.size + 0.5)
        self.near_hill = near

        fall = np.clip(self.down / 0.66, 0, 1)[:, None] * (not sheet.flat)
        sheet.planes[:] = sheet.land_colour(0) + fall * (sheet.land_colour(1) - sheet.land_colour(0))
        self._sun()
        self._in_land("forest", self._trunks, 1 - far_cover)
        self._in_land("dusk", self._stars, 1 - far_cover)
        sheet.lay(far_cover, sheet.land_colour(2) * sheet.lit(1.02 - 0.07 * self.down[:, None]))
        self._in_land("shore", self._waves, far_cover)
        sheet.lay(near_cover, sheet.land_colour(3) * sheet.lit(1.06 - 0.10 * self.down[:, None]))
        self._in_land("meadow", self._flower_dots, near_cover)
        self._in_land("desert", self._dune_lines, near_cover)
        self._in_land("snow", self._flakes, np.ones_like(near_cover))
        if sheet.flat:
            return
        tint = (sheet.number("tint") - 0.5) * 0.07
        sheet.planes *= 1 + tint[:, None] * np.array([1, 0.2, -1], dtype=np.float32)[None, :, None, None]

    def _sun(self) -> None:
        sheet = self.sheet
        x = 0.14 + 0.72 * sheet.number("sunx")
        y = 0.12 + 0.16 * sheet.number("sun")
        distance = np.sqrt((self.across - x) ** 2 + (self.down - y) ** 2)
        disc = sheet.edge((0.062 - distance) * self.size + 0.5)
        if sheet.flat:
            sheet.lay(disc, CREAM)
            return
        glow = np.clip(1 - distance / 0.26, 0, 1)
        sheet.lay(0.35 * glow * glow, CREAM)
        sheet.lay(0.92 * disc, CREAM)

    def _in_land(self, name: str, texture: Callable[[np.ndarray], Plane], where: Plane) -> None:
        """Lay a texture on those pictures that show this landscape."""
        chosen = np.flatnonzero(self.land == LANDS.index(name))
        if len(chosen) == 0:
            return
        accent = LAND_COLOURS[LANDS.index(name), 4][None, :, None, None]
        alpha = texture(chosen) * where[chosen]
        if self.sheet.flat:  # the accent itself, wherever a trace of it would lie
            alpha = (alpha > 0).astype(np.float32)
        planes = self.sheet.planes
        planes[chosen] += alpha[:, None] * (accent - planes[chosen])

    def _dots(self, step_x: float, step_y: float, radius: float, phase: Plane) -> Plane:
        """Rows of round dots, each row set off by a part of a step that looks irregular."""
        row = np.floor(self.down / step_y)
        shifted = self.across / step_x + row * 0.38 + phase
        dx = (shifted - np.floor(shifted) - 0.5) * step_x
        wander = np.sin((np.floor(shifted) * 2.4 + row) * 1.9) * (0.22 * step_y)
        dy = self.down - (row + 0.5) * step_y + wander
        distance = np.sqrt(dx * dx + dy * dy)
        return self.sheet.edge((radius - distance) * self.size + 0.5)

    def _phase(self, chosen: np.ndarray) -> Plane:
        return self.sheet.number("hillp")[chosen]

    def _trunks(self, chosen: np.ndarray) -> Plane:
        shifted = self.across / 0.17 + self._phase(chosen)
        number = np.floor(shifted)
        width = 0.020 + 0.006 * np.sin(number * 2.3)
        distance = np.abs(shifted - number - 0.5) * 0.17
        trunk = self.sheet.edge((width - distance) * self.size + 0.5)
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
        return self.sheet.edge((half_width - distance) * self.size + 0.5)
