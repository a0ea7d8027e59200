"""`pellucid describe importance`"""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.options import Json, Model, Seed, print_json


def importance(
    picture: Annotated[str, typer.Argument(help="A picture, or scene:7 for the testbed's seventh.")] = "scene:7",
    model: Model = "testbed:cnn",
    target: Annotated[str | None, typer.Option(help="A class by name or number. Default: the answer.")] = None,
    layer: Annotated[str | None, typer.Option(help="Where the units are. Default: the model's own choice.")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Most units for, and most against.")] = 5,
    named: Annotated[
        bool, typer.Option("--named", help="Only units with a name that stands, as `describe layer` finds it.")
    ] = False,
    pictures: Annotated[int, typer.Option(min=40, help="With --named, how many pictures name them.")] = 600,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Which units speak for an answer and which against it, each tried by taking it away.

    Beside them stand as many units by lot, and units that shuffled gradients would have listed.

    Example: pellucid describe importance scene:7 --model testbed:cnn
    """
    from pellucid.language.telling import tell_units

    found = tell_units(
        picture, model, target=target, layer=layer, count=count, named=named, pictures=pictures, seed=seed
    )
    if as_json:
        print_json(found.to_dict())
        return
    from rich.console import Console

    console = Console()
    for claim in found.claims:
        console.print(claim)
    if named:
        console.print(f"{found.unnamed} units that count as much have no name.", style="dim", highlight=False)
    console.print(str(found.beside), style="dim", highlight=False)
