"""What planted nets do on many pictures, for tests that compare it with what is known of them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.testbed import scenes
from pellucid.testbed.planted import Planted, codes
from pellucid.testbed.scene import Scenes

COUNT, SIDE = 2000, 32  # the nets work on single pixels, so small pictures do


@lru_cache(maxsize=8)
def drawn(kind: str, count: int = COUNT, side: int = SIDE, seed: int = 900) -> Scenes:
    """Scenes of one kind, painted once for all tests."""
    settings: dict[str, dict[str, Any]] = {
        "flat": {"flat": True},
        "coded": {},
        "tagged": {"shortcut": "tag", "strength": 0.0},
        "background": {"shortcut": "background", "strength": 0.0},
    }
    made = (scenes if kind == "flat" else codes.coded_scenes)(seed, count, size=side, **settings[kind])
    made.parts  # painted now, so that slices share it
    return made


KIND = {"hues": "flat", "twoface": "tagged", "spurious": "background"}


def stimuli_of(planted: Planted, **asked: int) -> Scenes:
    return drawn(KIND.get(planted.name, "coded"), **asked)


def activations(planted: Planted, stimuli: Any, *layers: str, batch: int = 50) -> dict[str, Tensor]:
    """What the named modules put out, and `logits`, for all pictures."""
    found: dict[str, list[Tensor]] = {name: [] for name in (*layers, "logits")}
    modules = {name: planted.module.get_submodule(name) for name in layers}
    handles = [
        module.register_forward_hook(lambda _m, _i, output, name=name: found[name].append(output.detach()))
        for name, module in modules.items()
    ]
    try:
        with torch.no_grad():
            for start in range(0, len(stimuli), batch):
                found["logits"].append(planted.module(planted.pictures(stimuli[start : start + batch])))
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.cat(pieces) for name, pieces in found.items()}


def on_pixels(maps: Tensor, side: int) -> np.ndarray:
    """[picture h w] at full size, each cell's value on all of its pixels."""
    times = side // maps.shape[-1]
    return maps.numpy().repeat(times, axis=1).repeat(times, axis=2)
