"""Labelled pictures as a recipe, so that anyone can look at the same again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.images import Frame, read
from pellucid.language.failures.answers import Answers
from pellucid.subject import VisionModel
from pellucid.testbed.scene import Scenes, scenes

SEED, COUNT, STRENGTH = 3000, 6000, 0.5
_CHUNK = 200


@dataclass(frozen=True)
class Pictures:
    """Which pictures, and their classes.

    paths:    files; without any, scenes of the testbed are meant
    labels:   class of each file, as the model counts them; scenes bring their own
    seed, count, strength: which scenes, and how often their landscape agrees with the species. At .5 there are as many
              scenes where it is of use as where it misleads; which are which is told to nobody
    places:   of these pictures only some; None is all
    """

    paths: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()
    seed: int = SEED
    count: int = COUNT
    strength: float = STRENGTH
    places: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.paths) != len(self.labels):
            raise RequestError(f"{len(self.paths)} pictures have {len(self.labels)} labels; each needs one.")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Pictures:
        places = record["places"]
        return cls(
            tuple(map(str, record["paths"])), tuple(map(int, record["labels"])), int(record["seed"]),
            int(record["count"]), float(record["strength"]), None if places is None else tuple(map(int, places)),
        )  # fmt: skip

    def at(self, places: Sequence[int] | np.ndarray) -> Pictures:
        """Some of all the pictures, by their places among all."""
        return replace(self, places=tuple(int(place) for place in places))

    def __len__(self) -> int:
        return len(self._chosen())

    def scenes(self) -> Scenes:
        """The scenes. Raises RequestError for files."""
        if self.paths:
            raise RequestError("These pictures are files, not scenes.")
        return scenes(self.seed, self._chosen(), shortcut="background", strength=self.strength)

    def frames(self) -> tuple[Frame, ...]:
        """The pictures as a person has them. Raises ImageError for a file that cannot be read."""
        if not self.paths:
            return self.scenes().frames()
        return tuple(read(self.paths[place]) for place in self._chosen())

    def answers(self, model: VisionModel, inputs: Float[Tensor, "picture 3 height width"] | None = None) -> Answers:
        """What the model says of them. inputs: where the model's input is known already."""
        if inputs is not None:
            parts = inputs.split(_CHUNK)
        elif self.paths:
            chosen = self._chosen()
            blocks = [chosen[at : at + _CHUNK] for at in range(0, len(chosen), _CHUNK)]
            parts = (model.prepare(self.at(block).frames()) for block in blocks)
        else:
            parts = self.scenes().tensor().split(_CHUNK)
        shares = [model.probabilities(model.predict(part)).float().cpu() for part in parts]
        classes = tuple(model.labels)
        return Answers(self.truth(), torch.cat(shares).numpy().astype(np.float64), classes)

    def truth(self) -> np.ndarray:
        """The class of each picture."""
        if not self.paths:
            return self.scenes().labels
        return np.asarray([self.labels[place] for place in self._chosen()], dtype=np.int64)

    def _chosen(self) -> np.ndarray:
        every = len(self.paths) if self.paths else self.count
        return np.arange(every) if self.places is None else np.asarray(self.places, dtype=np.int64)
