"""The demonstration: real photographs, scenes whose answer is known, and handwritten digits, into one folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pellucid.errors import MissingExtra
from pellucid.images import Frame, read
from pellucid.stories.folder import Done, Failed, Item, explain_into
from pellucid.stories.request import Request
from pellucid.subject import load
from pellucid.testbed.scene import scenes
from pellucid.testbed.truth import known

SCENE_SEED = 2026
SCENES = (0, 1, 2)
DIGITS = (3, 5, 8)


@dataclass(frozen=True, eq=False)
class Chapter:
    """One part of the demonstration: a model and its pictures, with a heading and a sentence for the index."""

    heading: str
    words: str
    spec: str
    items: tuple[Item, ...]


@dataclass(frozen=True, eq=False)
class Told:
    """A picture of a chapter that is finished, or that failed."""

    chapter: Chapter
    result: Done | Failed


def chapters() -> tuple[list[Chapter], list[str]]:
    """What there is to show here, and what is left out because a library is missing, with the line that installs it."""
    found: list[Chapter] = []
    left_out: list[str] = []
    for make in (_photographs, _birds_cnn, _birds_vit, _digits):
        try:
            found.append(make())
        except MissingExtra as error:
            left_out.append(str(error))
    return found, left_out


def tell(folder: Path, chapter: Chapter, *, seed: int = 0, memory: float | None = None) -> Iterator[Told]:
    """Explains the pictures of one chapter into `folder`, one by one."""
    model = load(chapter.spec)
    for result in explain_into(folder, model, chapter.items, Request(seed=seed), memory=memory):
        yield Told(chapter, result)


def _photographs() -> Chapter:
    load("demo:efficientnet_lite0")  # raises MissingExtra here, before anything is promised
    return Chapter(
        "Photographs",
        "A real ImageNet classifier, EfficientNet-Lite0, looks at real photographs.",
        "demo:efficientnet_lite0",
        tuple(Item(frame.name, frame.name, frame) for frame in photographs()),
    )


def photographs() -> list[Frame]:
    """Photographs that come with scikit-image and scikit-learn."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    found = [(name, getattr(data, name)()) for name in ("cat", "coffee", "rocket")]
    found += [(name, load_sample_image(f"{name}.jpg")) for name in ("china", "flower")]
    return [read(np.asarray(pixels), name=name) for name, pixels in found]


def _birds_cnn() -> Chapter:
    words = "A small convolutional net names rendered birds. What decides is known, and shown beside."
    return _birds("testbed:cnn", "cnn", words)


def _birds_vit() -> Chapter:
    return _birds("testbed:vit", "vit", "The same birds, named by a small vision transformer.")


def _birds(spec: str, short: str, words: str) -> Chapter:
    drawn = scenes(SCENE_SEED, SCENES)
    items = tuple(
        Item(f"bird {index}", f"bird-{index}-{short}", frame, truth)
        for index, frame, truth in zip(SCENES, drawn.frames(), known(drawn), strict=True)
    )
    return Chapter(f"Birds, {short.upper()}", words, spec, items)


def _digits() -> Chapter:
    from pellucid.testbed.train import digits

    pictures, labels = digits(held_out=True)
    chosen = [int((labels == digit).nonzero()[0]) for digit in DIGITS]
    items = tuple(
        Item(f"digit {int(labels[index])}", f"digit-{int(labels[index])}",
             read(pictures[index].permute(1, 2, 0).numpy(), name=f"digit {int(labels[index])}"))
        for index in chosen
    )  # fmt: skip
    words = "A small net reads digits that it never saw in training."
    return Chapter("Handwritten digits", words, "testbed:digits", items)
