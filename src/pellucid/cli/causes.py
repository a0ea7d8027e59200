"""`pellucid causes`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import Json, Model, Seed, print_json


def causes(
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PICTURE...]", help="Files, folders and globs of the class; without any, scenes are "
                       "drawn."),
    ] = None,
    model: Model = "testbed:cnn",
    of: Annotated[str, typer.Option("--class", metavar="NAME", help="The class, by name or number.")] = "0",
    others: Annotated[
        list[str] | None, typer.Option(metavar="PICTURE", help="Pictures of other classes; may be given again.")
    ] = None,
    measure: Annotated[
        str, typer.Option(help="Whose fall an effect is: log_odds, probability, logit; or loss, whose rise.")
    ] = "log_odds",
    nodes: Annotated[int, typer.Option(min=1, help="Filters of each layer in the graph, at most.")] = 12,
    candidates: Annotated[int, typer.Option(min=1, help="Edges into each layer that are cut.")] = 128,
    layers: Annotated[str | None, typer.Option(help="From which layer on: names with commas, to the last.")] = None,
    count: Annotated[int, typer.Option(min=4, help="Scenes drawn of the class, and as many of others.")] = 64,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="A .png, .html, .txt or .json.")
    ] = Path("causes.png"),
    seed: Seed = 0,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Which filters, through which paths, cause a class: edges between filters are cut one at a time.

    Example: pellucid causes --class "ripple swift" --nodes 6 --candidates 32 --count 24 --out causes.png
    """
    from dataclasses import asdict

    import pellucid as pl
    from pellucid.attribution.causes import Walk
    from pellucid.cli.pictures import scenes_of_class
    from pellucid.stories.causes import causal_graph
    from pellucid.subject.targets import class_in_words

    net = pl.load(model)
    asked = class_in_words(of)
    own, rest = (images, others or None) if images else scenes_of_class(net, asked, count)
    found = causal_graph(
        net, own, asked, others=rest, layers=layers.split(",") if layers else None, measure=measure,
        walk=Walk(nodes, candidates), seed=seed,
    )  # fmt: skip
    place = found.save(out)
    if as_json:
        print_json({"file": str(place), "class": found.label, "filters": len(found.filters), "measure": found.measure,
                    "edges": [asdict(edge) for edge in found.edges],
                    "harmful": [asdict(one) for one in found.harmful],
                    "surgeries": [asdict(one) for one in found.surgeries]})  # fmt: skip
        return
    found.show()
    print(place)
