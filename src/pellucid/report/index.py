"""The page that leads to several explanations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.canvas import fragments
from pellucid.canvas.raster import Pixels, data_uri, enlarged
from pellucid.canvas.words import percent
from pellucid.results import Explanation
from pellucid.results.drawing import drawn, photograph, picture_alt, truth_drawn
from pellucid.results.files import write_atomically

_TEMPLATES = Path(__file__).parent / "templates"
_SIDE = 360  # longest side of a thumbnail; 1000 cards are then about 40 MB


@dataclass(frozen=True)
class Plate:
    """A thumbnail as an address that holds it."""

    uri: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class Card:
    """What the index keeps of one explanation: small enough that thousands fit in memory.

    link:    address of its page, relative to the index
    plates:  the picture, the map and, where it is known, the truth
    trusted: whether its map beat the maps that know nothing
    """

    link: str
    name: str
    answer: str
    sure: str
    headline: str
    method: str
    plates: tuple[Plate, ...]
    trusted: bool

    @classmethod
    def of(cls, story: Explanation, link: str) -> Card:
        """The card of an explanation whose page lies at `link`."""
        probability = story.answer.probability
        truth = () if story.truth is None else (
            _plate(truth_drawn(story.frame, story.truth, side=_SIDE), f"The known cause: {story.truth.words}"),
        )  # fmt: skip
        return cls(
            link=link, name=story.frame.name, answer=story.answer.label[:1].upper() + story.answer.label[1:],
            sure=percent(probability) if probability == probability else "", headline=story.headline,
            method=story.chosen.title, trusted=story.choice.beats_controls,
            plates=(
                _plate(photograph(story.frame, side=_SIDE), f"The picture {story.frame.name}"),
                _plate(drawn(story.chosen, 0, side=_SIDE).pixels, picture_alt(story.chosen)), *truth,
            ),
        )  # fmt: skip


@dataclass(frozen=True)
class Section:
    """Cards that belong together, under a heading with a sentence."""

    heading: str
    words: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Skipped:
    """A file that could not be explained, and why."""

    name: str
    reason: str


def render_index(
    sections: Sequence[Section], *, title: str = "Explanations", words: str = "", skipped: Sequence[Skipped] = ()
) -> str:
    """The index as one HTML file; it asks for nothing from outside but links to the pages beside it."""
    template = fragments.environment(_TEMPLATES).get_template("index.html")
    return template.render(
        no_requests=fragments.NO_REQUESTS, base_css=fragments.stylesheet(),
        page_css=fragments.stylesheet(_TEMPLATES / "index.css"), title=title, words=words,
        sections=sections, skipped=skipped, count=sum(len(section.cards) for section in sections),
    )  # fmt: skip


def write_index(
    path: str | Path, sections: Sequence[Section], *, title: str = "Explanations", words: str = "",
    skipped: Sequence[Skipped] = (),
) -> Path:  # fmt: skip
    """Write the index to `path`, whole or not at all. Raises FileError where it cannot be written."""
    return write_atomically(path, render_index(sections, title=title, words=words, skipped=skipped).encode())


def _plate(pixels: Pixels, alt: str) -> Plate:
    shown = enlarged(pixels, _SIDE)
    return Plate(data_uri(shown, quality=78), alt, shown.shape[1], shown.shape[0])
