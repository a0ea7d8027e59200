"""Pictures with a sentence each, from which a translator learns."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.images.reading import read
from pellucid.subject import VisionModel
from pellucid.testbed.scene import Scenes, scenes

SCENE_SEED = 950  # of the testbed's pictures to learn from, which nothing else is measured on
SCENE_COUNT = 3000
Picture: TypeAlias = Frame | str | Path
WRITTEN = "Nobody wrote these sentences: a template filled them from tags."


@dataclass(frozen=True, eq=False)
class Corpus:
    """Pictures and what they are called; any number of them, one sentence each.

    pictures: frames, or scenes of the testbed
    source:   where they come from, in words
    notes:    what a reader of the results must know of the sentences
    classes:  of each picture by name, where they are known; only `align-to-text` learns them
    """

    pictures: Sequence[Frame] | Scenes
    texts: tuple[str, ...]
    source: str
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.pictures) != len(self.texts):
            raise RequestError(f"{len(self.pictures)} pictures and {len(self.texts)} sentences; expected one for each.")
        if len(self.texts) < 10:
            raise RequestError(f"{len(self.texts)} pictures are too few to learn from; ten are the least.")

    def __len__(self) -> int:
        return len(self.texts)

    def inputs(self, model: VisionModel) -> Float[Tensor, "picture channel height width"]:
        """All pictures as the model takes them."""
        if not isinstance(self.pictures, Scenes):
            return model.prepare(self.pictures)
        if model.input_size == (self.pictures.world.size,) * 2:
            return self.pictures.tensor()
        return model.prepare(self.pictures.frames())

    @property
    def fingerprint(self) -> str:
        """A short hash of every picture and sentence."""
        digest = hashlib.blake2b(digest_size=8)
        frames = self.pictures.pixels if isinstance(self.pictures, Scenes) else [one.pixels for one in self.pictures]
        for pixels, text in zip(frames, self.texts, strict=True):
            digest.update(pixels.tobytes())
            digest.update(text.encode())
        return digest.hexdigest()

    @classmethod
    def of_scenes(cls, seed: int = SCENE_SEED, count: int = SCENE_COUNT, *, style: str = "full") -> Corpus:
        """Scenes of the testbed with the sentences of its renderer."""
        drawn = scenes(seed, count)
        return cls(drawn, drawn.told(style), f"{count} scenes of the testbed, seed {seed}, told {style}")

    @classmethod
    def of_pairs(cls, pairs: Sequence[tuple[Frame | str | Path, str]], source: str = "given") -> Corpus:
        """Frames or files, each with its sentence."""
        frames = tuple(one if isinstance(one, Frame) else read(one) for one, _ in pairs)
        return cls(frames, tuple(text for _, text in pairs), f"{source}, {len(pairs)} pairs")

    @classmethod
    def of_tags(cls, pictures: Sequence[Frame | str | Path], tags: Sequence[Mapping[str, Sequence[str]]]) -> Corpus:
        """Pictures with a name and tags each, told by a template: {"name": ["dog"], "with": ["grass", "a ball"]}."""
        made = cls.of_pairs(list(zip(pictures, map(_told, tags), strict=True)), "tags in a template")
        return cls(made.pictures, made.texts, made.source, (WRITTEN,))

    @classmethod
    def opened(cls, path: str | Path) -> Corpus:
        """A table of picture, sentence and, if known, class: .tsv, or .csv with commas; paths count from its folder.

        Raises RequestError for a table that is none, ImageError for pictures that cannot be read.
        """
        place = Path(path).expanduser()
        try:
            with place.open(encoding="utf-8", newline="") as file:
                rows = [row for row in csv.reader(file, delimiter="," if place.suffix == ".csv" else "\t") if row]
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(f"The captions in {place} cannot be read: {error}.") from error
        if any(len(row) < 2 for row in rows):
            raise RequestError(
                f"{place.name} needs two columns, a picture and its sentence, divided by a tab or comma."
            )
        made = cls.of_pairs([(place.parent / row[0], row[1].strip()) for row in rows], place.name)
        told = tuple(row[2].strip() for row in rows if len(row) > 2 and row[2].strip())
        return replace(made, classes=told) if len(told) == len(rows) else made


def corpus_of(captions: object) -> Corpus:
    """A corpus from what the caller has: one already, scenes, a path, pairs; None is the testbed's own."""
    if captions is None:
        return Corpus.of_scenes()
    if isinstance(captions, Corpus):
        return captions
    if isinstance(captions, Scenes):
        return Corpus(captions, captions.captions, f"{len(captions)} scenes, seed {captions.seed}")
    if isinstance(captions, (str, Path)):
        return Corpus.opened(captions)
    if isinstance(captions, Sequence):
        return Corpus.of_pairs(captions)
    raise RequestError(f"Captions of type {type(captions).__name__}; expected pairs, scenes or the path of a table.")


def inputs_of(
    model: VisionModel, pictures: Tensor | Scenes | Picture | Sequence[Picture]
) -> Float[Tensor, "picture channel height width"]:
    """Model input from what the caller has: a tensor, a frame, frames, files or scenes."""
    if isinstance(pictures, Tensor):
        return pictures if pictures.ndim == 4 else pictures[None]
    if isinstance(pictures, Scenes):
        return pictures.tensor() if model.input_size == (pictures.world.size,) * 2 else model.prepare(pictures.frames())
    listed = [pictures] if isinstance(pictures, (Frame, str, Path)) else list(pictures)
    if not listed:
        return torch.zeros(0, 3, *(model.input_size or (1, 1)))
    return model.prepare([one if isinstance(one, Frame) else read(one) for one in listed])


def _told(tags: Mapping[str, Sequence[str]]) -> str:
    name, others = " and ".join(tags.get("name", ())) or "something", list(tags.get("with", ()))
    return f"a photo of {name}" + (f" with {', '.join(others[:-1])}{' and ' * (len(others) > 1)}{others[-1]}" if others
                                   else "")  # fmt: skip
