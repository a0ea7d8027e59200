"""`pellucid describe labels`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import Json, Model, Seed, print_json


def labels(
    names: Annotated[list[str], typer.Argument(metavar="CLASS...", help="Classes by name or number.")],
    model: Model = "demo:efficientnet_lite0",
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many neighbours.")] = 5,
    sentences: Annotated[
        Path | None, typer.Option(help="Folder of a sentence encoder. Default: that of the extra `words`.")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Which classes lie near in meaning, and which the model itself puts near.

    Beside the agreement of both stands that of names dealt out anew.

    Example: pellucid describe labels "tiger cat" espresso
    """
    from pellucid.language.meaning import compare
    from pellucid.subject import load
    from pellucid.subject.sentences import SentenceEncoder
    from pellucid.subject.targets import class_in_words

    net = load(model)
    asked = [net.labels.name(net.labels.index(class_in_words(name))) for name in names]
    found = compare(net, SentenceEncoder(sentences), asked, count=count, seed=seed)
    if as_json:
        print_json(found.to_dict())
        return
    for one in found.neighbourhoods:
        print(one)
    print(found)
