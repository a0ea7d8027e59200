"""`pellucid explain`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.failing import SOME_FAILED
from pellucid.cli.options import Device, Explainers, Json, Model, Seed, print_json


def explain(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Files, folders and globs.")],
    model: Model,
    target: Annotated[
        str | None,
        typer.Option(
            help="Class index or name; of a detector or segmenter also `every`: a page per box or region. Default: the "
            "class predicted for each picture."
        ),
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Method names with commas between. Default: the panel the budget allows.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Where methods look that explain at a layer. `pellucid layers` lists them.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for pages, sheets and records.")] = Path("explanations"),
    device: Device = None,
    seed: Seed = 0,
    memory: Annotated[
        float | None, typer.Option(metavar="GIB", help="Memory that may be held. Default: a quarter of what is free.")
    ] = None,
    budget: Annotated[
        int, typer.Option(metavar="PASSES", min=1, help="Forward passes per picture; a backward counts two.")
    ] = 400,
    faithfulness_target: Annotated[
        float | None,
        typer.Option(
            metavar="GAIN",
            help="Search methods, layers and baselines for a map of this insertion less deletion (-1 to "
            "1), within the budget; 2000 passes are a fair search.",
        ),
    ] = None,
    narrator: Annotated[
        str | None,
        typer.Option(
            help="Who retells the findings, every sentence checked: templates, hf:FOLDER, chat:MODEL (a server that "
            "speaks the OpenAI chat protocol, at PELLUCID_NARRATOR_URL with PELLUCID_NARRATOR_KEY), or "
            "chat+picture:MODEL, which sends it the picture too. Default: nobody."
        ),
    ] = None,
    explainer: Explainers = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print what would be done and what it costs, and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Explain pictures: per picture one page, one sheet and one record, and an index for several.

    Example: pellucid explain bird.png --model testbed:cnn --out explanations
    """
    from pellucid.cli.reporting import announce_plan, finish
    from pellucid.stories.errand import prepare

    errand = prepare(
        images, model, out=out, target=target, methods=methods, layer=layer, device=device, seed=seed, memory=memory,
        budget=budget, faithfulness_target=faithfulness_target, narrator=narrator,
        explainers=explainer or (),
    )  # fmt: skip
    if plan:
        announce_plan(errand, as_json)
        return
    if methods is not None and not as_json:
        announce_plan(errand, as_json=False)
    outcome = finish(errand, quiet=as_json)
    if as_json:
        print_json(outcome.to_dict())
    if outcome.failed:
        raise typer.Exit(SOME_FAILED)
