"""`pellucid recipe vale`, `clues`, `textualise` and `difference`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.options import Json, Model, Seed, print_json

if TYPE_CHECKING:
    from pellucid.stories.recipes.told import Told

Picture = Annotated[str, typer.Argument(help="A picture, scene:7, scene:3000:7;tail=fanned, or photo:cat.")]
Narrator = Annotated[
    str, typer.Option(help="templates, hf:FOLDER, chat:MODEL or chat+picture:MODEL; it may only rephrase.")
]


def vale(
    picture: Picture = "scene:7",
    model: Model = "testbed:cnn",
    segmenter: Annotated[
        str, typer.Option(help="testbed for rendered birds; superpixels for any other picture.")
    ] = "superpixels",
    segments: Annotated[int, typer.Option(min=2, help="About how many superpixels.")] = 30,
    samples: Annotated[int, typer.Option(min=10, help="Coalitions for the Shapley values, one pass each.")] = 500,
    fill: Annotated[str, typer.Option(help="What removed pixels become: blur, mean, noise.")] = "blur",
    narrator: Narrator = "templates",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """What speaks for the answer, cut out, named and told; every name tested on the model.

    Example: pellucid recipe vale scene:7 --segmenter testbed --fill mean
    """
    from pellucid.stories.recipes.pictures import picture as opened
    from pellucid.stories.recipes.vale import vale as recipe
    from pellucid.subject import load

    found = recipe(opened(picture), load(model), segmenter=segmenter, segments=segments, samples=samples, fill=fill,
                   narrator=narrator, seed=seed)  # fmt: skip
    _show(found, as_json)


def clues(
    picture: Picture = "scene:7",
    count: Annotated[int, typer.Option(min=1, help="How many paragraphs are drawn.")] = 40,
    narrator: Narrator = "templates",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Clues with ids, many paragraphs, and the one that a rendered bird fits best, less what fits less well.

    Example: pellucid recipe clues scene:7
    """
    from pellucid.stories.recipes.clues import clues as recipe
    from pellucid.stories.recipes.pictures import picture as opened
    from pellucid.subject import load

    _show(recipe(opened(picture), load("testbed:cnn"), count=count, narrator=narrator, seed=seed), as_json)


def textualise(
    picture: Picture = "scene:7",
    reference: Annotated[str | None, typer.Option(help="A caption to begin with. Default: the captioner's.")] = None,
    narrator: Narrator = "templates",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """A caption of a rendered bird with what it invents taken out and what it leaves out put in.

    Example: pellucid recipe textualise "scene:7;has_tail=0"
    """
    from pellucid.stories.recipes.pictures import picture as opened
    from pellucid.stories.recipes.textualise import textualise as recipe
    from pellucid.subject import load

    _show(recipe(opened(picture), load("testbed:cnn"), reference=reference, narrator=narrator, seed=seed), as_json)


def difference(
    before: Picture,
    after: Picture,
    narrator: Narrator = "templates",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """What has changed from one picture to another. Photographs are compared cell by cell, by colour words.

    Example: pellucid recipe difference scene:7 "scene:7;tail=forked"
    """
    from pellucid.stories.recipes.difference import difference as recipe
    from pellucid.stories.recipes.difference import difference_of_photographs
    from pellucid.stories.recipes.pictures import picture as opened
    from pellucid.subject import load

    first, second = opened(before), opened(after)
    compare = recipe if first.pixels.shape[:2] == (64, 64) else difference_of_photographs
    _show(compare(first, second, load("testbed:cnn"), narrator=narrator, seed=seed), as_json)


def _show(found: Told, as_json: bool) -> None:
    if as_json:
        print_json(found.to_dict())
        return
    print(found)
