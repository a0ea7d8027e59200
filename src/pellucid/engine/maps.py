"""From a method's declaration and Evidence to its finished map at model input size."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.engine.evidence import Evidence
from pellucid.engine.parameters import Place, checked
from pellucid.errors import MethodUnavailable, ShapeError
from pellucid.registry import Method, methods
from pellucid.subject import VisionModel
from pellucid.subject.clips import spread_in_time
from pellucid.values.layer import Layer


def compute(
    evidence: Evidence, method: Method, layer: Layer | None = None, **parameters: Any
) -> Float[Tensor, "batch height width"] | Float[Tensor, "batch channel height width"]:
    """The map of one method, upsampled bilinearly to the size of the input, colour channels made one as declared.

    Only a method declared with `channels=None` keeps its channels. Raises RequestError for a parameter the method does
    not have or cannot have so, ShapeError if the method gives something that is no map of these pictures.
    """
    parameters = checked(method, parameters, Place(evidence.size, layer))
    given = (evidence, layer) if takes_layer(method) else (evidence,)
    with torch.inference_mode(False):  # what a method makes may have to lie in a graph, whatever mode the caller is in
        values = method.function(*given, **parameters).detach().float()
    batch = len(evidence.inputs)
    if values.ndim not in (3, 4) or len(values) != batch:
        raise ShapeError(method.name, got=tuple(values.shape), expected=f"[{batch} h w] or [{batch} 3 height width]")
    if values.ndim == 4 and method.channels is not None:
        values = _REDUCTIONS[method.channels](values)
    if layer is not None and evidence.model.frames > 1 and values.ndim == 3 and values.shape[1] == _rows(layer):
        return spread_in_time(values, layer.instants, evidence.model.frames, evidence.size)
    return upsampled(values, evidence.size)


def upsampled(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Grids brought to `size` bilinearly (corners not aligned); pixel maps stay as they are."""
    if tuple(values.shape[-2:]) == tuple(size):
        return values
    stacked = values[:, None] if values.ndim == 3 else values
    larger = interpolate(stacked, size=size, mode="bilinear", align_corners=False)
    return larger[:, 0] if values.ndim == 3 else larger


def _rows(layer: Layer) -> int:
    return layer.grid[0] if layer.grid else 0


_REDUCTIONS = {
    "sum": lambda values: values.sum(dim=1),
    "largest": lambda values: values.abs().amax(dim=1),
}


def takes_layer(method: Method) -> bool:
    """Whether the method explains at one layer, so that one has to be chosen."""
    return "layer" in inspect.signature(method.function).parameters


def unavailable(model: VisionModel, method: Method) -> str | None:
    """Why the method cannot explain this model, or None where it can."""
    if method.inside and not model.differentiable:
        return "it looks inside the model, and this one is a black box."
    if method.gradient and not model.differentiable:
        return "it needs gradients, and this one is a black box."
    return None


def refuse_if_unavailable(model: VisionModel, method: Method) -> None:
    """Raises MethodUnavailable, with what works instead, where the method cannot explain this model."""
    reason = unavailable(model, method)
    if reason is not None:
        raise MethodUnavailable(method.name, reason, alternatives(model, method))


def alternatives(
    model: VisionModel, method: Method, preferred: Sequence[str] = ("occlusion", "rise", "lime")
) -> tuple[str, ...]:
    """Methods that do explain this model, perturbation first."""
    table = methods()
    return tuple(
        name for name in preferred if name in table and name != method.name and not unavailable(model, table[name])
    )


def layer_for(model: VisionModel, method: Method, layer: Layer | str | None, size: tuple[int, int]) -> Layer | None:
    """The layer a method explains at: the one named, else the model's default one; None for methods that need none.

    size: rows and columns of the input. Raises UnknownLayer, or MethodUnavailable where the layer is not of a kind that
    the method reads.
    """
    if not takes_layer(method):
        return None
    tree = model.layers_at(size)
    chosen = tree.chosen(method.name, layer.name if isinstance(layer, Layer) else layer)
    if method.layered and (chosen.kind not in method.sees or chosen.grid is None):
        reads = " or ".join(method.sees)
        raise MethodUnavailable(
            method.name,
            f"it reads layers that lie on a grid ({reads}), and {chosen.name!r} is of kind {chosen.kind}.",
            ("another layer (`pellucid layers` lists them)", *alternatives(model, method)[:1]),
        )
    return chosen


def layer_or_none(model: VisionModel, method: Method, layer: Layer | str | None, size: tuple[int, int]) -> Layer | None:
    """The same, None too where the model has no such layer as the method reads."""
    try:
        return layer_for(model, method, layer, size)
    except MethodUnavailable:
        return None
