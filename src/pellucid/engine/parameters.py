"""What the keywords of methods may be. One name means one thing in every method, so it is said once, here."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from pellucid.engine.relevance import COMPOSITES
from pellucid.errors import ParameterError, RequestError, nearest
from pellucid.images import baselines
from pellucid.registry import Method
from pellucid.values.layer import Layer


@dataclass(frozen=True)
class Place:
    """Where a method is asked: rows and columns of the model input, and the layer it explains at."""

    size: tuple[int, int]
    layer: Layer | None = None


Reader = Callable[[Any, Place], Any]
"""Gives a value as the method takes it (50 for 50.0). Raises Refused."""


class Refused(Exception):
    """The value is none of those `expected`; `near` are names that may have been meant."""

    def __init__(self, expected: str, near: Sequence[str] = ()) -> None:
        self.expected, self.near = expected, tuple(near)
        super().__init__(expected)


def parameters_of(method: Method) -> dict[str, Any]:
    """The keywords of a method and their defaults."""
    return {name: entry.default for name, entry in _keywords(method).items()}


def checked(method: Method, parameters: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """The parameters as the method takes them: 50 for 50.0.

    Raises RequestError for a parameter that the method does not have, ParameterError for a value it cannot have.
    """
    known = _keywords(method)
    for name in parameters:
        if name not in known:
            listing = ", ".join(f"{name}={default}" for name, default in parameters_of(method).items()) or "none"
            raise RequestError(f"{method.name} has no parameter {name!r}. Its parameters: {listing}.")
    return {name: _read(method.name, known[name], value, place) for name, value in parameters.items()}


def _read(method: str, keyword: inspect.Parameter, value: Any, place: Place) -> Any:
    read = OWN.get((method, keyword.name)) or READERS.get(keyword.name)
    if read is None or (value is None and _may_be_none(keyword)):
        return value
    try:
        return read(value, place)
    except Refused as refusal:
        raise ParameterError(method, keyword.name, value, refusal.expected, refusal.near) from None


def _keywords(method: Method) -> dict[str, inspect.Parameter]:
    entries = list(inspect.signature(method.function).parameters.values())[1:]
    return {entry.name: entry for entry in entries if entry.name != "layer"}


def _may_be_none(keyword: inspect.Parameter) -> bool:
    return keyword.default is None or "None" in str(keyword.annotation).split(" | ")


# -- kinds of value -------------------------------------------------------------------------------------------------


def whole(least: int, most: int) -> Reader:
    """A whole number; 50.0 is one, 2.5 and True are none."""

    def read(value: Any, place: Place) -> int:
        found = _whole(value)
        if found is None or not least <= found <= most:
            raise Refused(f"a whole number from {least} to {most}")
        return found

    return read


def number(words: str, *, least: float = -math.inf, above: float = -math.inf, below: float = math.inf) -> Reader:
    """A finite number; the bounds `above` and `below` do not belong to it."""

    def read(value: Any, place: Place) -> float:
        found = _finite(value)
        if found is None or found < least or not above < found < below:
            raise Refused(words)
        return found

    return read


def choice(*names: str) -> Reader:
    """One of a few names."""

    def read(value: Any, place: Place) -> str:
        if not isinstance(value, str) or value not in names:
            raise Refused(f"one of {', '.join(names)}", nearest(value, names) if isinstance(value, str) else ())
        return value

    return read


def flag(value: Any, place: Place) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise Refused("True or False")
    return bool(value)


def side(value: Any, place: Place) -> int:
    """A length in pixels or cells that the picture has room for."""
    found, room = _whole(value), max(place.size)
    if found is None or not 1 <= found <= room:
        raise Refused(f"a whole number from 1 to {room}: {_input(place)}")
    return found


def extent(value: Any, place: Place) -> int | tuple[int, int]:
    """A length in pixels, or (rows, columns)."""
    if _listed(value) is None:
        return side(value, place)
    pair = _numbers(value, [length + 1 for length in place.size])
    if pair is None or 0 in pair:
        raise Refused(f"(rows, columns), both at least 1 and inside the picture: {_input(place)}")
    return pair[0], pair[1]


def references(value: Any, place: Place) -> Tensor:
    """Other pictures as model input, [reference channel height width]."""
    given = torch.as_tensor(value) if isinstance(value, np.ndarray) else value
    fits = isinstance(given, Tensor) and given.ndim == 4 and len(given) > 0 and tuple(given.shape[2:]) == place.size
    if not fits or not given.is_floating_point() or not bool(given.isfinite().all()):
        raise Refused(f"model input [reference channel height width] of finite numbers: {_input(place)}")
    return given


def segments(value: Any, place: Place) -> int | Tensor:
    """How many patches a picture is cut into, or which patch every pixel belongs to [height width]."""
    numbers = torch.as_tensor(value) if isinstance(value, np.ndarray) else value
    if isinstance(numbers, Tensor) and tuple(numbers.shape) == place.size and not numbers.dtype.is_floating_point:
        return numbers
    count, most = _whole(value), place.size[0] * place.size[1]
    if count is None or not 2 <= count <= most:
        raise Refused(f"a whole number from 2 to {most}, or a map of whole numbers [height width]: {_input(place)}")
    return count


def counts(value: Any, place: Place) -> tuple[int, ...]:
    """Numbers of patches into which the picture is cut, one cut after the other."""
    most = place.size[0] * place.size[1]
    found = [_whole(entry) for entry in _listed(value) or []]
    kept = tuple(entry for entry in found if entry is not None and 2 <= entry <= most)
    if not found or len(kept) < len(found):
        raise Refused(f"some whole numbers from 2 to {most}: {_input(place)}")
    return kept


def channels(value: Any, place: Place) -> list[int]:
    """Some channels of the layer, by number."""
    count, listed = _channels_of(place), _listed(value) or []
    found = _numbers(listed, [count] * len(listed))
    if not found:
        raise Refused("some channels by number" if count == math.inf else f"some of 0 to {count - 1}, its channels")
    return found


def parts_of_size(value: Any, place: Place) -> tuple[float, ...]:
    """Some sizes of the picture, in parts of its own."""
    found = [_finite(entry) for entry in _listed(value) or []]
    kept = tuple(entry for entry in found if entry is not None and 0.1 <= entry <= 4)
    if not found or len(kept) < len(found):
        raise Refused("some numbers from 0.1 to 4, parts of the picture's size, such as [0.5, 1, 1.5]")
    return kept


def layer_names(value: Any, place: Place) -> list[str]:
    """Layers of the model by name, one at least."""
    listed = _listed(value) or []
    names = [one.name if isinstance(one, Layer) else one for one in listed]
    if not names or not all(isinstance(name, str) for name in names):
        raise Refused("names of layers, such as ['layer2', 'layer3']; `pellucid layers` lists them")
    return cast("list[str]", names)


def some_from_0(value: Any, place: Place) -> tuple[int, ...]:
    """Some whole numbers, 0 or more."""
    listed = _listed(value) or []
    found = _numbers(listed, [math.inf] * len(listed))
    if not found:
        raise Refused("some whole numbers, counted from 0, such as [0, 3]")
    return tuple(found)


def cell(value: Any, place: Place) -> tuple[int, int]:
    """(row, column) on a grid over the picture."""
    found = _numbers(value, place.size)
    if found is None:
        raise Refused(f"(row, column) on the grid, counted from 0: {_input(place)}")
    return found[0], found[1]


def neurons(value: Any, place: Place) -> Tensor | list[tuple[int, ...]]:
    """Some positions of the layer's grid as a mask [h w], or some neurons as (channel, row, column)."""
    count, (rows, columns) = _channels_of(place), (place.layer and place.layer.grid) or place.size
    mask = torch.as_tensor(value) if isinstance(value, np.ndarray) else value
    if isinstance(mask, Tensor) and mask.dtype == torch.bool and tuple(mask.shape) == (rows, columns):
        return mask
    listed = [] if isinstance(mask, Tensor) else _listed(value) or []
    found = [_numbers(entry, (count, rows, columns)) for entry in listed]
    if not found or None in found:
        raise Refused(
            f"True and False on the layer's grid [{rows} {columns}], or some neurons (channel, row, column) of "
            f"{count} channels on that grid"
        )
    return [tuple(entry) for entry in found if entry]


def explainer(value: Any, place: Place) -> Any:
    """An explainer that was fitted to the model, or its file."""
    known = Path(value).expanduser().is_file() if isinstance(value, (str, Path)) else hasattr(value, "fingerprint")
    if not known:
        raise Refused("a file that `pellucid fit` wrote, or an Explainer")
    return value


_MOST = 1_000_000  # passes; more is a slip of the finger
_MOST_STEPS = 10_000  # past this the points of a quadrature rule cost more than the passes

_LAYER_MAPS = ("grad_cam", "grad_cam_pp", "layer_cam", "hires_cam", "xgrad_cam", "eigen_grad_cam", "normgrad")
_PIXEL_MAPS = (
    "gradient", "gradient_x_input", "guided_backprop", "deconvnet", "smoothgrad", "smoothgrad_squared", "vargrad",
    "integrated_gradients",
)  # fmt: skip

READERS: dict[str, Reader] = {
    "aggregate": choice("norm", "sum", "max", "filter_norm"),
    "area": number("a part between 0 and 1, both excluded", above=0, below=1),
    "base": choice(*_LAYER_MAPS),
    "baseline": choice(*(kind for kind in baselines.KINDS if kind not in baselines.BY_MASK)),
    "block": whole(-_MOST, _MOST),
    "center": flag,
    "channels": channels,
    "closer": whole(0, _MOST),
    "combine": choice("product", "geometric_mean", "sum"),
    "composite": choice("auto", *COMPOSITES),
    "cutoff": number("a number of cycles above 0", above=0),
    "cuts": counts,
    "deviations": number("a number, 0 or more", least=0),
    "discard": number("a part from 0 to below 1", least=0, below=1),
    "distance": number("a part from 0 to 1", least=0, below=1 + 1e-9),
    "draws": whole(1, _MOST),
    "explainer": explainer,
    "filtered": choice("signed", "magnitude"),
    "fraction": number("a part above 0, up to 1", above=0, below=1 + 1e-9),
    "fuse": choice("mean", "max", "min"),
    "gamma": number("a number above 0", above=0),
    "goal": choice("delete", "keep"),
    "grid": side,
    "growth": number("a part above 0, up to 4", above=0, below=4 + 1e-9),
    "heads": some_from_0,
    "identity": choice("bias", "scaling", "conv1x1", "conv3x3", "depthwise3x3"),
    "jitter": whole(0, _MOST),
    "keep": number("a chance between 0 and 1, both excluded", above=0, below=1),
    "kernel": number("a number above 0", above=0),
    "last": whole(1, _MOST),
    "layers": layer_names,
    "lazy": flag,
    "least": number("a chance from 0 to below 1", least=0, below=1),
    "levels": whole(1, 12),
    "links": choice("loosened", "attention", "equal"),
    "masks": whole(1, _MOST),
    "match": choice("overlap", "class"),
    "measure": choice("logit", "rank"),
    "mode": choice("hybrid", "certified"),
    "most_steps": whole(1, _MOST_STEPS),
    "neighbours": whole(1, _MOST),
    "neurons": neurons,
    "noise": number("a number, 0 or more", least=0),
    "pool": choice("mean", "head"),
    "query": cell,
    "radius": number("a part above 0, up to 1", above=0, below=1 + 1e-9),
    "rate": number("a finite number"),
    "references": references,
    "ridge": number("a number, 0 or more", least=0),
    "rivals": whole(1, _MOST),
    "roughness": number("a number, 0 or more", least=0),
    "samples": whole(1, _MOST),
    "scales": whole(1, 100),
    "segments": segments,
    "sigma": number("a number of pixels above 0", above=0),
    "single_head_compat": flag,
    "smoothing": number("a number of pixels, 0 or more", least=0),
    "span": whole(1, _MOST),
    "span_stride": whole(1, _MOST),
    "sparsity": number("a number, 0 or more", least=0),
    "spatial": number("a number, 0 or more", least=0),
    "steps": whole(1, _MOST_STEPS),
    "strength": number("a number, 0 or more", least=0),
    "stride": extent,
    "temperature": number("a number above 0", above=0),
    "tolerance": number("a number, 0 or more", least=0),
    "top": whole(1, _MOST),
    "updates": whole(1, _MOST_STEPS),
    "weights": choice("equal", "sensitivity"),
    "width": number("a number above 0", above=0),
    "window": extent,
}
"""How the value of each keyword is read, by its name. A house test sees to it that every method's are here."""

OWN: dict[tuple[str, str], Reader] = {
    ("forgrad", "base"): choice(*_PIXEL_MAPS),
    ("msea", "base"): choice(*_LAYER_MAPS, *_PIXEL_MAPS),
    ("msea", "fuse"): choice("mean", "normalised"),
    ("msea", "scales"): parts_of_size,
    ("kpca_cam", "kernel"): choice("sigmoid", "rbf", "poly", "cosine", "linear"),
    ("refined_occlusion", "window"): side,
    ("sess", "fuse"): choice("mean", "max"),
}
"""Where one method asks for more than the name does."""

# -- small things ---------------------------------------------------------------------------------------------------


def _whole(value: Any) -> int | None:
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    found = _finite(value)
    return int(found) if found is not None and found.is_integer() else None


def _finite(value: Any) -> float | None:
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _listed(value: Any) -> list[Any] | None:
    """The entries of a list, tuple, range, array or tensor; None for anything else, words included."""
    if isinstance(value, (Tensor, np.ndarray)):
        return value.tolist() if value.ndim else None
    return list(cast("Sequence[Any]", value)) if isinstance(value, (list, tuple, range)) else None


def _numbers(value: Any, ends: Sequence[float]) -> list[int] | None:
    """Whole numbers, each from 0 to below its end; None where `value` is anything else."""
    listed = _listed(value)
    if listed is None or len(listed) != len(ends):
        return None
    pairs = zip(map(_whole, listed), ends, strict=True)
    found = [one for one, end in pairs if one is not None and 0 <= one < end]
    return found if len(found) == len(listed) else None


def _channels_of(place: Place) -> float:
    return place.layer.channels if place.layer and place.layer.channels else math.inf


def _input(place: Place) -> str:
    return f"the model input has {place.size[0]} x {place.size[1]} pixels"
