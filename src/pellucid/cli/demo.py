"""`pellucid demo`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.failing import SOME_FAILED
from pellucid.cli.options import Json, Seed, print_json


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("pellucid-demo"),
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Explain photographs, rendered birds whose answer is known, and handwritten digits.

    Example: pellucid demo --out pellucid-demo
    """
    from pellucid.cli.demonstration import run

    outcome = run(out, seed=seed, quiet=as_json)
    if as_json:
        print_json(outcome.to_dict())
    if outcome.failed:
        raise typer.Exit(SOME_FAILED)
