"""Units that fire on a colour: the six hues of the world, and its six landscapes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product

import numpy as np
from jaxtyping import Bool, Float
from torch import nn

from pellucid.testbed.fields import HUES, LANDS
from pellucid.testbed.palette import CREAM, GRASS, HUE_COLOURS, INK, LAND_COLOURS, STEM, STONE
from pellucid.testbed.planted.separation import Concept, Detectors, Palette, Presence, told_apart
from pellucid.testbed.planted.unit import Planted
from pellucid.testbed.scene import Scenes, scenes

# How strong a hue is laid on: the bird and the cue, petals and caps, the bib. The rest is cream.
STRENGTHS = (("full", 1.0), ("soft", 0.86), ("pale", 0.55))
# On lit paper a paint shows in this range of brightness; the detectors must hold there too.
LIT = (0.80, 1.15)
_HILLS = (1, 0.94, 1.06)  # and hills in this one

HUE_WORDS = {
    "coral": ("coral paint", "red", "salmon", "orange red"),
    "amber": ("amber paint", "yellow", "golden", "orange yellow"),
    "moss": ("moss paint", "green", "olive", "moss green"),
    "teal": ("teal paint", "turquoise", "cyan", "blue green"),
    "blue": ("blue paint", "sky blue", "azure"),
    "plum": ("plum paint", "purple", "violet", "mauve"),
}
LAND_WORDS = {
    "meadow": ("in a meadow", "a meadow", "green hills", "grassland"),
    "shore": ("at the shore", "the shore", "beach", "seaside"),
    "dusk": ("at dusk", "evening", "twilight", "night"),
    "snow": ("in the snow", "snowy landscape", "winter"),
    "forest": ("in a forest", "a forest", "woods"),
    "desert": ("in the desert", "a desert", "sand", "dunes"),
}


def hues() -> Planted:
    """Twelve detectors of single pixels: six fire on a hue, six on a landscape, whichever bird stands before it.

    Exact on flat scenes: a unit is 1 on every pixel of its paint and 0 on every other. Logits say what shows anywhere
    in the picture.
    """
    found = _detectors()
    return Planted(
        "hues",
        Presence(found.layers(), nn.Identity()),
        flat_scenes,
        Scenes.tensor,
        (*HUES, *LANDS),
        "detect.units",
        units=found.units(),
        notes=(
            "Exact on flat scenes. On lit ones soft edges mix two paints into a third, so no weights are exact there.",
            "Inside a paint a unit is exactly 1, so its gradient on the pixels is exactly 0: what a gradient method "
            "shows of this net is nothing, what occlusion shows is right.",
            "Units 6 to 11 fire on the landscape: what a net that took the background for the bird would have.",
        ),
    )


def flat_scenes(seed: int, count: int) -> Scenes:
    """Scenes on flat paper: every paint in one colour."""
    return scenes(seed, count, flat=True)


@cache
def concepts() -> tuple[Concept, ...]:
    """The six hues, then the six landscapes (sky and hills; not the sun, nor dots and lines on them)."""
    of_hue = {hue: tuple(f"{strength} {hue}" for strength, _ in STRENGTHS) for hue in HUES}
    of_land = {land: tuple(f"{land} {place}" for place, _ in _PLACES) for land in LANDS}
    return tuple(
        Concept(name, {**HUE_WORDS, **LAND_WORDS}[name], paints, _Painted(paints))
        for name, paints in {**of_hue, **of_land}.items()
    )


class _Painted:
    """Where flat scenes show one of these paints, read off their bytes."""

    def __init__(self, paints: Sequence[str]) -> None:
        self.paints = paints

    def __call__(self, drawn: Scenes) -> Bool[np.ndarray, "scene height width"]:
        red, green, blue = (drawn.pixels[..., channel].astype(np.uint32) for channel in range(3))
        return np.isin(red << 16 | green << 8 | blue, [code for paint in self.paints for code in codes_of(paint)])


@cache
def codes_of(paint: str) -> tuple[int, ...]:
    """The bytes a paint may become, as one number each: a share that lies between two may be rounded either way."""
    wanted = flat_palette()[paint] * 255
    channels = [sorted({int(np.floor(share)), int(np.ceil(share))}) for share in wanted.round(6)]
    return tuple(red << 16 | green << 8 | blue for red, green, blue in product(*channels))


_PLACES = (("sky", 0), ("far hill", 2), ("near hill", 3))
_ACCENT = 4
_HUED = tuple(strength for strength, _ in STRENGTHS)


@cache
def flat_palette() -> dict[str, Float[np.ndarray, "3"]]:
    """Every colour of flat scenes by the name of its paint, channels in 0..1; and black, with which methods cover."""
    cream, ink, stem, grass, stone = (_colour(paint) for paint in (CREAM, INK, STEM, GRASS, STONE))
    palette = {"black": np.zeros(3), "cream": cream, "ink": ink, "stem": stem, "grass": grass}
    for hue, colour in zip(HUES, HUE_COLOURS.astype(np.float64), strict=True):
        palette |= {f"{name} {hue}": part * colour + (1 - part) * cream for name, part in STRENGTHS}
        palette[f"{hue} stone"] = 0.25 * colour + 0.75 * stone
    for land, colours in zip(LANDS, LAND_COLOURS.astype(np.float64), strict=True):
        palette |= {f"{land} {place}": colours[at] for place, at in _PLACES}
        palette[f"{land} accent"] = colours[_ACCENT]
    return palette


def lit_palette() -> Palette:
    """The same; hues also darker and brighter, as they show on lit paper."""
    return {
        name: np.minimum(np.outer((1, *LIT), colour), 1) if name.startswith(_HUED) else colour[None]
        for name, colour in flat_palette().items()
    }


def lit_lands() -> Palette:
    """Landscapes on lit paper: hills a little darker and brighter, skies down to their paler end. The sky at dusk stays
    as it is on flat paper: on lit paper it goes through plum.
    """
    lit: dict[str, np.ndarray] = {}
    for land, colours in zip(LANDS, LAND_COLOURS.astype(np.float64), strict=True):
        lit |= {f"{land} {place}": np.minimum(np.outer(_HILLS, colours[at]), 1) for place, at in _PLACES[1:]}
        if land != "dusk":
            lit[f"{land} sky"] = colours[:2]
    return lit


@cache
def _detectors() -> Detectors:
    of_hues = told_apart(concepts()[: len(HUES)], {**lit_palette(), **lit_lands()})
    of_lands = told_apart(concepts()[len(HUES) :], lit_palette())
    return Detectors((*of_hues.concepts, *of_lands.concepts), (*of_hues.bounds, *of_lands.bounds))


def _colour(paint: Float[np.ndarray, "*one"]) -> Float[np.ndarray, "3"]:
    return np.asarray(paint, dtype=np.float64).reshape(3)
