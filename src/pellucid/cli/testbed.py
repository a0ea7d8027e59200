"""`pellucid testbed train | evaluate`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import Json, Model, Seed, print_json

app = typer.Typer(help="The rendered world where the right answer is known, and its nets.", no_args_is_help=True)


@app.command()
def train(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Which nets; all that are shipped if none is named.")
    ] = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the weights. Default: where pellucid keeps its own.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Fewer updates than the recipe's, for a trial.")] = None,
    pool: Annotated[int | None, typer.Option(min=64, help="Fewer pictures than the recipe's, for a trial.")] = None,
    as_json: Json = False,
) -> None:
    """Rebuild the shipped nets from a seed, and measure them.

    Example: pellucid testbed train digits --out weights
    """
    from pellucid.testbed.nets import ARCHITECTURES, WEIGHTS, known
    from pellucid.testbed.train import train as train_one

    wanted = list(names or ARCHITECTURES)
    for name in wanted:
        known(name)
    cards = [train_one(name, seed, folder=out or WEIGHTS, steps=steps, pool=pool) for name in wanted]
    if as_json:
        print_json([vars(card) for card in cards])
        return
    for card in cards:
        figures = ", ".join(f"{name} {share:.3f}" for name, share in card.accuracy.items())
        print(f"{card.name}: {figures}; default layer {card.default_layer}")
    print(out or WEIGHTS)


@app.command()
def evaluate(
    model: Model = "testbed:cnn",
    scenes: Annotated[int, typer.Option(min=1, help="How many fresh scenes.")] = 200,
    seed: Seed = 1000,
    budget: Annotated[int, typer.Option(min=1, metavar="PASSES", help="As for `pellucid explain`.")] = 400,
    as_json: Json = False,
) -> None:
    """How often the map shown first points at the part of the scene that decides the answer.

    Example: pellucid testbed evaluate --model testbed:cnn --scenes 200
    """
    from pellucid.stories.pointing import pointing
    from pellucid.subject import load

    result = pointing(load(model), count=scenes, seed=seed, budget=budget)
    if as_json:
        print_json(result.to_dict())
        return
    from rich.console import Console

    from pellucid.cli.tables import pointing_table

    Console().print(pointing_table(result))
