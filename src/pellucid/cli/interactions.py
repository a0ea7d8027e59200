"""`pellucid interactions`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import Json, Model, Seed, print_json


def interactions(
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PICTURE...]", help="Files, folders and globs, of the class and of others; without "
                       "any, scenes are drawn."),
    ] = None,
    model: Model = "testbed:cnn",
    of: Annotated[str, typer.Option("--class", metavar="NAME", help="The class, by name or number.")] = "0",
    layer: Annotated[
        str | None, typer.Option(help="Whose filters are screened; without it, places of the picture.")
    ] = None,
    cells: Annotated[int, typer.Option(min=1, help="Places a side, where no layer is named.")] = 12,
    cut: Annotated[str, typer.Option(help="Where a variable is cut in two: median or two_means.")] = "median",
    draws: Annotated[int, typer.Option(min=1, help="Random sets that are shrunk.")] = 400,
    count: Annotated[int, typer.Option(min=10, help="Scenes drawn of the class, and as many of others.")] = 200,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="A .html, .txt or .json; for places, a .png too.")
    ] = Path("interactions.html"),
    seed: Seed = 0,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Which filters or places foretell a class only together: sets screened by their I-score, tried on other pictures.

    Example: pellucid interactions --class 0 --layer features.5.2 --count 100 --out interactions.html
    """
    from dataclasses import asdict

    import pellucid as pl
    from pellucid.attribution.interactions import Screening
    from pellucid.cli.pictures import scenes_of_class
    from pellucid.stories.interactions import foretelling
    from pellucid.subject.targets import class_in_words

    net = pl.load(model)
    asked = class_in_words(of)
    pictures = images or [frame for some in scenes_of_class(net, asked, count) for frame in some]
    found = foretelling(net, pictures, asked, layer=layer, cells=cells, screening=Screening(draws=draws, cut=cut),
                        seed=seed)  # fmt: skip
    place = found.save(out)
    if as_json:
        print_json({"file": str(place), "answer": found.label, "sets": [asdict(one) for one in found.sets],
                    "alone": list(found.alone), "auc": found.auc})  # fmt: skip
        return
    found.show()
    print(place)
