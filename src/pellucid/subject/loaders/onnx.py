"""ONNX files, as black boxes: no gradients, no layers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import LoadError
from pellucid.subject.loaders.config import Config, beside
from pellucid.subject.loaders.libraries import first_line, library
from pellucid.values import Preprocess
from pellucid.values.place import leads_to, place_of

if TYPE_CHECKING:
    from pellucid.subject.model import VisionModel

PREFIX = "onnx"
EXAMPLE = "onnx:model.onnx"
HELP = "an ONNX file, run by onnxruntime; labels and preprocessing from model.json or config.json beside it"

_DTYPES: Mapping[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}


def load(name: str, *, layout: str | None = None, device: torch.device | None = None, **wrapping: Any) -> VisionModel:
    """An ONNX classifier. Its file says where colours stand and what sizes it takes.

    layout: `nchw` or `nhwc`, where the file leaves it open
    device: a CUDA device, where onnxruntime was built for one

    A network of bytes takes pictures of 0..255 and needs no preprocessing but its size.
    Raises LoadError for files that are no picture classifier, AmbiguousOutput for several outputs.
    """
    from pellucid.subject.model import wrap

    path = place_of(name)
    spec = f"{PREFIX}:{name}"
    if leads_to(path) != "file":
        raise LoadError(spec, "there is no such file.", "Check the path.")
    told = beside(path) or Config()
    network = OnnxNetwork.opened(spec, path, layout, device)
    usual: dict[str, Any] = {"name": path.stem, "input_size": network.size, **told.wrapping}
    if network.dtype is np.uint8 and network.size is not None:
        usual.setdefault("preprocess", Preprocess(size=network.size, fit="stretch"))
    settings = {**usual, **wrapping}
    if isinstance(asked := settings.get("output"), (str, int)):
        network, settings["output"] = network.giving(spec, asked), None
    model = wrap(network, **settings)
    if len(network.outputs) > 1:
        model.outputs  # noqa: B018  # looks now, so that an unclear answer is an error here and not in mid-run
    return model


@dataclass(frozen=True, eq=False)
class OnnxNetwork:
    """A session that takes [batch 3 height width] in 0..1 or normalised, and gives its outputs by name.

    layout: `nchw` or `nhwc`, as the file wants it
    batch:  the one batch size it takes; None for any
    size:   rows and columns it takes; None for any
    """

    session: Any
    path: Path
    input: str
    outputs: tuple[str, ...]
    layout: str
    batch: int | None
    size: tuple[int, int] | None
    dtype: type[np.generic]

    @classmethod
    def opened(cls, spec: str, path: Path, layout: str | None, device: torch.device | None) -> OnnxNetwork:
        runtime = library("onnxruntime", "onnx", spec)
        options = runtime.SessionOptions()
        options.log_severity_level = 4  # what it prints is in the exception too
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            session = runtime.InferenceSession(str(path), options, providers=_providers(runtime, spec, device))
        except Exception as error:  # its own exceptions share no base class
            if isinstance(error, LoadError):
                raise
            raise LoadError(spec, f"onnxruntime cannot read it: {first_line(error)}",
                            "Check the file, and that files of external weights lie beside it.") from error  # fmt: skip
        return cls._understood(spec, session, path, layout)

    def giving(self, spec: str, output: str | int) -> OnnxNetwork:
        """The same network with one of its outputs, by name or position. Raises LoadError."""
        names = self.outputs
        if isinstance(output, int) and 0 <= output < len(names):
            return replace(self, outputs=(names[output],))
        if output not in names:
            raise LoadError(spec, f"it has no output {output!r}.", f"It has {', '.join(names)}.")
        return replace(self, outputs=(str(output),))

    @classmethod
    def _understood(cls, spec: str, session: Any, path: Path, layout: str | None) -> OnnxNetwork:
        inputs = session.get_inputs()
        if len(inputs) != 1:
            listing = "; ".join(f"{entry.name} {entry.shape}" for entry in inputs)
            raise LoadError(spec, f"it takes {len(inputs)} inputs: {listing}.",
                            "Call it yourself and wrap that: pl.wrap(lambda pictures: ...).")  # fmt: skip
        entry = inputs[0]
        shape = [length if isinstance(length, int) and length > 0 else None for length in entry.shape]
        if entry.type not in _DTYPES:
            raise LoadError(spec, f"its input is {entry.type}.", f"pellucid gives {', '.join(_DTYPES)}.")
        layout = _layout(spec, entry.shape, shape, layout)
        rows, columns = (shape[2], shape[3]) if layout == "nchw" else (shape[1], shape[2])
        size = (rows, columns) if rows is not None and columns is not None else None
        outputs = tuple(entry.name for entry in session.get_outputs())
        return cls(session, path, entry.name, outputs, layout, shape[0], size, _DTYPES[entry.type])

    @cached_property
    def fingerprint(self) -> str:
        """A short hash of the file."""
        digest = hashlib.blake2b(digest_size=8)
        with self.path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
        return digest.hexdigest()

    def __call__(self, pictures: Float[Tensor, "batch 3 height width"]) -> Tensor | dict[str, Tensor]:
        """Its one output, or all of them by name."""
        values = pictures.detach().cpu().numpy()
        if self.layout == "nhwc":
            values = values.transpose(0, 2, 3, 1)
        if self.dtype is np.uint8:
            values = (values * 255).round().clip(0, 255)
        values = np.ascontiguousarray(values.astype(self.dtype))
        parts = [self._run(part) for part in _portions(values, self.batch or len(values))]
        joined = {name: np.concatenate([part[name] for part in parts])[: len(values)] for name in self.outputs}
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in joined.items()}
        return next(iter(tensors.values())) if len(tensors) == 1 else tensors

    def _run(self, values: np.ndarray) -> dict[str, np.ndarray]:
        try:
            answers = self.session.run(list(self.outputs), {self.input: values})
        except Exception as error:  # its own exceptions share no base class
            raise RuntimeError(first_line(error)) from error
        return {name: np.atleast_1d(answer) for name, answer in zip(self.outputs, answers, strict=True)}


def _portions(values: np.ndarray, count: int) -> list[np.ndarray]:
    """The batch in portions of exactly `count`; the last is filled up with copies of its first picture."""
    portions = [values[start : start + count] for start in range(0, len(values), count)]
    short = count - len(portions[-1])
    if short:
        portions[-1] = np.concatenate([portions[-1], np.repeat(portions[-1][:1], short, axis=0)])
    return portions


def _layout(spec: str, written: Sequence[Any], shape: Sequence[int | None], asked: str | None) -> str:
    if asked not in (None, "nchw", "nhwc"):
        raise LoadError(spec, f"layout={asked!r} is not known.", "Say layout='nchw' or layout='nhwc'.")
    if len(shape) != 4:
        raise LoadError(spec, f"its input has shape {list(written)}; pictures are [batch 3 height width].",
                        "Call it yourself and wrap that: pl.wrap(lambda pictures: ...).")  # fmt: skip
    possible = [layout for layout, axis in (("nchw", 1), ("nhwc", 3)) if shape[axis] in (3, None)]
    certain = [layout for layout, axis in (("nchw", 1), ("nhwc", 3)) if shape[axis] == 3]
    if asked is not None and asked in possible:
        return asked
    if asked is not None or not possible:
        raise LoadError(spec, f"its input has shape {list(written)}, which has no axis of 3 colours there.",
                        "Call it yourself and wrap that: pl.wrap(lambda pictures: ...).")  # fmt: skip
    if len(certain) == 1:
        return certain[0]
    if len(possible) == 1:
        return possible[0]
    raise LoadError(spec, f"its input has shape {list(written)}; which axis holds the colours is not said.",
                    "Say layout='nchw' or layout='nhwc'.")  # fmt: skip


def _providers(runtime: Any, spec: str, device: torch.device | None) -> list[Any]:
    if device is None or device.type == "cpu":
        return ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in runtime.get_available_providers():
        return [("CUDAExecutionProvider", {"device_id": device.index or 0}), "CPUExecutionProvider"]
    raise LoadError(spec, f"this onnxruntime cannot run on {device}.", "Use device='cpu', or install onnxruntime-gpu.")
