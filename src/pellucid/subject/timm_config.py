"""The preprocessing that timm writes into a model's config, as a value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

from pellucid.values import Preprocess
from pellucid.values.preprocess import Interpolation

# What timm takes where a config is silent.
_USUAL: Mapping[str, Any] = {"crop_pct": 0.875, "crop_mode": "center", "interpolation": "bicubic"}


def preprocess(config: Mapping[str, Any], size: tuple[int, int] | None = None) -> Preprocess | None:
    """What timm's evaluation transform of this config does; None where Preprocess cannot say it.

    config: with `input_size`, `mean`, `std`, and `crop_pct`, `crop_mode`, `interpolation` where they are not the usual
    size:   rows and columns, where the network was built for others than the config says
    """
    said = {key: config.get(key) or usual for key, usual in _USUAL.items()}
    mean, std = (_of_three(config[key]) for key in ("mean", "std"))
    if said["interpolation"] not in get_args(Interpolation) or len(mean) != 3 or len(std) != 3:
        return None
    height, width = size or config["input_size"][-2:]
    box = (math.floor(height / said["crop_pct"]), math.floor(width / said["crop_pct"]))
    colours: dict[str, Any] = {"mean": mean, "std": std, "interpolation": said["interpolation"]}
    return Preprocess(size=(height, width), **_aim(said["crop_mode"], box), **colours)


def _aim(mode: str, box: tuple[int, int]) -> dict[str, Any]:
    """`box` is the input size over the share of the resized picture that is kept."""
    if mode == "squash":
        return {"resize": box, "fit": "stretch"}
    if mode == "border":
        return {"resize": box, "fit": "pad"}
    if box[0] == box[1]:  # here, and only here, timm leaves the resize to torchvision, which cuts fractions off
        return {"resize": box[0], "fit": "crop"}
    return {"resize": box, "fit": "cover"}


def _of_three(values: Any) -> tuple[float, ...]:
    """One number for a model of grey pictures stands for all three colours."""
    found = tuple(float(value) for value in values)
    return found * 3 if len(found) == 1 else found
