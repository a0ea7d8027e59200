"""`pellucid retrain roar | kar | labels | alignment | simulatability | counterfactual | consistency`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pellucid.cli.failing import stays, stopping
from pellucid.cli.options import Json, Model, print_json

app = typer.Typer(
    help="Measures that train nets: minutes to hours, so they run only when asked for.", no_args_is_help=True
)

Methods = Annotated[str, typer.Option(help="Names with commas between; the maps that know nothing join them.")]
Pictures = Annotated[int, typer.Option(min=2, help="How many scenes to learn from.")]
HeldOut = Annotated[int, typer.Option("--held-out", min=1, help="How many others to try the nets on.")]
Steps = Annotated[int, typer.Option(min=1, help="Updates of each training.")]
Seeds = Annotated[int, typer.Option(min=1, help="How often each training is done.")]
Levels = Annotated[str, typer.Option(help="Parts of the pixels, with commas between.")]
Workers = Annotated[int, typer.Option(min=1, help="How many trainings at a time, one thread each.")]
Out = Annotated[Path, typer.Option(help="Folder for the tables; the same command goes on there.")]
SeedOption = Annotated[int, typer.Option("--seed", min=2, help="Which scenes; everything random follows from it.")]
OUT = Path("pellucid-retrain")  # RETRAINED of the story, which is not loaded before a command runs


@app.command()
@stopping(stays)
def roar(
    model: Model = "testbed:cnn", methods: Methods = "gradient,layer_cam", out: Out = OUT, pictures: Pictures = 2000,
    held_out: HeldOut = 500, steps: Steps = 150, seeds: Seeds = 1, levels: Levels = "0.3,0.6,0.9",
    workers: Workers = 2, seed: SeedOption = 2, as_json: Json = False,
) -> None:  # fmt: skip
    """Take away what maps rank first, train again, and see what is still learned. Lower is better.

    Example: pellucid retrain roar --methods gradient,layer_cam --levels 0.5 --out roar
    """
    _run("roar", out, as_json, model=model, methods=names_of(methods), pictures=pictures, held_out=held_out,
         steps=steps, seeds=seeds, levels=shares_of(levels), workers=workers, seed=seed)  # fmt: skip


@app.command()
@stopping(stays)
def kar(
    model: Model = "testbed:cnn", methods: Methods = "gradient,layer_cam", out: Out = OUT, pictures: Pictures = 2000,
    held_out: HeldOut = 500, steps: Steps = 150, seeds: Seeds = 1, levels: Levels = "0.1,0.3,0.6",
    workers: Workers = 2, seed: SeedOption = 2, as_json: Json = False,
) -> None:  # fmt: skip
    """Keep nothing but what maps rank first, train again, and see what is learned. Higher is better.

    Example: pellucid retrain kar --methods gradient,layer_cam --levels 0.3 --out kar
    """
    _run("kar", out, as_json, model=model, methods=names_of(methods), pictures=pictures, held_out=held_out,
         steps=steps, seeds=seeds, levels=shares_of(levels), workers=workers, seed=seed)  # fmt: skip


@app.command()
@stopping(stays)
def labels(
    model: Model = "testbed:cnn", methods: Methods = "gradient,layer_cam", out: Out = OUT, pictures: Pictures = 100,
    held_out: HeldOut = 100, steps: Steps = 150, seeds: Seeds = 1, workers: Workers = 2, seed: SeedOption = 2,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Do maps change when the net learned classes dealt out by lot? Lower is better.

    Few pictures, learned by heart: a net that knows less than 95 % of them is refused.

    Example: pellucid retrain labels --methods gradient,layer_cam --out labels
    """
    _run("labels", out, as_json, model=model, methods=names_of(methods), pictures=pictures, held_out=held_out,
         steps=steps, seeds=seeds, workers=workers, seed=seed)  # fmt: skip


@app.command()
@stopping(stays)
def alignment(
    model: Model = "testbed:cnn", methods: Annotated[
        str,
        typer.Option(
            help="gradient, gradient_x_input, integrated_gradients, smoothgrad, grad_cam, with commas between."
        ),
    ] = "gradient,grad_cam", out: Out = OUT, pictures: Pictures = 1000, held_out: HeldOut = 200, steps: Steps = 60,
    workers: Workers = 2, seed: SeedOption = 2, as_json: Json = False,
) -> None:  # fmt: skip
    """How far short training moves maps towards or away from the truth while the answers stay. Lower is better.

    Example: pellucid retrain alignment --methods gradient --out alignment
    """
    _run("alignment", out, as_json, model=model, methods=names_of(methods), pictures=pictures, held_out=held_out,
         steps=steps, workers=workers, seed=seed)  # fmt: skip


@app.command()
@stopping(stays)
def simulatability(
    model: Model = "testbed:cnn", methods: Methods = "gradient,layer_cam", out: Out = OUT, pictures: Pictures = 1000,
    held_out: HeldOut = 500, steps: Steps = 150, seeds: Seeds = 1, workers: Workers = 2, seed: SeedOption = 2,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Does a student that learns with the maps foretell the model better, tried without them? Higher is better.

    Example: pellucid retrain simulatability --methods gradient,layer_cam --out students
    """
    _run("simulatability", out, as_json, model=model, methods=names_of(methods), pictures=pictures, held_out=held_out,
         steps=steps, seeds=seeds, workers=workers, seed=seed)  # fmt: skip


@app.command()
@stopping(stays)
def counterfactual(
    model: Model = "testbed:cnn", methods: Methods = "gradient,layer_cam", out: Out = OUT, held_out: HeldOut = 200,
    seed: SeedOption = 2, as_json: Json = False,
) -> None:  # fmt: skip
    """Does a map tell whether the answer changes once a thing in the scene is drawn otherwise? Higher is better.

    Example: pellucid retrain counterfactual --methods gradient,layer_cam,occlusion --out twins
    """
    _run("counterfactual", out, as_json, model=model, methods=names_of(methods), held_out=held_out, seed=seed)


@app.command()
@stopping(stays)
def consistency(
    model: Model = "testbed:cnn", methods: Methods = "gradient,layer_cam", out: Out = OUT, pictures: Pictures = 1000,
    held_out: HeldOut = 200, steps: Steps = 150,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the scenes; one net is trained without each.")] = 4,
    nets: Annotated[
        Path | None, typer.Option(help="A folder of `pellucid testbed train-seeds`: compare its nets, train none.")
    ] = None, workers: Workers = 2, seed: SeedOption = 2, as_json: Json = False,
) -> None:  # fmt: skip
    """Do nets that learned from nearly the same scenes explain alike, and unlike where one is wrong? Higher is better.

    Example: pellucid retrain consistency --methods gradient,layer_cam --out consistency
    """
    _run("consistency", out, as_json, model=model, methods=names_of(methods), pictures=pictures, held_out=held_out,
         steps=steps, folds=folds, grown=nets, workers=workers, seed=seed)  # fmt: skip


def _run(measure: str, out: Path, as_json: bool, **asked: Any) -> None:
    from pellucid.results.files import write_atomically
    from pellucid.stories.retraining import Trial, run

    found = run(measure, Trial(folder=out, **asked))
    files = [found.save(out / f"{measure}.json"), found.save(out / f"{measure}.csv"),
             write_atomically(out / f"{measure}-details.csv", found.csv(details=True).encode())]  # fmt: skip
    if as_json:
        print_json(found.to_dict() | {"files": [str(path) for path in files]})
        return
    from rich.console import Console

    console = Console()
    console.print(found)
    for note in found.notes:
        console.print(note, style="dim", highlight=False)
    print(f"{found.trainings} trainings, {found.seconds:.0f} s of one processor")
    print(files[0])


def names_of(asked: str) -> tuple[str, ...]:
    """Words with commas between."""
    return tuple(name.strip() for name in asked.split(",") if name.strip())


def shares_of(asked: str) -> tuple[float, ...]:
    """Numbers with commas between. Raises BadParameter."""
    try:
        return tuple(float(one) for one in asked.split(",") if one.strip())
    except ValueError as error:
        raise typer.BadParameter(f"{asked!r} are no numbers with commas between.") from error
