"""What was asked, as values: a request that can be stored and replayed, and pictures as model input."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.errors import RequestError, ShapeError
from pellucid.images import Frame, Source, read_many
from pellucid.images import read as read_one
from pellucid.subject.loaders import load
from pellucid.subject.model import VisionModel, wrap
from pellucid.values import Seed
from pellucid.values.place import leads_to

DEFAULT_BUDGET = 400
Asked = VisionModel | nn.Module | str | Any
Pictures = Source | Iterable[Source] | Tensor


@dataclass(frozen=True)
class Request:
    """One question about pictures, without the pictures: everything that decides the answer but model and pixels.

    target:  a class index or name; None is the predicted class
    methods: None is the default panel
    budget:  forward passes per picture; a backward counts two
    faithfulness_target: insertion less deletion, for which methods, layers and baselines are searched; None searches
             for nothing
    narrator: who retells the findings: `templates`, `hf:FOLDER` or `chat:MODEL`; None is nobody
    """

    target: str | int | None = None
    methods: tuple[str, ...] | None = None
    layer: str | None = None
    budget: int = DEFAULT_BUDGET
    seed: int = 0
    faithfulness_target: float | None = None
    narrator: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.budget, bool) or not isinstance(self.budget, int) or self.budget < 1:
            raise RequestError(f"budget={self.budget!r}; expected a whole number of passes, 1 or more.")
        Seed(self.seed)
        if self.methods is not None and not self.methods:
            raise RequestError("methods is empty; name at least one, or leave it out for the default panel.")
        wanted = self.faithfulness_target
        number = isinstance(wanted, (int, float)) and not isinstance(wanted, bool)
        if wanted is not None and not (number and -1 <= wanted <= 1):
            raise RequestError(
                f"faithfulness_target={wanted!r}; expected a number from -1 to 1: insertion less deletion, of which 1 "
                f"is the most there can be."
            )

    def key(self, model: VisionModel, frame: Frame) -> str:
        """Sixteen hex digits that are the same exactly when the answer must be the same."""
        asked = {name: value for name, value in asdict(self).items() if name != "narrator" or value is not None}
        facts = json.dumps([asked, model.fingerprint, frame.fingerprint], sort_keys=True)
        return hashlib.blake2b(facts.encode(), digest_size=8).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Request:
        methods = record.get("methods")
        values: dict[str, Any] = {**record, "methods": tuple(methods) if methods is not None else None}
        return cls(**values)


def panel_budget(request: Request) -> int:
    """The passes that the panel of maps may take: all of them, or where more is searched for, at most half."""
    return request.budget if request.faithfulness_target is None else min(request.budget // 2, DEFAULT_BUDGET)


def method_names(asked: Any, kind: str = "method") -> tuple[str, ...]:
    """The names in what a caller gave for methods, or metrics. Raises RequestError for what is no name and no list."""
    if isinstance(asked, str):
        return (asked,)
    if not isinstance(asked, Iterable):
        raise RequestError(f"{asked!r} names no {kind}; expected a name or a list of names, as pl.{kind}s() has them.")
    return tuple(asked)


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures as the user has them, and what the model gets.

    given: whether the user handed over model input itself, of which a Frame keeps only what can be shown
    """

    frames: tuple[Frame, ...]
    inputs: Float[Tensor, "batch channel h w"]
    given: bool = False

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, chosen: slice) -> Batch:
        return replace(self, frames=self.frames[chosen], inputs=self.inputs[chosen])

    def singles(self) -> Iterator[Batch]:
        for index in range(len(self)):
            yield self[index : index + 1]


def subject(model: Asked) -> VisionModel:
    """The model under study, from itself, from a spec such as "testbed:cnn", or from a bare module or callable.

    Warns of one that was left in training mode, where that makes a difference.
    """
    found = model if isinstance(model, VisionModel) else load(model) if isinstance(model, str) else wrap(model)
    if note := training_note(found):
        warnings.warn(note, stacklevel=3)
    return found


def training_note(model: VisionModel) -> str:
    """What is to be said of a model whose answers would be others in training mode, where it is; else nothing."""
    network = model.network
    if network is None or not any(module.training and _differs(module) for module in network.modules()):
        return ""
    return "The model is in training mode. It was explained as in evaluation, and left as it was; model.eval() says so."


def _differs(module: nn.Module) -> bool:
    """Whether a module gives something else in training: batch norm, every kind of dropout."""
    return getattr(module, "running_mean", None) is not None or "Drop" in type(module).__name__


def batches_of(model: VisionModel, images: Pictures) -> list[Batch]:
    """The pictures as model input, in order; neighbours that become inputs of one size share a batch.

    images: anything `pl.read` takes, lists, folders and globs of it; or a float tensor [batch 3 height width], which is
            model input as it is. Raises RequestError where there is no picture.
    """
    if _is_input(images):
        return [_from_input(model, cast(Tensor, images))]
    frames = read_many(cast(Any, images))
    if not frames:
        raise RequestError("There is no picture to explain.")
    return list(_grouped(model, frames))


def read(source: Pictures, *, limit_megapixels: float = 100) -> Frame | list[Frame]:
    """One picture as a Frame; a list of pictures, a folder or a glob as a list of Frames.

    source: a path, the bytes of an image file, a Pillow image, a NumPy array or a torch tensor of pixels; or a list

    Raises ImageError, which names the picture, what is wrong with it and what to do.
    """
    if is_single(source):
        return read_one(cast(Any, source), limit_megapixels=limit_megapixels)
    return read_many(cast(Any, source), limit_megapixels=limit_megapixels)


def is_single(images: Pictures) -> bool:
    """Whether one picture was given rather than a list, so that one answer is expected."""
    if isinstance(images, Tensor):
        return images.ndim == 3 or (images.ndim == 4 and len(images) == 1)
    if isinstance(images, (str, os.PathLike)):
        found = leads_to(images)
        return found != "folder" and (found == "file" or not glob.has_magic(os.fspath(images)))
    one = (Frame, bytes, bytearray, memoryview)
    return isinstance(images, one) or hasattr(images, "__array__") or not isinstance(images, Iterable)


def _is_input(images: Any) -> bool:
    if isinstance(images, Tensor) and images.is_floating_point() and images.ndim == 4:
        return True
    if isinstance(images, Tensor) and images.ndim == 4:
        raise ShapeError(
            f"A tensor [batch 3 height width] of {images.dtype}", got=tuple(images.shape),
            expected="floats, which are model input as they are",
            remedy="For pixels of 0..255 give a list of pictures.",
        )  # fmt: skip
    return False


def _from_input(model: VisionModel, images: Tensor) -> Batch:
    inputs = model.check_input(images)
    frames = tuple(
        Frame.from_tensor(_coloured(one), f"tensor {index}", preprocess=model.preprocess)
        for index, one in enumerate(inputs)
    )
    return Batch(frames, inputs, given=True)


def _coloured(picture: Tensor) -> Float[Tensor, "3 h w"]:
    return picture.expand(3, -1, -1) if len(picture) == 1 else picture[:3]


def _grouped(model: VisionModel, frames: Sequence[Frame]) -> Iterator[Batch]:
    run: list[Frame] = []
    inputs: list[Tensor] = []
    for frame in frames:
        one = model.prepare([frame])
        if inputs and inputs[0].shape != one.shape:
            yield Batch(tuple(run), torch.cat(inputs))
            run, inputs = [], []
        run.append(frame.fitted(model.preprocess) if model.preprocess else frame)
        inputs.append(one)
    yield Batch(tuple(run), torch.cat(inputs))
