"""What is explained, as a value.

A target turns what it reads into one number per sample. Most read the model's output; `Unit`, `Box` and `Pixels` read a
layer. Names in a target ("tabby cat", a text, a reference picture) are resolved by the model under study before the
first pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.errors import PellucidError, TargetError
from pellucid.values.proposals import NOTHING, Proposals


@dataclass(frozen=True)
class Target:
    """The family of all targets. `reads` is "output" or the name of a layer."""

    kind: ClassVar[str] = ""

    @property
    def reads(self) -> str:
        return "output"

    @property
    def resolved(self) -> bool:
        """Whether every name in it has become a number."""
        return True

    def __call__(self, value: Tensor) -> Float[Tensor, "batch"]:
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **vars(self)}


@dataclass(frozen=True)
class Predicted(Target):
    """The class the model itself ranks first, one per picture."""

    kind: ClassVar[str] = "predicted"

    @property
    def resolved(self) -> bool:
        return False

    def __call__(self, value: Tensor) -> Float[Tensor, "batch"]:
        return value.amax(dim=-1)


@dataclass(frozen=True)
class Class(Target):
    """The logit of one class, by index or by name."""

    index: int | str
    kind: ClassVar[str] = "class"

    @property
    def resolved(self) -> bool:
        return isinstance(self.index, int)

    def __call__(self, value: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch"]:
        return value[:, self.index]  # type: ignore[index]  # resolved before the first pass


@dataclass(frozen=True)
class Contrast(Target):
    """Why `this` rather than `that`: the difference of two logits."""

    this: int | str
    that: int | str
    kind: ClassVar[str] = "contrast"

    @property
    def resolved(self) -> bool:
        return isinstance(self.this, int) and isinstance(self.that, int)

    def __call__(self, value: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch"]:
        return value[:, self.this] - value[:, self.that]  # type: ignore[index]


@dataclass(frozen=True)
class Probability(Target):
    """The probability of one class, 0 to 1. `activation` is filled in by the model: softmax, sigmoid or none."""

    index: int | str
    activation: str = ""
    kind: ClassVar[str] = "probability"

    @property
    def resolved(self) -> bool:
        return isinstance(self.index, int) and self.activation != ""

    def __call__(self, value: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch"]:
        squash = {"softmax": lambda logits: logits.softmax(dim=-1), "sigmoid": torch.sigmoid}
        return squash.get(self.activation, lambda same: same)(value)[:, self.index]  # type: ignore[index]


@dataclass(frozen=True)
class Unit(Target):
    """One channel of a layer: its mean over the grid, or its value at `position` (row, column)."""

    layer: str
    channel: int
    position: tuple[int, int] | None = None
    kind: ClassVar[str] = "unit"

    @property
    def reads(self) -> str:
        return self.layer

    def __call__(self, value: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch"]:
        channel = value[:, self.channel]
        if self.position is None:
            return channel.flatten(1).mean(dim=1)
        row, column = self.position
        return channel[:, row, column]

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "position": list(self.position) if self.position else None}


@dataclass(frozen=True)
class Text(Target):
    """Likeness of the picture to a text, for a dual encoder. `index` is its row in the model's list of texts."""

    text: str
    index: int | None = None
    kind: ClassVar[str] = "text"

    @property
    def resolved(self) -> bool:
        return self.index is not None

    def __call__(self, value: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch"]:
        return value[:, self.index]  # type: ignore[index]


@dataclass(frozen=True, eq=False)
class Similar(Target):
    """Cosine likeness of the output (or of a layer's mean over the grid) to that of a `reference`.

    reference: what it is compared with: a Frame or model input [1 3 height width]; becomes `embedding` when resolved
    """

    reference: Any = None
    layer: str | None = None
    embedding: Float[Tensor, "channel"] | None = None
    kind: ClassVar[str] = "similar"

    @property
    def reads(self) -> str:
        return self.layer or "output"

    @property
    def resolved(self) -> bool:
        return self.embedding is not None

    def __call__(self, value: Tensor) -> Float[Tensor, "batch"]:
        flat = value.flatten(2).mean(dim=2) if value.ndim > 2 else value
        assert self.embedding is not None
        return torch.cosine_similarity(flat, self.embedding.to(flat)[None], dim=-1)

    def to_dict(self) -> dict[str, Any]:
        name = getattr(self.reference, "name", "a reference")
        embedding = None if self.embedding is None else self.embedding.tolist()
        return {"kind": self.kind, "reference": name, "layer": self.layer, "embedding": embedding}


class _OfPlaces(Target):
    """A class at boxes or pixels, read where the model puts out what it says of those."""

    index: int | str
    layer: str

    @property
    def reads(self) -> str:
        return self.layer or "output"

    @property
    def resolved(self) -> bool:
        return isinstance(self.index, int) and self.layer != ""


@dataclass(frozen=True)
class Box(_OfPlaces):
    """One box of a detector with its class: the log odds, before suppression, of the proposal that fits it best.

    The proposal of the greatest overlap (intersection over union) is looked for anew in every changed picture; where
    none touches the box, the log odds are those of nothing.

    sides:   left, top, right, bottom in pixels of the model input: a detection, or a box that was missed
    chances: the probability of every class of a detection, which d_rise compares; empty is this class alone
    layer, classes: filled in by the model
    """

    sides: tuple[float, float, float, float]
    index: int | str
    chances: tuple[float, ...] = ()
    layer: str = ""
    classes: int = 0
    kind: ClassVar[str] = "box"

    @property
    def rectangle(self) -> Float[Tensor, "4"]:
        """Its sides, as proposals have theirs."""
        return torch.tensor(self.sides, dtype=torch.float32)

    def __call__(self, value: Tensor) -> Float[Tensor, "batch"]:
        proposals = Proposals.unpacked(value, self.classes)
        overlap = proposals.overlaps(self.rectangle).detach()
        rows, best = torch.arange(len(overlap), device=overlap.device), overlap.argmax(dim=1)
        odds = proposals.odds[rows, best, int(self.index)]
        return torch.where(overlap[rows, best] > 0, odds, torch.full_like(odds, NOTHING))

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "sides": list(self.sides), "chances": list(self.chances)}


@dataclass(frozen=True, eq=False)
class Pixels(_OfPlaces):
    """One class of a segmenter over a region: the mean of its logits there.

    mask:  the region, True inside, in pixels of the model input; None is the whole picture
    layer: filled in by the model
    """

    mask: Bool[Tensor, "height width"] | None
    index: int | str
    layer: str = ""
    kind: ClassVar[str] = "pixels"

    def __call__(self, value: Float[Tensor, "batch classes h w"]) -> Float[Tensor, "batch"]:
        logits = value[:, int(self.index)]
        if self.mask is None:
            return logits.mean(dim=(1, 2))
        inside = self.mask.to(logits)[None, None]
        if inside.shape[-2:] != logits.shape[-2:]:  # logits on a coarser grid: each cell by its part of the region
            inside = torch.nn.functional.adaptive_avg_pool2d(inside, (logits.shape[-2], logits.shape[-1]))
        return (logits * inside[0]).sum(dim=(1, 2)) / inside.sum()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pixels) and self._facts == other._facts

    def __hash__(self) -> int:
        return hash(self._facts)

    @property
    def _facts(self) -> tuple[Any, ...]:
        region = None if self.mask is None else (tuple(self.mask.shape), self.mask.cpu().numpy().tobytes())
        return self.index, self.layer, region

    def to_dict(self) -> dict[str, Any]:
        mask = None if self.mask is None else self.mask.int().tolist()
        return {"kind": self.kind, "mask": mask, "index": self.index, "layer": self.layer}


@dataclass(frozen=True)
class Call(Target):
    """Any function of the model's output [batch classes] that gives one number per sample."""

    function: Callable[[Tensor], Tensor] = field(compare=True)
    name: str = ""
    kind: ClassVar[str] = "call"

    def __call__(self, value: Tensor) -> Float[Tensor, "batch"]:
        try:
            answer = self.function(value)
        except (LookupError, TypeError, AttributeError, ArithmeticError, ValueError) as error:
            if isinstance(error, PellucidError):
                raise
            raise TargetError(
                f"The target function {self.title!r} failed on an output of shape {tuple(value.shape)}: "
                f"{type(error).__name__}: {error}. It is given [batch classes] and gives one number per picture."
            ) from error
        if not isinstance(answer, Tensor) or answer.shape != value.shape[:1]:
            got = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
            raise TargetError(
                f"The target function {self.title!r} gave {got} for an output of shape {tuple(value.shape)}; expected "
                f"one number per picture, a tensor of shape ({value.shape[0]},)."
            )
        return answer

    @property
    def title(self) -> str:
        return self.name or getattr(self.function, "__name__", "a function")

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.title}


_KINDS: dict[str, Callable[..., Target]] = {
    kind.kind: kind for kind in (Predicted, Class, Contrast, Probability, Unit, Text, Similar, Box, Pixels)
}


def target_from_dict(record: Mapping[str, Any]) -> Target:
    """The target that `to_dict` wrote. A function cannot come back from disk: its name does, and calling it says so."""
    values = {key: value for key, value in record.items() if key != "kind"}
    kind = str(record["kind"])
    if kind == "call":
        return Call(_lost_function, name=str(values["name"]))
    if kind == "unit" and values["position"] is not None:
        values["position"] = tuple(values["position"])
    if kind == "box":
        values |= {"sides": tuple(values["sides"]), "chances": tuple(values["chances"])}
    if kind == "pixels" and values["mask"] is not None:
        values["mask"] = torch.tensor(values["mask"], dtype=torch.bool)
    if kind == "similar" and values["embedding"] is not None:
        values["embedding"] = torch.tensor(values["embedding"])
    return _KINDS[kind](**values)


def _lost_function(value: Tensor) -> Tensor:
    raise TargetError("This target was a Python function, which a file cannot keep. Give the function again.")
