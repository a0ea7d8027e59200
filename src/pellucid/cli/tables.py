"""Tables that commands print."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pellucid.stories.pointing import Pointing


def pointing_table(result: Pointing) -> RenderableType:
    """The first-shown map, what it was chosen from, and the maps that know nothing."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("map")
    for column in ("grown by 1 px", "ungrown", "shown first"):
        table.add_column(column, justify="right")
    first = result.first
    lead_row = Text("shown first", style="bold green")
    table.add_row(lead_row, f"[bold]{first['grown']:.3f}[/]", f"{first['ungrown']:.3f}", "")
    for name, row in result.rows.items():
        count = str(result.chosen[name]) if name in result.chosen else ""
        table.add_row(name, f"{row['grown']:.3f}", f"{row['ungrown']:.3f}", count)
    lead = (
        f"Share of scenes whose map has its maximum in a deciding part (wing, tail, crest or its place). "
        f"{result.model}, {result.kept} of {result.total} scenes recognised, seed {result.seed}, "
        f"{result.passes:.0f} passes per picture."
    )
    beaten = f"In {result.beat_controls} of {result.kept} scenes the map shown first beat all three controls."
    return Group(Text(lead), table, Text(beaten, style="dim"))
