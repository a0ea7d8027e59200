"""Local files and folders: what they are is found out, and what is wrong with them is said."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pellucid.errors import LoadError
from pellucid.subject.loaders import load
from pellucid.values import Preprocess

timm = pytest.importorskip("timm")

ARCH = "timm:test_resnet.r160_in1k"


def net(classes: int = 4, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return timm.create_model("test_resnet", num_classes=classes).eval()


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return {name: value.contiguous() for name, value in net().state_dict().items()}


def same(model: Any, seed: int = 0) -> bool:
    inputs = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return torch.equal(model.predict(inputs), net(len(model.labels), seed)(inputs))


SAVED: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
    "a state dict": lambda state: state,
    "from DataParallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "from torch.compile": lambda state: {f"_orig_mod.{key}": value for key, value in state.items()},
    "from Lightning": lambda state: {"epoch": 3, "state_dict": {f"model.{key}": value for key, value in state.items()}},
    "from a training script": lambda state: {"model": {f"module.model.{k}": v for k, v in state.items()}, "step": 7},
    "in a container in a container": lambda state: {"model": {"state_dict": state}},
}


@pytest.mark.parametrize("kind", SAVED)
def test_a_checkpoint_fills_the_architecture_that_is_named(
    kind: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(SAVED[kind](state), tmp_path / "birds.pth")
    model = load(f"{tmp_path}/birds.pth?arch={ARCH}")
    assert same(model)
    assert (len(model.labels), model.name) == (4, "birds")
    assert model.preprocess is not None  # of the architecture
    by_keyword = load(ARCH, weights=tmp_path / "birds.pth")
    assert (by_keyword.fingerprint, by_keyword.spec) == (model.fingerprint, model.spec)


def test_safetensors_with_a_config_beside_them(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "birds.safetensors")
    preprocess = {"size": [64, 64], "resize": 72, "mean": [0.1, 0.2, 0.3], "interpolation": "bilinear"}
    told = {"architecture": ARCH, "labels": ["wren", "swift", "owl", "tit"], "default_layer": "layer3",
            "preprocess": preprocess}  # fmt: skip
    for name in ("birds.json", "config.json"):
        (tmp_path / name).write_text(json.dumps(told))
        model = load(str(tmp_path / "birds.safetensors"))
        assert same(model)
        assert model.labels["owl"] == 2
        assert model.preprocess == Preprocess(size=(64, 64), resize=72, mean=(0.1, 0.2, 0.3), interpolation="bilinear")
        assert model.layers.default is not None
        assert model.layers.default.name == "layer3"
        (tmp_path / name).unlink()


def test_a_folder_of_our_own(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "anything.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": ARCH, "labels": ["a", "b", "c", "d"]}))
    model = load(f"path:{tmp_path}")
    assert same(model)
    assert list(model.labels) == ["a", "b", "c", "d"]


def test_a_folder_that_timm_saved(tmp_path: Path) -> None:
    from timm.models import save_for_hf

    save_for_hf(net(), tmp_path, model_config={"label_names": ["wren", "swift", "owl", "tit"]})
    model = load(str(tmp_path))
    assert same(model)
    assert list(model.labels) == ["wren", "swift", "owl", "tit"]


def test_torchvision_architectures_are_filled_with_their_usual_labels(tmp_path: Path) -> None:
    import torchvision

    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "net.pt")
    assert load(f"{tmp_path}/net.pt?arch=torchvision:squeezenet1_1").labels["tabby"] == 281


def test_a_head_of_another_size_is_understood_and_the_usual_labels_are_not_claimed(tmp_path: Path) -> None:
    torch.save(net(7).state_dict(), tmp_path / "net.pt")
    assert list(load(f"{tmp_path}/net.pt?arch={ARCH}").labels)[:2] == ["class 0", "class 1"]


class Boom:
    """Unpickling this makes a folder: the proof that code ran."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def test_a_pickle_is_refused_and_nothing_in_it_is_run(tmp_path: Path) -> None:
    marker = tmp_path / "was_run"
    torch.save({"state_dict": Boom(marker)}, tmp_path / "net.pt")
    with pytest.raises(LoadError, match=r"would run code from the file: it asks for posix.mkdir.*safetensors"):
        load(f"{tmp_path}/net.pt?arch={ARCH}")
    assert not marker.exists()


def test_a_whole_module_is_refused_with_its_class(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "net.pt")
    with pytest.raises(LoadError, match=r"asks for torch\.nn\.modules\.linear\.Linear"):
        load(f"{tmp_path}/net.pt?arch={ARCH}")


def test_every_kind_of_misfit_is_listed(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    wrong = dict(state)
    wrong.pop("bn1.weight")
    wrong["conv1.0.weight" if "conv1.0.weight" in wrong else "conv1.weight"] = torch.zeros(2, 2)
    wrong["extra"] = torch.zeros(1)
    torch.save(wrong, tmp_path / "net.pt")
    with pytest.raises(LoadError) as caught:
        load(f"{tmp_path}/net.pt?arch={ARCH}")
    message = str(caught.value)
    assert "1 tensors are missing (bn1.weight)" in message
    assert "1 are not part of it (extra)" in message
    assert "[2, 2] instead of" in message


def test_weights_of_another_architecture_are_refused(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(LoadError, match=r"do not fit torchvision:resnet18"):
        load(f"{tmp_path}/net.pt?arch=torchvision:resnet18")


def _write(content: bytes, name: str = "net.pt") -> Callable[[Path], Any]:
    return lambda path: (path / name).write_bytes(content)


def _saved(content: Any) -> Callable[[Path], Any]:
    return lambda path: torch.save(content, path / "net.pt")


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path / "net.pt", "w") as archive:
        archive.writestr("hello.txt", "no tensors")


ARCHED = f"net.pt?arch={ARCH}"
FILES: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    # what lies in the folder, how it is named, what the message must say
    "empty": (_write(b""), ARCHED, "cut off"),
    "text": (_write(b"hello world"), ARCHED, "no file that torch wrote"),
    "zip of something": (_zip, ARCHED, "cut off"),
    "a list": (_saved([1, 2]), ARCHED, "holds a list"),
    "no tensors": (_saved({"a": 1}), ARCHED, "its keys are a"),
    "no architecture": (_saved({}), "net.pt", "net.pt?arch=timm:resnet18"),
    "unknown source": (_saved({}), "net.pt?arch=tim:resnet18", "Nearest: timm"),
    "no source": (_saved({}), "net.pt?arch=resnet18", "Name one of timm"),
    "an encoder": (_saved({}), "net.pt?arch=hf:x/y", "Name one of timm"),
    "damaged safetensors": (_write(b"xx", "net.safetensors"), f"net.safetensors?arch={ARCH}", "cut off"),
    "unknown suffix": (_write(b"x", "net.h5"), "net.h5", "Known are .onnx and .safetensors"),
    "nearly there": (_write(b"x", "birds.pth"), "bird.pth", "Nearest in"),
    "empty folder": (lambda path: (path / "x").mkdir(), "x", "no config.json; it holds nothing"),
    "folder of pictures": (_write(b"x", "cat.jpg"), ".", "it holds cat.jpg"),
    "config that is no JSON": (_write(b"{", "config.json"), ".", "it is no JSON"),
    "config that is a list": (_write(b"[]", "config.json"), ".", "it holds a list"),
    "config of something else": (_write(b'{"a": 1}', "config.json"), ".", "has the keys a"),
    "config without weights": (_write(f'{{"architecture": "{ARCH}"}}'.encode(), "config.json"), ".", "found none"),
    "timm without weights": (_write(b'{"architecture": "resnet18"}', "config.json"), ".", "found none"),
    "unknown model type": (_write(b'{"model_type": "x"}', "config.json"), ".", "hf:"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_faulty_file_is_told_from_the_others(kind: str, tmp_path: Path) -> None:
    prepare, spec, says = FILES[kind]
    prepare(tmp_path)
    with pytest.raises(LoadError) as caught:
        load(f"{tmp_path}/{spec}")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"lables": []}, "Nearest: labels"),
        ({"labels": "cat"}, "no list of words"),
        ({"preprocess": {"sizes": [1, 2]}}, "Its keys are size, resize"),
        ({"preprocess": {"size": [0, 2]}}, "faulty"),
        ({"preprocess": {"fit": "squash"}}, "fit is 'squash'"),
        ({"preprocess": {"mean": [0.5]}}, "mean is [0.5]"),
        ({"preprocess": {"std": [0, 0, 0]}}, "faulty"),
        ({"input_size": 64}, "two whole numbers"),
    ],
)
def test_a_faulty_config_is_refused_by_its_entry(
    told: dict[str, Any], says: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file(state, tmp_path / "net.safetensors")
    (tmp_path / "net.json").write_text(json.dumps({"architecture": ARCH, **told}))
    with pytest.raises(LoadError) as caught:
        load(str(tmp_path / "net.safetensors"))
    assert says in str(caught.value)


def test_texts_for_bare_weights_are_refused(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "net.safetensors")
    with pytest.raises(LoadError, match="only dual encoders"):
        load(f"{tmp_path}/net.safetensors?arch={ARCH}", texts=["a"])
