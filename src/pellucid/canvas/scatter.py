"""Points on two axes as SVG: what something costs against how good it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pellucid.canvas.words import number

_WIDTH, _HEIGHT = 880, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 20, 18, 44


@dataclass(frozen=True)
class Point:
    """A point with its name. low, high: the interval of its height; faint: drawn without weight."""

    name: str
    x: float
    y: float
    low: float
    high: float
    faint: bool = False


def scatter(points: Sequence[Point], *, alt: str, across: str, up: str) -> Markup:
    """Points over a logarithmic axis, each with the interval of its height and its name where there is room."""
    shown = [point for point in points if point.x > 0 and math.isfinite(point.y)]
    if not shown:
        return Markup("")
    first, last = (math.log10(bound(point.x for point in shown)) for bound in (min, max))
    first, last = math.floor(first), max(last + 0.1, math.floor(first) + 1)
    low, high = min(point.low for point in shown), max(point.high for point in shown)
    margin = 0.05 * (high - low) or 0.05
    low, high = low - margin, high + margin

    def place(point_x: float, point_y: float) -> tuple[float, float]:
        along = (math.log10(point_x) - first) / (last - first)
        return (
            _LEFT + along * (_WIDTH - _LEFT - _RIGHT - 130),
            _TOP + (high - point_y) / (high - low) * (_HEIGHT - _TOP - _BOTTOM),
        )

    floor = _HEIGHT - _BOTTOM
    grid = [
        Markup('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>'
               '<text class="tick" x="{0:.1f}" y="{3}" text-anchor="middle">{4}</text>').format(
            place(10**power, low)[0], _TOP, floor, floor + 18, f"{10**power:,}"
        )
        for power in range(first, math.floor(last) + 1)
    ]  # fmt: skip
    grid += [
        Markup('<line class="grid" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>'
               '<text class="tick" x="{}" y="{text:.1f}" text-anchor="end">{}</text>').format(
            _LEFT, _WIDTH - _RIGHT, _LEFT - 8, number(mark), y=place(10**first, mark)[1],
            text=place(10**first, mark)[1] + 4,
        )
        for mark in (low + margin, (low + high) / 2, high - margin)
    ]  # fmt: skip
    taken: list[tuple[float, float]] = []
    drawn = [_drawn(point, place, taken) for point in sorted(shown, key=lambda point: -point.y)]
    words = Markup(
        '<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text><text class="tick" x="0" y="10">{}</text>'
    ).format(_WIDTH // 2, _HEIGHT - 6, across, up)
    return Markup(
        '<div class="scroll"><svg class="chart scatter" role="img" aria-label="{}" viewBox="0 0 {} {}" '
        'style="min-width:640px">{}{}{}</svg></div>'
    ).format(alt, _WIDTH, _HEIGHT, Markup("").join(grid), Markup("").join(drawn), words)


def _drawn(
    point: Point, place: Callable[[float, float], tuple[float, float]], taken: list[tuple[float, float]]
) -> Markup:
    x, y = place(point.x, point.y)
    _, top = place(point.x, point.high)
    _, bottom = place(point.x, point.low)
    label = Markup("")
    beside = (x + 8, y + 4)
    # A name that would run into another stays in the title, which shows when the point is met.
    if all(abs(beside[1] - other[1]) > 12 or abs(beside[0] - other[0]) > 125 for other in taken):
        taken.append(beside)
        label = Markup('<text class="name" x="{:.1f}" y="{:.1f}">{}</text>').format(*beside, point.name)
    return Markup(
        '<g class="point{}"><title>{}: {} (95% between {} and {}), {} passes</title>'
        '<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{:.1f}" y2="{:.1f}"/>'
        '<circle cx="{x:.1f}" cy="{:.1f}" r="4.5"/>{}</g>'
    ).format(
        " faint" if point.faint else "", point.name, number(point.y), number(point.low), number(point.high),
        f"{point.x:.0f}", top, bottom, y, label, x=x,
    )  # fmt: skip
