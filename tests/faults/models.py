"""Models that cannot be loaded, cannot be called, or answer with something that is no answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pellucid as pl
from pellucid import errors
from tests.faults import files
from tests.faults.files import EIGHT, file, named, network
from tests.faults.row import MODEL, SOME_FAILED, Nowhere, Refused, Row, Shown, Typed, explain, value
from tests.faults.subjects import asked_of, bird, tensor, twin, wrapped
from tests.faults.targets import labels_file
from tests.nets import Twin

ARCH = "timm:test_resnet.r160_in1k"
PYTHON = Nowhere("the same in a file is a row beside it")


def load(*words: str, error: type[errors.PellucidError] = errors.LoadError) -> Refused:
    return Refused(error, words)


def faulty(*words: str) -> Refused:
    return Refused(errors.ModelError, words)


def model(*says: str, code: int = 2) -> Typed:
    return explain("BIRD", "--model", "GIVEN", "--methods", "occlusion", "--budget", "60", code=code, says=says or None)


def loading(given: Any) -> pl.VisionModel:
    return pl.load(str(given) if isinstance(given, Path) else given)


def spec(of: Callable[[Path], Path], rest: str) -> Callable[[Path], str]:
    return lambda folder: f"{of(folder)}{rest}"


class Answers(Twin):
    """The twin, with something done to what it says."""

    def __init__(self, change: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: torch.Tensor) -> Any:
        return self.change(super().forward(x))


def answering(change: Callable[[torch.Tensor], Any]) -> Callable[[Path], Any]:
    return lambda _: Answers(change)


def telling(answer: Callable[[torch.Tensor], Any]) -> Callable[[Path], Any]:
    """A black box of three classes."""
    return lambda _: lambda inputs: answer(torch.ones(len(inputs), 3))


SPECS = [
    Row("no source", value(""), load("no model is named", "prefix:name"), loading, MODEL),
    Row("a model without a source", value("nonsense"), load("nonsense", "no source is named", "prefix:name"), loading,
        MODEL),
    Row("an unknown source", value("tim:resnet18"), load("no source 'tim'", "Nearest: timm", "torchvision"), loading,
        MODEL),
    Row("a source without a name", value("testbed:"), load("the name after the colon is missing", "testbed:cnn"),
        loading, MODEL),
    Row("a path with a new line", value("my\nmodel.pt"), load("model.pt", "no such file or folder"), loading,
        Nowhere("the message has the new line too, so it is no single line")),
    Row("a name that is too long to be a path", value("y" * 5000), load("yyy", "no source is named"), loading, MODEL),
    Row("the model of a user who is not there", value("~nobody-of-that-name/net.pt"),
        load("~nobody-of-that-name/net.pt", "no such file or folder"), loading, MODEL),
    Row("an unknown timm model", value("timm:resnet81"), load("resnet81", "Nearest: resnet"), loading, MODEL),
    Row("an unknown torchvision model", value("torchvision:resnet81"), load("resnet81", "Nearest: resnet"), loading,
        MODEL),
    Row("an unknown testbed model", value("testbed:cmm"), load("cmm", "cnn", "digits"), loading, MODEL),
    Row("an unknown demo model", value("demo:resnet"), load("efficientnet_lite0"), loading, MODEL),
    Row("an option that is not known", value("testbed:cnn?texture=1"), load("'texture=1'", "key=value"), loading,
        MODEL),
    Row("an option of another source", value("testbed:cnn?seed=1"), load("takes no option 'seed'"), loading, MODEL),
    Row("a seed that is no number in the spec", value("timm:test_resnet@random?seed=³"), load("seed=³", "whole number"),
        loading, MODEL),
    Row("no such activation", value("testbed:cnn?activation=tanh"), faulty("'tanh'", "sigmoid"), loading, MODEL),
    Row("an unknown device", value("abacus"), load("'abacus'", "cpu"),
        lambda given: pl.load("testbed:cnn", device=given), explain("BIRD", "--device", "GIVEN")),
    Row("a device that is not here", value("cuda:99"), load("'cuda:99'", "device='cpu'"),
        lambda given: pl.load("testbed:cnn", device=given), explain("BIRD", "--device", "GIVEN")),
    Row("no server behind the address", value("http://127.0.0.1:9/predict"),
        Refused(errors.RemoteError, ("127.0.0.1:9", "cannot be reached", "Check the address")), loading,
        model(code=SOME_FAILED)),
    Row("an address without a server", value("http://"), load("no address of a server", "127.0.0.1:8000"), loading,
        MODEL),
    Row("a password in the address", value("http://me:secret@127.0.0.1:9/x"), load("password", "headers="), loading,
        MODEL),
]  # fmt: skip

WEIGHTS = [
    Row("weights that are not there", named("gone.safetensors"), load("gone.safetensors", "no such file"), loading,
        MODEL),
    Row("an ONNX file that is not there", lambda folder: f"onnx:{folder}/gone.onnx", load("gone.onnx", "no such file"),
        loading, MODEL),
    Row("a picture as the model", files.picture("bird.png"), load("bird.png", "Known are .onnx and .safetensors"),
        loading, MODEL),
    Row("a pickle that runs code", spec(files.code, f"?arch={ARCH}"),
        load("evil.pt", "would run code", "safetensors.torch.save_file"), loading, MODEL),
    Row("weights that are not", spec(file("broken.safetensors", "nonsense"), f"?arch={ARCH}"),
        load("broken.safetensors", "cannot be read", "Copy it again"), loading, MODEL),
    Row("an empty file of weights", spec(file("empty.pt", b""), f"?arch={ARCH}"), load("empty.pt", "Copy it again"),
        loading, MODEL),
    Row("weights without their architecture", files.tensor_file("net.pt", {"weight": torch.zeros(2)}),
        load("net.pt", "to which architecture", "?arch=timm:resnet18"), loading, MODEL),
    Row("weights of another architecture", spec(files.tensor_file("net.pt", {"weight": torch.zeros(2)}),
        f"?arch={ARCH}"),
        load("do not fit", "tensors are missing", "Name the architecture"), loading, MODEL),
    Row("a file without tensors", spec(files.tensor_file("net.pt", {"epoch": 3}), f"?arch={ARCH}"),
        load("no tensors", "epoch", "model.state_dict()"), loading, MODEL),
    Row("weights that are NaN", answering(lambda answer: answer * torch.nan),
        faulty("5 of 5 numbers that are NaN", "weights are damaged"), asked_of,
        model("4 of 4 numbers that are NaN", "weights are damaged", code=SOME_FAILED),
        typed=network(weight=float("nan"))),
    Row("weights that are all zero", network(weight=0.0),
        Shown(lambda story: not story.choice.beats_controls and not any(heat.passed(0) for heat in story.heatmaps)),
        lambda given: pl.explain(str(given), bird(), methods=["occlusion"], budget=60),
        explain("BIRD", "--model", "GIVEN", "--methods", "occlusion", "--budget", "60", code=0)),
    Row("an ONNX file that is not", file("broken.onnx", "nonsense"), load("broken.onnx", "onnxruntime cannot read it"),
        loading, MODEL),
    Row("a folder that is no model", files.folder_called("model", file("letter.txt", "Dear")),
        load("no config.json", "letter.txt", "?arch=timm:resnet18"), loading, MODEL),
    Row("a folder with a config of something else", files.folder_called("model", file("config.json", '{"a": 1}')),
        load("has the keys a", "architecture"), loading, MODEL),
    Row("a config that is no JSON", network("{"), load("net.json", "no JSON", "Mend it"), loading, MODEL),
    Row("a config that is a list", network("[]"), load("net.json", "holds a list", "keys and values"), loading, MODEL),
    Row("a config with a word misspelt", network({"lables": ["a"]}), load("'lables'", "Nearest: labels"), loading,
        MODEL),
]  # fmt: skip

LABELS = [
    Row("too few labels", value(["a"]), faulty("1 labels for a model of 5 classes", "one per class"),
        lambda given: wrapped(twin().module, labels=given).labels,
        model("1 labels for a model of 12 classes", "one per class"), typed=lambda folder: labels_file(folder, ["a"])),
    Row("labels in one word", value("abcde"), faulty("labels is a str", "list of names"),
        lambda given: wrapped(twin().module, labels=given), model("no list of words", '"labels": ["cat", "dog"]'),
        typed=network({**EIGHT, "labels": "abcd"})),
    Row("labels by number", value({0: "cat", 1: "dog"}), faulty("labels is a dict", "list of names"),
        lambda given: wrapped(twin().module, labels=given), model("no list of words"),
        typed=network({**EIGHT, "labels": {"0": "cat", "1": "dog"}})),
    Row("a file of labels that is not there", lambda folder: f"testbed:cnn?labels={folder}/gone.txt",
        load("gone.txt", "one class name per line"), loading, MODEL),
    Row("a file of labels that is no text", spec(file("names.txt", b"\xff\xfe\x00\x01"), ""),
        load("names.txt", "cannot be read", "UTF-8"), lambda given: pl.load(f"testbed:cnn?labels={given}"), MODEL,
        typed=lambda folder: f"testbed:cnn?labels={file('names.txt', bytes([255, 254, 0]))(folder)}"),
]  # fmt: skip

ANSWERS = [
    Row("not a model", value(7), faulty("nn.Module or a callable", "int"), pl.wrap,
        model("7", "no source is named", "prefix:name")),
    Row("a class instead of a model", value(Twin), faulty("the class Twin", "Twin(...)"), pl.wrap,
        model("<class 'tests.nets.Twin'>", "no source is named")),
    Row("a module in place of a spec", lambda _: Twin(), load("a Twin is no spec", "pl.wrap"), pl.load,
        model("Twin()", "no source is named"), typed=value("Twin()")),
    Row("a black box that needs nothing", value(lambda: 1), faulty("TypeError", "takes 0 positional arguments"),
        asked_of,
        PYTHON),
    Row("a model without forward", lambda _: torch.nn.Module(), faulty('missing the required "forward"'), asked_of,
        PYTHON),
    Row("a model that looks up what is not there", answering(lambda answer: {}["logits"]),
        faulty("KeyError", "'logits'"), asked_of, PYTHON),
    Row("a black box that divides by zero", telling(lambda answer: 1 / 0), faulty("ZeroDivisionError"), asked_of,
        PYTHON),
    Row("an ambiguous answer", answering(lambda answer: {"first": answer, "second": answer * 2}),
        Refused(errors.AmbiguousOutput, ("first: [", "5]", "second: [", "output=KEY")), asked_of,
        model("first: [1, 4]", "second: [1, 4]", "output=KEY"), typed=network(outputs=2)),
    Row("a part of the answer that is not there", answering(lambda answer: {"first": answer, "second": answer * 2}),
        Refused(errors.AmbiguousOutput, ("first: [", "second: [", "output=KEY")),
        lambda given: asked_of_part(given, "third"),
        model("no output 'third'", "first, second"), typed=network({**EIGHT, "output": "third"}, outputs=2)),
    Row("an answer per pixel", answering(lambda answer: answer[:, :, None, None].expand(-1, -1, 4, 4)),
        faulty("a value per place", "answer.mean((2, 3))"), asked_of, model(), typed=network(last="pixels")),
    Row("an answer for all pictures together", telling(lambda answer: answer.mean()),
        faulty("one row per picture"), asked_of, model("one row per picture", code=SOME_FAILED),
        typed=network(last="scalar")),
    Row("an answer for another number of pictures", telling(lambda answer: answer[:1]), faulty("one row per picture"),
        asked_of, PYTHON),
    Row("the class itself for an answer", answering(lambda answer: answer.argmax(1)),
        faulty("torch.int64", "the class it chose", "argmax"), asked_of, model(), typed=network(last="argmax")),
    Row("an answer without classes", answering(lambda answer: answer[:, :0]), faulty("no classes to explain"), asked_of,
        model(), typed=network(classes=0)),
    Row("an answer that is complex", answering(lambda answer: answer.to(torch.complex64)),
        faulty("complex64", "real numbers"), asked_of, PYTHON),
    Row("an answer of infinity", telling(lambda answer: answer * torch.inf), faulty("3 of 3 numbers", "infinite"),
        asked_of, model("4 of 4 numbers", "infinite", code=SOME_FAILED), typed=network(weight=float("inf"))),
    Row("no answer", telling(lambda answer: None), Refused(errors.AmbiguousOutput, ("nothing that is a tensor",)),
        asked_of, PYTHON),
    Row("an answer in words", telling(lambda answer: "a cat"),
        Refused(errors.AmbiguousOutput, ("nothing that is a tensor",)), asked_of, PYTHON),
    Row("an array of words for an answer", telling(lambda answer: np.array([["a", "b"]] * len(answer))),
        faulty("an array of <U1", "expected numbers"), asked_of, PYTHON),
    Row("an answer whose part is no tensor", answering(lambda answer: {"logits": answer}),
        faulty("picked a list", "expected a tensor"),
        lambda given: asked_of_part(given, lambda raw: [raw["logits"]]), PYTHON),
    Row("a default layer that is not there", lambda _: Twin(), Refused(errors.UnknownLayer, ("'secnd'", "second")),
        lambda given: pl.attribute(wrapped(given, default_layer="secnd"), tensor(), "grad_cam"), PYTHON),
    Row("one sigmoid for an answer", network(classes=1),
        Shown(lambda story: {prediction.label for prediction in story.predictions} == {"negative", "positive"}),
        lambda given: pl.explain(str(given), bird(), methods=["occlusion"], budget=60),
        explain("BIRD", "--model", "GIVEN", "--methods", "occlusion", "--budget", "60", code=0)),
    Row("two answers of which one is named", network({**EIGHT, "output": "second"}, outputs=2),
        Shown(lambda story: len(story.predictions) == 4),
        lambda given: pl.explain(str(given), bird(), methods=["occlusion"], budget=60),
        explain("BIRD", "--model", "GIVEN", "--methods", "occlusion", "--budget", "60", code=0)),
    Row("the layers of a black box", network(), Refused(errors.MethodUnavailable, ("black box", "no layers")),
        lambda given: pl.load(str(given)).layers, Typed(("layers", "--model", "GIVEN"), 2)),
]  # fmt: skip


def asked_of_part(given: Any, part: str | Callable[[Any], Any]) -> Any:
    return pl.attribute(wrapped(given, output=part), bird(), "occlusion", window=5)


MODELS = [*SPECS, *WEIGHTS, *LABELS, *ANSWERS]
