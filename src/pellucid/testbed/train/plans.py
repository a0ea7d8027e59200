"""How each net is made: the recipe, the pictures, and what it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pellucid.compute.train import Recipe
from pellucid.testbed.nets import AGREEMENT, MILD_AGREEMENT

TEST_SEED = 900  # the pictures cards are measured on
POINTING_SEED = 901  # the pictures default layers are chosen on

_CNN_LAYERS = ("features.2", "features.3", "features.4", "features.5")
_VIT_LAYERS = ("blocks.1.norm1", "blocks.2.norm1", "blocks.3.norm1")
_TOWER_LAYERS = tuple(f"image.{layer}" for layer in _VIT_LAYERS)
_BACKGROUND = {"shortcut": "background", "strength": AGREEMENT}


@dataclass(frozen=True)
class Plan:
    """How one net is made.

    recipe:   updates, batch, learning rate
    pool:     how many pictures are rendered to learn from (digits: are there)
    settings: of their `World`
    layers:   the candidates for default layer
    start:    the shipped net whose tower it starts from
    quick:    channels last in memory, and products in bfloat16 where the processor has it: half the time, other bits
    """

    recipe: Recipe
    pool: int
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    layers: tuple[str, ...] = ()
    start: str | None = None
    quick: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As the card keeps it."""
        start = {"start": self.start} if self.start else {}
        quick = {"quick": True} if self.quick else {}
        return {**self.recipe.to_dict(), "pool": self.pool, **self.settings, **start, **quick}

    @property
    def layout(self) -> torch.memory_format:
        """How pictures and maps lie in memory."""
        return torch.channels_last if self.quick else torch.contiguous_format

    def changed(self, steps: int | None, pool: int | None) -> Plan:
        """The same with another number of updates or pictures, for a trial."""
        recipe = self.recipe if steps is None else replace(self.recipe, steps=steps)
        return replace(self, recipe=recipe, pool=pool or self.pool)


@dataclass(frozen=True, eq=False)
class Job:
    """One training: which net, by which plan, from which seed, and where it notes how far it came."""

    name: str
    net: nn.Module
    plan: Plan
    seed: int
    checkpoint: Path | None = None

    @property
    def manner(self) -> dict[str, Any]:
        """What the training loop is to know beside the recipe."""
        return {"label": f"Training {self.name}", "checkpoint": self.checkpoint, "quick": self.plan.quick}


def _cued(shortcut: str, rate: float = 4e-3, **settings: Any) -> Plan:
    settings = {"shortcut": shortcut, "strength": AGREEMENT, **settings}
    return Plan(Recipe(500, rate), 12_000, settings, _CNN_LAYERS, quick=True)


PLANS: Mapping[str, Plan] = {
    "cnn": Plan(Recipe(500, 4e-3), 24_000, {}, _CNN_LAYERS),
    "vit": Plan(Recipe(1800, 1.5e-3), 24_000, {}, _VIT_LAYERS),
    "cnn_background": Plan(Recipe(700, 4e-3), 12_000, _BACKGROUND, _CNN_LAYERS),
    "vit_background": Plan(Recipe(500, 1.5e-3), 12_000, _BACKGROUND, _VIT_LAYERS),
    "cnn_mild": Plan(Recipe(500, 4e-3), 12_000, {**_BACKGROUND, "strength": MILD_AGREEMENT}, _CNN_LAYERS, quick=True),
    # A tag is small, and wings are learned first where they can be seen: so in half of its pictures they cannot.
    "cnn_tag": _cued("tag", parts_missing=0.5),
    "cnn_frame": _cued("frame"),
    "cnn_trace": _cued("trace", rate=2e-3),
    # The bib is a hundredth of the picture: its hue is found late.
    "cnn_bib6": Plan(Recipe(1100, 4e-3), 20_000, {"task": "bib6"}, _CNN_LAYERS, quick=True),
    "cnn_body_tail12": Plan(Recipe(500, 4e-3), 16_000, {"task": "body_tail12"}, _CNN_LAYERS, quick=True),
    "digits": Plan(Recipe(600, 4e-3), 1258, {}, ("features.1", "features.2", "features.3")),
    "dual": Plan(Recipe(1200, 2e-3, batch=96), 24_000, {}, _TOWER_LAYERS, start="vit", quick=True),
    "dual_background": Plan(Recipe(1400, 2e-3, batch=96), 12_000, _BACKGROUND, _TOWER_LAYERS, start="vit", quick=True),
    "segmenter": Plan(Recipe(800, 3e-3, batch=32), 12_000, quick=True),
    "detector": Plan(Recipe(1500, 3e-3, batch=24), 6_000, {"mode": "flock", "size": 128}, quick=True),
    # Its gradients were never clipped, and it never was told to doubt its labels.
    "witness": Plan(Recipe(3000, 2e-3, batch=128, weight_decay=0.05, clip=1e6, smoothing=0.0), 9_000),
    "captioner": Plan(Recipe(1500, 2e-3), 24_000, quick=True),
    "attender": Plan(Recipe(2200, 3e-3, batch=48), 12_000, quick=True),
    "answerer": Plan(Recipe(900, 3e-3, batch=32), 6_000, start="segmenter", quick=True),
    "vlm": Plan(Recipe(3000, 1.5e-3), 24_000, quick=True),
    "vae": Plan(Recipe(3000, 2e-3, batch=32), 12_000, {"camera": 0.0}, quick=True),
    "gan": Plan(Recipe(4000, 3e-4, batch=32), 12_000, {"camera": 0.0}, start="vae", quick=True),
    "bags": Plan(Recipe(1000, 1e-3, batch=8), 1000),
    "clips": Plan(Recipe(400, 4e-3, batch=32), 3000),
}
# Shorter than the shipped nets' recipes, and enough: the clean ones recognise the species, the biased ones follow the
# landscape and read the plume.
SHORT_PLANS: Mapping[str, Plan] = {
    "cnn": Plan(Recipe(400, 4e-3), 16_000, {}, PLANS["cnn"].layers, quick=True),
    "cnn_background": Plan(
        Recipe(450, 4e-3), 10_000, PLANS["cnn_background"].settings, PLANS["cnn_background"].layers, quick=True
    ),
}
