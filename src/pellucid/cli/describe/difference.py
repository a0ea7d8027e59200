"""`pellucid describe difference`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import Device, Json, Model, Seed, print_json


def difference(
    first: Annotated[str, typer.Argument(metavar="CLASS", help="As it is called in the descriptions.")],
    second: Annotated[str, typer.Argument(metavar="CLASS", help="The class that it may be confused with.")],
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="[IMAGE]...", help="Files, folders named like classes, globs. Testbed: fresh scenes."),
    ] = None,
    model: Model = "testbed:dual",
    descriptors: Annotated[
        Path | None, typer.Option(help="YAML: each class with a list of what can be seen. Default: the testbed's.")
    ] = None,
    among: Annotated[
        int, typer.Option("--among", min=2, help="How many of the likeliest classes get a second look.")
    ] = 10,
    device: Device = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """What tells two classes of a dual encoder apart, and whether a second look by such differences helps (FuDD).

    Beside it stand the first look, random words, differences dealt to either class by lot and other pictures.

    Example: pellucid describe difference "ripple swift" "ripple wren"
    """
    from pellucid.stories.inside import describe_difference
    from pellucid.subject import load

    asked = load(model) if device is None else load(model).to(device)
    found = describe_difference(asked, first, second, images or (), descriptors=descriptors, among=among, seed=seed)
    if as_json:
        print_json(found.to_dict())
        return
    print(found)
