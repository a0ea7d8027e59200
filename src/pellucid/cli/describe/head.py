"""`pellucid describe head`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.options import Device, Json, Model, Seed, print_json
from pellucid.errors import RequestError

if TYPE_CHECKING:
    from pellucid.language.residual import Head


def head(
    images: Annotated[
        list[str] | None, typer.Argument(metavar="[IMAGE]...", help="Files, folders, globs. Testbed: fresh scenes.")
    ] = None,
    model: Model = "testbed:dual",
    heads: Annotated[
        list[str] | None, typer.Option("--head", metavar="LAYER.HEAD", help="Which, from 0.0; all if none is named.")
    ] = None,
    texts: Annotated[Path | None, typer.Option(help="The pool: a file of one text per line. Default: our own.")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Texts per head.")] = 5,
    device: Device = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Which texts the attention heads of a dual encoder write, and how much of each head they explain.

    Beside each list stand as many random directions, the texts with their numbers shuffled, and as many texts by lot.

    Example: pellucid describe head --model testbed:dual --head 3.2
    """
    from pellucid.stories.inside import describe_heads
    from pellucid.subject import load

    asked = load(model) if device is None else load(model).to(device)
    found = describe_heads(
        asked, images or (), heads=[_read(one) for one in heads] if heads else None, texts=texts, count=count, seed=seed
    )
    if as_json:
        print_json(found.to_dict())
        return
    print(found)


def _read(asked: str) -> Head:
    from pellucid.language.residual import Head

    layer, _, number = asked.partition(".")
    if not (layer.isdigit() and number.isdigit()):
        raise RequestError(f"--head {asked!r} is no head; expected layer and head from 0, as 3.2.")
    return Head(int(layer), int(number))
