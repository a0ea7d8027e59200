"""Where in a film one method looked, and when."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import numpy as np
from jaxtyping import Float, UInt8
from markupsafe import Markup
from PIL import Image
from rich.console import RenderableType
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.canvas import fragments, painting, terminal
from pellucid.canvas.overlay import overlay
from pellucid.canvas.raster import enlarged
from pellucid.canvas.scales import scale
from pellucid.canvas.words import listed, percent, title
from pellucid.errors import ShapeError
from pellucid.results.encoding import from_plain, map_from_plain, map_to_plain, to_plain
from pellucid.results.model_card import ModelCard
from pellucid.results.result import Result
from pellucid.values import Check


@dataclass(frozen=True, eq=False)
class ClipMap(Result):
    """The map of one method over one film, in the unit and with the sign of its paper.

    values: at the size of the model input; pixels: the frames as they are shown
    layer:  where it was read; None for methods of the input
    signed: negative values mean evidence against the target
    """

    noun: ClassVar[str] = "clip map"

    values: Float[Tensor, "frame height width"]
    pixels: UInt8[np.ndarray, "frame rows columns 3"]
    name: str
    method: str
    target_name: str
    layer: str | None
    signed: bool
    probability: float | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    model: ModelCard = field(default_factory=lambda: ModelCard("unknown"))
    seed: int = 0

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or len(self.values) != len(self.pixels):
            expected = f"[frame height width] of {len(self.pixels)} frames"
            raise ShapeError("ClipMap.values", got=tuple(self.values.shape), expected=expected)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def title(self) -> str:
        """The method's name as a reader writes it."""
        return title(self.method)

    @property
    def over_time(self) -> Float[np.ndarray, "frame"]:
        """How much of the map lies in each frame: magnitudes where it is signed, else what is above zero. Sums to 1.

        Zeros for a map that holds nothing.
        """
        weight = self.values.abs() if self.signed else self.values.clamp(min=0)
        each = weight.double().sum(dim=(1, 2)).numpy()
        return each / each.sum() if each.sum() > 0 else each

    @property
    def sentence(self) -> str:
        """What was explained, and when the map speaks."""
        sure = "" if self.probability is None else f" ({percent(self.probability)})"
        share = self.over_time
        first = sorted(np.argsort(-share, kind="stable")[: max(1, len(self) // 2)].tolist())
        where = f" at {self.layer}" if self.layer else ""
        told = f"frames {listed([str(at) for at in first])} hold {percent(float(share[first].sum()))} of the map"
        return f"{self.name}: {self.target_name}{sure}, by {self.title}{where}. Counted from 0, {told}."

    def to_dict(self) -> dict[str, Any]:
        return {
            "values": map_to_plain(self.values), "pixels": to_plain(self.pixels), "name": self.name,
            "method": self.method, "target_name": self.target_name, "layer": self.layer, "signed": self.signed,
            "probability": self.probability, "parameters": to_plain(self.parameters),
            "checks": [to_plain(check.to_dict()) for check in self.checks], "notes": list(self.notes),
            "model": self.model.to_dict(), "seed": self.seed,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ClipMap:
        """The map that `to_dict` wrote, rounded to float16."""
        known = {name: record[name] for name in
                 ("name", "method", "target_name", "layer", "signed", "probability", "seed")}  # fmt: skip
        checks = cast("list[dict[str, Any]]", from_plain(record["checks"]))
        return cls(
            values=map_from_plain(record["values"]), pixels=from_plain(record["pixels"]),
            parameters=from_plain(record["parameters"]), checks=tuple(Check(**check) for check in checks),
            notes=tuple(record["notes"]), model=ModelCard.from_dict(record["model"]), **known,
        )  # fmt: skip

    def drawn(self) -> UInt8[np.ndarray, "frame rows columns 3"]:
        """The map over each frame, all of them in one scale of colours."""
        size = self.pixels.shape[1:3]
        grids = interpolate(self.values[:, None], size, mode="bilinear", align_corners=False)
        tall = overlay(self.pixels.reshape(-1, *self.pixels.shape[2:]), grids.reshape(-1, size[1]).numpy(),
                       signed=self.signed)  # fmt: skip
        return tall.pixels.reshape(self.pixels.shape)

    def fragment(self) -> Markup:
        share = self.over_time
        tiles = [
            fragments.tile(pixels, f"frame {at} with its map", f"frame {at}: {percent(float(share[at]))}", side=200)
            for at, pixels in enumerate(self.drawn())
        ]
        return fragments.gallery(self.title, self.sentence, tiles, " ".join(self.notes))

    def __rich__(self) -> RenderableType:
        return terminal.bars([(f"frame {at}", float(share)) for at, share in enumerate(self.over_time)])

    def _writers(self) -> Mapping[str, Callable[[], bytes]]:
        return {**super()._writers(), ".png": self._png, ".gif": self._animated, ".npz": self._npz}

    def _png(self) -> bytes:
        """A strip: the frames, below them the same with their maps, and a bar for how much of the map each holds."""
        share, maps = self.over_time, self.drawn()
        columns = [
            painting.column([
                painting.plate(frame, _EACH), painting.plate(shown, _EACH), _bar(float(part), float(share.max())),
                painting.text(f"{at}: {percent(float(part))}", 20, _EACH, painting.MUTED),
            ], 8)
            for at, (frame, shown, part) in enumerate(zip(self.pixels, maps, share, strict=True))
        ]  # fmt: skip
        rows = [painting.row(columns[first : first + _ACROSS], 12) for first in range(0, len(columns), _ACROSS)]
        width = rows[0].width
        head = painting.text(self.sentence, 24, width)
        key = painting.scale_bar(scale(self.signed), min(width, 480))
        return painting.png(painting.framed(painting.column([head, *rows, key], 28), 40))

    def _animated(self) -> bytes:
        """Frame and map beside each other, as a film that repeats."""
        shown = [
            Image.fromarray(np.concatenate([enlarged(frame, 256), enlarged(drawn, 256)], axis=1))
            for frame, drawn in zip(self.pixels, self.drawn(), strict=True)
        ]
        buffer = io.BytesIO()
        shown[0].save(buffer, "GIF", save_all=True, append_images=shown[1:], duration=_MILLISECONDS, loop=0)
        return buffer.getvalue()

    def _npz(self) -> bytes:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, values=self.values.numpy(), method=self.method, target=self.target_name,
                            name=self.name, layer=self.layer or "", seed=self.seed, signed=self.signed)  # fmt: skip
        return buffer.getvalue()


_EACH, _ACROSS = 168, 8
_MILLISECONDS = 300


def _bar(share: float, most: float) -> Image.Image:
    """How much of the map a frame holds, beside the frame that holds most."""
    bar = np.full((8, _EACH, 3), 232, dtype=np.uint8)
    bar[:, : round(_EACH * share / most) if most > 0 else 0] = (11, 107, 99)
    return Image.fromarray(bar)
