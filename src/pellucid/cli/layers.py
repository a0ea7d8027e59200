"""`pellucid layers`"""

from __future__ import annotations

from pellucid.cli.options import Json, Model, print_json


def layers(model: Model = "testbed:cnn", as_json: Json = False) -> None:
    """Show the layers of a model: shape, kind, and which one is taken by default and why.

    Example: pellucid layers --model testbed:cnn
    """
    from pellucid.subject import load

    tree = load(model).layers
    if as_json:
        print_json(tree.to_dict())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    default = tree.default.name if tree.default else None
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("layer", "module", "kind", "grid", "channels", "shape"):
        table.add_column(column)
    for name, layer in tree.items():
        if name != layer.name:
            continue
        chosen = name == default
        grid = f"{layer.grid[0]} x {layer.grid[1]}" if layer.grid else ""
        label = Text(
            f"{'  ' * name.count('.')}{name}{'  <- default' if chosen else ''}", style="bold green" if chosen else ""
        )
        table.add_row(
            label, layer.module, layer.kind, grid, str(layer.channels or ""), " x ".join(map(str, layer.shape))
        )
    console = Console()
    console.print(table)
    console.print(Text(f"Default: {default or 'none'}: {tree.why}", style="dim"))
