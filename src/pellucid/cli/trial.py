"""`pellucid trial`: what explanations in words are worth, measured where the truth is known."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.options import Json, Seed, print_json

app = typer.Typer(help="What explanations in words are worth, where the truth is known.", no_args_is_help=True)
SceneSeed = Annotated[int, typer.Option("--scene-seed", min=2, help="Which scenes.")]


@app.command("self-explanations")
def self_explanations(
    narrators: Annotated[
        list[str] | None,
        typer.Option("--narrator", help="vlm, honest, lying, guessing, rounded, hf:FOLDER or chat:MODEL; repeatable."),
    ] = None,
    model: Annotated[
        str,
        typer.Option("--model", "-m", metavar="SPEC", help="Whose answers are explained: the vlm, or a classifier."),
    ] = "testbed:vlm",
    count: Annotated[int, typer.Option("--scenes", min=2, help="How many fresh scenes.")] = 12,
    scene_seed: SceneSeed = 3400,
    all_modes: Annotated[
        bool, typer.Option("--all-modes", help="Ask in all four ways: answer or explanation first, scores or a list.")
    ] = False,
    repeats: Annotated[int, typer.Option(min=1, help="How often each is asked, to see the spread.")] = 1,
    fill: Annotated[str, typer.Option(help="What removed parts become: blur, mean, noise.")] = "blur",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Whether what a narrator says mattered does matter, beside one that guesses and importances drawn by lot.

    Example: pellucid trial self-explanations --narrator vlm --scenes 12
    """
    from pellucid.language.narrator_trial import tried
    from pellucid.language.self_explanations import MODES

    asked = tuple(narrators or ("vlm",))
    found = tried(
        (*asked, *(() if "guessing" in asked else ("guessing",))), model, count=count, scene_seed=scene_seed,
        modes=MODES if all_modes else MODES[:1], fill=fill, repeats=repeats, seed=seed,
    )  # fmt: skip
    print_json(found.to_dict()) if as_json else print(found)


@app.command("rationales")
def rationales(
    explainer: Annotated[
        str,
        typer.Option(
            help="vlm, answerer, or one with planted faults: honest, invents, beside, contradicts, shortcut, parrot."
        ),
    ] = "vlm",
    count: Annotated[int, typer.Option("--scenes", min=2, help="How many fresh scenes.")] = 20,
    each: Annotated[int, typer.Option("--questions", min=1, help="Questions about each.")] = 2,
    scene_seed: SceneSeed = 3300,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Answers and reasons: which are right, which are right for the wrong reason, and whether edits move both.

    Beside it stands how many reasons with planted faults the same grading finds.

    Example: pellucid trial rationales --scenes 20
    """
    from pellucid.language.explainers import caught, explainer_of
    from pellucid.language.rationales import asked_of, grade_rationales
    from pellucid.testbed.questions import KINDS
    from pellucid.testbed.scene import scenes

    drawn, asked = asked_of(scenes(scene_seed, count, camera=0.0), each, kinds=KINDS)
    found = grade_rationales(explainer_of(explainer, seed=seed), drawn, asked, seed=seed)
    planted = caught(drawn, asked, seed=seed)
    if as_json:
        print_json({**found.to_dict(), "planted": planted.to_dict()})
        return
    print(found)
    print(planted)


@app.command("descriptions")
def descriptions(
    writer: Annotated[str, typer.Option(help="captioner or vlm.")] = "captioner",
    count: Annotated[int, typer.Option("--scenes", min=2, help="How many fresh scenes.")] = 40,
    scene_seed: SceneSeed = 3500,
    judge: Annotated[str, typer.Option(help="Who says what is so: the witness, or the renderer (truth).")] = "witness",
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Weigh first sentences by what matters to this model.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Scorecards of descriptions: recall, rare things, what is refuted, the first sentence, length.

    Beside them stand those of the same descriptions dealt to other pictures.

    Example: pellucid trial descriptions --writer vlm
    """
    from pellucid.language.reviews import drafted
    from pellucid.language.scorecard import described, importance_of, seen_by_witness, truth_of
    from pellucid.subject import load
    from pellucid.testbed.scene import scenes

    drawn = scenes(scene_seed, count)
    seen = truth_of(drawn) if judge == "truth" else seen_by_witness(drawn.tensor())
    weights = None if model is None else importance_of(load(model), drawn)
    found = described(writer, drafted(drawn.tensor(), writer), seen, importance=weights)
    print_json(found.to_dict()) if as_json else print(found)


@app.command("naming")
def naming(
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--method", help="cos_cubed, hard_wpmi, soft_wpmi, rank_reorder, milan; repeatable. Default: all."
        ),
    ] = None,
    nets: Annotated[
        list[str] | None, typer.Option("--net", help="Whose units: hues, mixed, logic, path; repeatable. Default: all.")
    ] = None,
    count: Annotated[int, typer.Option("--scenes", min=20, help="How many scenes units are named by.")] = 600,
    scene_seeds: Annotated[
        list[int] | None, typer.Option("--scene-seed", min=2, help="Which scenes; repeatable. Default: 1041 and 1042.")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """How often names of planted units are right, with shuffled responses and words by lot beside.

    Example: pellucid trial naming --method cos_cubed --method milan
    """
    from pellucid.language.naming_trial import METHODS, NETS, SCENE_SEEDS, trial

    found = trial(scene_seeds or SCENE_SEEDS, methods=methods or METHODS, nets=nets or NETS, count=count, seed=seed)
    print_json(found.to_dict()) if as_json else print(found)
