"""`pellucid testbed slices`"""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.failing import stopping
from pellucid.cli.options import Json, Model, print_json


@stopping(lambda: "Nothing is kept of it.")
def slices(
    model: Model = "testbed:cnn_background",
    scenes: Annotated[int, typer.Option(min=600, help="How many scenes.")] = 6000,
    seed: Annotated[int, typer.Option("--scene-seed", min=2, help="Which scenes.")] = 3200,
    as_json: Json = False,
) -> None:
    """Whether DOMINO, FACTS and Bias-to-Text find what misleads a net, on whole pictures and on what its maps leave.

    Example: pellucid testbed slices --model testbed:cnn_background
    """
    from pellucid.stories.slicing import slicing
    from pellucid.subject import load

    found = slicing(load(model), count=scenes, seed=seed)
    if as_json:
        print_json(found.to_dict())
        return
    print(found)
