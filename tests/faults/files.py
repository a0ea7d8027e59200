"""Files with something wrong with them, made where a row wants them."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.faults.subjects import photo

Maker = Callable[[Path], Path]


def file(name: str, content: bytes | str) -> Maker:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def named(name: str) -> Maker:
    """A path where nothing lies."""
    return lambda folder: folder / name


def picture(name: str, image: Image.Image | None = None, **options: Any) -> Maker:
    """A picture that is fine, under a name that may not be."""

    def make(folder: Path) -> Path:
        (image or photo()).save(folder / name, **options)
        return folder / name

    return make


def folder_called(name: str, *makers: Maker) -> Maker:
    def make(folder: Path) -> Path:
        (folder / name).mkdir()
        for maker in makers:
            maker(folder / name)
        return folder / name

    return make


def array_file(name: str, values: np.ndarray) -> Maker:
    """What `np.save` leaves: numbers, but no picture."""

    def make(folder: Path) -> Path:
        np.save(folder / name, values)
        return folder / name

    return make


def tensor_file(name: str, content: Any) -> Maker:
    def make(folder: Path) -> Path:
        torch.save(content, folder / name)
        return folder / name

    return make


def link(name: str, to: str) -> Maker:
    def make(folder: Path) -> Path:
        (folder / name).symlink_to(folder / to)
        return folder / name

    return make


def loop(folder: Path) -> Path:
    """Two links that lead to each other."""
    (folder / "one.png").symlink_to(folder / "two.png")
    (folder / "two.png").symlink_to(folder / "one.png")
    return folder / "one.png"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.png")
    return folder / "pipe.png"


def encoded(kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    photo().save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"") + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


class Trap:
    """Unpickling this would run code."""

    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('code ran')",))


def code(folder: Path) -> Path:
    """A pickle that would run code when it is read."""
    return file("evil.pt", pickle.dumps(Trap()))(folder)


# -- networks -------------------------------------------------------------------------------------------------------

EIGHT = {"preprocess": {"size": [8, 8], "fit": "stretch"}}


def network(
    told: dict[str, Any] | str | None = EIGHT,  # never changed
    *,
    shape: tuple[Any, ...] = ("batch", 3, 8, 8),
    kind: str = "FLOAT",
    classes: int = 4,
    weight: float | None = None,
    last: str = "",
    outputs: int = 1,
) -> Maker:
    """An ONNX file that averages the picture and rates `classes`, with a config beside it.

    told:   the config, as an object or as text; None for none
    weight: of everything; None draws them
    last:   "" for one row per picture; `argmax`, `pixels` or `scalar` for what is no row of scores
    """

    def make(folder: Path) -> Path:
        path = folder / "net.onnx"
        _write(path, shape, kind, classes, weight, last, outputs)
        if told is not None:
            path.with_suffix(".json").write_text(told if isinstance(told, str) else json.dumps(told))
        return path

    return make


def _write(
    path: Path, shape: tuple[Any, ...], kind: str, classes: int, weight: float | None, last: str, outputs: int
) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    channels = shape[1] if isinstance(shape[1], int) else 3
    drawn = np.random.default_rng(0).normal(size=(channels, classes))
    weights = np.full((channels, classes), weight) if weight is not None else drawn
    axes = list(range(2, len(shape)))
    nodes = [
        helper.make_node("Cast", ["x"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=axes, keepdims=0) if axes
        else helper.make_node("Identity", ["floats"], ["mean"]),
        helper.make_node("MatMul", ["mean", "w"], ["first"]),
    ]  # fmt: skip
    out, out_kind, out_shape = "first", TensorProto.FLOAT, [shape[0], classes]
    if last == "argmax":
        nodes.append(helper.make_node("ArgMax", ["first"], ["best"], axis=1, keepdims=0))
        out, out_kind, out_shape = "best", TensorProto.INT64, [shape[0]]
    elif last == "pixels":
        nodes.append(helper.make_node("Identity", ["floats"], ["dense"]))
        out, out_shape = "dense", list(shape)
    elif last == "scalar":
        nodes.append(helper.make_node("ReduceMean", ["first"], ["one"], keepdims=0))
        out, out_shape = "one", []
    answers = [helper.make_tensor_value_info(out, out_kind, out_shape)]
    if outputs > 1:
        nodes.append(helper.make_node("Mul", ["first", "first"], ["second"]))
        answers.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, [shape[0], classes]))
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", getattr(TensorProto, kind), list(shape))], answers,
        [numpy_helper.from_array(weights.astype(np.float32), "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
