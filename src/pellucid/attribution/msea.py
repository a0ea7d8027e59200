"""Maps of the picture seen from nearer and from farther off, laid together (multi-scale explanation aggregation)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.maps import compute
from pellucid.images.scales import View, fused, together, views
from pellucid.registry import find_method, method
from pellucid.values import Activation, Gradient, Gradients, Layer

SCALES = (0.5, 1.0, 1.5)


def _passes(
    *, base: str = "layer_cam", scales: Sequence[float] = SCALES, size: tuple[int, int] = (224, 224), **known: Any
) -> float:
    """`size` may be given by a planner that knows the model's input size."""
    given = {"layer": known["layer"]} if "layer" in known else {}
    return sum(len(views(size, scale)) for scale in scales) * (3.0 + find_method(base).passes(size=size, **given))


@method(
    "msea", needs=[Activation, Gradient, Gradients], sees=("map", "tokens"), paper="Liang et al. 2025", cost=_passes,
)  # fmt: skip
def msea(
    evidence: Evidence, layer: Layer, *, base: str = "layer_cam", scales: Sequence[float] = SCALES,
    fuse: str = "normalised",
) -> Float[Tensor, "batch height width"]:  # fmt: skip
    """The mean of a base method's maps of the picture at several scales, always seen through the model's own window.

    At a scale below 1 the shrunken picture lies in the middle of its own mean colour; above 1 windows of the model's
    input size cover the enlarged one, and where they overlap their mean counts.

    base:   the method whose maps are laid together; at the one scale 1 the map is its own
    scales: in parts of the picture's size
    fuse:   `mean`, in the base's unit; or `normalised`, each scale's map divided by its greatest magnitude first and
            the mean multiplied by that of the scale nearest to 1
    returns: 0 upward for the default base; negative values where the base has them, which are not drawn
    """
    found = [_at(evidence, layer, base, views(evidence.size, scale)) for scale in scales]
    return fused(torch.stack(found), scales, fuse)


def _at(evidence: Evidence, layer: Layer, base: str, shown: Sequence[View]) -> Float[Tensor, "batch height width"]:
    """The base's map at one scale, on the picture's own pixels."""
    entry, parts = find_method(base), list[tuple[Tensor, Tensor]]()
    for view in shown:
        looking = evidence if view.plain else evidence.at(view.of(evidence.inputs))
        parts.append(view.back(compute(looking, entry, layer if entry.layered else None)))
        if looking is not evidence:
            looking.release()
    return together(parts)
