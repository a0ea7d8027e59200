"""Mean ranks on one line as SVG, with bars over those that cannot be told apart (Demsar's diagram)."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from markupsafe import Markup

_WIDTH, _LEFT, _RIGHT = 880, 250, 630
_AXIS, _BAR, _ROW = 60, 9, 20


def critical_diagram(
    ranks: Mapping[str, float], groups: Sequence[Sequence[str]], critical: float, *, alt: str,
    faint: Collection[str] = (),
) -> Markup:  # fmt: skip
    """The diagram; ranks: mean rank by name, best first; critical: the difference that tells apart; faint: in grey."""
    if len(ranks) < 2:
        return Markup("")
    first, last = math.floor(min(ranks.values())), math.ceil(max(ranks.values()))

    def place(rank: float) -> float:
        return _LEFT + (rank - first) / max(last - first, 1) * (_RIGHT - _LEFT)

    below = _AXIS + 14 + _BAR * len(groups)
    names = list(ranks)
    half = (len(names) + 1) // 2
    sides = [*enumerate(names[:half]), *enumerate(reversed(names[half:]))]
    drawn = [
        _name(name, place(ranks[name]), below + _ROW * row + 10, left=at < half, faint=name in faint, rank=ranks[name])
        for at, (row, name) in enumerate(sides)
    ]
    bars = [
        Markup('<line class="level" x1="{:.1f}" x2="{:.1f}" y1="{y}" y2="{y}"/>').format(
            place(ranks[group[0]]) - 3, place(ranks[group[-1]]) + 3, y=_AXIS + 10 + _BAR * at
        )
        for at, group in enumerate(groups)
    ]
    height = below + _ROW * half + 8
    return Markup(
        '<div class="scroll"><svg class="chart critical" role="img" aria-label="{}" viewBox="0 0 {} {}" '
        'style="min-width:640px">{}{}{}</svg></div>'
    ).format(alt, _WIDTH, height, _axis(first, last, place(first + critical) - place(first)), *_joined(drawn, bars))


def _axis(first: int, last: int, critical: float) -> Markup:
    """The line of ranks, and above it how long the critical difference is."""
    step = max(1, round((last - first) / 8))
    ticks = [
        Markup('<line class="axis" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>'
               '<text class="tick" x="{0:.1f}" y="{3}" text-anchor="middle">{4}</text>').format(
            _LEFT + (rank - first) / max(last - first, 1) * (_RIGHT - _LEFT), _AXIS - 5, _AXIS, _AXIS - 10, rank
        )
        for rank in range(first, last + 1, step)
    ]  # fmt: skip
    return Markup(
        '<line class="axis" x1="{left}" x2="{right}" y1="{axis}" y2="{axis}"/>'
        '<line class="level" x1="{left}" x2="{end:.1f}" y1="16" y2="16"/>'
        '<text class="tick" x="{beside}" y="20" text-anchor="end">critical difference</text>{ticks}'
    ).format(
        left=_LEFT, right=_RIGHT, axis=_AXIS, end=_LEFT + critical, beside=_LEFT - 10, ticks=Markup("").join(ticks)
    )


def _name(name: str, x: float, y: float, *, left: bool, faint: bool, rank: float) -> Markup:
    end, anchor, label = (_LEFT - 16, "end", _LEFT - 22) if left else (_RIGHT + 16, "start", _RIGHT + 22)
    return Markup(
        '<g class="point{}"><title>{}: mean rank {:.2f}</title><polyline class="stem" points="{x:.1f},{} {x:.1f},{y} '
        '{end},{y}"/><text class="name" x="{}" y="{:.1f}" text-anchor="{}">{} <tspan class="value">{:.1f}</tspan>'
        "</text></g>"
    ).format(" faint" if faint else "", name, rank, _AXIS, label, y + 4, anchor, name, rank, x=x, y=y, end=end)


def _joined(*parts: Sequence[Markup]) -> list[Markup]:
    return [Markup("").join(part) for part in parts]
