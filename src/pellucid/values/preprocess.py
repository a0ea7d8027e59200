"""How a picture becomes model input, as a value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from pellucid.errors import RequestError, nearest

Interpolation = Literal["bicubic", "bilinear", "nearest", "lanczos"]
Fit = Literal["crop", "cover", "pad", "stretch"]

_LARGEST_MEAN = 2.0  # beyond it the colours are surely those of 0..255, and every input would be nearly constant


@dataclass(frozen=True)
class Preprocess:
    """Resize, then crop or pad to `size`, scale to 0..1, subtract `mean`, divide by `std`.

    size:   rows and columns of the model input; None takes the picture's own size after the resize
    resize: the length or the box that the resize aims at
    fit:    how the resize aims. What is then larger than `size` loses its border, what is smaller gets one

            `crop`    an int is the new length of the shorter side, a pair is exact rows and columns (the picture is
                      stretched), None does not resize
            `cover`   the ratio is kept and the box is covered: its shorter side, measured against the box, fits exactly
            `pad`     the ratio is kept and the picture lies inside the box; the border is the mean colour
            `stretch` the box is filled, whatever becomes of the ratio

            The last three take a pair as `resize`; None is `size` itself.
    mean, std: per channel, in 0..1 pixel units

    Raises RequestError, with the choices, for anything else.
    """

    size: tuple[int, int] | None = None
    resize: int | tuple[int, int] | None = None
    fit: Fit = "crop"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    interpolation: Interpolation = "bicubic"

    def __post_init__(self) -> None:
        _check_choice("fit", self.fit, get_args(Fit))
        _check_choice("interpolation", self.interpolation, get_args(Interpolation))
        size = None if self.size is None else _lengths("size", self.size)
        resize = None if self.resize is None else _resize(self.resize, self.fit)
        if self.fit != "crop" and size is None and resize is None:
            raise RequestError(f"Preprocess(fit={self.fit!r}) needs a box to aim at: give size, or resize, or both.")
        mean, std = _colours("mean", self.mean), _colours("std", self.std)
        if min(std) <= 0:
            raise RequestError(f"Preprocess.std is {std}; every value must be above 0.")
        if max(map(abs, mean)) > _LARGEST_MEAN:
            raise RequestError(f"Preprocess.mean is {mean}; pixels run from 0 to 1 here. Divide mean and std by 255.")
        plain = {"size": size, "resize": resize, "mean": mean, "std": std}  # lists and numpy's numbers become ours
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    @property
    def box(self) -> tuple[int, int] | None:
        """Rows and columns that `cover`, `pad` and `stretch` aim at; None where `fit` is `crop`."""
        if self.fit == "crop":
            return None
        return self.resize if isinstance(self.resize, tuple) else self.size

    def to_dict(self) -> dict[str, object]:
        return {
            "size": list(self.size) if self.size else None,
            "resize": list(self.resize) if isinstance(self.resize, tuple) else self.resize,
            "fit": self.fit, "mean": list(self.mean), "std": list(self.std), "interpolation": self.interpolation,
        }  # fmt: skip


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if isinstance(value, str) and value in choices:
        return
    guess = nearest(value, choices) if isinstance(value, str) else ()
    hint = f" Did you mean {guess[0]!r}?" if guess else ""
    listing = ", ".join(map(repr, choices))
    raise RequestError(f"Preprocess.{name} is {value!r}; expected one of {listing}.{hint}")


def _is_length(value: object) -> bool:
    """A whole number above 0, numpy's too; True is none."""
    return hasattr(value, "__index__") and not isinstance(value, bool) and int(cast("Any", value)) > 0


def _resize(value: object, fit: Fit) -> int | tuple[int, int]:
    if not _is_length(value):
        return _lengths("resize", value, "a whole number above 0 for the shorter side, or " if fit == "crop" else "")
    if fit != "crop":
        raise RequestError(
            f"Preprocess(fit={fit!r}) aims at a box, so resize={value} contradicts it. Give resize=(rows, columns), "
            f"leave it out to aim at size itself, or use fit='crop'."
        )
    return int(cast("Any", value))


def _lengths(name: str, value: object, otherwise: str = "") -> tuple[int, int]:
    parts = _parts(value)
    if parts is None or len(parts) != 2 or not all(map(_is_length, parts)):
        raise RequestError(
            f"Preprocess.{name} is {value!r}; expected {otherwise}two whole numbers above 0, (rows, columns)."
        )
    return int(parts[0]), int(parts[1])


def _colours(name: str, value: object) -> tuple[float, float, float]:
    parts = _parts(value)
    if parts is None or len(parts) != 3 or not all(map(_is_finite, parts)):
        raise RequestError(f"Preprocess.{name} is {value!r}; expected three finite numbers: red, green, blue.")
    return float(parts[0]), float(parts[1]), float(parts[2])


def _parts(value: object) -> list[Any] | None:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        return None
    return list(cast("Iterable[Any]", value))


def _is_finite(value: object) -> bool:
    if isinstance(value, (bool, str)):
        return False
    try:
        return math.isfinite(cast("Any", value))
    except (TypeError, ValueError):
        return False
