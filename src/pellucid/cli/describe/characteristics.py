"""`pellucid describe characteristics`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.options import Json, Model, Seed, print_json
from pellucid.errors import RequestError

if TYPE_CHECKING:
    from pellucid.language.readings import Reading
    from pellucid.subject import VisionModel


def characteristics(
    units: Annotated[list[int] | None, typer.Argument(metavar="[UNIT]...", help="Units of the layer, from 0.")] = None,
    model: Model = "testbed:cnn",
    layer: Annotated[str | None, typer.Option(help="Where units and patches are. Default: the model's choice.")] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", metavar="CLASS", help="A class by name or number.")
    ] = None,
    patches: Annotated[
        list[str] | None,
        typer.Option("--patch", metavar="PICTURE@ROW,COLUMN", help="A place of a picture: scene:7@3,4, dog.jpg@5,5."),
    ] = None,
    pictures: Annotated[int, typer.Option(min=8, help="How many pictures are changed, 21 passes each.")] = 60,
    probe_seed: Annotated[
        int, typer.Option("--probe-seed", min=2, help="Which scenes, or crops of photographs.")
    ] = 1000,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Whether units, classes or prototype patches go by hue, saturation, contrast, texture or shape.

    Beside each loss stands that of a random change of the same size.

    Example: pellucid describe characteristics 0 1 --model testbed:planted_hues
    """
    from pellucid.language.characterising import characterise, probe_for
    from pellucid.subject import load

    asked = load(model)
    readings = _readings(asked, units or (), layer, classes or (), patches or ())
    found = characterise(asked, readings, probe=probe_for(asked, seed=probe_seed, count=pictures), seed=seed)
    print_json(found.to_dict()) if as_json else print(found)


def _readings(
    model: VisionModel, units: list[int] | tuple[int, ...], layer: str | None, classes: list[str] | tuple[str, ...],
    patches: list[str] | tuple[str, ...],
) -> list[Reading]:  # fmt: skip
    from pellucid.language.readings import Reading
    from pellucid.stories.recipes.pictures import picture
    from pellucid.subject.targets import class_in_words

    where = layer or (model.layers.chosen("describe").name if units or patches else "")
    found = [Reading("unit", where, unit) for unit in units]
    found += [Reading("class", index=model.labels.index(class_in_words(one))) for one in classes]
    for one in patches:
        name, _, place = one.rpartition("@")
        row, _, column = place.partition(",")
        if not (name and row.isdigit() and column.isdigit()):
            raise RequestError(
                f"--patch {one!r} is no place of a picture; expected picture@row,column, as scene:7@3,4."
            )
        found.append(Reading("patch", where, frame=picture(name), place=(int(row), int(column))))
    if not found:
        raise RequestError("Name what to describe: units by number, --class or --patch.")
    return found
