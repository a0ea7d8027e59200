"""`pellucid describe blocks`"""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.options import Device, Json, Model, Seed, print_json


def blocks(
    images: Annotated[
        list[str] | None, typer.Argument(metavar="[IMAGE]...", help="Files, folders, globs. Testbed: fresh scenes.")
    ] = None,
    model: Model = "testbed:vit",
    device: Device = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """From which block of a transformer on the class can be told, and what attention and MLPs do for it.

    Beside every figure stands its chance: shuffled values, other classes, objects put anywhere, patches by lot.

    Example: pellucid describe blocks --model testbed:vit
    """
    from pellucid.stories.blocks import describe_blocks
    from pellucid.subject import load

    asked = load(model) if device is None else load(model).to(device)
    found = describe_blocks(asked, images or (), seed=seed)
    if as_json:
        print_json(found.to_dict())
        return
    print(found)
