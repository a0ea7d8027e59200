"""How a result draws itself in a terminal, and where it goes when it is shown."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pellucid.canvas.words import percent, shortened

MARKS = {"verified": ("✓", "green"), "refuted": ("✗", "red"), "unverifiable": ("?", "yellow")}


def show(drawable: Any) -> None:
    """Draw it in the notebook if there is one, else as a summary on standard output."""
    if in_notebook():
        from IPython.display import display  # type: ignore[import-not-found]  # there is one, or we would not be here

        display(drawable)
        return
    Console(soft_wrap=False).print(drawable)


def in_notebook() -> bool:
    """Whether the reader sits before a notebook that draws HTML."""
    interactive = sys.modules.get("IPython")
    shell = interactive.get_ipython() if interactive is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


def sentence(text: str) -> RenderableType:
    """One line of prose."""
    return Text(text)


def claim(text: str, verdict: str, now: str = "") -> RenderableType:
    """A sentence with the mark of its verdict, a refuted one struck through, and what was measured again, if it was."""
    mark, colour = MARKS[verdict]
    again = [("\n  Measured again: ", "dim"), (now, "")] if now else []
    return Text.assemble((f"{mark} ", colour), (text, "strike dim" if verdict == "refuted" else ""), *again)


def facts(heading: str, rows: Mapping[str, str]) -> RenderableType:
    """Names and what is known under them."""
    grid = Table(title=escape(heading), title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, fact in rows.items():
        grid.add_row(Text(name, style="dim"), Text(fact))
    return grid


def table(heading: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> RenderableType:
    """Rows under named columns."""
    grid = Table(*map(escape, columns), title=escape(heading), title_justify="left", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    return grid


def bars(rows: Sequence[tuple[str, float]], width: int = 24) -> RenderableType:
    """Labels, bars of their share of one, and the share."""
    grid = Table(show_header=False, box=None, padding=(0, 1, 0, 2))
    for label, share in rows:
        filled = round(width * share) if share == share else 0
        bar = Text.assemble(("━" * filled, "cyan"), ("─" * (width - filled), "dim"))
        grid.add_row(Text(shortened(label, 32)), bar, Text(percent(share), justify="right"))
    return grid
