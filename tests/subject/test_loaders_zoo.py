"""torchvision and timm: preprocessing and labels of the model's own config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.errors import LoadError
from pellucid.images import Frame
from pellucid.subject import wrap
from pellucid.subject.loaders import load
from pellucid.subject.loaders import timm as timm_loader
from pellucid.values import Preprocess

timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "efficientnet_b1", "swin_t", "inception_v3"])
def test_torchvision_preprocessing_is_that_of_its_weights(name: str) -> None:
    from pellucid.subject.loaders.torchvision import _preprocess

    weights = torchvision.models.get_model_weights(name).DEFAULT
    pixels = picture(301, 417)
    expected = weights.transforms()(Image.fromarray(pixels))
    difference = float((Frame(pixels).input(_preprocess(weights)) - expected).abs().max())
    assert difference < 1e-5, difference


@pytest.mark.parametrize(
    "name",
    ["resnet18.a1_in1k", "vit_tiny_patch16_224", "mixer_b16_224", "convnext_tiny.fb_in1k", "beit_base_patch16_224",
     "tf_efficientnet_lite0", "eva02_tiny_patch14_336.mim_in22k_ft_in1k", "vit_base_patch16_siglip_224"],
)  # fmt: skip
def test_timm_preprocessing_is_that_of_its_config(name: str) -> None:
    config = timm.data.resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    _assert_as_timm(config)


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("share", [1.0, 0.9])
@pytest.mark.parametrize("size", [(96, 96), (96, 160), (160, 96)])
def test_every_crop_mode_of_timm_is_followed(mode: str, share: float, size: tuple[int, int]) -> None:
    config = {"input_size": (3, *size), "crop_pct": share, "crop_mode": mode, "interpolation": "bilinear",
              "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}  # fmt: skip
    _assert_as_timm(config)


@pytest.mark.parametrize("odd", [{"interpolation": "random"}, {"mean": (0.5, 0.5)}])
def test_a_config_that_cannot_be_followed_is_refused(odd: dict[str, Any]) -> None:
    config = {"input_size": (3, 96, 96), "crop_pct": 1.0, "crop_mode": "center", "interpolation": "bilinear",
              "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4), **odd}  # fmt: skip
    with pytest.raises(LoadError, match="preprocess="):
        timm_loader.preprocess("timm:x", config)


@pytest.mark.parametrize("size", [(96, 96), (96, 160)])
@pytest.mark.parametrize("share", [None, 0.9, 1.0])
@pytest.mark.parametrize("mode", [None, "squash", "border"])
def test_a_bare_module_of_timm_brings_the_same_preprocessing(
    size: tuple[int, int], share: float | None, mode: str | None
) -> None:
    """Built for a size of its own; where its config is silent, what timm takes then."""
    own = {"crop_pct": share, "crop_mode": mode, "interpolation": "bilinear"}
    module = timm.create_model(
        "vit_tiny_patch16_224", img_size=size, num_classes=3, depth=1, pretrained_cfg_overlay=own
    )
    config = timm.data.resolve_data_config({"input_size": (3, *size)}, pretrained_cfg=module.pretrained_cfg)
    model = wrap(module)
    assert model.preprocess is not None and model.preprocess == timm_loader.preprocess("timm:x", config)
    _assert_as_timm(config)


def test_a_model_of_grey_pictures_takes_its_one_mean_for_all_colours() -> None:
    module = timm.create_model("test_resnet", in_chans=1)
    module.pretrained_cfg.update(mean=(0.5,), std=(0.25,))
    read = wrap(module).preprocess
    assert read is not None and (read.mean, read.std) == ((0.5,) * 3, (0.25,) * 3)


def test_an_untrained_model_says_so_and_is_the_same_for_the_same_seed() -> None:
    first, again, other = (load(f"timm:test_resnet@random?seed={seed}") for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.notes == ("Its weights are random (seed 1): it was never trained.",)
    assert load("torchvision:squeezenet1_1@random").notes == ("Its weights are random (seed 0): it was never trained.",)


def test_torchvision_and_timm_name_their_classes() -> None:
    assert load("torchvision:squeezenet1_1@random").labels["tabby"] == 281
    assert load("timm:test_resnet@random").labels["tabby cat"] == 281


def test_timm_models_are_built_for_another_input_size() -> None:
    model = load("timm:vit_tiny_patch16_224@random", input_size=(96, 160))
    assert model.input_size == (96, 160)
    assert model.layers.default is not None
    assert model.layers.default.grid == (6, 10)
    assert model.preprocess is not None and model.preprocess.fit == "cover"
    assert model.notes == ("Its weights are random (seed 0): it was never trained.",)
    wide = Frame(picture(300, 500)).fitted(model.preprocess).geometry  # of its ratio: as much is lost on every side
    assert wide is not None and (wide.resized, wide.offset, wide.size) == ((106, 177), (5, 8), (96, 160))
    assert model.predict(model.prepare([Frame(picture(50, 70))])).shape == (1, 1000)


def test_weights_in_a_file_find_the_architecture_as_it_was_published(tmp_path: Path) -> None:
    """googlenet with its weights scales the colours anew; torchvision without them does not, and says nothing."""
    from pellucid.subject.loaders.torchvision import architecture

    assert architecture("googlenet").module.transform_input is True
    net = architecture("googlenet", seed=4).module
    torch.save(net.state_dict(), tmp_path / "net.pth")
    inputs = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = net(inputs)
    model = load(f"{tmp_path}/net.pth?arch=torchvision:googlenet", input_size=(64, 64))
    assert torch.equal(model.predict(inputs), expected)


def test_what_the_caller_says_holds_over_the_config() -> None:
    mine = Preprocess(size=(160, 160), resize=160)
    model = load("timm:test_resnet@random", preprocess=mine, labels=[str(index) for index in range(1000)])
    assert model.preprocess == mine
    assert model.labels["281"] == 281


def test_without_network_torchvision_says_what_to_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", _unreachable)
    with pytest.raises(LoadError, match=r"could not be downloaded.*resnet18-f37072fd\.pth.*@random"):
        load("torchvision:resnet18")


def test_without_network_timm_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(LoadError, match=r"could not be fetched.*@random"):
        load("timm:resnet18.a1_in1k")


def test_torchvision_weights_are_checked_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first reading refuses pickles; whatever it raises stops the load."""
    asked: list[Mapping[str, Any]] = []

    def fetch(_url: str, **options: Any) -> dict[str, torch.Tensor]:
        asked.append(options)
        return torchvision.models.squeezenet1_1(weights=None).state_dict()

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    model = load("torchvision:squeezenet1_1")
    assert asked[0] == {"progress": False, "check_hash": True, "weights_only": True}
    assert model.notes == ()
    assert model.labels["tabby"] == 281


def _unreachable(*_arguments: Any, **_options: Any) -> Any:
    raise URLError("Name or service not known")


def _assert_as_timm(config: Mapping[str, Any]) -> None:
    transform = timm.data.create_transform(**config)
    value = timm_loader.preprocess("timm:x", config)
    for height, width in ((301, 417), (500, 260)):
        pixels = picture(height, width)
        ours, theirs = Frame(pixels).input(value), transform(Image.fromarray(pixels))
        assert ours.shape == theirs.shape
        difference = float((ours - theirs).abs().max())
        assert difference < 1e-5, (height, width, difference)
