"""`pellucid methods`"""

from __future__ import annotations

from pellucid.cli.options import Json, print_json


def methods(as_json: Json = False) -> None:
    """List every method: its question, what it needs, what it costs and its paper.

    Example: pellucid methods
    """
    from pellucid.stories.listing import described_methods

    rows = described_methods()
    if as_json:
        print_json([row.to_dict() for row in rows])
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("method", "asks", "needs", "passes", "paper"):
        table.add_column(column, justify="right" if column == "passes" else "left")
    for row in rows:
        table.add_row(f"[bold]{row.name}[/]", row.question, ", ".join(row.needs) or "nothing", row.cost, row.paper)
    Console().print(table)
    Console().print(
        "[dim]passes: at most so many forward passes per picture beyond the pair that all methods share; "
        "a backward counts two.[/]"
    )
