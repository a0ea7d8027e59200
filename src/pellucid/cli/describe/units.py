"""`pellucid describe unit` and `pellucid describe layer`"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from pellucid.cli.options import Json, Model, Seed, print_json

LayerName = Annotated[str | None, typer.Option("--layer", help="Where the units are. Default: the model's own choice.")]
Pictures = Annotated[int, typer.Option(min=40, help="How many pictures to probe with; every second one is held out.")]
Encoder = Annotated[
    str | None, typer.Option(help="A dual encoder that names, such as open_clip:ViT-B-32@laion2b_s34b_b79k.")
]
Method = Annotated[str, typer.Option(help="soft_wpmi, hard_wpmi, cos_cubed or rank_reorder.")]
ProbeSeed = Annotated[int, typer.Option("--probe-seed", min=2, help="Which scenes, or which crops of photographs.")]


def unit(
    number: Annotated[int, typer.Argument(min=0, help="Which unit, counted from 0.")], model: Model = "testbed:cnn",
    layer: LayerName = None, pictures: Pictures = 600, encoder: Encoder = None, method: Method = "cos_cubed",
    probe_seed: ProbeSeed = 1000,
    by_characteristics: Annotated[
        bool, typer.Option("--characteristics", help="Say instead whether it goes by hue, texture, shape and so on.")
    ] = False,
    seed: Seed = 0, as_json: Json = False,
) -> None:  # fmt: skip
    """What one unit answers to, and how far the name can be relied on.

    Example: pellucid describe unit 4 --model testbed:planted_hues
    """
    if by_characteristics:
        from pellucid.cli.describe.characteristics import characteristics

        characteristics([number], model, layer=layer, probe_seed=probe_seed, seed=seed, as_json=as_json)
        return
    _show(model, layer, (number,), pictures, encoder, method, probe_seed, seed, as_json)


def layer(
    model: Model = "testbed:cnn", layer: LayerName = None,
    first: Annotated[int, typer.Option(min=1, help="How many units, from the first on.")] = 20,
    pictures: Pictures = 600, encoder: Encoder = None, method: Method = "cos_cubed", probe_seed: ProbeSeed = 1000,
    seed: Seed = 0, as_json: Json = False,
) -> None:  # fmt: skip
    """What the units of a layer answer to, and how many names stand beside the controls.

    Example: pellucid describe layer --model testbed:planted_mixed --layer mono
    """
    _show(model, layer, first, pictures, encoder, method, probe_seed, seed, as_json)


def _show(
    spec: str, layer: str | None, units: Sequence[int] | int, pictures: int, encoder: str | None, method: str,
    probe_seed: int, seed: int, as_json: bool,
) -> None:  # fmt: skip
    from pellucid.language.describing import describe_units
    from pellucid.language.probes import Probe
    from pellucid.subject import load

    model = load(spec)
    where = layer or model.layers.chosen("describe").name
    asked = range(min(units, model.layers[where].channels or units)) if isinstance(units, int) else units
    found = describe_units(
        model, where, units=list(asked), probe=Probe.for_model(model, seed=probe_seed, count=pictures),
        encoder=encoder, method=method, seed=seed,
    )  # fmt: skip
    if as_json:
        print_json(found.to_dict())
        return
    from rich.console import Console

    console = Console()
    for claim, shown in zip(found.claims, found.exemplars, strict=True):
        console.print(claim)
        console.print(f"  strongest: {', '.join(shown[:5])}", style="dim", highlight=False)
    for line in (found.naming.text, *found.notes):
        console.print(line, style="dim", highlight=False)
