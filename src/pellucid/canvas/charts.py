"""Charts as SVG, drawn for one column of text: widths are per cent, letters keep their size on any screen.

Colours are classes of `base.css`, so a chart is dark where its page is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pellucid.canvas.words import number, percent, shortened


@dataclass(frozen=True)
class Bar:
    """One row of a comparison. spread: half the length of the whisker; control: a map that knows nothing."""

    label: str
    value: float
    spread: float = 0.0
    control: bool = False
    chosen: bool = False


def probabilities(rows: Sequence[tuple[str, float]], *, alt: str) -> Markup:
    """A thin bar under each label, its share of one at the right end."""
    height = 42
    drawn = [_probability(index * height, label, share) for index, (label, share) in enumerate(rows)]
    return _svg(len(rows) * height, drawn, "probabilities", alt)


def comparison(bars: Sequence[Bar], *, alt: str) -> Markup:
    """Methods on one line of values each, with their spread; the controls stand as upright lines through all."""
    lines = [bar for bar in bars if bar.control]
    shown = [bar for bar in bars if not bar.control]
    reach = [(bar.value - bar.spread, bar.value + bar.spread) for bar in bars]
    low, high = min(0.0, *(pair[0] for pair in reach)), max(0.0, *(pair[1] for pair in reach))
    margin = 0.06 * (high - low) or 0.5
    low, high = low - margin, high + margin

    def place(value: float) -> float:
        return 100 * (value - low) / (high - low)

    rows = Markup("").join(_compared(bar, lines, place(0.0), place) for bar in shown)
    legend = Markup("").join(
        Markup('<li><span class="key {}"></span>{} <b>{}</b></li>').format(_control(bar), bar.label, f"{bar.value:.2f}")
        for bar in lines
    )
    return Markup(
        '<div class="comparison" role="img" aria-label="{}"><ul class="keys">{}</ul><div class="rows">{}</div></div>'
    ).format(alt, legend, rows)


def curves(
    fractions: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    *,
    alt: str,
    axis: str,
    accent: str,
    unit: str = "%",
) -> Markup:
    """Values over the part of the picture changed, both from 0 to 1 where the unit is per cent.

    accent: the line that matters; it is drawn strong and filled below, the others thin and dashed
    """
    known = [value for line in lines.values() for value in line if value == value]
    # shares are drawn up to a round mark, so that an answer that was never sure can still be seen to fall
    top = next((mark for mark in (0.1, 0.25, 0.5) if max(known, default=1) <= mark), 1.0)
    low, high = (0.0, top) if unit == "%" else (min(0.0, *known), max(known) or 1.0)
    high = high if high > low else low + 1

    def point(fraction: float, value: float) -> str:
        return f"{100 * fraction:.2f},{100 * (1 - (value - low) / (high - low)):.2f}"

    marks = [low + (high - low) * step / 2 for step in range(3)]
    heights = [_TOP + _PLOT * (1 - step / 2) for step in range(3)]
    grid = [Markup('<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(height) for height in heights]
    ticks = [
        Markup('<text class="tick" x="0" y="{}">{}</text>').format(height - 5, _tick(mark, unit))
        for height, mark in list(zip(heights, marks, strict=True))[0 if low else 1 :]  # the corner has its 0 already
    ]
    paths = [
        Markup('{}<polyline class="{}" points="{}"/>').format(
            Markup('<polygon class="under" points="{} 100,100 0,100"/>').format(_points(fractions, line, point))
            if name == accent else "",
            "accent" if name == accent else "other", _points(fractions, line, point),
        )
        for name, line in lines.items()
    ]  # fmt: skip
    plot = Markup(
        '<svg x="0" y="{}" width="100%" height="{}" viewBox="0 0 100 100" preserveAspectRatio="none">{}</svg>'
    ).format(_TOP, _PLOT, Markup("").join(paths))
    foot = [
        Markup('<text class="tick" x="0" y="{}">0%</text>').format(_TOP + _PLOT + 18),
        Markup('<text class="tick" x="50%" y="{}" text-anchor="middle">{}</text>').format(_TOP + _PLOT + 18, axis),
        Markup('<text class="tick" x="100%" y="{}" text-anchor="end">100%</text>').format(_TOP + _PLOT + 18),
    ]
    keys = Markup("").join(
        Markup('<li><span class="key {}"></span>{}</li>').format("accent" if name == accent else "other", name)
        for name in lines
    )
    return Markup('<ul class="keys">{}</ul>{}').format(
        keys, _svg(_TOP + _PLOT + 24, [*grid, plot, *ticks, *foot], "curves", alt)
    )


_TOP, _PLOT = 16, 168


def _points(fractions: Sequence[float], line: Sequence[float], point: object) -> str:
    assert callable(point)
    return " ".join(
        str(point(fraction, value)) for fraction, value in zip(fractions, line, strict=True) if value == value
    )


def _probability(top: int, label: str, share: float) -> Markup:
    width = 0.0 if share != share else 100 * min(1.0, max(0.0, share))
    return Markup(
        '<g><title>{label}: {share}</title><text x="0" y="{text}">{short}</text>'
        '<text class="value" x="100%" y="{text}" text-anchor="end">{share}</text>'
        '<rect class="track" x="0" y="{bar}" width="100%" height="4" rx="2"/>'
        '<rect class="fill{first}" x="0" y="{bar}" width="{width:.2f}%" height="4" rx="2"/></g>'
    ).format(
        label=label, short=shortened(label, 34), share=percent(share), text=top + 18, bar=top + 26, width=width,
        first="" if top else " first",
    )  # fmt: skip


def _compared(bar: Bar, lines: Sequence[Bar], zero: float, place: object) -> Markup:
    assert callable(place)
    controls = Markup("").join(
        Markup('<line class="control {}" x1="{x:.2f}%" x2="{x:.2f}%" y1="0" y2="100%"/>').format(
            _control(line), x=place(line.value)
        )
        for line in lines
    )
    whisker = Markup('<line class="whisker" x1="{:.2f}%" x2="{:.2f}%" y1="50%" y2="50%"/>').format(
        place(bar.value - bar.spread), place(bar.value + bar.spread)
    )
    drawn = Markup(
        '<svg aria-hidden="true"><line class="zero" x1="{zero:.2f}%" x2="{zero:.2f}%" y1="0" y2="100%"/>{}{}'
        '<circle class="dot" cx="{:.2f}%" cy="50%" r="{}"/></svg>'
    ).format(controls, whisker if bar.spread else "", place(bar.value), 6 if bar.chosen else 4.5, zero=zero)
    return Markup('<div class="row{}"><span class="name">{}</span>{}<span class="value">{}</span></div>').format(
        " chosen" if bar.chosen else "", bar.label, drawn, f"{bar.value:.2f}"
    )


def _control(bar: Bar) -> str:
    """The class that gives each control its own dash, so that it is told apart without colour."""
    word = bar.label.lower()
    return next((name for name in ("random", "centre", "edge") if name in word), "random")


def _svg(height: int, parts: Sequence[Markup], kind: str, alt: str) -> Markup:
    return Markup('<svg class="chart {}" role="img" aria-label="{}" width="100%" height="{}">{}</svg>').format(
        kind, alt, height, Markup("").join(parts)
    )


def _tick(mark: float, unit: str) -> str:
    return f"{100 * mark:.3g}%" if unit == "%" else number(mark)
