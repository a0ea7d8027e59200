"""`pellucid agent unit | bias | replay`: an agent that experiments on a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.options import Json, print_json

if TYPE_CHECKING:
    from pellucid.stories.agent import Task, Turn

app = typer.Typer(help="An agent that experiments on a model until a hypothesis stands or falls.", no_args_is_help=True)

ModelSpec = Annotated[str, typer.Argument(metavar="MODEL", help="prefix:name or a path, as in `pellucid models`.")]
PolicyName = Annotated[
    str, typer.Option("--policy", help="scripted, or chat:MODEL at PELLUCID_NARRATOR_URL.")
]  # fmt: skip
JournalPath = Annotated[
    Path | None, typer.Option("--journal", metavar="FILE", help="Write every turn there, to be replayed.")
]
Passes = Annotated[int, typer.Option(min=1, help="Forward passes that may be spent.")]
Turns = Annotated[int, typer.Option(min=1, help="Calls of tools that may be made.")]
Pictures = Annotated[int, typer.Option(min=20, help="How many pictures it is scanned with.")]
SceneSeed = Annotated[int, typer.Option("--seed", min=2, help="Which scenes, or which crops; fresh ones follow it.")]
Steps = Annotated[bool, typer.Option("--steps", help="Print every turn as it ends.")]
Blind = Annotated[bool, typer.Option("--blind/--no-blind", help="Also where there is nothing to find.")]


def unit(
    model: ModelSpec,
    number: Annotated[int, typer.Option("--unit", "-u", min=0, help="Which unit, counted from 0.")],
    layer: Annotated[str | None, typer.Option("--layer", help="Where it is. Default: the model's own choice.")] = None,
    pool: Annotated[str, typer.Option(help="Its answer to a picture: max or mean over the grid.")] = "max",
    policy: PolicyName = "scripted", journal: JournalPath = None, passes: Passes = 3000, turns: Turns = 30,
    pictures: Pictures = 300, seed: SceneSeed = 3000,
    blind: Blind = True, steps: Steps = False, as_json: Json = False,
) -> None:  # fmt: skip
    """What a unit answers to, by experiments with changed pictures, and how far that can be relied on.

    Example: pellucid agent unit testbed:planted_logic --layer answer.gates --unit 0
    """
    from pellucid.stories.agent.asking import unit_task
    from pellucid.subject import load

    opened = load(model)
    task = unit_task(
        opened, model, number, layer=layer, pool=pool, passes=passes, turns=turns, pictures=pictures, seed=seed
    )
    _run(opened, task, policy, journal, blind, steps, as_json)


def bias(
    model: ModelSpec = "testbed:cnn_background", policy: PolicyName = "scripted", journal: JournalPath = None,
    passes: Passes = 3000, turns: Turns = 60, seed: SceneSeed = 3000, blind: Blind = True, steps: Steps = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """What a model goes by and should not, or that nothing was found.

    Example: pellucid agent bias testbed:cnn_background
    """
    from pellucid.stories.agent import Task
    from pellucid.subject import load

    _run(load(model), Task("bias", model, passes=passes, turns=turns, seed=seed), policy, journal, blind, steps,
         as_json)  # fmt: skip


def replay(
    journal: Annotated[Path, typer.Argument(help="What `--journal` wrote.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="Another model. Default: the journal's.")] = None,
    as_json: Json = False,
) -> None:
    """Makes every experiment of a journal again. Exit code 1 where a figure is not the same.

    Example: pellucid agent replay unit.jsonl
    """
    from pellucid.stories.agent import replay as run_again
    from pellucid.subject import load

    found = run_again(journal, model=None if model is None else load(model))
    if as_json:
        print_json(found.to_dict())
    else:
        print(found)
    if not found.same:
        raise typer.Exit(1)


def _run(model: object, task: Task, policy: str, journal: Path | None, blind: bool, steps: bool, as_json: bool) -> None:
    from pellucid.stories.agent import investigate
    from pellucid.stories.agent.asking import policy_of
    from pellucid.subject import VisionModel

    assert isinstance(model, VisionModel)
    found = investigate(
        model, task, policy_of(policy), journal=journal, blind=blind, watch=_show if steps and not as_json else None
    )
    if as_json:
        print_json(found.to_dict())
    else:
        print(found)
    if found.status != "concluded":
        raise typer.Exit(1)


def _show(turn: Turn) -> None:
    said = f"{turn.number:3} {turn.call.tool}"
    print(f"{said}: {turn.error or turn.call.thought} [{turn.passes} passes]")


app.command("unit")(unit)
app.command("bias")(bias)
app.command("replay")(replay)
