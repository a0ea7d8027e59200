"""`pellucid testbed failures`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.failing import stays, stopping
from pellucid.cli.options import Json, print_json


@stopping(stays)
def failures(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="What `train-seeds` wrote. Default: in the cache folder.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 20,
    scenes: Annotated[int, typer.Option(min=200, help="How many scenes for each net.")] = 6000,
    scene_seed: Annotated[int, typer.Option("--scene-seed", min=2, help="Which scenes.")] = 3000,
    as_json: Json = False,
) -> None:
    """Whether the words of failures tell nets that read the background from nets that do not.

    Broken off, the same command goes on where it stopped.

    Example: pellucid testbed failures
    """
    from pellucid.language.failures import Pictures
    from pellucid.stories.failing_seeds import told
    from pellucid.testbed.train import nursery, seedlings

    folder = folder or nursery()
    found = told(seedlings(folder, count=count), pictures=Pictures(seed=scene_seed, count=scenes), folder=folder)
    if as_json:
        print_json([vars(one) for one in found])
        return
    for one in found:
        said = "; ".join(one.first) or "nothing stands out"
        print(
            f"seed {one.seed}, {one.net}: right in {one.accuracy:.0%}; {one.conditions} conditions. {said}. "
            f"Leans on {', '.join(one.drawn) or 'nothing'}."
        )
    for planted, words in ((True, "biased"), (False, "clean")):
        own = [one for one in found if one.planted == planted]
        cued = sum(one.cued > 0 for one in own)
        leaning = sum(one.drawn_cued > 0 for one in own)
        print(
            f"{leaning} of {len(own)} {words} nets lean on a landscape (first three words), and {cued} have one "
            f"among the first three conditions under which a class is missed."
        )
