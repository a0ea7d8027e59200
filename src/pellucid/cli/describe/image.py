"""`pellucid describe image`"""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.options import Json, Model, Seed, print_json


def image(
    picture: Annotated[str, typer.Argument(help="A picture, or scene:7 for the testbed's seventh.")] = "scene:7",
    model: Model = "testbed:cnn",
    target: Annotated[str | None, typer.Option(help="A class by name or number. Default: the answer.")] = None,
    method: Annotated[str, typer.Option(help="Whose map is told: any of `pellucid methods`.")] = "layer_cam",
    layer: Annotated[str | None, typer.Option(help="Where the map is made. Default: the model's own choice.")] = None,
    segments: Annotated[int, typer.Option(min=2, help="About how many superpixels.")] = 60,
    encoder: Annotated[
        str | None, typer.Option(help="A dual encoder that names regions, such as testbed:dual.")
    ] = None,
    words: Annotated[str | None, typer.Option(help="What it may call them, with bars between: a plume|a wing.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """What a map says of a picture, in sentences that are tested, with how far the words agree with the map.

    Beside them stand the words of a shuffled map, as many random regions, and a narrator that lies about the same.

    Example: pellucid describe image scene:7 --method occlusion
    """
    from pellucid.language.telling import tell

    found = tell(
        picture, model, target=target, method=method, layer=layer, segments=segments, encoder=encoder,
        words=words.split("|") if words else None, seed=seed,
    )  # fmt: skip
    if as_json:
        print_json(found.to_dict())
        return
    from rich.console import Console

    console = Console()
    for claim in found.claims:
        console.print(claim)
    for line in found.controls:
        console.print(line, style="dim", highlight=False)
