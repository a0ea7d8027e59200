"""Pieces of HTML that results draw themselves with. Every word that comes from outside is escaped here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from pellucid.canvas.raster import Pixels, data_uri, enlarged

_HERE = Path(__file__).parent
_MARKS = {"verified": "✓", "refuted": "✗", "unverifiable": "?"}


@cache
def stylesheet(path: Path = _HERE / "base.css") -> Markup:
    """A style file of ours; without a path, the tokens and pieces that everything drawn as HTML shares."""
    return Markup(path.read_text(encoding="utf-8"))  # noqa: S704  # nothing from outside stands in it


def environment(folder: Path) -> Environment:
    """Templates of `folder`: what is filled in is escaped, and a name that is missing is an error."""
    return Environment(
        loader=FileSystemLoader([folder, _HERE]), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


def standalone(fragment: Markup) -> Markup:
    """A fragment with its style, for a notebook."""
    return Markup('<div class="pellucid fragment"><style>{}</style>{}</div>').format(stylesheet(), fragment)


def page(fragment: Markup, *, title: str) -> Markup:
    """A fragment as a whole page that asks for nothing from outside."""
    return Markup(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">{}<style>{}</style></head>'
        '<body class="pellucid"><main class="fragment">{}</main></body></html>\n'
    ).format(title, NO_REQUESTS, stylesheet(), fragment)


# the browser itself then refuses whatever would leave the file
NO_REQUESTS = Markup(
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
)


def sentence(text: str) -> Markup:
    return Markup("<p>{}</p>").format(text)


def claim(text: str, verdict: str, meaning: str, figures: Mapping[str, str], now: str = "") -> Markup:
    """A sentence with the mark of its verdict and its figures; `now` is what a later measurement says instead."""
    inner = Markup("<s>{}</s>").format(text) if verdict == "refuted" else escape(text)
    again = Markup('<br><span class="muted">Measured again:</span> {}').format(now) if now else ""
    numbers = Markup("").join(
        Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(name, figure) for name, figure in figures.items()
    )
    return Markup(
        '<div class="claim {}" tabindex="0"><span class="mark" role="img" aria-label="{}" title="{}">{}</span>'
        '<p>{}{}</p><dl class="figures">{}</dl></div>'
    ).format(verdict, meaning, meaning, _MARKS[verdict], inner, again, numbers)


def facts(heading: str, rows: Mapping[str, str]) -> Markup:
    """Names and what is known under them."""
    body = Markup("").join(
        Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(name, fact) for name, fact in rows.items()
    )
    return Markup('<h3>{}</h3><dl class="facts">{}</dl>').format(heading, body)


def table(heading: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Rows under named columns; the first cell of a row names it."""
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(column) for column in columns)
    body = Markup("").join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            row[0], Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row[1:])
        )
        for row in rows
    )
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="{}"><table><caption>{}</caption>'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>"
    ).format(heading, heading, head, body)


def tile(pixels: Pixels, alt: str, caption: str, side: int = 360) -> Markup:
    """A picture with a line under it."""
    return Markup('<figure class="tile"><img src="{}" alt="{}"><figcaption>{}</figcaption></figure>').format(
        data_uri(enlarged(pixels, side)), alt, caption
    )


def gallery(heading: str, lead: str, tiles: Sequence[Markup], footnote: str) -> Markup:
    """Pictures in a row that wraps, with a heading, a sentence above and one below."""
    return Markup('<h3>{}</h3><p class="lead">{}</p><div class="tiles">{}</div><p class="muted">{}</p>').format(
        heading, lead, Markup("").join(tiles), footnote
    )
