"""Charts of measures as PNG sheets: bars with whiskers and curves, as wide as the pictures of maps beside them.

One colour stands for what is known to be right; everything else is grey, controls the palest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pellucid.canvas import painting
from pellucid.compute.bootstrap import Interval

MARGIN, INSIDE = 32, 1360  # of a sheet; shown at half of its width
RIGHT, OTHER, CONTROL = "right", "other", "control"
_HEAD, _TEXT, _SMALL = 30, 25, 22
_FINE = 2  # shapes are drawn so many times larger, since Pillow draws hard edges
_COLOURS = {RIGHT: painting.ACCENT, OTHER: "#8d877d", CONTROL: "#c9c2b5"}
_BANDS = {RIGHT: "#cfe0dc", OTHER: "#e4e0d9", CONTROL: "#eeebe4"}
_LABELS, _VALUES, _ROW, _BAR = 460, 120, 50, 20
_PLOT, _NAMES = 400, 300


@dataclass(frozen=True)
class Bar:
    """One row. low, high: the whisker; draws: values of single draws, each a dot; kind: right, other or control."""

    label: str
    value: float
    kind: str = OTHER
    low: float | None = None
    high: float | None = None
    draws: Sequence[float] = ()

    @staticmethod
    def of(label: str, held: Interval, kind: str = OTHER) -> Bar:
        """The mean with its interval."""
        return Bar(label, held.mean, kind, held.low, held.high)

    @staticmethod
    def drawn(label: str, draws: Sequence[float], kind: str = CONTROL) -> Bar:
        """The mean of several draws, each shown as a dot."""
        return Bar(label, sum(draws) / len(draws), kind, draws=draws)

    @property
    def reach(self) -> tuple[float, float]:
        """The least and the largest that is drawn of it."""
        held = [self.value, *self.draws, *(end for end in (self.low, self.high) if end is not None)]
        return min(held), max(held)


@dataclass(frozen=True)
class Bars:
    """Rows on one scale under a heading. ends: what the scale holds at least; mark: an upright line and its name."""

    rows: Sequence[Bar]
    heading: str = ""
    ends: tuple[float, float] = (0.0, 1.0)
    mark: tuple[str, float] | None = None

    def image(self) -> Image.Image:
        reaches = [row.reach for row in self.rows]
        low = min(self.ends[0], *(reach[0] for reach in reaches))
        high = max(self.ends[1], *(reach[1] for reach in reaches))
        left, right = _LABELS + 24, INSIDE - _VALUES - 24

        def place(value: float) -> float:
            return left + (right - left) * (value - low) / (high - low)

        top = 44 if self.heading else 6
        bottom = top + _ROW * len(self.rows)
        sheet = Image.new("RGB", (INSIDE, bottom + 40), painting.PAPER)
        fine = _Fine(sheet)
        fine.line([(place(0), top), (place(0), bottom)], painting.MUTED, 2)
        for at, row in enumerate(self.rows):
            _bar(fine, row, top + _ROW * (at + 0.5), place)
        if self.mark:
            fine.line([(place(self.mark[1]), top - 2), (place(self.mark[1]), bottom + 4)], painting.INK, 2, dashed=True)
        sheet = fine.done()
        for at, row in enumerate(self.rows):
            middle = top + _ROW * (at + 0.5)
            label = painting.MUTED if row.kind == CONTROL else painting.INK
            _write(sheet, (0, middle), _begun(row.label), _TEXT, label, "lm", _LABELS)
            _write(sheet, (INSIDE, middle), _exact(row.value), _TEXT + 1, _ink(row.kind), "rm")
        if self.heading:
            _write(sheet, (0, 14), self.heading, _SMALL + 1, painting.MUTED, "lm")
        taken: list[tuple[float, float]] = []
        ticks = [("", end) for end in dict.fromkeys((0.0, low, high))]
        for word, value in [*([self.mark] if self.mark else []), *ticks]:
            told, at = word or _said(value), place(value)
            half = _font(_SMALL - 2).getlength(told) / 2 + 12
            if all(at + half < other - wide or at - half > other + wide for other, wide in taken):
                taken.append((at, half))
                _write(sheet, (at, bottom + 22), told, _SMALL - 2, painting.INK if word else painting.MUTED, "mm")
        return sheet


@dataclass(frozen=True)
class Line:
    """A curve with its band. within: low and high at every point, where they are known."""

    label: str
    heights: Sequence[float]
    kind: str = OTHER
    within: tuple[Sequence[float], Sequence[float]] | None = None

    @staticmethod
    def of(label: str, held: Sequence[Interval], kind: str = OTHER) -> Line:
        """Means with their intervals as a band."""
        within = ([one.low for one in held], [one.high for one in held])
        return Line(label, [one.mean for one in held], kind, within)


@dataclass(frozen=True)
class Curves:
    """Lines over the same places, each named at its end.

    places: along the axis; ticks: places with their names, else the first and the last
    keys:   the names stand above, for lines that end in one point
    """

    places: Sequence[float]
    lines: Sequence[Line]
    axis: str
    heading: str = ""
    ticks: Sequence[tuple[float, str]] = ()
    ends: tuple[float, float] | None = (0.0, 1.0)
    width: int = INSIDE
    mark: tuple[str, float] | None = None
    keys: bool = False

    def image(self) -> Image.Image:
        held = [height for line in self.lines for part in (line.heights, *(line.within or ())) for height in part]
        ends = self.ends or (min(0.0, *held), max(0.0, *held))
        low, high = min(ends[0], *held), max(ends[1], *held)
        left, right = 96, self.width - (12 if self.keys else _NAMES)
        top = 22 + 32 * bool(self.heading) + 40 * self.keys
        first, last = self.places[0], self.places[-1]

        def place(along: float, height: float) -> tuple[float, float]:
            return (
                left + (right - left) * (along - first) / (last - first),
                top + _PLOT * (high - height) / (high - low),
            )

        sheet = Image.new("RGB", (self.width, top + _PLOT + 78), painting.PAPER)
        fine = _Fine(sheet)
        marks = [low, (low + high) / 2, high] if low == 0 or low * high >= 0 else [low, 0.0, high]
        for mark in marks:
            fine.line([place(first, mark), place(last, mark)], painting.TRACK, 2)
        order = sorted(self.lines, key=lambda line: (CONTROL, OTHER, RIGHT).index(line.kind))
        for line in order:
            if line.within:
                lower, upper = (
                    [place(*point) for point in zip(self.places, side, strict=True)] for side in line.within
                )
                fine.area([*lower, *reversed(upper)], _BANDS[line.kind])
        if self.mark:
            fine.line([place(first, self.mark[1]), place(last, self.mark[1])], painting.INK, 2, dashed=True)
        for line in order:
            points = [place(*point) for point in zip(self.places, line.heights, strict=True)]
            fine.line(points, _COLOURS[line.kind], 5 if line.kind == RIGHT else 4)
        sheet = fine.done()
        for mark in marks:
            _write(sheet, (left - 14, place(first, mark)[1]), _said(mark), _SMALL - 2, painting.MUTED, "rm")
        for along, word in self.ticks or ((first, _said(first)), (last, _said(last))):
            _write(sheet, (place(along, low)[0], top + _PLOT + 20), word, _SMALL - 2, painting.MUTED, "mm")
        _write(sheet, ((left + right) / 2, top + _PLOT + 54), self.axis, _SMALL, painting.MUTED, "mm")
        if self.heading:
            _write(sheet, (0, 14), self.heading, _SMALL + 1, painting.MUTED, "lm")
        if self.keys:
            self._keys(sheet, left, top - 34)
        else:
            self._names(sheet, place(last, 0)[0] + 18, lambda height: place(last, height)[1], top)
        return sheet

    def _keys(self, sheet: Image.Image, left: float, middle: float) -> None:
        """A piece of each line and its name, one after the other."""
        for line in self.lines:
            draw = ImageDraw.Draw(sheet)
            draw.rectangle([(left, middle - 2), (left + 26, middle + 2)], fill=_COLOURS[line.kind])
            _write(sheet, (left + 36, middle), _begun(line.label), _SMALL - 1, _ink(line.kind), "lm")
            left += 36 + _font(_SMALL - 1).getlength(_begun(line.label)) + 28
        if left - 28 > self.width:
            raise ValueError(f"The names {[line.label for line in self.lines]} are wider than the chart.")

    def _names(self, sheet: Image.Image, left: float, place: Callable[[float], float], top: int) -> None:
        """Each line's name beside its end; names that would touch stand further apart."""
        told = [(line.label, place(line.heights[-1]), line.kind) for line in self.lines]
        told += [(self.mark[0], place(self.mark[1]), "")] if self.mark else []
        free = float(top - 16)
        blocks: list[tuple[float, Image.Image]] = []
        for label, height, kind in sorted(told, key=lambda one: one[1]):
            block = painting.text(_begun(label), _SMALL, round(self.width - left), _ink(kind), lines=3)
            at = max(free, height - block.height / 2)
            blocks.append((at, block))
            free = at + block.height + 8
        over = max(0.0, free - (top + _PLOT + 30))  # too low: all move up by as much as there is room
        for at, block in blocks:
            sheet.paste(block, (round(left), round(max(0.0, at - over))))


def sheet(headline: str, told: str, charts: Sequence[Bars | Curves], foot: str = "") -> bytes:
    """A framed PNG: what is measured, on what, the charts below each other (narrow ones in a row), how to read them."""
    wide: list[Image.Image] = []
    narrow = [chart.image() for chart in charts if isinstance(chart, Curves) and chart.width < INSIDE]
    if narrow:
        wide.append(painting.row(narrow, INSIDE - sum(block.width for block in narrow)))
    wide += [chart.image() for chart in charts if not (isinstance(chart, Curves) and chart.width < INSIDE)]
    parts = [
        painting.column([
            painting.text(headline, _HEAD, INSIDE, lines=2),
            *(painting.text(line, _SMALL, INSIDE, painting.MUTED, lines=1) for line in _filled(told)),
        ], 4),
        *wide,
    ]  # fmt: skip
    if foot:
        parts.append(painting.text(foot, _SMALL - 2, INSIDE, painting.MUTED, lines=2))
    return painting.png(painting.framed(painting.column(parts, 20), MARGIN))


# -- shapes and letters ------------------------------------------------------------------------------------------------


class _Fine:
    """Shapes with soft edges: drawn large and made small again."""

    def __init__(self, sheet: Image.Image) -> None:
        self._large = sheet.resize((sheet.width * _FINE, sheet.height * _FINE))
        self._draw = ImageDraw.Draw(self._large)

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: int, *, dashed: bool = False) -> None:
        if dashed:
            (x, y), (x_end, y_end) = points
            count = max(1, round(max(abs(x_end - x), abs(y_end - y)) / 12))
            for at in range(count):
                near, far = at / count, (at + 0.5) / count
                self.line(
                    [(x + near * (x_end - x), y + near * (y_end - y)), (x + far * (x_end - x), y + far * (y_end - y))],
                    colour, width,
                )  # fmt: skip
            return
        self._draw.line(self._larger(points), fill=colour, width=width * _FINE, joint="curve")

    def area(self, points: Sequence[tuple[float, float]], colour: str) -> None:
        self._draw.polygon(self._larger(points), fill=colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: str) -> None:
        self._draw.rectangle(self._larger([(left, top), (right, bottom)]), fill=colour)

    def dot(self, x: float, y: float, radius: float, colour: str) -> None:
        ends = self._larger([(x - radius, y - radius), (x + radius, y + radius)])
        self._draw.ellipse(ends, fill=colour, outline=painting.PAPER, width=_FINE)

    def done(self) -> Image.Image:
        size = (self._large.width // _FINE, self._large.height // _FINE)
        return self._large.resize(size, Image.Resampling.LANCZOS)

    @staticmethod
    def _larger(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(_FINE * x, _FINE * y) for x, y in points]


def _bar(fine: _Fine, row: Bar, middle: float, place: Callable[[float], float]) -> None:
    if row.value != row.value:
        return
    start, end = sorted((place(0), place(row.value)))
    fine.box(start, middle - _BAR / 2, max(end, start + 2), middle + _BAR / 2, _COLOURS[row.kind])
    for draw in row.draws:
        fine.dot(place(draw), middle, 6, painting.MUTED)
    if row.low is not None and row.high is not None:
        low, high = place(row.low), place(row.high)
        fine.line([(low, middle), (high, middle)], painting.INK, 3)
        for end in (low, high):
            fine.line([(end, middle - 8), (end, middle + 8)], painting.INK, 3)


def _ink(kind: str) -> str:
    """The colour of a name or a figure."""
    return {RIGHT: painting.ACCENT, CONTROL: painting.MUTED}.get(kind, painting.INK)


def _filled(words: str) -> list[str]:
    """Lines as long as the sheet is wide: a sentence under a headline reads better than lines of equal length."""
    lines: list[str] = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if _font(_SMALL).getlength(longer) <= INSIDE - 8:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _begun(words: str) -> str:
    """With a capital, as the pictures of maps have their names."""
    return words[:1].upper() + words[1:]


def _said(value: float) -> str:
    """A mark of a scale: two digits that matter, a true minus."""
    return "0" if abs(value) < 1e-6 else f"{value:.2g}".replace("-", "\N{MINUS SIGN}")


def _exact(value: float) -> str:
    """A measured value, as many decimals in every row."""
    return (
        ("unknown" if value != value else f"{value + 0.0:.2f}").replace("-0.00", "0.00").replace("-", "\N{MINUS SIGN}")
    )


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    face = Path(painting.__file__).parent / "fonts" / "Inter-Regular.ttf"
    return ImageFont.truetype(face, size, layout_engine=ImageFont.Layout.BASIC)


def _write(
    sheet: Image.Image, at: tuple[float, float], words: str, size: int, colour: str, anchor: str, room: float = INSIDE
) -> None:
    """Words at a point. Raises ValueError where they are longer than their room: shorten the label."""
    if _font(size).getlength(words) > room:
        raise ValueError(f"{words!r} is {_font(size).getlength(words):.0f} pixels long and has {room:.0f}.")
    ImageDraw.Draw(sheet).text(at, painting.writable(words), fill=colour, font=_font(size), anchor=anchor)
