"""Where the model looked: one or many methods on one or many pictures, the passes shared."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, overload

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.compute.memory import Budget
from pellucid.engine import Evidence, look
from pellucid.engine.maps import (
    alternatives,
    compute,
    layer_for,
    refuse_if_unavailable,
    takes_layer,
    unavailable,
)
from pellucid.engine.parameters import Place, checked, parameters_of
from pellucid.errors import MethodUnavailable, RequestError, TargetError
from pellucid.registry import Method, find_method, methods
from pellucid.results import Heatmaps
from pellucid.stories.request import Asked, Batch, Pictures, batches_of, method_names, subject, training_note
from pellucid.stories.versions import versions
from pellucid.subject import VisionModel
from pellucid.values import Attention, Blocks, Check, Films, Fitted, Layer, Need, Places

NO_ATTENTION = "it has no attention."
# What one picture holds while gradients are kept: activations, their gradients, and copies that methods make.
_COPIES = 4


@overload
def attribute(
    model: Asked, images: Pictures, method: str = ..., *, target: Any = ..., layer: Layer | str | None = ...,
    seed: int = ..., memory: float | None = ..., **parameters: Any,
) -> Heatmaps: ...  # fmt: skip
@overload
def attribute(
    model: Asked, images: Pictures, method: Sequence[str], *, target: Any = ..., layer: Layer | str | None = ...,
    seed: int = ..., memory: float | None = ..., **parameters: Any,
) -> dict[str, Heatmaps]: ...  # fmt: skip
def attribute(
    model: Asked,
    images: Pictures,
    method: str | Sequence[str] = "grad_cam",
    *,
    target: Any = None,
    layer: Layer | str | None = None,
    seed: int = 0,
    memory: float | None = None,
    **parameters: Any,
) -> Heatmaps | dict[str, Heatmaps]:
    """Where the model looked for its answer, as one map per picture and method.

    model:      a VisionModel, a spec ("testbed:cnn"), any nn.Module, or any callable as a black box
    images:     whatever `pl.read` takes, several of it, folders and globs; or a float tensor [batch 3 height width],
                which is model input as it is
    method:     a name, or a list of names, which share their passes and come back as {name: Heatmaps}
    target:     what is explained: None (the predicted class), a class index or name, a Target, a callable on the
                output, or a list with one per picture
    layer:      a name or a Layer, for methods that explain at one; None takes the model's default
    memory:     GiB that may be held; None is a quarter of what is free
    parameters: the method's own (`steps=`, `samples=`, `window=` and so on); of several methods each takes what it has

    Values are float32 [batch height width] at model input size in the unit and sign of the paper. Raises UnknownMethod,
    UnknownLayer, MethodUnavailable, TargetError, ImageError, ShapeError, RequestError.
    """
    names = method_names(method)
    if not names:
        raise RequestError("No method was named. `pellucid methods` lists them.")
    asked = [find_method(name) for name in names]
    under_study = subject(model)
    for entry in asked:
        refuse_if_unavailable(under_study, entry)
    own = _shared_out(asked, parameters)
    batches = batches_of(under_study, images)
    targets = _per_batch(target, batches)
    parts: dict[str, list[Heatmaps]] = {name: [] for name in names}
    for batch, wanted in zip(batches, targets, strict=True):
        for piece, piece_target in _pieces(under_study, batch, wanted, memory):
            size = (int(piece.inputs.shape[-2]), int(piece.inputs.shape[-1]))
            layers = _layers(under_study, asked, layer, size)
            given = {  # all of them before the first pass: a slip in the last method must not cost the others' work
                entry.name: checked(entry, own[entry.name], Place(size, layers[entry.name])) for entry in asked
            }
            evidence = look(
                under_study, piece.inputs, piece_target, needs=needs_of(asked),
                layers={address for address in layers.values() if address}, seed=seed, memory=memory,
            )  # fmt: skip
            for name, entry in zip(names, asked, strict=True):
                parts[name].append(heatmaps(evidence, piece, entry, layer=layer, parameters=given[entry.name]))
    joined = {name: join(pieces) for name, pieces in parts.items()}
    return joined[names[0]] if isinstance(method, str) else joined


def heatmaps(
    evidence: Evidence, batch: Batch, method: Method, *, layer: Layer | str | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Heatmaps:  # fmt: skip
    """The maps of one method from evidence that is there already, with their checks."""
    given = dict(parameters or {})
    model = evidence.model
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        address = layer_for(model, method, layer, evidence.size)
    notes = [str(warning.message) for warning in said]
    notes += [note] if (note := training_note(model)) else []
    for warning in said:
        warnings.warn(warning.message, warning.category, stacklevel=3)
    before, noted = replace(evidence.passes), len(evidence.notes)
    values = compute(evidence, method, address, **given)
    spent = evidence.passes
    flat = values.sum(dim=1) if values.ndim == 4 else values
    cost = {"forwards": spent.forwards - before.forwards, "backwards": spent.backwards - before.backwards}
    return Heatmaps(
        values=values.cpu(),
        method=method.name,
        targets=tuple(evidence.targets),
        target_names=tuple(model.target_name(target) for target in evidence.targets),
        layer=address,
        signed=method.signed,
        frames=batch.frames,
        seed=int(evidence.seed),
        checks=_checks(evidence, method, values, flat, address, given),
        parameters=given,
        model=model.card,
        versions=versions(),
        notes=tuple(dict.fromkeys([*notes, *evidence.notes[noted:]])),
        cost=cost,
        about=method.summary,
    )


def needs_of(asked: Iterable[Method]) -> tuple[Need, ...]:
    """What several methods need together, each once."""
    return tuple(dict.fromkeys(need for method in asked for need in method.needs))


def available(model: VisionModel, size: tuple[int, int]) -> dict[str, Method]:
    """The methods that can explain this model at that input size, by name."""
    return {name: entry for name, entry in methods().items() if not why_not(model, entry, size)}


def why_not(model: VisionModel, method: Method, size: tuple[int, int]) -> str | None:
    """Why the method cannot explain this model at that input size; None where it can."""
    reason = unavailable(model, method) or _cut_off(model, method, size)
    if reason is None and Places in method.needs and model.places is None:
        return "it tells boxes and regions apart, and this model answers for the picture as a whole."
    if reason is None and Films in method.needs and model.frames == 1:
        return "it tells instants of a film apart, and this model sees single pictures."
    if reason is None and lacks_attention(model, method, size):
        return NO_ATTENTION
    if reason is None and Fitted in method.needs and method.name not in model.explainers:
        return f"it needs an explainer that was fitted to this model; `pellucid fit {method.name}` fits one."
    if reason is None and takes_layer(method):
        try:
            layer_for(model, method, None, size)
        except MethodUnavailable as error:
            return error.reason
    return reason


def lacks_attention(model: VisionModel, method: Method, size: tuple[int, int]) -> bool:
    """Whether the method reads attention, and the model has none."""
    return bool({Attention, Blocks} & set(method.needs)) and not model.layers_at(size).blocks


def _cut_off(model: VisionModel, method: Method, size: tuple[int, int]) -> str | None:
    if method.gradient and model.differentiable and not model.layers_at(size).flows:
        return "it needs gradients, and the model's answer carries none: it runs without gradients or detaches values."
    return None


def join(pieces: Sequence[Heatmaps]) -> Heatmaps:
    """Maps of several batches of the same method as one. Raises RequestError where their sizes differ."""
    first = pieces[0]
    if len(pieces) == 1:
        return first
    sizes = {tuple(piece.values.shape[1:]) for piece in pieces}
    if len(sizes) > 1:
        raise RequestError(
            f"The pictures became inputs of {len(sizes)} sizes, so their maps do not fit one tensor. "
            f"Explain them one at a time, or give the model a preprocess with a size."
        )
    return replace(
        first,
        values=torch.cat([piece.values for piece in pieces]),
        targets=tuple(target for piece in pieces for target in piece.targets),
        target_names=tuple(name for piece in pieces for name in piece.target_names),
        frames=tuple(frame for piece in pieces for frame in piece.frames),
        checks=tuple(checks for piece in pieces for checks in piece.checks),
        notes=tuple(dict.fromkeys(note for piece in pieces for note in piece.notes)),
    )


# -- checks ---------------------------------------------------------------------------------------------------------


def _checks(
    evidence: Evidence, method: Method, values: Tensor, flat: Float[Tensor, "batch height width"], layer: Layer | None,
    parameters: Mapping[str, Any],
) -> tuple[tuple[Check, ...], ...]:  # fmt: skip
    promised = method.promise(evidence, values, parameters) if method.promise else None
    per_picture = promised if promised is not None else [None] * len(flat)
    shared = tuple(_layer_checks(layer))
    return tuple(
        (_finite(one), _not_flat(one), *_as_tuple(promise), *shared)
        for one, promise in zip(flat, per_picture, strict=True)
    )


def _as_tuple(promise: Check | Sequence[Check] | None) -> tuple[Check, ...]:
    if promise is None:
        return ()
    return (promise,) if isinstance(promise, Check) else tuple(promise)


def _finite(values: Float[Tensor, "height width"]) -> Check:
    wrong = int((~torch.isfinite(values)).sum())
    words = "Every value is a finite number." if not wrong else f"{wrong} values are infinite or not a number."
    return Check("finite", not wrong, float(wrong), words)


def _not_flat(values: Float[Tensor, "height width"]) -> Check:
    spread = float(values.max() - values.min())
    scale = float(values.abs().max())
    # Bilinear upsampling of a constant grid leaves rounding, which must not pass for a pattern.
    passed = spread > 1e-6 * scale and scale > 0
    words = "The map tells pixels apart." if passed else "The map is flat: it tells no pixel from another."
    return Check("not flat", bool(passed), spread, words)


def _layer_checks(layer: Layer | None) -> Iterator[Check]:
    if layer is None:
        return
    rows, columns = layer.grid or (1, 1)
    yield Check("layer", None, None, f"It was made at the layer {layer.name} ({layer.module}).")
    yield Check("grid", None, float(rows * columns), f"The layer's grid has {rows} x {columns} cells.")
    if layer.calls > 1:
        yield Check("call", None, float(layer.calls), f"The module runs {layer.calls} times; this is {layer.name}.")


# -- batches --------------------------------------------------------------------------------------------------------


def _pieces(model: VisionModel, batch: Batch, target: Any, memory: float | None) -> Iterator[tuple[Batch, Any]]:
    """Parts of a batch that fit the memory budget, each with its targets."""
    size = Budget.of(memory, model.device).batch(_COPIES * model.sample_bytes, model.device)
    several = isinstance(target, Sequence) and not isinstance(target, str)
    for start in range(0, len(batch), size):
        window = slice(start, start + size)
        yield batch[window], list(target[window]) if several else target


def _per_batch(target: Any, batches: Sequence[Batch]) -> list[Any]:
    """One entry per batch; a list with one target per picture is cut where the batches are."""
    if not isinstance(target, Sequence) or isinstance(target, str):
        return [target] * len(batches)
    total = sum(len(batch) for batch in batches)
    if len(target) != total:
        raise TargetError(f"{len(target)} targets for {total} pictures; expected one target, or one per picture.")
    cut, start = [], 0
    for batch in batches:
        cut.append(list(target[start : start + len(batch)]))
        start += len(batch)
    return cut


def _layers(
    model: VisionModel, asked: Sequence[Method], layer: Layer | str | None, size: tuple[int, int]
) -> dict[str, Layer | None]:
    """Where each method will look, known before the first pass so that one serves all."""
    with said_later():
        check_layer(model, layer, size)
        for method in asked:
            if reason := _cut_off(model, method, size):
                raise MethodUnavailable(method.name, reason, alternatives(model, method))
        return {method.name: layer_for(model, method, layer, size) for method in asked}


@contextmanager
def said_later() -> Iterator[None]:
    """For planning: what is to be said of a layer is said once, with the map that is made there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def check_layer(model: VisionModel, layer: Layer | str | None, size: tuple[int, int]) -> None:
    """Raises UnknownLayer, or RequestError for a black box, even where no method asked for looks at a layer."""
    if layer is None:
        return
    name = layer.name if isinstance(layer, Layer) else layer
    if not model.differentiable:
        raise RequestError(f"layer={name!r}: {model.name} is a black box and has no layers. Leave the layer out.")
    _ = model.layers_at(size)[name]


def _shared_out(asked: Sequence[Method], parameters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each method's own share of the parameters. Raises RequestError for one that no method has."""
    known = {entry.name: parameters_of(entry) for entry in asked}
    for name in parameters:
        if not any(name in table for table in known.values()):
            listing = "; ".join(
                f"{method}: {', '.join(f'{key}={value}' for key, value in table.items()) or 'none'}"
                for method, table in known.items()
            )
            raise RequestError(f"There is no parameter {name!r}. Parameters: {listing}.")
    return {
        method: {key: value for key, value in parameters.items() if key in table} for method, table in known.items()
    }
