"""`pellucid benchmark`"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import Device, Explainers, Json, Model, print_json


def benchmark(
    model: Model = "testbed:cnn",
    truth: Annotated[
        str,
        typer.Option(
            metavar="WHERE", help="testbed, testbed:model, testbed:pairs, testbed:bib6, coco:DIR or folder:DIR."
        ),
    ] = "testbed",
    methods: Annotated[
        str, typer.Option(help="all, or names with commas between: these run whatever they cost.")
    ] = "all",
    metrics: Annotated[str, typer.Option(help="default, all, or names with commas between.")] = "default",
    scenes: Annotated[int, typer.Option(min=1, help="How many pictures to look at.")] = 100,
    cap: Annotated[float, typer.Option(min=1, metavar="PASSES", help="What a method may take per picture.")] = 500,
    rank_by: Annotated[str | None, typer.Option(metavar="METRIC", help="What orders the board.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the board; the same command goes on there.")] = Path(
        "pellucid-benchmark"
    ),
    device: Device = None,
    seed: Annotated[int, typer.Option(min=0, help="Which scenes; everything random follows from it.")] = 1000,
    memory: Annotated[float | None, typer.Option(metavar="GIB", help="What may be held. Default: a quarter.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes, one core each. Default: what cores and pictures are worth.")
    ] = None,
    explainer: Explainers = None,
    as_json: Json = False,
) -> None:
    """Rank methods against a known truth, controls and cost beside.

    Example: pellucid benchmark --model testbed:cnn --scenes 20 --methods grad_cam,layer_cam,occlusion
    """
    from pellucid.attribution.fitted import attach
    from pellucid.stories.contest import benchmark as run
    from pellucid.subject import load

    opened = attach(load(model, device=device), explainer or ())
    # A process takes some seconds to begin; a quarter of a hundred pictures is worth that.
    worth = min(os.cpu_count() or 1, scenes // 25) if opened.device.type == "cpu" else 1
    board = run(
        opened, truth, methods=_names(methods, "all"), metrics=_names(metrics, "default", "all"),
        scenes=scenes, cap=cap, seed=seed, rank_by=rank_by, memory=memory, folder=out, workers=workers or max(1, worth),
    )  # fmt: skip
    files = [board.save(out / f"leaderboard{suffix}") for suffix in (".html", ".csv", ".json")]
    if as_json:
        print_json(board.to_dict() | {"examples": [], "files": [str(path) for path in files]})
        return
    from rich.console import Console

    from pellucid.cli.tables import board_table

    console = Console()
    console.print(board_table(board, console.width))
    print(files[0])


def _names(asked: str, *groups: str) -> str | list[str]:
    return asked if asked in groups else [name.strip() for name in asked.split(",") if name.strip()]
