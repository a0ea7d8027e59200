"""`pellucid describe class`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import Device, Json, Model, Seed, print_json


def described(
    name: Annotated[str, typer.Argument(metavar="CLASS", help="As it is called in the descriptions.")],
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="[IMAGE]...", help="Files, folders named like classes, globs. Testbed: fresh scenes."),
    ] = None,
    model: Model = "testbed:dual",
    descriptors: Annotated[
        Path | None, typer.Option(help="YAML: each class with a list of what can be seen. Default: the testbed's.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the testbed's list there, to be edited, and stop.")
    ] = None,
    shown: Annotated[int, typer.Option(min=0, help="Pictures whose score is taken apart.")] = 3,
    fitting: Annotated[
        int, typer.Option(min=0, help="For each picture of the class, so many descriptions that fit it best (GIST).")
    ] = 0,
    ensembling: Annotated[
        bool, typer.Option("--ensembling", help="Ask of chosen descriptions whether they help by what they mean.")
    ] = False,
    device: Device = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """A class of a dual encoder by what can be seen of it, and whether what the descriptions mean helps at all.

    Beside the accuracy stand those of the names alone, random words, shuffled descriptions and other pictures.

    Example: pellucid describe class "ripple swift" --model testbed:dual
    """
    if write is not None:
        from pellucid.language.phrases import species_descriptors

        species_descriptors().write(write)
        print(write)
        return
    from pellucid.stories.inside import describe_class
    from pellucid.subject import load

    asked = load(model) if device is None else load(model).to(device)
    found = describe_class(
        asked,
        name,
        images or (),
        descriptors=descriptors,
        shown=shown,
        fitting=fitting,
        ensembling=ensembling,
        seed=seed,
    )
    if as_json:
        print_json(found.to_dict())
        return
    print(found)
