"""What sentences say of scenes, as numbers: which sentence is true of which picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from pellucid.testbed import captions
from pellucid.testbed.fields import WORDS
from pellucid.testbed.nets import Words
from pellucid.testbed.scene import Scenes
from pellucid.values import Seed

FIELDS = (
    *("body_hue", "wing", "wing_hue", "tail", "tail_hue", "crest", "crest_hue", "bib_hue", "beak", "beak_hue"),
    *("feet", "land", "flip"),
)
SILENT = -1
STYLES = ("full", "short", "name", "species")


@dataclass(frozen=True, eq=False)
class Told:
    """Scenes told in several ways.

    facts:   the fields of each scene
    numbers: style -> the sentence's words as numbers
    stated:  style -> the fields that the sentence states, SILENT elsewhere
    """

    facts: Int64[Tensor, "scene field"]
    numbers: dict[str, Int64[Tensor, "scene word"]]
    stated: dict[str, Int64[Tensor, "scene field"]]


def told(drawn: Scenes, words: Words) -> Told:
    """Each scene told in full, in short, by its name and place, and by its name alone."""
    sentences = {style: drawn.told(style) for style in ("full", "short", "name")}
    sentences["species"] = tuple(f"a {name}" for name in drawn.names)
    return Told(
        facts=facts(drawn),
        numbers={style: words.encode(texts) for style, texts in sentences.items()},
        stated={style: stated(texts) for style, texts in sentences.items()},
    )


def facts(drawn: Scenes) -> Int64[Tensor, "scene field"]:
    """The fields that sentences speak of."""
    return torch.from_numpy(np.stack([drawn.fields[name].astype(np.int64) for name in FIELDS], axis=1))


def stated(texts: Sequence[str]) -> Int64[Tensor, "text field"]:
    """The fields that each caption states. Raises SceneError for what is no caption."""
    table = torch.full((len(texts), len(FIELDS)), SILENT)
    for at, text in enumerate(texts):
        for name, word in captions.parse(text).items():
            table[at, FIELDS.index(name)] = WORDS[name].index(word)
    return table


def agree(facts: Int64[Tensor, "scene field"], stated: Int64[Tensor, "text field"]) -> Bool[Tensor, "scene text"]:
    """Whether everything that a sentence states is so in a scene."""
    same = facts[:, None] == stated[None]
    return (same | (stated == SILENT)[None]).all(dim=2)


@dataclass(frozen=True, eq=False)
class Spoken:
    """A batch of sentences, one for each scene, each in a style of its own."""

    facts: Int64[Tensor, "scene field"]
    numbers: Int64[Tensor, "scene word"]
    stated: Int64[Tensor, "scene field"]


class Telling:
    """Draws a style for each scene of a batch, and mirrors the words where the picture is mirrored.

    shares: style -> how often it is told
    """

    def __init__(self, source: Told, words: Words, shares: dict[str, float], seed: int) -> None:
        self.source, self.shares, self.seed = source, shares, seed
        self._left, self._right = words.numbers("left right")
        self._flip = FIELDS.index("flip")

    def __call__(self, chosen: Int64[Tensor, "scene"], flipped: Bool[Tensor, "scene"], step: int) -> Spoken:
        generator = Seed(self.seed).child("style", step).generator()
        weights = torch.tensor(list(self.shares.values()))
        styles = torch.multinomial(weights, len(chosen), replacement=True, generator=generator)
        longest = max(self.source.numbers[style].shape[1] for style in self.shares)
        numbers = torch.zeros(len(chosen), longest, dtype=torch.long)
        said = torch.full((len(chosen), len(FIELDS)), SILENT)
        for at, style in enumerate(self.shares):
            rows = styles == at
            kept = self.source.numbers[style]
            numbers[rows, : kept.shape[1]] = kept[chosen[rows]]
            said[rows] = self.source.stated[style][chosen[rows]]
        numbers = numbers[:, : int((numbers != 0).sum(dim=1).max())]
        facts = self.source.facts[chosen].clone()
        return self._mirrored(Spoken(facts, numbers, said), flipped)

    def _mirrored(self, batch: Spoken, flipped: Bool[Tensor, "scene"]) -> Spoken:
        facing = batch.facts[:, self._flip]
        batch.facts[:, self._flip] = torch.where(flipped, 1 - facing, facing)
        said = batch.stated[:, self._flip]
        batch.stated[:, self._flip] = torch.where(flipped & (said != SILENT), 1 - said, said)
        left, right = batch.numbers == self._left, batch.numbers == self._right
        rows = flipped[:, None]
        batch.numbers[rows & left], batch.numbers[rows & right] = self._right, self._left
        return batch
