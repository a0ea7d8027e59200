"""`pellucid testbed export | train | train-seeds | alarms | failures | slices | remedies | cards | evaluate | ...`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import failures_of_seeds, remedies_of_net, slices_of_net
from pellucid.cli.failing import stays, stopping
from pellucid.cli.options import Json, Model, Seed, print_json

app = typer.Typer(help="The rendered world where the right answer is known, and its nets.", no_args_is_help=True)
app.command("failures")(failures_of_seeds.failures)
app.command("slices")(slices_of_net.slices)
app.command("remedies")(remedies_of_net.remedies)


@app.command()
@stopping(stays)
def train(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Which nets; all that are shipped if none is named.")
    ] = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the weights. Default: where pellucid keeps its own.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Fewer updates than the recipe's, for a trial.")] = None,
    pool: Annotated[int | None, typer.Option(min=64, help="Fewer pictures than the recipe's, for a trial.")] = None,
    as_json: Json = False,
) -> None:
    """Rebuild the shipped nets from a seed, and measure them.

    Broken off, the same command goes on where it stopped.

    Example: pellucid testbed train digits --out weights
    """
    from pellucid.testbed.nets import ARCHITECTURES, WEIGHTS, known
    from pellucid.testbed.train import train as train_one

    wanted = list(names or (name for name, entry in ARCHITECTURES.items() if entry.ships))
    for name in wanted:
        known(name)
    cards = [train_one(name, seed, folder=out or WEIGHTS, steps=steps, pool=pool) for name in wanted]
    if as_json:
        print_json([vars(card) for card in cards])
        return
    for card in cards:
        print(f"{card.name}: {card.figures}{f'; default layer {card.default_layer}' if card.default_layer else ''}")
    print(out or WEIGHTS)


@app.command("train-seeds")
@stopping(stays)
def train_seeds(
    out: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER]", help="One file for each net: seed-101/cnn.safetensors. Default: in the cache folder."
        ),
    ] = None,
    names: Annotated[
        list[str] | None, typer.Option("--net", metavar="NAME", help="Which nets; cnn and cnn_background by default.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 20,
    workers: Annotated[int, typer.Option(min=1, help="How many nets at a time, one thread each.")] = 2,
    as_json: Json = False,
) -> None:
    """The same nets from many seeds, for claims about training itself: 20 clean and 20 biased ones.

    Broken off, the same command goes on where it stopped; what is there already is kept.

    Example: pellucid testbed train-seeds
    """
    from pellucid.testbed.train import SHORT_PLANS, nursery
    from pellucid.testbed.train import train_seeds as train_all

    out = out or nursery()
    cards = train_all(out, names or tuple(SHORT_PLANS), count=count, workers=workers)
    if as_json:
        print_json([vars(card) for card in cards])
        return
    for card in cards:
        print(f"seed {card.seed}, {card.name}: {card.figures}")
    print(out)


@app.command()
@stopping(stays)
def alarms(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="What `train-seeds` wrote. Default: in the cache folder.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 20,
    scenes: Annotated[int, typer.Option(min=1, help="How many scenes for each net.")] = 30,
    as_json: Json = False,
) -> None:
    """Whether the benchmark's background mass tells nets that read the background from nets that do not.

    Broken off, the same command goes on where it stopped.

    Example: pellucid testbed alarms
    """
    from pellucid.stories.alarm import alarms as measure
    from pellucid.testbed.train import nursery, seedlings

    folder = folder or nursery()
    found = measure(seedlings(folder, count=count), scenes=scenes, folder=folder)
    if as_json:
        print_json([vars(one) for one in found])
        return
    from rich.console import Console

    from pellucid.cli.tables import alarms_table

    Console().print(alarms_table(found))


@app.command()
def cards(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Which nets; all that are shipped if none is named.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As the page of the documentation.")] = False,
    as_json: Json = False,
) -> None:
    """What each shipped net is, how it was trained and what was measured on it.

    Example: pellucid testbed cards vit_background
    """
    from pellucid.testbed.nets import ARCHITECTURES, built, card_of, in_markdown, in_words

    chosen = [card_of(name) for name in names or built()]
    if as_json:
        print_json([{"about": ARCHITECTURES[card.name].about, **vars(card)} for card in chosen])
        return
    print(in_markdown(chosen) if markdown else "\n\n".join(map(in_words, chosen)))


@app.command()
@stopping(lambda: "Nothing is kept of it.")
def evaluate(
    model: Model = "testbed:cnn",
    scenes: Annotated[int, typer.Option(min=1, help="How many fresh scenes.")] = 200,
    seed: Seed = 1000,
    budget: Annotated[int, typer.Option(min=1, metavar="PASSES", help="As for `pellucid explain`.")] = 400,
    as_json: Json = False,
) -> None:
    """How often the map shown first points at the part of the scene that decides the answer.

    Example: pellucid testbed evaluate --model testbed:cnn --scenes 200
    """
    from pellucid.stories.pointing import pointing
    from pellucid.subject import load

    result = pointing(load(model), count=scenes, seed=seed, budget=budget)
    if as_json:
        print_json(result.to_dict())
        return
    from rich.console import Console

    from pellucid.cli.tables import pointing_table

    Console().print(pointing_table(result))


@app.command()
@stopping(lambda: "Nothing is kept of it.")
def parts(
    model: Model = "testbed:cnn",
    methods: Annotated[
        str, typer.Option(help="all, or names with commas between: these run whatever they cost.")
    ] = "all",
    scenes: Annotated[int, typer.Option(min=1, help="How many scenes to draw.")] = 100,
    mode: Annotated[str, typer.Option(help="parts_missing, or solo: whole birds.")] = "parts_missing",
    cap: Annotated[float, typer.Option(min=1, metavar="PASSES", help="What a map may take; three are made.")] = 100,
    seed: Seed = 1000,
    as_json: Json = False,
) -> None:
    """Judge maps by leaving parts of birds out and rendering anew: the protocols of FunnyBirds.

    Example: pellucid testbed parts --scenes 20 --methods grad_cam,integrated_gradients
    """
    from pellucid.stories.interventions import part_protocol
    from pellucid.subject import load

    asked = methods if methods == "all" else [name.strip() for name in methods.split(",") if name.strip()]
    result = part_protocol(load(model), methods=asked, scenes=scenes, seed=seed, mode=mode, cap=cap)
    if as_json:
        print_json(result.to_dict())
        return
    from rich.console import Console

    from pellucid.cli.tables import parts_table

    Console().print(parts_table(result))


@app.command()
@stopping(lambda: "Nothing is kept of it.")
def words(
    scenes: Annotated[int, typer.Option(min=1, help="How many fresh scenes.")] = 300,
    lies: Annotated[float, typer.Option(min=0, max=1, help="Share of the liar's sentences that are false.")] = 0.3,
    seed: Seed = 3000,
    as_json: Json = False,
) -> None:
    """Whether sentences that pass the check are true, and how many lies are caught: the captioner, and a liar.

    Example: pellucid testbed words --scenes 300 --lies 0.3
    """
    from pellucid.stories.telling import telling

    result = telling(count=scenes, seed=seed, lies=lies)
    if as_json:
        print_json(result.to_dict())
        return
    from rich.console import Console

    from pellucid.cli.tables import telling_table

    Console().print(telling_table(result))


@app.command()
@stopping(lambda: "Nothing is kept of it.")
def claims(
    model: Model = "testbed:cnn",
    scenes: Annotated[int, typer.Option(min=1, help="How many fresh scenes.")] = 300,
    seed: Seed = 3000,
    as_json: Json = False,
) -> None:
    """Whether what explanations say of regions is true of the scene, which is painted anew instead of blurred.

    Example: pellucid testbed claims --model testbed:vit --scenes 60
    """
    from pellucid.stories.claiming import claiming
    from pellucid.subject import load

    result = claiming(load(model), count=scenes, seed=seed)
    if as_json:
        print_json(result.to_dict())
        return
    from rich.console import Console

    from pellucid.cli.tables import claiming_table

    Console().print(claiming_table(result))


@app.command()
@stopping(stays)
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New, or that of the same export, which goes on.")],
    count: Annotated[int, typer.Option("--n", min=1, help="How many scenes.")] = 100,
    seed: Seed = 2,
    size: Annotated[int, typer.Option(min=16, help="Side of the pictures in pixels.")] = 64,
    task: Annotated[str, typer.Option(help="What decides the class: species, wing3, xor, count, side and others.")] = (
        "species"
    ),
    mode: Annotated[str, typer.Option(help="solo, flock or parts_missing.")] = "solo",
    shortcut: Annotated[str | None, typer.Option(help="A planted cue: background, tag, frame or trace.")] = None,
    strength: Annotated[float, typer.Option(help="How often the cue tells the class, 0 to 1.")] = 0.95,
    as_json: Json = False,
) -> None:
    """Write scenes and all that is known of them: PNG, a line of JSON each, boxes, masks and captions as COCO has them.

    Broken off, the same command goes on where it stopped.

    Example: pellucid testbed export birds --n 200 --size 128
    """
    from pellucid.testbed.files import export as write

    world = {"size": size, "task": task, "mode": mode, "shortcut": shortcut, "strength": strength}
    done = write(folder, count=count, seed=seed, **world)
    if as_json:
        print_json({"folder": str(done.path), "scenes": done.count, "painted": done.painted})
        return
    print(f"{done.count} scenes, {done.painted} painted now")
    print(done.path)
