"""One bird of cut paper per scene, part by part, painted over what lies behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int64

from pellucid.testbed import shapes
from pellucid.testbed.fields import BIRDS, Fields
from pellucid.testbed.palette import BEAK_COLOURS, CREAM, HUE_COLOURS, INK, PART_IDS
from pellucid.testbed.placement import Placement, placed
from pellucid.testbed.shapes import EYE, WING, WING_SHADOW, Plane, capsule, nearest
from pellucid.testbed.sheet import Sheet, Window

TILT = 0.223  # sine of the largest angle a bird is turned by


@dataclass(frozen=True, eq=False)
class Flock:
    """Which bird of each scene is painted now, and whether it is there at all."""

    bird: Int64[np.ndarray, "scene"]
    there: Bool[np.ndarray, "scene"]


def paint_bird(sheet: Sheet, fields: Fields, flock: Flock | None = None) -> None:
    """The bird with these fields in each scene; `flock` says which of several it is."""
    _Bird(sheet, fields, placed(fields, flock=flock is not None), flock).paint()


class _Bird:
    def __init__(self, sheet: Sheet, fields: Fields, place: Placement, flock: Flock | None) -> None:
        self.sheet, self.fields, self.place, self.flock = sheet, fields, place, flock
        self.there = 1 if flock is None else flock.there.astype(np.float32)[:, None, None]

    def paint(self) -> None:
        self._shadow()
        self._feet()
        self._tail()
        self._crest()
        self._body()
        self._wing()
        self._beak()
        self._eye()

    # How paint is laid

    def _on(self, name: str) -> Float[np.ndarray, "scene 1 1"]:
        """1 where the part is there, 0 where it is not."""
        return self.fields[name].astype(np.float32)[:, None, None] * self.there

    def _hue(self, name: str) -> Float[np.ndarray, "scene 3 1 1"]:
        return HUE_COLOURS[self.fields[name]][:, :, None, None]

    def _window(self, left: float, top: float, right: float, bottom: float) -> Window:
        """A window that holds this rectangle of the bird's frame at any size, angle and side."""
        size = self.sheet.size
        x, y = self.place.to_picture((left + right) / 2, (top + bottom) / 2)
        half_width, half_height = (right - left) / 2, (bottom - top) / 2
        reach_x, reach_y = half_width + TILT * half_height, half_height + TILT * half_width
        height, width = (
            min(int(np.ceil(2 * self.place.largest * reach * size)) + 3, size) for reach in (reach_y, reach_x)
        )
        rows, columns = self.sheet.corners(x, y, height, width)
        bird_x, bird_y = self.place.to_bird(*self.sheet.places(rows, columns, height, width))
        return Window(rows.tolist(), columns.tolist(), height, width, bird_x, bird_y, self.place.unit * size)

    @cached_property
    def _trunk_window(self) -> Window:
        return self._window(-0.70, -0.80, 0.90, 0.70)

    def _paint(self, window: Window, alpha: Plane, colour: np.ndarray, name: str, identity: int | None) -> None:
        self.sheet.paint(window, alpha, colour, identity)
        self._remember(window, alpha, name)
        if identity is not None and self.flock is not None and self.sheet.birds is not None:
            whose = window.cut(self.sheet.birds)
            number = (self.flock.bird + 1).astype(np.uint8)[:, None, None]
            window.put(self.sheet.birds, np.where(alpha > 0.5, number, whose))

    def _remember(self, window: Window, alpha: Plane, name: str) -> None:
        self.sheet.remember(name, window, alpha)
        if self.flock is None:
            return
        for bird in range(BIRDS):
            if (its := f"bird{bird}_{name}") in self.sheet.cover:
                self.sheet.remember(its, window, alpha * (self.flock.bird == bird)[:, None, None])

    def _paint_part(self, window: Window, distance: Plane, colour: np.ndarray, name: str, on: np.ndarray) -> None:
        """One part of the bird: lit from above, darker towards its rim."""
        alpha = self.sheet.edge(0.5 - distance * window.per_unit) * on
        self._paint(window, alpha, colour * self._shade(window, distance)[:, None], name, PART_IDS[name])

    def _shade(self, window: Window, distance: Plane) -> Plane:
        if self.sheet.flat:
            return np.ones_like(distance)
        depth = np.clip(distance * (-1 / 0.17), 0, 1)
        depth *= 2 - depth
        depth *= 0.20
        depth += 0.86
        depth *= 1 - 0.12 * window.y
        return depth

    # Its parts, in painting order

    def _shadow(self) -> None:
        """On the ground below the feet. It belongs to the landscape."""
        if self.sheet.flat:
            return
        x, y = self.place.to_picture(0.05, 0.86)
        largest, unit = self.place.largest, self.place.unit
        window = self.sheet.window(x, y, 0.85 * largest, 0.16 * largest)
        spread = np.sqrt((window.x / (unit * 0.85)) ** 2 + (window.y / (unit * 0.16)) ** 2)
        alpha = np.clip(1 - spread, 0, 1) * self.there
        piece = window.cut(self.sheet.planes)
        piece *= 1 - 0.34 * (alpha * alpha * (3 - 2 * alpha))[:, None]
        window.put(self.sheet.planes, piece)
        self._remember(window, alpha, "shadow")

    def _feet(self) -> None:
        if self.fields["feet"].any():
            window = self._window(-0.14, 0.41, 0.31, 0.89)
            self._paint_part(window, nearest(window.x, window.y, shapes.FEET), INK, "feet", self._on("feet"))

    def _tail(self) -> None:
        window = self._window(-1.33, -0.60, -0.34, 0.62)
        fanned = self.fields["tail"].astype(np.float32)[:, None, None]
        feathers = [capsule(window.x, window.y, shape) for shape in shapes.FANNED]
        fan = np.minimum(np.minimum(feathers[0], feathers[1]), feathers[2])
        outer = np.minimum(feathers[0], feathers[1])
        seam = np.clip(1 - np.abs(outer - feathers[2]) / 0.05, 0, 1) * (window.x < -0.55) * (not self.sheet.flat)
        fork = nearest(window.x, window.y, shapes.FORKED)
        distance = fork + fanned * (fan - fork)
        colour = self._hue("tail_hue") * (1 - 0.22 * fanned * seam)[:, None]
        self._paint_part(window, distance, colour, "tail", self._on("has_tail"))

    def _crest(self) -> None:
        if self.fields["crest"].any():
            window = self._window(0.03, -1.28, 0.69, -0.52)
            distance = nearest(window.x, window.y, shapes.CREST)
            self._paint_part(window, distance, self._hue("crest_hue"), "crest", self._on("crest"))

    def _body(self) -> None:
        window = self._trunk_window
        body = capsule(window.x, window.y, shapes.BODY)
        colour = self._hue("body_hue")
        self._paint_part(window, body, colour, "body", self._on("has_body"))
        bib = np.maximum(body + 0.015, capsule(window.x, window.y, shapes.BIB))
        pale = 0.55 * self._hue("bib_hue") + 0.45 * CREAM
        self._paint_part(window, bib, pale, "bib", self._on("has_bib"))
        self._paint_part(window, capsule(window.x, window.y, shapes.HEAD), colour, "head", self._on("has_head"))

    def _wing(self) -> None:
        window = self._window(-0.76, -0.38, 0.42, 0.42)
        distance = capsule(window.x, window.y, WING)
        on = self._on("has_wing")
        if not self.sheet.flat:
            shadow = np.clip(1 - np.maximum(distance, 0) / WING_SHADOW, 0, 1) * on
            self._paint(window, shadow * 0.22, INK, "wing_shadow", None)
        pattern = self._pattern(window, distance)[:, None]
        hue = self._hue("wing_hue")
        self._paint_part(window, distance, hue + pattern * (CREAM - hue), "wing", on)

    def _pattern(self, window: Window, distance: Plane) -> Plane:
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
        return self.sheet.edge(0.5 - chosen * window.per_unit)

    def _beak(self) -> None:
        window = self._window(0.50, -0.60, 1.15, -0.20)
        kind = self.fields["beak"][:, None, None]
        distance = np.where(
            kind == 0,
            capsule(window.x, window.y, shapes.BEAK_CONE),
            np.where(
                kind == 1,
                capsule(window.x, window.y, shapes.BEAK_LONG),
                nearest(window.x, window.y, shapes.BEAK_HOOKED),
            ),
        )
        colour = BEAK_COLOURS[self.fields["beak_hue"]][:, :, None, None]
        self._paint_part(window, distance, colour, "beak", self._on("has_beak"))

    def _eye(self) -> None:
        window = self._window(0.38, -0.60, 0.62, -0.36)
        on = self._on("has_eye")
        discs: Sequence[tuple[float, float, float, np.ndarray]] = (
            (*EYE, 0.105, CREAM),
            (*EYE, 0.07, INK),
            (EYE[0] + 0.025, EYE[1] - 0.025, 0.024, CREAM),
        )
        for x, y, radius, colour in discs:
            distance = np.sqrt((window.x - x) ** 2 + (window.y - y) ** 2)
            alpha = self.sheet.edge(0.5 - (distance - radius) * window.per_unit) * on
            self._paint(window, alpha, colour, "eye", PART_IDS["eye"])
