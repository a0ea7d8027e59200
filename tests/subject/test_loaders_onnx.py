"""ONNX files built by hand, so that every kind of input and output is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid.errors import AmbiguousOutput, LoadError, MethodUnavailable, ModelError, PreprocessError
from pellucid.images import Frame
from pellucid.subject import VisionModel
from pellucid.subject.loaders import load
from pellucid.values import Preprocess

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

WEIGHTS = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, -0.5]], np.float32)  # colour means [3] -> two classes


def build(
    path: Path, shape: Sequence[int | str], *, axes: tuple[int, int] = (2, 3), kind: str = "FLOAT", outputs: int = 1
) -> Path:
    """A network that averages over the picture and weighs the three means: output = means @ WEIGHTS."""
    from onnx import TensorProto, helper, numpy_helper

    wanted = getattr(TensorProto, kind)
    nodes = [
        helper.make_node("Cast", ["pictures"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["cast"], ["means"], axes=list(axes), keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["first"]),
        *(helper.make_node("Neg", ["first"], [f"out{index}"]) for index in range(1, outputs)),
    ]
    names = ["first", *(f"out{index}" for index in range(1, outputs))]
    graph = helper.make_graph(
        nodes, "means",
        [helper.make_tensor_value_info("pictures", wanted, list(shape))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [shape[0], 2]) for name in names],
        [numpy_helper.from_array(WEIGHTS[: shape[1]] if shape[1] in (1, 3) else WEIGHTS, "weights")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


def answers(model: VisionModel, count: int, size: tuple[int, int] = (8, 6)) -> float:
    """The largest distance from what the network must say of random pictures."""
    pictures = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(3))
    expected = pictures.mean((2, 3)) @ torch.from_numpy(WEIGHTS)
    return float((model.predict(pictures) - expected).abs().max())


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        (("batch", 3, "height", "width"), (2, 3)),
        (("batch", 3, 8, 6), (2, 3)),
        (("batch", "height", "width", 3), (1, 2)),
        (("batch", 8, 6, 3), (1, 2)),
        ((1, 3, 8, 6), (2, 3)),
        ((4, 3, 8, 6), (2, 3)),
        ((1, 8, 6, 3), (1, 2)),
    ],
    ids=str,
)
@pytest.mark.parametrize("count", [1, 3, 5])
def test_every_shape_of_input_gives_the_same_answers(
    shape: Sequence[Any], axes: tuple[int, int], count: int, tmp_path: Path
) -> None:
    model = load(f"onnx:{build(tmp_path / 'net.onnx', shape, axes=axes)}")
    distance = answers(model, count)
    assert distance < 1e-6, distance
    assert model.input_size in (None, (8, 6))
    assert model.predict(torch.rand(count, 3, 8, 6)).shape == (count, 2)


@pytest.mark.parametrize(("kind", "tolerance"), [("FLOAT", 1e-6), ("DOUBLE", 1e-6), ("FLOAT16", 1e-3)])
def test_every_float_type_is_given_what_it_takes(kind: str, tolerance: float, tmp_path: Path) -> None:
    distance = answers(load(str(build(tmp_path / "net.onnx", (1, 3, 8, 6), kind=kind))), 2)
    assert distance < tolerance, distance


def test_a_network_of_bytes_is_given_bytes(tmp_path: Path) -> None:
    model = load(str(build(tmp_path / "net.onnx", (1, 8, 6, 3), axes=(1, 2), kind="UINT8")))
    pixels = np.full((20, 20, 3), (10, 20, 200), np.uint8)
    assert model.predict(model.prepare([Frame(pixels)]))[0].tolist() == pytest.approx([110.0, -80.0])


def test_it_is_a_black_box_that_says_so(tmp_path: Path) -> None:
    model = load(str(build(tmp_path / "net.onnx", (1, 3, 8, 6))))
    assert not model.differentiable
    assert model.module is None
    with pytest.raises(MethodUnavailable, match="black box"):
        _ = model.layers
    with pytest.raises(PreprocessError):
        model.prepare([Frame(np.zeros((8, 8, 3), np.uint8))])


def test_a_config_beside_it_says_labels_and_preprocessing(tmp_path: Path) -> None:
    build(tmp_path / "net.onnx", (1, 3, 8, 6))
    told = {"labels": ["cat", "dog"], "preprocess": {"size": [8, 6], "fit": "stretch", "mean": [0.5, 0.5, 0.5]}}
    (tmp_path / "net.json").write_text(json.dumps(told))
    model = load(str(tmp_path / "net.onnx"))
    assert model.labels["dog"] == 1
    assert model.preprocess == Preprocess(size=(8, 6), fit="stretch", mean=(0.5, 0.5, 0.5))
    assert load(str(tmp_path / "net.onnx"), labels=["a", "b"]).labels["b"] == 1


def test_several_outputs_are_named_and_one_can_be_chosen(tmp_path: Path) -> None:
    path = build(tmp_path / "net.onnx", (1, 3, 8, 6), outputs=2)
    with pytest.raises(AmbiguousOutput, match=r"first: \[1, 2\]; out1: \[1, 2\]"):
        load(str(path))
    pictures = torch.rand(2, 3, 8, 6)
    first, second = load(str(path), output="first"), load(str(path), output=1)
    assert torch.allclose(first.predict(pictures), -second.predict(pictures))


def test_an_output_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    path = build(tmp_path / "net.onnx", (1, 3, 8, 6), outputs=2)
    for output in ("logits", 7):
        with pytest.raises(LoadError, match="It has first, out1"):
            load(str(path), output=output)


@pytest.mark.parametrize(
    ("shape", "axes", "options", "says"),
    [
        ((1, 1, 8, 6), (2, 3), {}, "no axis of 3 colours"),
        ((1, 3, 8, 6), (2, 3), {"layout": "nhwc"}, "no axis of 3 colours"),
        ((1, 3, 8, 3), (2, 3), {}, "layout='nchw' or layout='nhwc'"),
        (("a", "b", "c", "d"), (2, 3), {}, "layout='nchw' or layout='nhwc'"),
        ((1, 3, 8, 6), (2, 3), {"layout": "chw"}, "Say layout='nchw'"),
        ((1, 3, 8), (2, 2), {}, "pictures are [batch 3 height width]"),
        ((1, 3, 8, 6), (2, 3), {"device": "cuda"}, "CUDA devices were found"),
    ],
)
def test_an_input_that_is_no_picture_is_refused(
    shape: Sequence[Any], axes: tuple[int, int], options: dict[str, Any], says: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    path = build(tmp_path / "net.onnx", shape, axes=axes[:1] if len(shape) == 3 else axes)
    with pytest.raises(LoadError) as caught:
        load(f"onnx:{path}", **options)
    assert says in str(caught.value)


def test_a_layout_left_open_can_be_said_in_the_spec(tmp_path: Path) -> None:
    path = build(tmp_path / "net.onnx", ("a", "b", "c", "d"))
    assert answers(load(f"onnx:{path}?layout=nchw"), 2) < 1e-6


def test_a_network_of_two_inputs_is_refused(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("a", "b")]
    output = helper.make_tensor_value_info("c", TensorProto.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "sum", inputs, [output])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(tmp_path / "net.onnx")
    )
    with pytest.raises(LoadError, match=r"2 inputs: a \[1, 3, 8, 8\]; b"):
        load(str(tmp_path / "net.onnx"))


@pytest.mark.parametrize("content", [b"", b"no protobuf at all", bytes(200)], ids=["empty", "text", "zeros"])
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(LoadError, match="onnxruntime cannot read it"):
        load(str(tmp_path / "net.onnx"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's old exporter says farewell; the new one needs more
def test_a_network_exported_from_torch_answers_as_torch_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 5),
    ).eval()
    pictures = torch.rand(3, 3, 12, 12)
    torch.onnx.export(net, (pictures[:1],), str(tmp_path / "net.onnx"), dynamo=False, input_names=["x"])
    with torch.no_grad():
        expected = net(pictures)
    assert float((load(str(tmp_path / "net.onnx")).predict(pictures) - expected).abs().max()) < 1e-5


def test_a_size_it_cannot_take_is_an_error_with_the_size(tmp_path: Path) -> None:
    model = load(str(build(tmp_path / "net.onnx", (1, 3, 8, 6))))
    with pytest.raises(ModelError, match="an input of 9 x 9 pixels"):
        model.predict(torch.rand(1, 3, 9, 9))


def test_the_same_file_has_the_same_fingerprint_wherever_it_lies(tmp_path: Path) -> None:
    first, second = build(tmp_path / "a.onnx", (1, 3, 8, 6)), build(tmp_path / "b.onnx", (1, 3, 8, 6))
    other = build(tmp_path / "c.onnx", (1, 3, 8, 8))
    prints = [load(str(path)).fingerprint for path in (first, second, other)]
    assert prints[0] == prints[1] != prints[2]
