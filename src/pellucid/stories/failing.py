"""Where a model fails, in words: on the testbed's scenes, on folders named like classes, on COCO folders."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from pellucid.errors import FileError, MethodUnavailable, RequestError
from pellucid.images import find
from pellucid.images.coco import open_folder
from pellucid.language.failures import Failures, Pictures, Rule, Tags
from pellucid.language.failures.prime import RULE
from pellucid.language.failures.report import failures
from pellucid.language.failures.tags import (
    bird_tags,
    by_likeness,
    joined,
    likened,
    of_lists,
    of_scenes,
    of_table,
)
from pellucid.language.phrases import everyday_phrases, read_phrases
from pellucid.language.pools import Pool, encoder_for, likeness
from pellucid.subject import VisionModel

_CHUNK = 64
JUDGED = "What each picture shows was told by {spec}; where it errs, so do the words."
AUDITED = (
    "Scenes of seed {seed} whose landscape agrees with the species in {strength:.0%} of cases; which are which was not "
    "told."
)


def describe_dataset(
    model: VisionModel, folder: str | Path | None = None, *, encoder: str | None = None,
    words: str | Path | None = None, attributes: str | Path | None = None, pictures: Pictures | None = None,
    rule: Rule = RULE, seed: int = 0,
) -> Failures:  # fmt: skip
    """Where a model fails on labelled pictures, in words that were tested.

    folder:     subfolders named like classes, or a folder in COCO's format, whose pictures have the class that is
                marked in them; None is scenes of the testbed
    encoder:    a dual encoder that says what each picture shows; None is `testbed:dual` for scenes. It should share
                nothing with the model
    words:      a file of one text per line that the encoder may say; None is the testbed's, or everyday phrases
    attributes: a table instead (CSV, or JSON lines), with a column `file`: what is known of each picture
    pictures:   which scenes

    What is marked in COCO pictures beside their class is among the words.
    Raises RequestError, FileError, AnnotationError, ImageError.
    """
    if folder is None:
        return _of_scenes(model, pictures or Pictures(), encoder, words, rule, seed)
    given, marked = labelled(model, Path(folder))
    sources: list[Tags] = [] if marked is None else [marked]
    if attributes is not None:
        sources.append(_from_table(Path(attributes), given.paths))
    like = None
    if encoder is not None:
        pool = Pool.of(read_phrases(words) if words else everyday_phrases(), template="{}")
        told, like = _by_encoder(encoder, pool, given)
        sources.append(told)
    if not sources:
        raise RequestError("Say who tells what the pictures show: --encoder open_clip:... or --attributes FILE.csv.")
    notes = (JUDGED.format(spec=encoder),) if encoder else ()
    tags = sources[0] if len(sources) == 1 else joined(sources)
    return failures(
        model.spec or model.name, given.answers(model), tags, given, rule=rule, seed=seed, notes=notes,
        like=like if len(sources) == 1 else None,
    )  # fmt: skip


def labelled(model: VisionModel, folder: Path) -> tuple[Pictures, Tags | None]:
    """The pictures of a folder with their classes, and what else is marked in them, where something is.

    Raises RequestError where no class of the model is among them.
    """
    if _is_coco(folder):
        return _coco(model, folder)
    paths = [path for path in find(str(folder / "**")) if path.parent.name in model.labels]
    if not paths:
        known = ", ".join(list(model.labels)[:5])
        raise RequestError(
            f"No folder in {folder} is named like a class of {model.name} ({known}, ...). Put the pictures of each "
            f"class into a folder of its name."
        )
    return Pictures(tuple(map(str, paths)), tuple(model.labels.index(path.parent.name) for path in paths)), None


def _is_coco(folder: Path) -> bool:
    return any(folder.glob("*.json")) or any((folder / "annotations").glob("*.json"))


def _coco(model: VisionModel, folder: Path) -> tuple[Pictures, Tags | None]:
    """A picture has the class that is marked in it, where exactly one is; the other categories are words."""
    paths: list[str] = []
    labels: list[int] = []
    beside: list[tuple[str, ...]] = []
    for one in open_folder(folder):
        classes = [label for label in one.labels if label in model.labels]
        if len(classes) == 1:
            paths.append(str(one.path))
            labels.append(model.labels.index(classes[0]))
            beside.append(tuple(label for label in one.labels if label != classes[0]))
    if not paths:
        raise RequestError(f"No picture of {folder} has exactly one category that is a class of {model.name}.")
    tags = of_lists(beside, source=f"the annotations of {folder.name}")
    return Pictures(tuple(paths), tuple(labels)), tags if tags.names else None


def _of_scenes(
    model: VisionModel, pictures: Pictures, encoder: str | None, words: str | Path | None, rule: Rule, seed: int
) -> Failures:
    if model.input_size != (64, 64):
        raise MethodUnavailable("Describing a data set of scenes", f"{model.name} is no net of the testbed.", ())
    pool = bird_tags() if words is None else Pool.of(read_phrases(words))
    spec = encoder or "testbed:dual"
    inputs = pictures.scenes().tensor()
    like = likened(encoder_for(pool, spec), inputs, pool)
    tags, truth = by_likeness(like, pool, spec), of_scenes(pictures.scenes()) if words is None else None
    notes = (
        AUDITED.format(seed=pictures.seed, strength=pictures.strength), JUDGED.format(spec=spec),
    )  # fmt: skip
    answers = pictures.answers(model, inputs)
    return failures(
        model.spec or model.name, answers, tags, pictures, rule=rule, seed=seed, notes=notes, like=like, truth=truth
    )


def _by_encoder(spec: str, pool: Pool, pictures: Pictures) -> tuple[Tags, Float[np.ndarray, "picture word"]]:
    judge = encoder_for(pool, spec)
    blocks = [range(at, min(at + _CHUNK, len(pictures))) for at in range(0, len(pictures), _CHUNK)]
    like = [likeness(judge, judge.prepare(pictures.at(block).frames()), pool) for block in blocks]
    together = np.concatenate(like)
    return by_likeness(together, pool, spec), together


def _from_table(path: Path, files: Sequence[str]) -> Tags:
    """The rows of a table in the order of the files: named by path, class and name, or a name that no other has."""
    rows = {str(row.get("file", "")).replace("\\", "/"): row for row in _rows(path)}
    alike = Counter(Path(file).name for file in files)
    chosen: list[Mapping[str, Any]] = []
    for file in files:
        place = Path(file)
        names = (file, place.as_posix(), "/".join(place.parts[-2:]), *([place.name] if alike[place.name] == 1 else []))
        found = next((rows[name] for name in names if name in rows), None)
        if found is None:
            example = f"{place.parent.name}/{place.name}"
            raise FileError(path, f"it has no row for {file}.", f"Give one row per picture, as {example} in `file`.")
        chosen.append({name: value for name, value in found.items() if name != "file"})
    return of_table(chosen, source=path.name)


def _rows(path: Path) -> list[Mapping[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".csv":
            return list(csv.DictReader(text.splitlines()))
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise FileError(path, f"it cannot be read ({error}).", "Give CSV with a heading, or JSON lines.") from error
