"""Pictures on which methods are compared, with what is known about them: from the testbed or a folder of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from pellucid import testbed
from pellucid.errors import RequestError
from pellucid.images import masks
from pellucid.stories.request import Batch
from pellucid.subject import VisionModel
from pellucid.testbed.render import BIRD_PARTS
from pellucid.testbed.scene import Scenes
from pellucid.testbed.truth import causal, grown
from pellucid.trust.ground import Ground
from pellucid.trust.mass import box_around
from pellucid.values import Class, Target


@dataclass(frozen=True, eq=False)
class Part:
    """Some of the pictures, as model input, with what is explained of each and what is known."""

    batch: Batch
    targets: tuple[Target, ...]
    truth: Ground | None


@runtime_checkable
class Cases(Protocol):
    """Pictures that the model gets right, known by name, made when they are needed.

    title: what they are, in words that name everything that decides them
    total: how many were looked at
    """

    title: str
    total: int
    names: tuple[str, ...]

    def part(self, places: Sequence[int]) -> Part: ...


class SceneCases:
    """Scenes of the rendered world that the model classifies right; the truth is that of the world.

    Raises RequestError for a model that does not know the world's classes, or recognises none of the scenes.
    """

    def __init__(self, model: VisionModel, drawn: Scenes, title: str) -> None:
        if tuple(model.labels) != tuple(drawn.task.labels):
            raise RequestError(f"{model.name} does not classify the testbed's birds; try testbed:cnn or testbed:vit.")
        right = model.predict(drawn.tensor()).argmax(dim=1).cpu().numpy() == drawn.labels
        self._model, self._scenes = model, drawn[np.flatnonzero(right)]
        self.title = title
        self.total = len(drawn)
        self.names = tuple(f"scene {index}" for index in self._scenes.index.tolist())
        if not self.names:
            raise RequestError(f"{model.name} recognises none of the {self.total} scenes: nothing to judge.")

    def part(self, places: Sequence[int]) -> Part:
        scenes = self._scenes[list(places)]
        exact = causal(scenes)
        frames = scenes.frames()
        truth = Ground(
            mask=torch.from_numpy(grown(exact)),
            exact=torch.from_numpy(exact),
            background=torch.from_numpy(~scenes.objects),
            boxes=tuple(
                tuple(box_around(torch.from_numpy(piece)) for piece in masks.connected(mask)) for mask in exact
            ),
            parts={part: torch.from_numpy(scenes.mask(part)) for part in BIRD_PARTS},
        )
        targets = tuple(Class(int(label)) for label in scenes.labels)
        return Part(Batch(frames, self._model.prepare(frames)), targets, truth)


def fresh_scenes(model: VisionModel, count: int, seed: int) -> SceneCases:
    """`count` scenes that no net has learned from. Raises RequestError for seeds that were learned from."""
    if count < 1:
        raise RequestError(f"{count} scenes; expected at least 1.")
    if seed in (0, 1):
        raise RequestError(f"Seed {seed} drew the scenes that the nets learned from; take one from 2 on.")
    return SceneCases(model, testbed.scenes(seed, count), f"testbed scenes of seed {seed}")
