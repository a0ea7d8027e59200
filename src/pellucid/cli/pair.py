"""`pellucid pair`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import Json, Model, Seed, print_json


def pair(
    first: Annotated[str, typer.Argument(metavar="PICTURE", help="A file, or scene:7 for the testbed's seventh.")],
    second: Annotated[str, typer.Argument(metavar="PICTURE", help="Another.")],
    model: Model = "testbed:cnn",
    layer: Annotated[str | None, typer.Option(help="Whose places. Default: the last layer on a grid.")] = None,
    embedding: Annotated[
        str | None, typer.Option(help="The layer that holds the embedding. Default: the model's output.")
    ] = None,
    points: Annotated[
        list[str] | None,
        typer.Option("--point", metavar="ROW,COLUMN", help="A pixel of the first picture to find in the second."),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="The plain product instead of the cosine.")] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="A .png, .html or .json.")] = Path("pair.png"),
    seed: Seed = 0, as_json: Json = False,
) -> None:  # fmt: skip
    """Which places of two pictures make them alike to a model, and where a point of one is answered in the other.

    Example: pellucid pair scene:7 scene:19 --model testbed:cnn --embedding flatten --point 30,30 --out pair.png
    """
    from pellucid.cli.pictures import picture, whole_numbers
    from pellucid.stories.pairs import pair as compare

    asked = [whole_numbers(point, 2, "--point") for point in points or ()]
    found = compare(
        model, picture(first), picture(second), layer=layer, embedding=embedding, normalised=not plain, seed=seed
    )
    for row, column in asked:
        found = found.asking(row, column)
    place = found.save(out)
    if as_json:
        matches = [vars(found.match(row, column)) for row, column in asked]
        print_json({"file": str(place), "likeness": found.likeness, "constant": found.constant, "gap": found.gap,
                    "layer": found.layer, "matches": matches, "notes": found.notes})  # fmt: skip
        return
    found.show()
    print(*found.notes, place, sep="\n")
