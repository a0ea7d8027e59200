"""Maps of one picture as small finished pictures, for a gallery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from pellucid.canvas.raster import Pixels, png_bytes
from pellucid.results import Heatmaps
from pellucid.results.drawing import drawn, photograph
from pellucid.results.leaderboard import Example
from pellucid.stories.cases import Part

SIDE = 112
MOST = 4
Values = Mapping[str, Float[Tensor, "batch height width"]]


def plates(part: Part, heats: Mapping[str, Heatmaps], maps: Values) -> tuple[Example, ...]:
    """The first few pictures of a part with every map drawn over them, by name; `picture` is the picture itself."""
    if not heats:  # every method refused
        return ()
    return tuple(
        Example(frame.name, {
            name.removeprefix("control "): png_bytes(pixels)
            for name, pixels in drawn_maps(part, index, heats, maps, side=SIDE).items()
        })
        for index, frame in enumerate(part.batch.frames[:MOST])
    )  # fmt: skip


def drawn_maps(part: Part, index: int, heats: Mapping[str, Heatmaps], maps: Values, *, side: int) -> dict[str, Pixels]:
    """One picture and its maps as they are drawn; maps that no method made are drawn as unsigned ones."""
    like = next(iter(heats.values()))
    shown = {"picture": photograph(part.batch.frames[index], side=side)}
    for name, values in maps.items():
        heat = heats.get(name) or replace(like, values=values, method=name, signed=False, checks=(), layer=None)
        shown[name] = drawn(heat, index, side=side).pixels
    return shown
