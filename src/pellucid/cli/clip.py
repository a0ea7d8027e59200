"""`pellucid clip`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import Json, Model, Seed, print_json


def clip(
    frames: Annotated[
        list[str], typer.Argument(metavar="FRAME...", help="The frames' files in order; or clip:3 of the testbed.")
    ],
    model: Model = "testbed:clips",
    methods: Annotated[str, typer.Option(help="Method names with commas between.")] = "grad_cam,time_occlusion",
    target: Annotated[str | None, typer.Option(help="Class index or name. Default: the class predicted.")] = None,
    layer: Annotated[str | None, typer.Option(help="Where methods look that explain at a layer.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="For strips and films.")] = Path("clips"),
    seed: Seed = 0, as_json: Json = False,
) -> None:  # fmt: skip
    """Where in a film a model looked, and when: a strip of frames with maps, and the same as a film (.gif).

    Example: pellucid clip clip:3 --methods grad_cam,time_occlusion --out clips
    """
    from pellucid.cli.pictures import film
    from pellucid.stories.clips import watch
    from pellucid.subject.targets import class_in_words

    asked = class_in_words(target)
    found = watch(model, film(frames), methods.split(","), target=asked, layer=layer, seed=seed,
                  name=frames[0] if len(frames) == 1 else Path(frames[0]).stem)  # fmt: skip
    places = [one.save(out / f"{name}{suffix}") for name, one in found.items() for suffix in (".png", ".gif")]
    if as_json:
        rows = [{"method": name, "target": one.target_name, "probability": one.probability,
                 "over_time": one.over_time.tolist()} for name, one in found.items()]  # fmt: skip
        print_json({"files": [str(place) for place in places], "maps": rows})
        return
    for one in found.values():
        print(one.sentence)
        one.show()
    print(out)
