"""The models that bad input meets, each made once, and what is asked of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import pellucid as pl
from pellucid.registry import find_method
from tests.attribution.asked import QUICK
from tests.nets import Twin
from tests.oracles.asking import explainer_for

SIZE = (13, 17)
PREPROCESS = pl.Preprocess(size=SIZE, resize=SIZE, fit="stretch")
NAMES = ["cat", "dog", "bird", "fish", "frog"]


@cache
def twin() -> pl.VisionModel:
    """A small CNN of five classes; whatever is done to it in a row, it stays as it is."""
    return pl.wrap(Twin(), preprocess=PREPROCESS, labels=NAMES)


@cache
def cnn() -> pl.VisionModel:
    return pl.load("testbed:cnn")


@cache
def perceptron() -> pl.VisionModel:
    with torch.random.fork_rng(devices=[]):
        return pl.wrap(nn.Sequential(nn.Flatten(), nn.Linear(3 * 13 * 17, 4)), preprocess=PREPROCESS)


@cache
def black_box() -> pl.VisionModel:
    return pl.wrap(lambda inputs: inputs.mean((2, 3)), preprocess=PREPROCESS)


@cache
def bird() -> Image.Image:
    """A picture that is fine."""
    return Image.fromarray(pl.testbed.scenes(5, 1).pixels[0])


def tensor(count: int = 1) -> Tensor:
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def photo(width: int = 40, height: int = 30) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


def explained(picture: Any) -> Any:
    """The cheapest explanation of a picture."""
    return pl.explain(cnn(), picture, methods=["gradient"], budget=3)


CHEAP = ("--methods", "grad_cam", "--budget", "3")
"""What makes `pellucid explain` quick."""


def quick(name: str) -> dict[str, Any]:
    """Parameters with which a method takes no time."""
    return QUICK.get(name, {})


def values_of(network: Any, inputs: Tensor, name: str, target: Any = 2, **options: Any) -> Tensor:
    """The finished map at input size, as a user gets it."""
    if find_method(name).fitting:
        size = (int(inputs.shape[-2]), int(inputs.shape[-1]))
        network = network if isinstance(network, pl.VisionModel) else pl.wrap(network, input_size=size)
        options |= explainer_for(name, network, size)
    return pl.attribute(network, inputs, name, target=target, **options, **quick(name)).values


def wrapped(model: Any, **options: Any) -> pl.VisionModel:
    return pl.wrap(model, **{"preprocess": PREPROCESS, **options})


def asked_of(model: Any) -> Any:
    """One map of a model given as module, callable, spec or file."""
    subject = model if isinstance(model, (str, Path)) else wrapped(model)
    return pl.attribute(str(subject) if isinstance(subject, Path) else subject, bird(), "occlusion", window=5, target=0)


def with_target(target: Any) -> Any:
    return pl.attribute(twin(), tensor(), "gradient", target=target)


def with_method(method: Any) -> Any:
    return pl.attribute(twin(), tensor(), method, target=1)


def with_layer(layer: Any) -> Any:
    return pl.attribute(twin(), tensor(), "grad_cam", target=1, layer=layer)


def parameter(method: str, **parameters: Any) -> Callable[[Any], Any]:
    """A method with the parameters given, or with the one of a row under the name `GIVEN`."""

    def do(given: Any) -> Any:
        own = {name: given if wanted == "GIVEN" else wanted for name, wanted in parameters.items()}
        return pl.attribute(twin(), tensor(), method, target=1, **own)

    return do
