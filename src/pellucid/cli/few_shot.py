"""`pellucid few-shot`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import Json, Model, print_json


def few_shot(
    query: Annotated[str, typer.Argument(metavar="PICTURE", help="A file, or scene:7 for the testbed's seventh.")],
    support: Annotated[
        list[str],
        typer.Option(
            "--support", metavar="PICTURE=MASK",
            help="A file and its mask, white where marked, one per class with commas between; or scene:9=wing. Repeat.",
        ),
    ],
    model: Model = "testbed:segmenter",
    layers: Annotated[list[str] | None, typer.Option("--layer", help="A level of features. Repeat.")] = None,
    classes: Annotated[list[str] | None, typer.Option("--class", help="The name of a class, in order. Repeat.")] = None,
    prototypes: Annotated[bool, typer.Option("--prototypes", help="Match the mean place of each class.")] = False,
    everywhere: Annotated[bool, typer.Option("--all", help="Explain all pixels of the query.")] = False,
    mean: Annotated[bool, typer.Option("--mean", help="All levels count alike.")] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="A .png, .html or .json.")] = Path("few-shot.png"),
    as_json: Json = False,
) -> None:  # fmt: skip
    """Segment a picture by a few marked ones, and show which of their pixels it was matched to.

    Example: pellucid few-shot scene:7 --support scene:19=wing --support scene:20=wing --out few-shot.png
    """
    from pellucid.cli.pictures import marked_picture, picture
    from pellucid.stories.few_shot import few_shot as segment

    shown = [marked_picture(words, "--support") for words in support]
    found = segment(
        model, picture(query), [frame for frame, _, _ in shown], [mask for _, mask, _ in shown], layers=layers,
        classes=classes or shown[0][2], deciding="prototypes" if prototypes else "matching",
        explained="all" if everywhere else "predicted", weighting="mean" if mean else "ablation",
    )  # fmt: skip
    place = found.save(out)
    if as_json:
        rows = [{"name": name, "inside": found.inside(name), "area": found.area(name), "by_shot": found.by_shot(name)}
                for name in found.classes]  # fmt: skip
        print_json({"file": str(place), "classes": rows, "levels": found.levels, "weights": found.weights.tolist(),
                    "notes": found.notes})  # fmt: skip
        return
    found.show()
    print(*found.notes, place, sep="\n")
