"""`pellucid neighbourhoods`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pellucid.cli.options import Device, Json, Model, Seed, print_json


def neighbourhoods(
    images: Annotated[list[str], typer.Argument(metavar="PICTURE...", help="Files; or scene:7, the testbed's.")],
    model: Model = "testbed:cnn",
    methods: Annotated[
        str | None, typer.Option(help="Names with commas between; the maps that know nothing join them.")
    ] = None,
    sigmas: Annotated[str, typer.Option(help="Noise, as parts of the picture's range.")] = "0.05,0.15,0.3",
    fill: Annotated[str, typer.Option(help="What is taken away becomes: blur, mean, noise, black.")] = "blur",
    grid: Annotated[int, typer.Option(min=2, help="Rows and columns of what is taken away.")] = 8,
    samples: Annotated[int, typer.Option(min=8, help="Changes in each neighbourhood.")] = 64,
    intercept: Annotated[
        Literal["picture", "free"], typer.Option(help="What a map says of no change: any (free), or the model's.")
    ] = "free",
    of: Annotated[str | None, typer.Option("--class", metavar="NAME", help="The class. Default: the answer.")] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="A .html, .png, .txt or .json.")
    ] = Path("neighbourhoods.html"),
    device: Device = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Which explanation to choose: how much each foretells of the model, by the kind of change that you care about.

    Example: pellucid neighbourhoods scene:7 --methods gradient,smoothgrad,lime --out choose.html
    """
    from pellucid.cli.pictures import picture
    from pellucid.cli.retrain import names_of, shares_of
    from pellucid.stories.neighbourhoods import METHODS
    from pellucid.stories.neighbourhoods import neighbourhoods as run
    from pellucid.subject import load
    from pellucid.subject.targets import class_in_words

    found = run(
        load(model, device=device), [picture(words) for words in images],
        METHODS if methods is None else names_of(methods), sigmas=shares_of(sigmas), fill=fill, grid=grid,
        samples=samples, intercept=intercept, target=class_in_words(of), seed=seed,
    )  # fmt: skip
    place = found.save(out)
    if as_json:
        print_json(found.to_dict() | {"file": str(place)})
        return
    found.show()
    for column in found.columns:
        print(column.sentence)
    print(found.sentence)
    print(place)
