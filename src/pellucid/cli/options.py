"""Options that several commands share, so that they mean the same everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", metavar="SPEC", help="The model: prefix:name or a path. `pellucid models` lists what there is."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Explainers = Annotated[
    list[Path] | None,
    typer.Option("--explainer", metavar="FILE", help="What `pellucid fit` wrote for this model; may be repeated."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Everything random follows from it.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps. Default: where the model loads.")]


def print_json(value: Any) -> None:
    """One JSON value on standard output, and nothing else."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))
