"""How a picture becomes model input, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pellucid.errors import RequestError

Interpolation = Literal["bicubic", "bilinear", "nearest", "lanczos"]


@dataclass(frozen=True)
class Preprocess:
    """Resize, then crop or pad to `size`, scale to 0..1, subtract `mean`, divide by `std`.

    size:   rows and columns of the model input; None takes the picture's own size after `resize`
    resize: an int is the new length of the shorter side; a pair is exact rows and columns (the picture is stretched);
            None does not resize
    fit:    `crop` takes the centre window of `size`, `pad` adds border until `size` is reached and never cuts (the
            longer side is resized to fit), `stretch` squeezes the whole picture into `size`
    mean, std: per channel, in 0..1 pixel units
    """

    size: tuple[int, int] | None = None
    resize: int | tuple[int, int] | None = None
    fit: Literal["crop", "stretch", "pad"] = "crop"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    interpolation: Interpolation = "bicubic"

    def __post_init__(self) -> None:
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise RequestError(f"Preprocess.size is {self.size}; expected two positive numbers, (rows, columns).")
        if min(self.std) <= 0:
            raise RequestError(f"Preprocess.std is {self.std}; every value must be above 0.")

    def to_dict(self) -> dict[str, object]:
        return {
            "size": list(self.size) if self.size else None,
            "resize": list(self.resize) if isinstance(self.resize, tuple) else self.resize,
            "fit": self.fit, "mean": list(self.mean), "std": list(self.std), "interpolation": self.interpolation,
        }  # fmt: skip
