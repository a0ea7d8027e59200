"""Names in a target become numbers of this model."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from torch import Tensor

from pellucid.errors import TargetError
from pellucid.images import Frame
from pellucid.subject.places import settled_box, settled_pixels
from pellucid.values import (
    Box,
    Call,
    Class,
    Contrast,
    Pixels,
    Predicted,
    Probability,
    Similar,
    Target,
    Text,
    Unit,
)

if TYPE_CHECKING:
    from pellucid.subject.model import VisionModel

Asked = Target | SupportsIndex | str | bytes | Callable[..., Any] | None


def resolve(model: VisionModel, asked: Asked | Sequence[Asked], batch: int) -> tuple[Target, ...]:
    """One target per picture, every name in it resolved; `Predicted` waits for the first pass.

    asked: None (the predicted class), an index, a label, a Target, a callable on the output, or a list with one each
    Raises UnknownClass, UnknownLayer, TargetError.
    """
    if isinstance(asked, Sequence) and not isinstance(asked, (str, bytes)):
        if len(asked) != batch:
            raise TargetError(f"{len(asked)} targets for {batch} pictures; expected one target, or one per picture.")
        return tuple(value(model, entry) for entry in asked)
    return (value(model, asked),) * batch


def value(model: VisionModel, asked: Asked) -> Target:
    """What was asked for as a resolved Target; `Predicted` stays, for it depends on the picture."""
    if asked is None:
        return Predicted()
    if isinstance(asked, (bool, float)):
        raise TargetError(f"{asked!r} is no target; expected a class index or name, a Target or a callable.")
    if isinstance(asked, str):
        return Text(asked, model.labels.index(asked)) if model.texts and asked in model.labels else Class(
            model.labels.index(asked)
        )  # fmt: skip
    if hasattr(asked, "__index__"):
        return Class(_class(model, asked))
    if not isinstance(asked, Target):
        if callable(asked):
            return Call(asked)
        raise TargetError(f"{asked!r} is no target; expected a class index or name, a Target or a callable.")
    settle = _SETTLE.get(type(asked))
    return settle(model, asked) if settle else asked


def in_words(model: VisionModel, target: Target) -> str:
    """The target as a reader would say it: a class name, "cat rather than dog", "unit 17 of layer4"."""
    name = model.labels.name
    match target:
        case Class(index=index) if isinstance(index, int):
            return name(index)
        case Contrast(this=this, that=that) if isinstance(this, int) and isinstance(that, int):
            return f"{name(this)} rather than {name(that)}"
        case Probability(index=index) if isinstance(index, int):
            return f"the probability of {name(index)}"
        case Unit(layer=layer, channel=channel, position=position):
            return f"unit {channel} of {layer}" + (f" at {position}" if position else "")
        case Text(text=text):
            return text
        case Box(index=index, sides=sides) if isinstance(index, int):
            return f"{name(index)} at {', '.join(f'{side:.0f}' for side in sides)}"
        case Pixels(index=index, mask=mask) if isinstance(index, int):
            return f"{name(index)} in {'the whole picture' if mask is None else f'{int(mask.sum())} pixels'}"
        case Similar(reference=reference):
            return f"likeness to {getattr(reference, 'name', 'the reference')}"
        case Call() as call:
            return call.title
        case _:
            return "the predicted class"


def _class(model: VisionModel, asked: Any) -> int:
    """The index of a class by name or whole number, those of NumPy and torch too."""
    if isinstance(asked, str):
        return model.labels.index(asked)
    try:
        number = operator.index(asked)
    except TypeError:
        number = None
    if number is None or isinstance(asked, bool):
        raise TargetError(
            f"{asked!r} is no class; expected its index or its name. Targets of several pictures are a list."
        )
    return model.labels.index(number)


def _settle_contrast(model: VisionModel, target: Contrast) -> Target:
    settled = Contrast(_class(model, target.this), _class(model, target.that))
    if settled.this == settled.that:
        raise TargetError(f"Contrast compares class {settled.this} with itself; name two different classes.")
    return settled


def _settle_unit(model: VisionModel, target: Unit) -> Target:
    layer = model.layers[target.layer]
    if not isinstance(target.channel, int) or isinstance(target.channel, bool):
        raise TargetError(f"Unit of {layer.name!r}: the channel is {target.channel!r}; expected a whole number.")
    if not 0 <= target.channel < layer.channels:
        raise TargetError(
            f"Layer {layer.name!r} has {layer.channels} channels, 0 to {layer.channels - 1}; there is no channel "
            f"{target.channel}."
        )
    if target.position is not None:
        if layer.grid is None:
            raise TargetError(f"Layer {layer.name!r} has no grid, so a unit of it has no position.")
        rows, columns = layer.grid
        place: Any = target.position
        whole = isinstance(place, tuple) and len(place) == 2 and all(isinstance(entry, int) for entry in place)
        if not whole or not (0 <= place[0] < rows and 0 <= place[1] < columns):
            raise TargetError(
                f"Layer {layer.name!r} has a grid of {rows} x {columns}; there is no cell {target.position}."
            )
    return replace(target, layer=layer.name)


def _settle_text(model: VisionModel, target: Text) -> Target:
    if target.text in model.labels:
        return Text(target.text, model.labels.index(target.text))
    if model.text_encoder is None:
        raise TargetError(
            f"{model.name} does not compare pictures with texts. Texts need a dual encoder such as "
            f"hf:openai/clip-vit-base-patch32 or open_clip:ViT-B-32."
        )
    return Similar(reference=target.text, layer="embedding", embedding=model.text_encoder(target.text))


def _settle_similar(model: VisionModel, target: Similar) -> Target:
    if target.embedding is not None:
        return target
    if target.reference is None:
        raise TargetError("Similar needs a reference: a Frame or model input [1 3 height width].")
    if not isinstance(target.reference, (Frame, Tensor)):
        given = type(target.reference).__name__
        raise TargetError(f"Similar got a {given}; expected a Frame (pl.read) or model input [1 3 height width].")
    embedding = model.embed(target.reference, target.layer)
    return replace(target, embedding=embedding)


_SETTLE: dict[type, Callable[..., Target]] = {
    Class: lambda model, target: Class(_class(model, target.index)),
    Probability: lambda model, target: Probability(_class(model, target.index), model.activation),
    Contrast: _settle_contrast,
    Unit: _settle_unit,
    Text: _settle_text,
    Similar: _settle_similar,
    Box: lambda model, target: settled_box(model, target, _class(model, target.index)),
    Pixels: lambda model, target: settled_pixels(model, target, _class(model, target.index)),
}


@overload
def class_in_words(target: str | int) -> str | int: ...
@overload
def class_in_words(target: str | int | None) -> str | int | None: ...
def class_in_words(target: str | int | None) -> str | int | None:
    """A number is a class index; anything else a name, "³" and a thousand digits too."""
    if isinstance(target, str) and re.fullmatch(r"-?[0-9]{1,99}", target.strip()):
        return int(target)
    return target
