"""The command `pellucid`: one file per command, nothing heavy imported before a command runs."""

from __future__ import annotations

import os
import sys

import typer

from pellucid.cli import (
    agent,
    bag,
    benchmark,
    causes,
    clip,
    demo,
    describe,
    explain,
    few_shot,
    fit,
    interactions,
    layers,
    methods,
    models,
    neighbourhoods,
    pair,
    recipe,
    retrain,
    testbed,
    tokens,
    traits,
    translate,
    trial,
)
from pellucid.cli.failing import failing_clearly, stays, stopping

app = typer.Typer(
    name="pellucid",
    help="Makes a trained vision model explain itself, in pictures and in words, with evidence for every statement.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("explain")(explain.explain)
app.command("benchmark")(stopping(stays)(benchmark.benchmark))
app.command("methods")(methods.methods)
app.command("models")(models.models)
app.command("layers")(layers.layers)
app.command("demo")(demo.demo)
app.command("fit")(stopping(stays)(fit.fit))
app.command("pair")(pair.pair)
app.command("few-shot")(few_shot.few_shot)
app.command("bag")(bag.bag)
app.command("clip")(clip.clip)
app.command("causes")(causes.causes)
app.command("tokens")(tokens.tokens)
app.command("neighbourhoods")(neighbourhoods.neighbourhoods)
app.command("traits")(traits.traits)
app.command("interactions")(interactions.interactions)
app.add_typer(agent.app, name="agent")
app.add_typer(describe.app, name="describe")
app.add_typer(recipe.app, name="recipe")
app.add_typer(testbed.app, name="testbed")
app.add_typer(retrain.app, name="retrain")
app.add_typer(translate.app, name="translate")
app.add_typer(trial.app, name="trial")


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=lambda asked: _version(asked), help="Print the version."
    ),
) -> None:
    """Makes a trained vision model explain itself, in pictures and in words, with evidence for every statement."""


def main() -> None:
    """Runs the command line. Exit code 0 done, 1 some inputs failed, 2 wrong usage."""
    # Threads that wait must sleep: where other work shares the cores, spinning ones made a picture three times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(failing_clearly(app))


def _version(asked: bool) -> None:
    if asked:
        from pellucid import __version__

        print(f"pellucid {__version__}")
        raise typer.Exit
