"""`pellucid recipe`: texts that several nets and a narrator make together, every sentence checked."""

from __future__ import annotations

import typer

from pellucid.cli.recipe import attention, review, texts

app = typer.Typer(help="Checked texts of a picture or two, made by several nets together.", no_args_is_help=True)
app.command("vale")(texts.vale)
app.command("clues")(texts.clues)
app.command("textualise")(texts.textualise)
app.command("difference")(texts.difference)
app.command("caption")(attention.caption)
app.command("refer")(attention.refer)
app.command("ground")(attention.ground)
app.command("review")(review.review)
