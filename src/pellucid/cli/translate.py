"""`pellucid translate fit | align-to-text | words | sentences | map | cues | measure`: what features hold, in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pellucid.cli.options import Json, Model, Seed, print_json
from pellucid.cli.pictures import FRESH
from pellucid.cli.pictures import picture as read_picture

if TYPE_CHECKING:
    from pellucid.language.translation.translator import Translator

app = typer.Typer(help="Features of a vision model in the words of a language model.", no_args_is_help=True)
File = Annotated[Path, typer.Argument(metavar="TRANSLATOR", help="A file that `pellucid translate fit` wrote.")]
Picture = Annotated[str, typer.Argument(metavar="PICTURE", help="A file, or scene:7 for the testbed's seventh.")]
Layers = Annotated[
    list[str] | None, typer.Option("--layer", help="Of a translator with several layers, those that are shown.")
]
Count = Annotated[int, typer.Option("--count", "-n", min=1, help="Most sentences that are drawn.")]


@app.command("fit")
def fit(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the translator goes.")],
    model: Model = "testbed:cnn",
    captions: Annotated[
        Path | None, typer.Option(help="A .tsv or .csv of picture and sentence. Default: the testbed's captions.")
    ] = None,
    lm: Annotated[str, typer.Option(help="testbed:captioner, or hf:NAME of any causal model.")] = "testbed:captioner",
    port: Annotated[str, typer.Option(help="penultimate, evidence, class_token, layer or layers.")] = "penultimate",
    layers: Annotated[list[str] | None, typer.Option("--layer", help="Where the port reads.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Updates of the net between.")] = 250,
    pictures: Annotated[int, typer.Option(min=50, help="Of the testbed, how many to learn from.")] = 2000,
    seed: Seed = 0, as_json: Json = False,
) -> None:  # fmt: skip
    """Fit a small net between a vision model and a language model; neither of them changes.

    Example: pellucid translate fit --model testbed:cnn --out cnn.translator
    """
    from pellucid.language import translate
    from pellucid.subject import load

    corpus = translate.Corpus.opened(captions) if captions else translate.Corpus.of_scenes(count=pictures)
    made = translate.fit(load(model), corpus, lm, port=translate.Port(port, tuple(layers or ())),
                         lesson=translate.Lesson(steps=steps), seed=seed)  # fmt: skip
    place = translate.save(made, out)
    if as_json:
        controls = made.controls.to_dict() if made.controls else None
        print_json({"file": str(place), "port": made.port.to_dict(), "controls": controls})
        return
    print(f"{place}: {made.port}\n{made.record.losses}\n{made.controls}")


@app.command("align-to-text")
def align_to_text(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the aligned model goes.")],
    model: Model = "testbed:cnn",
    captions: Annotated[
        Path | None,
        typer.Option(help="A .tsv or .csv of picture, sentence and, if known, class. Default: the testbed's captions."),
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="Whose texts are learned from: a dual encoder, or `words` for a sentence encoder.")
    ] = "testbed:dual",
    aim: Annotated[str, typer.Option(help="contrast (InfoNCE) or cosine.")] = "contrast",
    weight: Annotated[float, typer.Option(min=0, help="Of the alignment against the cross entropy.")] = 1.0,
    steps: Annotated[int, typer.Option(min=1, help="Updates of the model.")] = 300,
    rate: Annotated[float, typer.Option(min=0, help="The highest learning rate; large trained nets want less.")] = 2e-3,
    pictures: Annotated[int, typer.Option(min=50, help="Of the testbed, how many to learn from.")] = 2000,
    seed: Seed = 0, as_json: Json = False,
) -> None:  # fmt: skip
    """Train a copy of a classifier so that it can be asked in words (GPT4Image); aligned:FILE opens it as an encoder.

    Example: pellucid translate align-to-text --model testbed:cnn --out cnn.aligned
    """
    from pellucid.language import align, translate
    from pellucid.subject import load

    corpus = translate.Corpus.opened(captions) if captions else translate.Corpus.of_scenes(count=pictures)
    made = align.fit(load(model), corpus, encoder=encoder, aim=aim, weight=weight, steps=steps, rate=rate, seed=seed)
    place, found = made.save(out), made.record.retrieval
    if as_json:
        print_json({"file": str(place), "retrieval": found.to_dict()})
        return
    print(f"{place}\n{found}")


@app.command("words")
def words(
    file: File, picture: Picture = "scene:7", layer: Layers = None, count: Count = 500, seed: Seed = 0,
    as_json: Json = False,
) -> None:  # fmt: skip
    """The words of one picture, each beside how often it is said anyway.

    Example: pellucid translate words cnn.translator scene:7
    """
    _show(_opened(file).words(read_picture(picture), layers=layer, most=count, seed=seed), as_json)


@app.command("sentences")
def sentences(
    file: File, picture: Picture = "scene:7", layer: Layers = None, count: Count = 10, seed: Seed = 0,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Sentences drawn for one picture, the likeliest first.

    Example: pellucid translate sentences cnn.translator scene:7 --count 5
    """
    translator, frame = _opened(file), read_picture(picture)
    likely = translator.say(frame, layers=layer)[0]
    told = translator.sentences(frame, count, layers=layer, seed=seed)[0]
    controls = translator.controls
    if as_json:
        measured = controls.to_dict() if controls else None
        print_json({"likeliest": likely, "drawn": list(told), "controls": measured})
        return
    print("\n".join([likely, *(f"  {text}" for text in told), str(controls or "Controls were not measured.")]))


@app.command("map")
def phrase(
    file: File,
    text: Annotated[str, typer.Argument(metavar="PHRASE", help="What to look for, in the language model's words.")],
    picture: Picture = "scene:7",
    layer: Annotated[str | None, typer.Option(help="Which layer; the last unless named.")] = None,
    after: Annotated[str, typer.Option(help="What the sentence has said before the phrase.")] = "",
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="A picture of the map.")] = None,
    as_json: Json = False,
) -> None:
    """Where in a picture the evidence for a phrase lies.

    Example: pellucid translate map cnn.devil snow scene:7 --after "a blue bird , standing in the"
    """
    from pellucid.language import translate

    translator, frame = _opened(file), read_picture(picture)
    if translator.port.spatial:
        found = translate.phrase_map(translator, frame, text, layer=layer, after=after)
    else:
        found = translate.hiding_map(translator, frame, text, after=after)
    if out is not None:
        _paint(found.scaled, out)
    if as_json:
        print_json(found.to_dict())
        return
    row, column = found.peak
    print(
        f"“{text}” is likeliest from row {row}, column {column} of {found.size[0]} x {found.size[1]} ({found.layer})."
    )
    print(found.controls or "Controls were not measured.")


@app.command("cues")
def cues(
    file: File, pictures: Annotated[int, typer.Option(min=50, help="Scenes of the testbed.")] = 600,
    first: Annotated[int, typer.Option(min=1, help="Cues that are tested.")] = 5,
    scene_seed: Annotated[int, typer.Option("--scenes", min=2, help="Which scenes.")] = FRESH,
    seed: Seed = 0, as_json: Json = False,
) -> None:  # fmt: skip
    """Words that classes use without cause, and whether the model leans on what they name. For the testbed's species.

    Example: pellucid translate cues background.translator
    """
    from pellucid.language import translate
    from pellucid.language.translation.twins import species_in_words
    from pellucid.testbed import scenes

    translator, drawn = _opened(file), scenes(scene_seed, pictures)
    listened = translate.heard(translator, drawn, seed=seed)
    found = translate.class_cues(translator, listened, own=species_in_words())
    labels = drawn.true_labels.tolist()
    told = [translate.examined(translator, listened, cue, labels, seed=seed) for cue in found.cues[:first]]
    again = {"seed": scene_seed, "count": pictures}
    claims = translate.cue_claims(told, listened, labels, again, translator.model)
    _show(translate.Report(tuple(told), found.classes, found.pictures, found.port, found.controls, claims), as_json)


@app.command("measure")
def measure(
    file: File, pictures: Annotated[int, typer.Option(min=20, help="Fresh scenes.")] = 200,
    scene_seed: Annotated[int, typer.Option("--scenes", min=2, help="Which scenes.")] = FRESH,
    seed: Seed = 0, as_json: Json = False,
) -> None:  # fmt: skip
    """Whether the words beat shuffled features and random words on fresh scenes, against the renderer's captions.

    Example: pellucid translate measure cnn.translator
    """
    from pellucid.language import translate
    from pellucid.testbed import scenes

    translator, drawn = _opened(file), scenes(scene_seed, pictures)
    corpus = scenes(scene_seed + 1, 500).captions
    found = translate.judge(translator, translator.features(drawn), drawn.captions, corpus, seed=seed)
    _show(found, as_json)


def _opened(file: Path) -> Translator:
    from pellucid.language import translate

    return translate.reopened(file)


def _show(found: Any, as_json: bool) -> None:
    if as_json:
        print_json(found.to_dict())
    else:
        print(found)


def _paint(values: Any, out: Path) -> None:
    import numpy as np
    from PIL import Image

    grey = (values.numpy() * 255).round().astype(np.uint8)
    Image.fromarray(grey).resize((256, 256), Image.Resampling.BILINEAR).save(out)


@app.command("twins")
def twins(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="One line of JSON per net; goes on from it.")
    ],
    count: Annotated[int, typer.Option("--seeds", min=1, max=20, help="How many seeds.")] = 20,
    steps: Annotated[int, typer.Option(min=1, help="Updates of each translator.")] = 80,
    pictures: Annotated[int, typer.Option(min=50, help="Scenes to learn from.")] = 1500,
    judged: Annotated[int, typer.Option(min=100, help="Fresh scenes whose words are counted.")] = 400,
    seconds: Annotated[float | None, typer.Option(help="Begin no further net after so many processor seconds.")] = None,
    as_json: Json = False,
) -> None:
    """Whether the planted landscape comes out of biased nets in words, and not out of clean ones, over seeds.

    The nets are those of `pellucid testbed train-seeds`.

    Example: pellucid translate twins --out twins.jsonl
    """
    from pellucid.language.translation.twins import over_seeds

    found = over_seeds(out, count, steps=steps, pictures=pictures, judged=judged, seconds=seconds)
    _show(found, as_json)
