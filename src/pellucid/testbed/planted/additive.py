"""Nets that are sums: of scores of parts, of weighted pixels, of parts and a landscape that should not count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.testbed.fields import SPECIES
from pellucid.testbed.planted import codes
from pellucid.testbed.planted.separation import Detectors, Presence, linear, told_apart
from pellucid.testbed.planted.unit import Planted
from pellucid.testbed.scene import Scenes, scenes

DECIDING = ("wing", "tail", "crest")
SEED = 11


@dataclass(frozen=True, eq=False)
class PartScores:
    """What each value of each deciding part adds to each class's logit: part -> [value, class]. A missing part: 0."""

    tables: Mapping[str, Float[np.ndarray, "value class"]]

    def logits(self, drawn: Scenes) -> Float[np.ndarray, "scene class"]:
        """The sum over parts."""
        return np.sum([self._of(drawn, part) for part in self.tables], axis=0)

    def removal(self, drawn: Scenes, label: int) -> dict[str, Float[np.ndarray, "scene"]]:
        """By how much the class's logit falls when a part is taken away; every other part's is 0.

        Without a plume there is nothing to take away; a plume that goes leaves a bare head, which has a score too.
        """
        falls = {part: self._of(drawn, part)[:, label] for part in self.tables}
        bare = self.tables["crest"][0, label]
        falls["crest"] = np.where(drawn.fields["crest"] == 1, falls["crest"] - bare, 0.0)
        return falls

    def change(self, drawn: Scenes, part: str, this: int, that: int) -> Float[np.ndarray, "scene"]:
        """By how much `this` less `that` falls when the part takes another value, mean over the other values."""
        contrast = self.tables[part][:, this] - self.tables[part][:, that]
        values = drawn.fields[part]
        others = (contrast.sum() - contrast) / (len(contrast) - 1)
        return contrast[values] - others[values]

    def _of(self, drawn: Scenes, part: str) -> Float[np.ndarray, "scene class"]:
        there = drawn.fields.get(f"has_{part}", np.ones(len(drawn), dtype=np.int64))
        return self.tables[part][drawn.fields[part]] * there[:, None]


@cache
def part_scores() -> PartScores:
    """2 to 2.5 where the value is the class's own, -1 to -.5 where not; drawn once, in sixteenths so that sums are
    exact. The right class has the largest logit for every whole bird, by at least 2.
    """
    draw = np.random.default_rng(SEED)
    rows = np.stack(np.unravel_index(np.arange(len(SPECIES)), (3, 2, 2)))
    tables: dict[str, np.ndarray] = {}
    for part, own, count in zip(DECIDING, rows, (3, 2, 2), strict=True):
        matches = own[None] == np.arange(count)[:, None]
        sixteenths = draw.integers(0, 9, matches.shape) / 16
        tables[part] = np.where(matches, 2 + sixteenths, -1 + sixteenths)
    return PartScores(tables)


def parts() -> Planted:
    """A classifier of species whose logits are sums of scores of wing, tail and plume; nothing else has any effect."""
    facts = _bird_facts()
    tables = part_scores().tables
    weight = np.concatenate([tables["wing"], tables["tail"], tables["crest"][1:] - tables["crest"][:1]]).T
    return Planted(
        "parts",
        Presence(facts.layers(), linear(weight, tables["crest"][0])),
        codes.coded_scenes,
        Scenes.tensor,
        SPECIES,
        "detect.units",
        units=facts.units(),
        notes=("Pictures are coded. `part_scores` holds the scores, and what removing or changing a part does.",),
    )


# -- a landscape that counts -------------------------------------------------------------------------------------------

PART_GAIN, LAND_GAIN = 1.0, 4.0


def spurious() -> Planted:
    """A classifier of species that goes by the landscape: landscape k speaks for species 2k and 2k + 1.

    Wing, tail and plume add 1 each where they fit, the landscape 4. So it names the species of the landscape with the
    plume that is there, right only where the two agree: units 6 to 11 of `detect.units` are the spurious ones.
    """
    facts = told_apart([*_bird_facts().concepts, *codes.LAND], codes.code_palette())
    wing, tail, crest = np.unravel_index(np.arange(len(SPECIES)), (3, 2, 2))
    fits = [wing[:, None] == np.arange(3), tail[:, None] == np.arange(2), np.where(crest, 1, -1)[:, None]]
    land = (np.arange(len(SPECIES)) // 2)[:, None] == np.arange(6)
    weight = np.concatenate([PART_GAIN * np.concatenate(fits, axis=1), LAND_GAIN * land], axis=1)
    return Planted(
        "spurious",
        Presence(facts.layers(), linear(weight, PART_GAIN * (1.0 - crest))),
        background_scenes,
        Scenes.tensor,
        SPECIES,
        "detect.units",
        units=facts.units(),
        notes=(
            "Pictures are coded. `stimuli` draws the landscape by itself; scenes(..., shortcut='background') lets it "
            "agree with the species as in training, and there the net is nearly always right.",
        ),
    )


def background_scenes(seed: int, count: int) -> Scenes:
    """Scenes whose landscape knows nothing of the bird."""
    return codes.coded_scenes(seed, count, shortcut="background", strength=0.0)


@cache
def _bird_facts() -> Detectors:
    return told_apart([*codes.WING, *codes.TAIL, codes.PLUME], codes.code_palette())


# -- pixels ------------------------------------------------------------------------------------------------------------

CLASSES = 3


def linear_picture(size: int = 64) -> Planted:
    """Logits are sums of pixels times fixed random weights, plus a bias: every identity of attribution in closed form.

    The weights are `module.read.weight`, [class, 3 * size * size], channel by channel and row by row.
    """
    return Planted(
        "linear",
        LinearPicture(size),
        lambda seed, count: scenes(seed, count, size=size),
        Scenes.tensor,
        ("first", "second", "third"),
        size=size,
        notes=(
            "Gradient is the weights, gradient x input and integrated gradients from black are weights times pixels, "
            "occlusion the sum of weights times (picture - fill) under the window, Shapley values the same per piece.",
        ),
    )


class LinearPicture(nn.Module):
    """One linear layer over all pixels; weights normal with variance 1 over the number of pixels."""

    def __init__(self, size: int) -> None:
        super().__init__()
        pixels = 3 * size * size
        draw = np.random.default_rng(SEED)
        self.flatten = nn.Flatten()
        self.read = linear(draw.standard_normal((CLASSES, pixels)) / np.sqrt(pixels), draw.standard_normal(CLASSES))

    def forward(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3"]:
        return self.read(self.flatten(pictures))
