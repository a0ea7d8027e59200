"""`pellucid testbed remedies`"""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.failing import stopping
from pellucid.cli.options import Json, Model, print_json


@stopping(lambda: "Nothing is kept of it.")
def remedies(
    model: Model = "testbed:cnn_background",
    steps: Annotated[int, typer.Option(min=1, help="Updates of each remedy that trains.")] = 300,
    seed: Annotated[int, typer.Option("--scene-seed", min=2, help="Which scenes.")] = 3100,
    as_json: Json = False,
) -> None:
    """What helps a net that reads the background, with groups told by the words of its own failures.

    Example: pellucid testbed remedies --model testbed:cnn_background
    """
    from pellucid.stories.remedying import remedied
    from pellucid.subject import load

    found = remedied(load(model), seed=seed, steps=steps)
    if as_json:
        print_json(found.to_dict())
        return
    print(f"{found.model}, groups told by: {', '.join(found.words)}")
    print(f"{'':34}overall  agrees  misleads  groups  worst group")
    for row, (aligned, conflict) in zip(found.rows, found.accuracies, strict=True):
        print(f"{row.name:34}{row.overall:7.1%} {aligned:7.1%} {conflict:9.1%} {row.mean:7.1%} {row.worst:12.1%}")
    print(
        f"{found.scenes} fresh scenes in {found.rows[0].groups} groups (class and landscape), mean and worst of them."
    )
