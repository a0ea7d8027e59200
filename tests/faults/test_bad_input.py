"""Everything a user can get wrong, in one table: each row gives a clear error of ours."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import pellucid as pl
from pellucid import errors
from pellucid.values import Class, Contrast, Probability, Similar, Text, Unit
from tests.guests import unchanged
from tests.nets import Twin

SIZE = (13, 17)
PREPROCESS = pl.Preprocess(size=SIZE, resize=SIZE, fit="stretch")
NAMES = ["cat", "dog", "bird", "fish", "frog"]


def model(**options: Any) -> Any:
    return pl.wrap(Twin(), preprocess=PREPROCESS, labels=NAMES, **options)


def tensor(count: int = 1) -> torch.Tensor:
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@dataclass(frozen=True)
class Row:
    """What is done, which error comes, and words it must hold: the thing, what was expected, how to fix it."""

    what: str
    do: Callable[[Path], Any]
    error: type[Exception]
    words: tuple[str, ...]


# -- pictures -------------------------------------------------------------------------------------------------------


def file(name: str, content: bytes) -> Callable[[Path], Any]:
    def do(folder: Path) -> Any:
        (folder / name).write_bytes(content)
        return pl.read(folder / name)

    return do


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"") + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def photo(width: int = 40, height: int = 30) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


JPEG = encoded(photo(), "JPEG")
PNG = encoded(photo(), "PNG")

PICTURES = [
    Row(
        "a file that is not there", lambda folder: pl.read(folder / "nowhere.jpg"), errors.ImageError, ("nowhere.jpg",)
    ),
    Row("a folder instead of a file", lambda folder: pl.attribute(model(), folder, "gradient"), errors.ImageError, ()),
    Row("an empty file", file("empty.png", b""), errors.ImageError, ("empty.png", "empty")),
    Row("text named .jpg", file("letter.jpg", b"Dear model, what do you see?"), errors.ImageError, ("letter.jpg",)),
    Row("a truncated JPEG", file("half.jpg", JPEG[: len(JPEG) // 2]), errors.ImageError, ("half.jpg", "truncated")),
    Row("a truncated PNG", file("half.png", PNG[: len(PNG) // 2]), errors.ImageError, ("half.png",)),
    Row("a PNG of only a header", file("head.png", png_header(10, 10)), errors.ImageError, ("head.png",)),
    Row(
        "over a hundred megapixels",
        file("huge.png", png_header(20_000, 20_000)),
        errors.ImageError,
        ("huge.png", "400"),
    ),
    Row(
        "a page of HTML named .png",
        file("page.png", b"<html><body>404</body></html>"),
        errors.ImageError,
        ("page.png",),
    ),
    Row("bytes that are no picture", lambda _: pl.read(b"\x00\x01\x02"), errors.ImageError, ()),
    Row("an array without pixels", lambda _: pl.read(np.zeros((0, 10, 3), np.uint8)), errors.ImageError, ()),
    Row("an array of one dimension", lambda _: pl.read(np.zeros(10, np.uint8)), errors.ImageError, ()),
    Row("an array of five channels", lambda _: pl.read(np.zeros((9, 9, 5), np.uint8)), errors.ImageError, ()),
    Row("an array with NaN", lambda _: pl.read(np.full((9, 9, 3), np.nan)), errors.ImageError, ()),
    Row("a float array of 0..255", lambda _: pl.read(np.full((9, 9, 3), 200.0)), errors.ImageError, ("0", "1")),
    Row("an array of words", lambda _: pl.read(np.array([["a", "b"]])), errors.ImageError, ()),
    Row("None", lambda _: pl.read(None), errors.ImageError, ()),
    Row("a number", lambda _: pl.read(7), errors.ImageError, ()),
    Row("a glob that matches nothing", lambda folder: pl.read(str(folder / "*.jpg")), errors.ImageError, ("*.jpg",)),
]

# -- model input ----------------------------------------------------------------------------------------------------

INPUTS = [
    Row("three dimensions", lambda _: pl.attribute(model(), tensor()[0], "gradient"), errors.PellucidError, ()),
    Row("five dimensions", lambda _: pl.attribute(model(), tensor()[None], "gradient"), errors.PellucidError, ("3",)),
    Row(
        "channels last",
        lambda _: pl.attribute(model(), tensor().permute(0, 2, 3, 1), "gradient"),
        errors.ShapeError,
        ("permute(0, 3, 1, 2)",),
    ),
    Row(
        "whole numbers",
        lambda _: pl.attribute(model(), (tensor() * 9).to(torch.uint8), "gradient"),
        errors.PellucidError,
        ("float",),
    ),
    Row(
        "an empty batch",
        lambda _: pl.attribute(model(), tensor()[:0], "gradient"),
        errors.ShapeError,
        ("none of them 0",),
    ),
    Row("not finite", lambda _: pl.attribute(model(), tensor() / 0, "gradient"), errors.ShapeError, ("finite",)),
    Row(
        "a size the model cannot take",
        lambda _: pl.attribute(pl.wrap(fixed()), torch.randn(1, 3, 9, 9), "gradient", target=0),
        errors.ModelError,
        ("input_size",),
    ),
    Row(
        "pictures without preprocessing",
        lambda _: pl.attribute(pl.wrap(Twin()), np.zeros((9, 9, 3), np.uint8), "gradient"),
        errors.PreprocessError,
        ("pl.wrap(model, preprocess=pl.Preprocess(",),
    ),
]


def fixed() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))


# -- targets --------------------------------------------------------------------------------------------------------


def asking(target: Any, count: int = 1) -> Callable[[Path], Any]:
    return lambda _: pl.attribute(model(), tensor(count), "gradient", target=target)


TARGETS = [
    Row("a class past the last", asking(99), errors.UnknownClass, ("99", "5 classes, 0 to 4")),
    Row("a negative class", asking(-1), errors.UnknownClass, ("-1", "0 to 4")),
    Row("a name that is not there", asking("dgo"), errors.UnknownClass, ("dgo", "Nearest: dog")),
    Row("three targets for two pictures", asking([0, 1, 2], 2), errors.TargetError, ("3 targets for 2 pictures",)),
    Row("one listed target for two pictures", asking([0], 2), errors.TargetError, ("1 targets for 2 pictures",)),
    Row("an empty list", asking([]), errors.TargetError, ("0 targets",)),
    Row("a fraction", asking(0.5), errors.TargetError, ("0.5",)),
    Row("a truth value", asking(True), errors.TargetError, ("True",)),
    Row("a class against itself", asking(Contrast("cat", 0)), errors.TargetError, ("itself",)),
    Row("the probability of no class", asking(Probability("cow")), errors.UnknownClass, ("cow",)),
    Row("a unit of no layer", asking(Unit("layer9", 0)), errors.UnknownLayer, ("layer9",)),
    Row("a unit past the last", asking(Unit("second", 800)), errors.TargetError, ("0 to 7",)),
    Row("a unit off the grid", asking(Unit("second", 0, (99, 0))), errors.TargetError, ("(99, 0)",)),
    Row("a text for a plain classifier", asking(Text("a cat")), errors.TargetError, ("dual encoder",)),
    Row("likeness to nothing", asking(Similar()), errors.TargetError, ("reference",)),
    Row(
        "a function of the wrong shape",
        asking(lambda output: output.sum()),
        errors.TargetError,
        ("one number per picture",),
    ),
    Row("a function that returns nothing", asking(lambda output: None), errors.TargetError, ("NoneType",)),
    Row("a class of a class", asking(Class(5)), errors.UnknownClass, ("0 to 4",)),
]

# -- methods, layers, parameters ------------------------------------------------------------------------------------


def running(method: Any, subject: Callable[[], Any] = model, **options: Any) -> Callable[[Path], Any]:
    return lambda _: pl.attribute(subject(), tensor(), method, target=1, **options)


def black_box() -> Any:
    return pl.wrap(lambda inputs: inputs.mean((2, 3)), preprocess=PREPROCESS)


def perceptron() -> Any:
    return pl.wrap(nn.Sequential(nn.Flatten(), nn.Linear(3 * 13 * 17, 4)), preprocess=PREPROCESS)


METHODS = [
    Row("no such method", running("gradcam"), errors.UnknownMethod, ("gradcam", "Nearest: grad_cam")),
    Row("no method at all", running([]), errors.RequestError, ("pellucid methods",)),
    Row(
        "no such metric",
        lambda _: pl.evaluate(model(), tensor(), pl.attribute(model(), tensor(), "gradient"), ["delete"]),
        errors.UnknownMethod,
        ("deletion",),
    ),
    Row("no such layer", running("grad_cam", layer="secnd"), errors.UnknownLayer, ("Nearest: second",)),
    Row("a layer without a grid", running("grad_cam", layer="head"), errors.PellucidError, ("head",)),
    Row("no such parameter", running("integrated_gradients", stepz=3), errors.RequestError, ("stepz", "steps")),
    Row("no steps", running("integrated_gradients", steps=0), errors.RequestError, ("steps",)),
    Row("no samples", running("smoothgrad", samples=0), errors.RequestError, ("samples",)),
    Row("negative noise", running("smoothgrad", noise=-1.0), errors.RequestError, ("noise",)),
    Row("no masks", running("rise", masks=0), errors.RequestError, ("masks",)),
    Row("a window larger than the picture", running("occlusion", window=500), errors.RequestError, ("window",)),
    Row("a stride of nothing", running("occlusion", stride=0), errors.RequestError, ("stride",)),
    Row("an unknown baseline", running("occlusion", baseline="plaid"), errors.RequestError, ("plaid",)),
    Row(
        "gradients of a black box", running("gradient", black_box), errors.MethodUnavailable, ("black box", "occlusion")
    ),
    Row("layers of a black box", running("grad_cam", black_box), errors.MethodUnavailable, ("black box",)),
    Row("a CAM of a perceptron", running("grad_cam", perceptron), errors.MethodUnavailable, ("grid",)),
    Row("attention of a CNN", running("attention_rollout"), errors.MethodUnavailable, ("no attention",)),
    Row("relevance of a CNN's attention", running("chefer"), errors.MethodUnavailable, ("no attention",)),
    Row("guided without activations", running("guided_backprop", perceptron), errors.MethodUnavailable, ("no ReLU",)),
    Row("no memory", running("gradient", memory=0), errors.RequestError, ("memory",)),
    Row("negative memory", running("gradient", memory=-2), errors.RequestError, ("memory",)),
    Row("a budget for nothing", lambda _: pl.explain(model(), photo(), budget=0), errors.RequestError, ("budget",)),
    Row(
        "maps of other pictures",
        lambda _: pl.evaluate(model(), tensor(2), pl.attribute(model(), tensor(), "gradient"), ["deletion"]),
        errors.ShapeError,
        (),
    ),
]

# -- models ---------------------------------------------------------------------------------------------------------


class Ambiguous(Twin):
    def forward(self, x: torch.Tensor) -> Any:
        answer = super().forward(x)
        return {"first": answer, "second": answer * 2}


class Dense(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def saved(name: str, content: bytes) -> Callable[[Path], Any]:
    def do(folder: Path) -> Any:
        (folder / name).write_bytes(content)
        return pl.load(str(folder / name))

    return do


class Trap:
    """Unpickling this would run code."""

    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('code ran')",))


MODELS = [
    Row("not a model", lambda _: pl.wrap(7), errors.ModelError, ("int",)),
    Row("no such activation", lambda _: pl.wrap(Twin(), activation="tanh"), errors.ModelError, ("tanh", "sigmoid")),
    Row(
        "too few labels",
        lambda _: pl.attribute(pl.wrap(Twin(), labels=["a"]), tensor(), "gradient"),
        errors.ModelError,
        ("1 labels for a model of 5 classes",),
    ),
    Row(
        "an ambiguous answer",
        lambda _: pl.attribute(pl.wrap(Ambiguous()), tensor(), "gradient"),
        errors.AmbiguousOutput,
        ("first: [", "5]", "output=KEY"),
    ),
    Row(
        "an answer per pixel",
        lambda _: pl.attribute(pl.wrap(Dense()), tensor(), "gradient"),
        errors.ModelError,
        ("a value per place",),
    ),
    Row("an unknown source", lambda _: pl.load("tim:resnet18"), errors.LoadError, ("timm",)),
    Row("no source", lambda _: pl.load(""), errors.LoadError, ()),
    Row("an unknown timm model", lambda _: pl.load("timm:resnet81"), errors.LoadError, ("resnet81",)),
    Row("an unknown torchvision model", lambda _: pl.load("torchvision:resnet81"), errors.LoadError, ("resnet81",)),
    Row("an unknown testbed model", lambda _: pl.load("testbed:cmm"), errors.LoadError, ("cnn",)),
    Row("an unknown demo model", lambda _: pl.load("demo:resnet"), errors.LoadError, ("efficientnet_lite0",)),
    Row(
        "weights that are not there",
        lambda folder: pl.load(str(folder / "gone.safetensors")),
        errors.LoadError,
        ("gone",),
    ),
    Row("a pickle that runs code", saved("evil.pt", pickle.dumps(Trap())), errors.LoadError, ("evil.pt",)),
    Row("weights that are not", saved("broken.safetensors", b"nonsense"), errors.LoadError, ("broken.safetensors",)),
    Row("an ONNX file that is not", saved("broken.onnx", b"nonsense"), errors.LoadError, ("broken.onnx",)),
    Row(
        "no server behind the address",
        lambda _: pl.load("http://127.0.0.1:9/predict"),
        errors.ModelError,
        ("127.0.0.1",),
    ),
]

# -- results --------------------------------------------------------------------------------------------------------


def opened(content: bytes) -> Callable[[Path], Any]:
    def do(folder: Path) -> Any:
        (folder / "saved.json").write_bytes(content)
        return pl.open(folder / "saved.json")

    return do


RESULTS = [
    Row(
        "a result that is not there", lambda folder: pl.open(folder / "gone.json"), errors.PellucidError, ("gone.json",)
    ),
    Row("a result cut short", opened(b'{"format": '), errors.PellucidError, ("saved.json",)),
    Row("a foreign JSON file", opened(b'{"hello": 1}'), errors.PellucidError, ("saved.json",)),
    Row(
        "an unknown kind of file",
        lambda folder: pl.attribute(model(), tensor(), "gradient").save(folder / "map.xyz"),
        errors.PellucidError,
        (".xyz",),
    ),
]

TABLE = [*PICTURES, *INPUTS, *TARGETS, *METHODS, *MODELS, *RESULTS]


def test_the_table_is_long_enough() -> None:
    assert len(TABLE) >= 50 and len({row.what for row in TABLE}) == len(TABLE)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.what)
def test_bad_input_gives_its_error(row: Row, tmp_path: Path) -> None:
    with pytest.raises(row.error) as caught:
        row.do(tmp_path)
    message = str(caught.value)
    missing = [word for word in row.words if word.lower() not in message.lower()]
    assert not missing, f"{missing} missing in: {message}"
    assert isinstance(caught.value, errors.PellucidError)
    assert "Traceback" not in message and len(message) > 20


def test_an_error_in_the_middle_leaves_the_model_as_it_was() -> None:
    net = Twin()
    net.train()
    subject = pl.wrap(net, preprocess=PREPROCESS)
    with unchanged(net):
        for row_target in (99, "nothing", lambda output: output.sum()):
            with pytest.raises(errors.TargetError):
                pl.attribute(subject, tensor(), ["gradient", "grad_cam", "ablation_cam"], target=row_target)
