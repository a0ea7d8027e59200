"""`pellucid describe dataset`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import Device, Json, Model, Seed, print_json


def dataset(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER]", help="Folders named like classes, or a folder as COCO has it. Testbed: fresh scenes."
        ),
    ] = None,
    model: Model = "testbed:cnn_background",
    encoder: Annotated[
        str | None, typer.Option(help="A dual encoder that says what is seen, such as open_clip:ViT-B-32@openai.")
    ] = None,
    words: Annotated[
        Path | None, typer.Option(help="What it may say: a file of one text per line. Default: our own.")
    ] = None,
    attributes: Annotated[
        Path | None, typer.Option(help="What is known of each picture: CSV or JSON lines, with a column `file`.")
    ] = None,
    scenes: Annotated[int, typer.Option(min=200, help="Testbed: how many scenes.")] = 6000,
    strength: Annotated[
        float, typer.Option(min=0, max=1, help="Testbed: how often the landscape agrees with the species.")
    ] = 0.5,
    scene_seed: Annotated[int, typer.Option("--scene-seed", min=2, help="Testbed: which scenes.")] = 3000,
    drop: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="How far below its class a condition must lie, 0 to 1.")
    ] = 0.3,
    most: Annotated[int, typer.Option("--first", min=1, help="How many conditions to tell.")] = 3,
    device: Device = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Under which conditions a model fails: the smallest sets of words, sought in one half and confirmed on the other.

    Example: pellucid describe dataset --model testbed:cnn_background
    """
    from pellucid.language.failures import Pictures, Rule
    from pellucid.stories.failing import describe_dataset
    from pellucid.subject import load

    asked = load(model) if device is None else load(model).to(device)
    found = describe_dataset(
        asked, folder, encoder=encoder, words=words, attributes=attributes, rule=Rule(drop=drop), seed=seed,
        pictures=Pictures(seed=scene_seed, count=scenes, strength=strength),
    )  # fmt: skip
    if as_json:
        print_json(found.to_dict())
        return
    for line in found.lines(most):
        print(line)
