"""What is read off a model about a picture, place by place: its units, its classes, its likeness to a patch.

Readings of one model share their passes: however many there are, a batch of pictures goes through it once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence, look
from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.subject import VisionModel
from pellucid.values import Activation

KINDS = ("unit", "class", "patch")
LIKENESSES = ("log", "cosine")
_SMALL = 1e-4  # of ProtoPNet's likeness


@dataclass(frozen=True, eq=False)
class Reading:
    """One thing that is read.

    kind:     `unit`: a channel of the layer; `class`: a logit less the mean of all; `patch`: likeness of each place of
              the layer to a place of another picture
    index:    of the channel or the class
    frame:    the picture that a patch is from, with its `place` (row, column) on the layer's grid
    likeness: of patches: `log`, log((d² + 1) / (d² + 0.0001)) of the squared distance, as ProtoPNet has it, or `cosine`
    """

    kind: str
    layer: str = ""
    index: int = 0
    frame: Frame | None = None
    place: tuple[int, int] = (0, 0)
    likeness: str = LIKENESSES[0]

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.likeness not in LIKENESSES:
            raise RequestError(f"A reading of {self.kind!r} by {self.likeness!r}; expected one of {', '.join(KINDS)}, "
                               f"and {' or '.join(LIKENESSES)}.")  # fmt: skip
        if (self.kind != "class" and not self.layer) or (self.kind == "patch" and self.frame is None):
            raise RequestError(f"A reading of a {self.kind} needs its layer, and that of a patch its picture.")

    def name(self, model: VisionModel) -> str:
        """What it is called."""
        if self.kind == "class":
            return f"The class “{model.labels.name(self.index)}”"
        if self.kind == "unit":
            return f"Unit {self.index} of {self.layer}"
        assert self.frame is not None
        return f"The prototype at {self.place[0]}, {self.place[1]} of {self.frame.name} in {self.layer}"

    def to_dict(self) -> dict[str, Any]:
        """All but the frame, which a claim keeps for itself."""
        return {"kind": self.kind, "layer": self.layer, "index": self.index, "place": list(self.place),
                "likeness": self.likeness}  # fmt: skip

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], frame: Frame | None = None) -> Reading:
        """The reading that `to_dict` wrote, with its picture."""
        row, column = (int(number) for number in record["place"])
        return cls(str(record["kind"]), str(record["layer"]), int(record["index"]), frame, (row, column),
                   str(record["likeness"]))  # fmt: skip


@dataclass(frozen=True, eq=False)
class Reader:
    """A model with what is to be read off it; all readings lie in one layer, or are classes.

    vectors: what the patches are at their places, in the order of the readings
    """

    model: VisionModel
    readings: tuple[Reading, ...]
    vectors: tuple[Float[Tensor, "channel"], ...] = ()

    @classmethod
    def of(cls, model: VisionModel, readings: tuple[Reading, ...]) -> Reader:
        """Raises RequestError for readings of several layers, and for units, classes and places that are not there."""
        layers = {one.layer for one in readings if one.kind != "class"}
        if not readings or len(layers) > 1:
            raise RequestError(f"Readings share one layer; asked for were {', '.join(sorted(layers)) or 'none'}.")
        for one in readings:
            if one.kind == "class" and not 0 <= one.index < len(model.labels.names):
                raise RequestError(f"The model has no class {one.index}: it has {len(model.labels.names)}.")
        return cls(model, readings, tuple(_vector(model, one) for one in readings if one.kind == "patch"))

    def __call__(
        self, inputs: Float[Tensor, "picture channel height width"]
    ) -> Float[Tensor, "picture reading row column"]:
        """Every reading at every place; a class has one value, which stands at all of them."""
        layer = next((one.layer for one in self.readings if one.kind != "class"), None)
        evidence = look(self.model, inputs, 0, needs=[Activation], layers=[layer] if layer else [])
        grid = evidence.activation(layer).detach() if layer else None
        vectors = iter(self.vectors)
        values = [self._read(evidence, grid, one, vectors) for one in self.readings]
        shape = (1, 1) if grid is None else grid.shape[-2:]
        return torch.stack([value.expand(-1, *shape) for value in values], dim=1)

    def _read(
        self, evidence: Evidence, grid: Tensor | None, one: Reading, vectors: Any
    ) -> Float[Tensor, "picture row column"]:
        if one.kind == "class":
            outputs = evidence.output().detach()
            return (outputs[:, one.index] - outputs.mean(dim=1))[:, None, None]
        assert grid is not None
        if one.kind == "unit":
            if not 0 <= one.index < grid.shape[1]:
                raise RequestError(f"{one.layer} has no unit {one.index}: it has {grid.shape[1]}.")
            return grid[:, one.index]
        vector = next(vectors)[None, :, None, None]
        if one.likeness == "cosine":
            return torch.cosine_similarity(grid, vector, dim=1)
        distance = ((grid - vector) ** 2).sum(dim=1)
        return ((distance + 1) / (distance + _SMALL)).log()


def _vector(model: VisionModel, patch: Reading) -> Float[Tensor, "channel"]:
    assert patch.frame is not None
    inputs = patch.frame.tensor() if model.preprocess is None else model.prepare([patch.frame])
    grid = look(model, inputs, 0, needs=[Activation], layers=[patch.layer]).activation(patch.layer)[0].detach()
    row, column = patch.place
    if not (0 <= row < grid.shape[1] and 0 <= column < grid.shape[2]):
        raise RequestError(f"{patch.layer} has {grid.shape[1]} x {grid.shape[2]} places; there is no {row}, {column}.")
    return grid[:, row, column]
