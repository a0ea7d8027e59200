"""`pellucid describe`: what a model has learned or seen, in words."""

from __future__ import annotations

import typer

from pellucid.cli.describe import (
    blocks,
    characteristics,
    classes,
    dataset,
    difference,
    head,
    image,
    importance,
    labels,
    units,
)

app = typer.Typer(help="What a model has learned or seen, in words that were tested.", no_args_is_help=True)
app.command("unit")(units.unit)
app.command("layer")(units.layer)
app.command("image")(image.image)
app.command("head")(head.head)
app.command("class")(classes.described)
app.command("difference")(difference.difference)
app.command("blocks")(blocks.blocks)
app.command("characteristics")(characteristics.characteristics)
app.command("labels")(labels.labels)
app.command("dataset")(dataset.dataset)
app.command("importance")(importance.importance)
