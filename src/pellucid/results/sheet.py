"""The PNG of one picture: what the model says, where it looked, and what other methods show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from pellucid.canvas import painting
from pellucid.canvas.painting import ACCENT, MUTED, WRONG
from pellucid.canvas.raster import Pixels
from pellucid.canvas.words import percent
from pellucid.results.drawing import drawn, photograph, truth_drawn

if TYPE_CHECKING:
    from pellucid.results.explanation import Explanation
    from pellucid.results.heatmaps import Heatmaps

_WIDTH, _GAP, _MARGIN = 1472, 32, 64
_ACROSS = 5  # methods in one row


def explanation_png(story: Explanation) -> bytes:
    """The sheet of one explanation as a PNG file, 1600 pixels wide."""
    trust = painting.text(
        f"Shown first: {story.chosen.title}. {story.choice.sentence}", 24, _WIDTH,
        MUTED if story.choice.beats_controls else WRONG,
    )  # fmt: skip
    others = [_other(heat) for heat in story.heatmaps[1:]]
    rows = [painting.row(others[start : start + _ACROSS], _GAP) for start in range(0, len(others), _ACROSS)]
    parts = [_head(story), opening(story, _WIDTH), trust, *rows]
    return painting.png(painting.framed(painting.column(parts, 44), _MARGIN))


def opening(story: Explanation, width: int) -> Image.Image:
    """Picture, chosen map and, where known, truth beside each other, each with its caption."""
    shown = [
        (photograph(story.frame, side=1024), "The picture", None),
        (drawn(story.chosen, 0, side=1024).pixels, "Where the answer came from", story.chosen),
        *(
            [(truth_drawn(story.frame, story.truth, side=1024), "The right answer, known here", None)]
            if story.truth
            else []
        ),
    ]
    each = (width - _GAP * (len(shown) - 1)) // len(shown)
    return painting.row([_captioned(pixels, caption, heat, each) for pixels, caption, heat in shown], _GAP)


def maps_png(heat: Heatmaps) -> bytes:
    """The maps of one method over their pictures, as a PNG file."""
    across = min(len(heat), _ACROSS)
    each = (_WIDTH - _GAP * (across - 1)) // across if across > 2 else 640
    tiles = [
        painting.column([
            painting.plate(drawn(heat, index, side=1024).pixels, each, 900),
            painting.text(f"{heat.frames[index].name}: {heat.target_names[index]}", 22, each, MUTED, lines=2),
        ], 12)
        for index in range(len(heat))
    ]  # fmt: skip
    rows = [painting.row(tiles[start : start + across], _GAP) for start in range(0, len(tiles), across)]
    lead = painting.text(heat.title, 44, max(row.width for row in rows))
    return painting.png(painting.framed(painting.column([lead, *rows], 36), _MARGIN))


def _head(story: Explanation) -> Image.Image:
    left, right = round(0.62 * _WIDTH), round(0.30 * _WIDTH)
    answer = story.answer.label[:1].upper() + story.answer.label[1:]
    probability = story.answer.probability
    sure = f"{percent(probability)} sure" if probability == probability else "it gives no probability"
    explains = [] if story.target_name == story.answer.label else [
        painting.text(f"Explained here: {story.target_name}", 24, left, MUTED, lines=2)
    ]  # fmt: skip
    said = painting.column([
        painting.text(f"{story.frame.name} · {story.model.name} says", 24, left, MUTED, lines=1),
        painting.text(answer, 72, left, lines=2),
        painting.text(sure, 30, left, ACCENT), *explains,
        painting.text(story.headline, 30, left, lines=4),
    ], 14)  # fmt: skip
    bars = painting.probabilities([(line.label, line.probability) for line in story.predictions[:5]], right)
    space = Image.new("RGB", (_WIDTH - left - right - 2 * _GAP, 1), painting.PAPER)
    return painting.row([said, space, bars], _GAP)


def _captioned(pixels: Pixels, caption: str, heat: Heatmaps | None, width: int) -> Image.Image:
    parts = [painting.plate(pixels, width, 900), painting.text(caption, 24, width, lines=2)]
    if heat is None:
        return painting.column(parts, 14)
    over = drawn(heat, 0, side=64)
    key = painting.scale_bar(over.scale, parts[0].width) if over.state == "drawn" else None
    legend = painting.text(" · ".join(over.legend), 20, width, MUTED)
    return painting.column([*parts, *([key] if key else []), legend], 14)


def _other(heat: Heatmaps) -> Image.Image:
    each = (_WIDTH - _GAP * (_ACROSS - 1)) // _ACROSS
    name = heat.title if heat.passed(0) else f"{heat.title} (failed a check)"
    return painting.column([
        painting.plate(drawn(heat, 0, side=480).pixels, each, 420),
        painting.text(name, 22, each, MUTED if heat.passed(0) else WRONG, lines=2),
    ], 10)  # fmt: skip
