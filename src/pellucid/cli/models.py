"""`pellucid models`"""

from __future__ import annotations

from pellucid.cli.options import Json, print_json


def models(as_json: Json = False) -> None:
    """List where models come from and how to name one.

    Example: pellucid models
    """
    from dataclasses import asdict

    from pellucid.subject.loaders import prefixes

    rows = prefixes()
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("source", "for example", "what it is", "here"):
        table.add_column(column)
    for row in rows:
        here = (
            Text("ready", style="green")
            if row.installed
            else Text(f"pip install 'pellucid[{row.extra}]'", style="yellow")
        )
        table.add_row(Text(f"{row.prefix}:", style="bold"), Text(row.example), Text(row.help), here)
    Console().print(table)
