"""`pellucid recipe caption`, `refer` and `ground`"""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.options import Json, Seed, print_json

Count = Annotated[int, typer.Option("--scenes", min=2, help="How many fresh scenes it is tried on.")]
SceneSeed = Annotated[int, typer.Option("--scene-seed", min=2, help="Which scenes.")]


def caption(
    picture: Annotated[str, typer.Argument(help="A scene: scene:7, scene:3000:7;tail=fanned.")] = "scene:7",
    captioner: Annotated[str, typer.Option(help="captioner, or attender where it was trained.")] = "captioner",
    trial: Annotated[bool, typer.Option("--trial", help="Try its attention on fresh scenes instead.")] = False,
    count: Count = 100,
    scene_seed: SceneSeed = 3000,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """A caption with the place that was looked at for each word that tells, and whether the word needed it.

    Example: pellucid recipe caption scene:7
    """
    from pellucid.language import attend
    from pellucid.stories.recipes.captions import captioned

    if trial:
        from pellucid.language.attention_trial import trial as tried
        from pellucid.testbed.scene import scenes

        result = tried(attend.opened(captioner), scenes(scene_seed, count), name=captioner)
        print_json(result.to_dict()) if as_json else print(result)
        return
    told = captioned(picture, captioner, seed=seed)
    print_json(told.to_dict()) if as_json else print(told)


def refer(
    count: Count = 60,
    scene_seed: SceneSeed = 3000,
    speaker: Annotated[str, typer.Option(help="captioner or dual.")] = "captioner",
    alike: Annotated[bool, typer.Option("--alike", help="Birds share one hue, where their parts allow it.")] = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Descriptions that single out one bird of a flock, and whether a listener finds it.

    Example: pellucid recipe refer --alike
    """
    from pellucid.stories.recipes.captions import referred

    found = referred(count, scene_seed, speaker=speaker, alike=alike, seed=seed)
    print_json(found.to_dict()) if as_json else print(found)


def ground(
    picture: Annotated[str, typer.Argument(help="A scene: scene:7, scene:3000:7;tail=fanned.")] = "scene:7",
    question: Annotated[str, typer.Option(help="As the testbed asks.")] = "what colour is the tail ?",
    instead: Annotated[str, typer.Option(help="Another question, whose mask has to be another.")] = (
        "what colour are the wings ?"
    ),
    trial: Annotated[bool, typer.Option("--trial", help="Try it on fresh scenes instead.")] = False,
    count: Count = 200,
    scene_seed: SceneSeed = 3000,
    as_json: Json = False,
) -> None:
    """Where the answer to a question is seen, which channels the question lets through, and whether that matters.

    Example: pellucid recipe ground scene:7 --question "what colour is the tail ?"
    """
    from pellucid.language import grounding
    from pellucid.stories.recipes.pictures import scene
    from pellucid.testbed.scene import scenes

    net = grounding.opened()
    found = (
        grounding.trial(net, scenes(scene_seed, count), scenes(scene_seed, count, mode="flock"))
        if trial
        else grounding.ground(net, scene(picture).frames()[0], question, instead=instead)
    )
    print_json(found.to_dict()) if as_json else print(found)
