"""From a method's declaration and Evidence to its finished map at model input size."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.engine.evidence import Evidence
from pellucid.errors import MethodUnavailable, RequestError, ShapeError
from pellucid.registry import Method, methods
from pellucid.subject import VisionModel
from pellucid.values.layer import Layer


def compute(
    evidence: Evidence, method: Method, layer: Layer | None = None, **parameters: Any
) -> Float[Tensor, "batch height width"] | Float[Tensor, "batch channel height width"]:
    """The map of one method, upsampled bilinearly to the size of the input, colour channels made one as declared.

    Only a method declared with `channels=None` keeps its channels. Raises RequestError for a parameter the method does
    not have, ShapeError if the method gives something that is no map of these pictures.
    """
    known = parameters_of(method)
    unknown = [name for name in parameters if name not in known]
    if unknown:
        listing = ", ".join(f"{name}={default}" for name, default in known.items()) or "none"
        raise RequestError(f"{method.name} has no parameter {unknown[0]!r}. Its parameters: {listing}.")
    for name, value in parameters.items():
        _check_range(method.name, name, value, evidence.size)
    given = (evidence, layer) if takes_layer(method) else (evidence,)
    values = method.function(*given, **parameters).detach().float()
    batch = len(evidence.inputs)
    if values.ndim not in (3, 4) or len(values) != batch:
        raise ShapeError(method.name, got=tuple(values.shape), expected=f"[{batch} h w] or [{batch} 3 height width]")
    if values.ndim == 4 and method.channels is not None:
        values = _REDUCTIONS[method.channels](values)
    return upsampled(values, evidence.size)


# One name means one thing in every method, so its range is said once.
_COUNTS = ("steps", "most_steps", "samples", "masks", "grid", "top", "last")
_NOT_NEGATIVE = ("noise", "closer", "ridge")
_SHARES = ("keep",)
_EXTENTS = ("window", "stride")


def _check_range(method: str, name: str, value: Any, size: tuple[int, int]) -> None:
    """Raises RequestError for a number that the parameter of that name cannot have."""
    entries: list[Any] = [*value] if isinstance(value, (tuple, list)) else [value]
    if not entries or not all(isinstance(entry, (int, float)) for entry in entries):
        return
    least = min(entries)
    if name in _COUNTS and least < 1:
        raise RequestError(f"{method}: {name} is {value}; expected a whole number of at least 1.")
    if name in _NOT_NEGATIVE and least < 0:
        raise RequestError(f"{method}: {name} is {value}; expected 0 or more.")
    if name in _SHARES and not 0 < least < 1:
        raise RequestError(f"{method}: {name} is {value}; expected a share between 0 and 1.")
    if name in _EXTENTS and not (least >= 1 and max(entries) <= max(size)):
        raise RequestError(
            f"{method}: {name} is {value}; expected 1 to {max(size)} pixels: the model input has {size[0]} x {size[1]}."
        )


def upsampled(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Grids brought to `size` bilinearly (corners not aligned); pixel maps stay as they are."""
    if tuple(values.shape[-2:]) == tuple(size):
        return values
    stacked = values[:, None] if values.ndim == 3 else values
    larger = interpolate(stacked, size=size, mode="bilinear", align_corners=False)
    return larger[:, 0] if values.ndim == 3 else larger


_REDUCTIONS = {
    "sum": lambda values: values.sum(dim=1),
    "largest": lambda values: values.abs().amax(dim=1),
}


def takes_layer(method: Method) -> bool:
    """Whether the method explains at one layer, so that one has to be chosen."""
    return "layer" in inspect.signature(method.function).parameters


def parameters_of(method: Method) -> dict[str, Any]:
    """The keywords of a method and their defaults."""
    entries = list(inspect.signature(method.function).parameters.values())[1:]
    return {entry.name: entry.default for entry in entries if entry.name != "layer"}


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
    chosen = tree.chosen(method.name) if layer is None else tree[layer.name if isinstance(layer, Layer) else layer]
    if method.layered and (chosen.kind not in method.sees or chosen.grid is None):
        reads = " or ".join(method.sees)
        raise MethodUnavailable(
            method.name,
            f"it reads layers that lie on a grid ({reads}), and {chosen.name!r} is of kind {chosen.kind}.",
            ("another layer (`pellucid layers` lists them)", *alternatives(model, method)[:1]),
        )
    return chosen
