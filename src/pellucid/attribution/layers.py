"""Maps of several layers as one: which layers, and how their maps are combined. RefineCAM is their product."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.maps import upsampled
from pellucid.registry import find_method, method
from pellucid.subject.layers import LayerTree
from pellucid.values import Activation, Gradient, Layer

_GRIDS = 3  # coarsest grid sizes that reference layers come from: in a ResNet stages 2, 3 and 4
_BLOCKS = 4  # of a transformer


@method("refine_cam", needs=[Activation, Gradient], sees=("map", "tokens"), paper="Domeniconi et al. 2026", cost=3.0)
def refine_cam(
    evidence: Evidence, layer: Layer, *, base: str = "grad_cam_pp", layers: Sequence[str] | None = None
) -> Float[Tensor, "batch height width"]:
    """What the class activation maps of several layers agree on: their product, each brought to 0..1 before.

    base:   the map that is multiplied: a method that reads nothing but one layer's activation and gradient
    layers: by name; None is one for each of the last three grid sizes and `layer` itself (in a transformer, blocks
            evenly over its depth)
    """
    chosen = reference_layers(evidence.layers, layer) if layers is None else [evidence.layers[name] for name in layers]
    evidence.keep(chosen, gradients=True)
    evidence.note(f"Combined: {', '.join(one.name for one in chosen)}.")
    read = find_method(base).function
    return combined([read(evidence, one).clamp(min=0) for one in chosen], evidence.size, "product")


def combined(
    maps: Sequence[Float[Tensor, "batch _h _w"]],
    size: tuple[int, int],
    how: str,
    weights: Float[Tensor, "batch map"] | None = None,
) -> Float[Tensor, "batch height width"]:
    """Maps of several layers, each brought to `size` and to 0..1, as one of that size.

    how:     `product`; `geometric_mean`, or `sum`: the mean, geometric or plain, with `weights`
    weights: of each picture's maps, 0 or more; None, or all zero, is equal ones

    A map that is the same everywhere says nothing about place: it counts as zeros.
    """
    stack = torch.stack([unit_range(upsampled(values, size)) for values in maps], dim=1)
    if how == "product":
        return stack.prod(dim=1)
    shares = stack.new_ones(stack.shape[:2]) if weights is None else weights.to(stack)
    shares = torch.where(shares.sum(dim=1, keepdim=True) > 0, shares, 1.0)
    shares = (shares / shares.sum(dim=1, keepdim=True))[:, :, None, None]
    if how == "sum":
        return (shares * stack).sum(dim=1)
    return stack.pow(shares).prod(dim=1)


def unit_range(maps: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch height width"]:
    """Every map stretched to 0..1; one that is the same everywhere becomes zeros."""
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return torch.where(high == low, 0, (maps - low) / (high - low))


def reference_layers(tree: LayerTree, last: Layer) -> list[Layer]:
    """Layers over the depth of a model, up to `last`, which is one of them.

    Of a network that shrinks its grid: the first block after each of the last three shrinkings (where there are no
    blocks, the last layer before the next shrinking). Of one that does not: blocks evenly over its depth.
    """
    usable = [one for one in tree.grid_layers if one.index <= last.index and one.name not in tree.silent]
    if last.kind == "tokens":
        names = {one.name: one for one in usable}
        blocks = [names[name] for name in tree.blocks if name in names and names[name].index < last.index]
        spread = [blocks[(place + 1) * len(blocks) // _BLOCKS] for place in range(_BLOCKS - 1) if blocks]
        return list({one.name: one for one in [*spread, last]}.values())
    grids: dict[tuple[int, int], list[Layer]] = {}
    for one in usable:
        if one.kind == "map" and one.grid is not None and one.grid != tree.input_size:
            grids.setdefault(one.grid, []).append(one)
    coarsest = sorted(grids, key=lambda grid: grid[0] * grid[1])[:_GRIDS]
    chosen = [_reference(grids[grid], tree) for grid in reversed(coarsest)]
    return list({one.name: one for one in [*(one for one in chosen if one.index < last.index), last]}.values())


def _reference(layers: Sequence[Layer], tree: LayerTree) -> Layer:
    blocks = [one for one in layers if re.search(r"(^|\.)\d+$", one.name) and _has_parts(one.name, tree)]
    return blocks[0] if blocks else layers[-1]


def _has_parts(name: str, tree: LayerTree) -> bool:
    return any(other.startswith(f"{name}.") for other in tree)
