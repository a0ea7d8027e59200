"""Results as plain JSON values, and back.

Arrays and the values of `pellucid.values` are wrapped as `{"$": kind, ...}`, so a Claim read from disk has the very
arguments it had. Maps are kept as float16 under a common power of two: 11 bits of each value, whatever its unit.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import PurePath
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import ShapeError
from pellucid.images import Frame
from pellucid.values import Layer, Preprocess, Region, Seed, Target, target_from_dict
from pellucid.values.layer import layer_from_dict


def map_to_plain(values: Tensor) -> dict[str, Any]:
    """Float maps as base64 of little-endian float16: value = stored * 2 ** exponent. NaN and infinity survive."""
    array = values.detach().cpu().double().numpy()
    finite = np.abs(array[np.isfinite(array)])
    exponent = _exponent(float(finite.max())) if finite.size and finite.max() > 0 else 0
    stored = np.ldexp(array, -exponent).astype("<f2")
    data = base64.b64encode(stored.tobytes()).decode()
    return {"dtype": "float16", "shape": list(array.shape), "exponent": exponent, "data": data}


def map_from_plain(record: Mapping[str, Any]) -> Tensor:
    """The float32 maps that `map_to_plain` wrote. Raises ShapeError where shape and data disagree."""
    stored = np.frombuffer(base64.b64decode(record["data"], validate=True), dtype="<f2")
    shape = tuple(int(length) for length in record["shape"])
    if math.prod(shape) != stored.size:
        raise ShapeError("A stored map", got=shape, expected=f"{stored.size} values")
    return torch.from_numpy(
        np.ldexp(stored.astype(np.float64), int(record["exponent"])).astype(np.float32).reshape(shape)
    )


def to_plain(value: Any) -> Any:
    """JSON's own kinds as they are, arrays and pellucid's values wrapped, anything else as its name."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$": "float", "value": str(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(entry) for key, entry in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(entry) for entry in cast("list[Any]", value)]
    if isinstance(value, (set, frozenset)):
        return sorted(to_plain(entry) for entry in cast("set[Any]", value))
    if isinstance(value, np.generic):
        return to_plain(value.item())
    for kind, wrap in _WRAP.items():
        if isinstance(value, kind):
            return wrap(value)
    if is_dataclass(value) and not isinstance(value, type):
        return to_plain(asdict(value))
    return str(value) if isinstance(value, PurePath) else getattr(value, "__name__", type(value).__name__)


def from_plain(value: Any) -> Any:
    """What `to_plain` wrote. Tuples come back as lists, tensors as arrays."""
    if isinstance(value, list):
        return [from_plain(entry) for entry in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    record = cast("dict[str, Any]", value)
    if "$" in record:
        return _UNWRAP[record["$"]](record)
    return {key: from_plain(entry) for key, entry in record.items()}


def _array_to_plain(value: np.ndarray) -> dict[str, Any]:
    array = np.ascontiguousarray(value)
    packed = np.packbits(array) if array.dtype == bool else array
    data = base64.b64encode(packed.tobytes()).decode()
    return {"$": "array", "dtype": str(array.dtype), "shape": list(value.shape), "data": data}


def _array_from_plain(record: Mapping[str, Any]) -> np.ndarray:
    data, shape = base64.b64decode(record["data"], validate=True), tuple(int(length) for length in record["shape"])
    if record["dtype"] == "bool":
        bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8))[: math.prod(shape)]
        return bits.astype(bool).reshape(shape)
    return np.frombuffer(data, dtype=np.dtype(record["dtype"])).reshape(shape).copy()


def _exponent(largest: float) -> int:
    """The power of two that brings `largest` just below 2 ** 15, float16's upper end.

    Taken after rounding to float16's 11 bits, so that writing what was read gives the same bits again.
    """
    mantissa, exponent = math.frexp(largest)
    return exponent - 15 + (1 if np.float16(mantissa) >= 1 else 0)


def _paired(value: Any) -> Any:
    """A list as the tuple that it was."""
    return tuple(cast("list[Any]", value)) if isinstance(value, list) else value


_WRAP: dict[type, Callable[[Any], Any]] = {
    np.ndarray: _array_to_plain,
    Tensor: lambda value: _array_to_plain(
        value.detach().cpu().float().numpy() if value.is_floating_point() else value.cpu().numpy()
    ),
    Frame: lambda value: {"$": "frame", "value": value.to_dict()},
    Layer: lambda value: {"$": "layer", "value": value.to_dict()},
    Target: lambda value: {"$": "target", "value": value.to_dict()},
    Seed: lambda value: {"$": "seed", "value": int(value)},
    Region: lambda value: {"$": "region", "mask": _array_to_plain(value.mask), "words": value.words},
    Preprocess: lambda value: {"$": "preprocess", "value": to_plain(asdict(value))},
}

_UNWRAP: dict[str, Callable[[dict[str, Any]], Any]] = {
    "array": _array_from_plain,
    "float": lambda record: float(record["value"]),
    "frame": lambda record: Frame.from_dict(record["value"]),
    "layer": lambda record: layer_from_dict(record["value"]),
    "target": lambda record: target_from_dict(record["value"]),
    "seed": lambda record: Seed(record["value"]),
    "region": lambda record: Region(_array_from_plain(record["mask"]), record["words"]),
    "preprocess": lambda record: Preprocess(**{name: _paired(value) for name, value in record["value"].items()}),
}  # fmt: skip
