"""Pictures on which methods are compared, with what is known about them: from the testbed or a folder of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float

from pellucid import testbed
from pellucid.compute.bootstrap import interval
from pellucid.engine.recording import score
from pellucid.errors import RequestError
from pellucid.images import masks
from pellucid.results.readings import Reading
from pellucid.stories.request import Batch
from pellucid.subject import VisionModel
from pellucid.testbed.absence import WHOLE, distracting, removal_effects
from pellucid.testbed.effects import Effects, effect
from pellucid.testbed.render import BIRD_PARTS
from pellucid.testbed.scene import Scenes
from pellucid.testbed.truth import causal, grown, tolerance
from pellucid.testbed.twins import PROP_NAMES
from pellucid.trust.ground import Ground, box_around
from pellucid.values import Class, Target

TRUTHS = ("world", "model")
_NAMES = {
    "land": "landscape",
    "crest": "plume",
    "crest_hue": "plume hue",
    **{name: f"prop {at}" for at, name in enumerate(PROP_NAMES, start=1)},
}
FEATURE_TASKS = ("bib6", "body_tail12")  # one planted feature decides, and two
LEAST_ACCURACY = 0.99  # of nets that are judged by planted features


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
    """Scenes of the rendered world that the model classifies right, with what leaving out each part does to its answer.

    truth: `world` is where the parts lie that decide the label; `model` where the fields show that the model reads in
           each scene, the fewest that hold 90 % of what changing them does to its answer. Scenes in which it reads
           nothing that can be changed are left out

    Raises RequestError for a model that does not know the world's classes, or recognises none of the scenes.
    """

    def __init__(self, model: VisionModel, drawn: Scenes, title: str, *, truth: str = "world") -> None:
        if truth not in TRUTHS:
            raise RequestError(f"The testbed has no truth {truth!r}; expected {' or '.join(TRUTHS)}.")
        _check_knows(model, drawn)
        right = model.predict(drawn.tensor()).argmax(dim=1).cpu().numpy() == drawn.labels
        self._model, self._scenes, self._truth = model, drawn[np.flatnonzero(right)], truth
        self.accuracy = float(right.mean())
        self._exact = np.zeros((0, 1, 1), dtype=bool)
        if right.any():
            self._exact = causal(self._scenes) if truth == "world" else self._read_places()
            kept = np.flatnonzero(self._exact.any(axis=(1, 2)))
            self._scenes, self._exact = self._scenes[kept], self._exact[kept]
        self.title = title
        self.total = len(drawn)
        self.names = tuple(f"scene {index}" for index in self._scenes.index.tolist())
        if not self.names:
            raise RequestError(f"{model.name} recognises none of the {self.total} scenes: nothing to judge.")

    def part(self, places: Sequence[int]) -> Part:
        scenes, exact = self._scenes[list(places)], self._exact[list(places)]
        targets = tuple(Class(int(label)) for label in scenes.labels)
        effects = removal_effects(lambda twins, at: self._values(twins, targets, at), scenes, (*WHOLE, *PROP_NAMES))
        distractors = distracting(scenes, effects if self._truth == "model" else None) & ~exact
        background = ~scenes.objects & ~exact  # where an absent part would be also decides
        frames = scenes.frames()
        truth = Ground(
            mask=torch.from_numpy(grown(exact, tolerance(scenes.world.size))),
            exact=torch.from_numpy(exact),
            background=torch.from_numpy(background),
            distractors=torch.from_numpy(distractors),
            boxes=tuple(
                tuple(box_around(torch.from_numpy(piece)) for piece in masks.connected(mask)) for mask in exact
            ),
            parts={part: torch.from_numpy(scenes.mask(part)) for part in BIRD_PARTS},
            effects={part: torch.from_numpy(effects[part]) for part in BIRD_PARTS},
        )
        return Part(Batch(frames, self._model.prepare(frames)), targets, truth)

    def readings(self, seed: int = 0) -> tuple[Reading, ...]:
        """What the model's answer rests on in these scenes, beside what decides their labels in the world."""
        found = self._effects()
        read, decide = found.causes(), self._scenes.task.causes
        return tuple(
            Reading(_NAMES.get(name, name.replace("_", " ")), name in decide, name in read,
                    interval(found.drops[name], seed), found.flipped(name))
            for name in found.drops
        )  # fmt: skip

    def _effects(self) -> Effects:
        return effect(self._model.predict, self._scenes, self._scenes.labels.tolist())

    def _read_places(self) -> Bool[np.ndarray, "scene height width"]:
        """Where the fields show that the model reads, ghosts among them; nowhere where it reads none."""
        return causal(self._scenes, truth="model", effects=self._effects())

    def _values(self, twins: Scenes, targets: Sequence[Target], at: Sequence[int]) -> Float[np.ndarray, "twin"]:
        """The value of each scene's target on scenes made from it."""
        outputs = self._model.predict(twins.tensor())
        return score([targets[place] for place in at], outputs, lambda _: outputs).double().cpu().numpy()


class PairCases:
    """Scenes of two birds of different classes, where the model ranks the class of one of them first: which is which?

    The target is the class it ranks first, the truth that bird; the other bird and its class are the rival. Raises
    RequestError for a model that does not know the world's classes, or ranks neither bird first in any scene.
    """

    def __init__(self, model: VisionModel, drawn: Scenes, title: str) -> None:
        pairs = drawn[np.flatnonzero(drawn.counts == 2)]
        _check_knows(model, pairs)
        self._model, self.title, self.total = model, title, len(pairs)
        first = model.predict(pairs.tensor()).argmax(dim=1).cpu().numpy() if len(pairs) else np.zeros(0, dtype=int)
        labels = pairs.bird_labels[:, :2]
        kept = np.flatnonzero((labels == first[:, None]).sum(axis=1) == 1)
        self._scenes = pairs[kept]
        self._own = (labels[kept, 1] == first[kept]).astype(int)  # which of the two birds it is
        self.names = tuple(f"scene {index}" for index in self._scenes.index.tolist())
        if not self.names:
            raise RequestError(f"{model.name} ranks one of two birds first in none of {self.total} scenes.")

    def part(self, places: Sequence[int]) -> Part:
        scenes, own = self._scenes[list(places)], self._own[list(places)]
        rows = np.arange(len(scenes))
        exact, rival = scenes.instances[rows, own], scenes.instances[rows, 1 - own]
        labels = scenes.bird_labels
        frames = scenes.frames()
        truth = Ground(
            mask=torch.from_numpy(grown(exact, tolerance(scenes.world.size))),
            exact=torch.from_numpy(exact),
            background=torch.from_numpy(~scenes.objects),
            distractors=torch.from_numpy(rival),
            rival=torch.from_numpy(rival),
            rivals=tuple(Class(int(label)) for label in labels[rows, 1 - own]),
        )
        return Part(
            Batch(frames, self._model.prepare(frames)), tuple(Class(int(label)) for label in labels[rows, own]), truth
        )


def paired_scenes(model: VisionModel, count: int, seed: int) -> PairCases:
    """Fresh scenes with two birds of different classes among `count` flocks. Raises whatever `fresh_scenes` does."""
    _check_fresh(count, seed)
    drawn = testbed.scenes(seed, count, mode="flock")
    return PairCases(model, drawn, f"pairs of birds in testbed scenes of seed {seed}")


def fresh_scenes(model: VisionModel, count: int, seed: int, truth: str = "world") -> SceneCases:
    """`count` scenes that no net has learned from. Raises RequestError for seeds that were learned from.

    truth: `world` or `model`, see SceneCases
    """
    _check_fresh(count, seed)
    title = f"testbed scenes of seed {seed}" + (", judged by what the model reads" if truth == "model" else "")
    return SceneCases(model, testbed.scenes(seed, count), title, truth=truth)


def feature_scenes(model: VisionModel, count: int, seed: int, task: str) -> SceneCases:
    """Fresh scenes of a task whose classes differ in one planted feature (`bib6`) or two (`body_tail12`).

    As in an8Flower (Oramas et al., ICLR 2019): only a net that is nearly always right is known to read the feature.
    Raises RequestError below 99 % accuracy, and whatever `fresh_scenes` does.
    """
    if task not in FEATURE_TASKS:
        raise RequestError(f"There are no planted features of task {task!r}; expected {' or '.join(FEATURE_TASKS)}.")
    _check_fresh(count, seed)
    drawn = testbed.scenes(seed, count, task=task, size=model.input_size[0] if model.input_size else 64)
    cases = SceneCases(model, drawn, f"testbed scenes of seed {seed}, task {task}")
    if cases.accuracy < LEAST_ACCURACY:
        raise RequestError(
            f"{model.name} gets {cases.accuracy:.1%} of the {count} scenes right; below {LEAST_ACCURACY:.0%} it is not "
            f"known whether it reads the planted feature, so maps cannot be judged by it."
        )
    return cases


def _check_knows(model: VisionModel, drawn: Scenes) -> None:
    """Raises RequestError unless the model's classes are those of the scenes; a dual encoder's say `a ripple swift`."""
    if tuple(label.removeprefix("a ") for label in model.labels) != tuple(drawn.task.labels):
        raise RequestError(f"{model.name} does not classify the testbed's birds; try testbed:cnn or testbed:vit.")


def _check_fresh(count: int, seed: int) -> None:
    if count < 1:
        raise RequestError(f"{count} scenes; expected at least 1.")
    if seed in (0, 1):
        raise RequestError(f"Seed {seed} drew the scenes that the nets learned from; take one from 2 on.")
