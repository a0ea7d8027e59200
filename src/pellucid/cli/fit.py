"""`pellucid fit`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import Device, Json, Model, Seed, print_json
from pellucid.cli.pictures import LEARNED


def fit(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="One that needs an explainer, such as t_tame.")],
    model: Model = "testbed:cnn",
    pictures: Annotated[
        list[str] | None,
        typer.Option("--pictures", metavar="WHERE", help="Files, folders and globs. Default: scenes of the testbed."),
    ] = None,
    scenes: Annotated[int, typer.Option(min=2, help="Of the testbed, how many.")] = 2000,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Default: MODEL.METHOD.safetensors.")
    ] = None,
    updates: Annotated[int | None, typer.Option(min=1, help="At most. Default: as the method's page says.")] = None,
    device: Device = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Fit an explainer to a model, which stays as it is. No answers are needed: the model's own are explained.

    Broken off, the same command goes on where it stopped.

    Example: pellucid fit t_tame --model testbed:cnn --out cnn.t_tame.safetensors
    """
    from dataclasses import replace

    from pellucid.attribution.fitted import fit as fit_one
    from pellucid.attribution.fitted import fitting_of
    from pellucid.images import find
    from pellucid.subject import load
    from pellucid.testbed import scenes as drawn

    usual = fitting_of(method).learning
    opened = load(model, device=device)
    place = out or Path(f"{opened.name}.{method}.safetensors")
    files = [file for pattern in pictures or () for file in find(pattern)]
    shown = files or drawn(LEARNED, scenes).frames()
    learning = usual if updates is None else replace(usual, updates=updates)
    fitted = fit_one(method, opened, shown, learning=learning, seed=seed, checkpoint=place.with_suffix(".partial"))
    file = fitted.save(place)
    if as_json:
        print_json({"file": str(file), "method": method, "model": fitted.model, "updates": len(fitted.losses),
                    "judged": fitted.judged})  # fmt: skip
        return
    loss = (
        f"; loss of held-out pictures {fitted.judged[0]:.3f}, at best {min(fitted.judged):.3f}" if fitted.judged else ""
    )
    print(f"{file}: {len(fitted.losses)} updates{loss}")
