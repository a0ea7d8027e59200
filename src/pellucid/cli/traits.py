"""`pellucid traits`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import Json, Model, Seed, print_json


def traits(
    image: Annotated[str, typer.Argument(metavar="PICTURE", help="A file; or scene:7, the testbed's seventh.")],
    model: Model = "testbed:vit",
    of: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="The class. Default: the model's own answer.")
    ] = None,
    rival: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another class. Default: the one next likely.")
    ] = None,
    explainer: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What `pellucid fit prompt_cam` wrote for this model.")
    ] = None,
    share: Annotated[
        float, typer.Option(help="Of the probability, below which the heads that are left count as needed.")
    ] = 0.5,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="A .png, .html, .txt or .json.")
    ] = Path("traits.png"),
    seed: Seed = 0,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Which heads of a transformer tell a class from another in a picture: they are blurred one after the other.

    Example: pellucid traits scene:7 --out traits.png
    """
    from pellucid.cli.pictures import picture
    from pellucid.stories.traits import traits as read
    from pellucid.subject.targets import class_in_words

    asked, other = class_in_words(of), class_in_words(rival)
    found = read(model, picture(image), target=asked, rival=other, explainer=explainer, share=share, seed=seed)
    place = found.save(out)
    if as_json:
        heads = [{"head": head, "left": left, "likeness": found.likeness(head)}
                 for head, left in zip(found.asked.order, found.asked.left, strict=True)]  # fmt: skip
        print_json({"file": str(place), "class": found.asked.label, "rival": found.rival.label,
                    "probability": found.asked.probability, "needed": list(found.asked.order[: found.asked.needed]),
                    "agrees": found.agrees, "heads": heads})  # fmt: skip
        return
    found.show()
    print(place)
