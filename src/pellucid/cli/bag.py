"""`pellucid bag`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import Json, Model, print_json


def bag(
    images: Annotated[
        list[str], typer.Argument(metavar="PICTURE...", help="Files, folders and globs; or bag:3, the testbed's third.")
    ],
    model: Model = "testbed:cnn",
    layer: Annotated[str, typer.Option(help="Whose mean over the picture is what is seen of it.")] = "flatten",
    explainer: Annotated[
        str, typer.Option(metavar="FILE", help="A fitted net over bags, or the testbed's: testbed:bags.")
    ] = "testbed:bags",
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="A .png, .html or .json.")] = Path("bag.png"),
    as_json: Json = False,
) -> None:  # fmt: skip
    """Which pictures of a bag decide: how much each is attended to, and what each adds to the answer, with sign.

    Example: pellucid bag bag:3 --out bag.png
    """
    from pellucid.cli.pictures import pictures_of_bag
    from pellucid.stories.bags import bag as read
    from pellucid.stories.bags import explainer_of

    found = read(explainer_of(explainer), model, pictures_of_bag(images), layer=layer)
    place = found.save(out)
    if as_json:
        added = found.contributions()
        rows = [{"name": name, "attention": float(share), "adds": float(part)}
                for name, share, part in zip(found.names, found.mean_attention, added, strict=True)]  # fmt: skip
        print_json({"file": str(place), "answer": found.labels[found.answer], "overlap": found.overlap,
                    "concentration": found.concentration.tolist(), "instances": rows})  # fmt: skip
        return
    found.show()
    print(place)
