"""Where one method looked, for a batch of pictures."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, cast

import numpy as np
import torch
from jaxtyping import Float
from markupsafe import Markup
from rich.console import RenderableType
from torch import Tensor

from pellucid.canvas import fragments, terminal
from pellucid.canvas.words import listed, title
from pellucid.errors import RequestError, ShapeError, UnknownPicture
from pellucid.images import Frame
from pellucid.images.readings import READINGS, RegionReading
from pellucid.results import sheet
from pellucid.results.drawing import drawn, picture_alt
from pellucid.results.encoding import from_plain, map_from_plain, map_to_plain, to_plain
from pellucid.results.model_card import ModelCard
from pellucid.results.result import Result
from pellucid.results.shelf import Shelf
from pellucid.values import Check, Layer, Target, target_from_dict
from pellucid.values.layer import layer_from_dict

_FLAT = 1e-6  # a range below this part of the largest magnitude is rounding, not content


@dataclass(frozen=True, eq=False)
class Heatmaps(Result):
    """Float maps of one method, one per picture, in the unit and with the sign the method's paper gives.

    values:     [batch height width] at model input size; [batch channel height width] when channels were kept
    targets:    what was explained, one per picture; `target_names` the same in words
    layer:      where it was read; None for methods of the input
    signed:     negative values mean evidence against the target
    checks:     per picture, what was tested about its map
    cost:       passes per picture
    about:      what the method is, in one line
    """

    noun: ClassVar[str] = "heatmaps"

    values: Float[Tensor, "batch height width"] | Float[Tensor, "batch channel height width"]
    method: str
    targets: tuple[Target, ...]
    target_names: tuple[str, ...]
    layer: Layer | None
    signed: bool
    frames: tuple[Frame, ...]
    seed: int = 0
    checks: tuple[tuple[Check, ...], ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    model: ModelCard = field(default_factory=lambda: ModelCard("unknown"))
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()
    cost: Mapping[str, Any] = field(default_factory=dict[str, Any])
    about: str = ""

    def __post_init__(self) -> None:
        values = torch.as_tensor(self.values).detach().to("cpu", torch.float32)
        object.__setattr__(self, "values", values)
        if values.ndim not in (3, 4):
            raise ShapeError(
                "Heatmaps.values", got=values.shape, expected="[batch height width] or [batch channel height width]"
            )
        for name, row in (("frames", self.frames), ("targets", self.targets), ("target_names", self.target_names)):
            if len(row) != len(values):
                raise ShapeError(
                    "Heatmaps.values", got=tuple(values.shape), expected=f"{len(row)} maps, one per entry of {name}"
                )
        if self.checks and len(self.checks) != len(values):
            raise ShapeError(
                "Heatmaps.checks", got=len(self.checks), expected=f"{len(values)} entries, one per picture"
            )

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int | slice) -> Heatmaps:
        """Some of the pictures; an int gives one picture, still as a batch of one. Raises UnknownPicture."""
        if not isinstance(index, slice):
            place = self._place(index)
            index = slice(place, place + 1)
        return replace(
            self, values=self.values[index], targets=self.targets[index], target_names=self.target_names[index],
            frames=self.frames[index], checks=self.checks[index],
        )  # fmt: skip

    def _place(self, index: int) -> int:
        """0 to len - 1, counted from the end where negative."""
        if not isinstance(index, int) or not -len(self) <= index < len(self):
            raise UnknownPicture(index, len(self))
        return index % len(self)

    @property
    def one_channel(self) -> Float[Tensor, "batch height width"]:
        """The maps with colour channels, if they were kept, summed with their sign."""
        return self.values.sum(dim=1) if self.values.ndim == 4 else self.values

    def on_frame(self, index: int = 0) -> Float[np.ndarray, "height width"]:
        """The map of one picture, laid back on its original pixels; 0 where the model saw nothing.

        A picture without geometry is its own model input. Raises UnknownPicture.
        """
        place = self._place(index)
        values, geometry = self.one_channel[place], self.frames[place].geometry
        return values.numpy().copy() if geometry is None else geometry.to_frame(values)

    def regions(self, how: str = "superpixels", index: int = 0, **settings: Any) -> tuple[RegionReading, ...]:
        """The map of one picture as regions of that picture, with their place in words and what the map gives to them.

        how:      `superpixels` (ranked by their mean), `rank` (the regions that XRAI takes first),
                  `boxes` around what stands out, `contour` (an outline that map and picture pull to the edges)
        settings: `count` of superpixels; `area`, the part of the picture that counts, for the others
        Raises RequestError for another word, UnknownPicture.
        """
        if how not in READINGS:
            raise RequestError(f"A map cannot be read by {how!r}; expected one of {', '.join(READINGS)}.")
        return tuple(READINGS[how](self.on_frame(index), self.frames[self._place(index)].pixels, **settings))

    def flat(self, index: int = 0) -> bool:
        """Whether the map of one picture says the same of every place."""
        values = self.one_channel[index]
        return bool((values.max() - values.min()) <= _FLAT * values.abs().max())

    def finite(self, index: int = 0) -> bool:
        """Whether every value of one map is a number."""
        return bool(torch.isfinite(self.values[index]).all())

    def passed(self, index: int = 0) -> bool:
        """Whether one map is finite, not flat and failed none of its checks."""
        checks = self.checks[index] if self.checks else ()
        return self.finite(index) and not self.flat(index) and all(check.passed is not False for check in checks)

    def failure(self, index: int = 0) -> str:
        """Why the map of one picture is not to be trusted as it stands, as a sentence; empty where it passed."""
        if not self.finite(index):
            return "It holds values that are not numbers."
        if self.flat(index):
            return "It is flat: it says the same of every place."
        failed = [check.words for check in (self.checks[index] if self.checks else ()) if check.passed is False]
        return f"It failed a check: {listed(failed)}" if failed else ""

    @property
    def title(self) -> str:
        """The method's name as a reader writes it."""
        return title(self.method)

    def to_dict(self, shelf: Shelf | None = None) -> dict[str, Any]:
        own = shelf or Shelf()
        record = {
            "values": map_to_plain(self.values), "method": self.method,
            "targets": [to_plain(target.to_dict()) for target in self.targets],
            "target_names": list(self.target_names), "layer": self.layer.to_dict() if self.layer else None,
            "signed": self.signed, "frames": [own.put(frame) for frame in self.frames], "seed": self.seed,
            "checks": [[check.to_dict() for check in row] for row in self.checks],
            "parameters": to_plain(self.parameters), "model": own.put(self.model),
            "versions": to_plain(self.versions), "notes": list(self.notes), "cost": to_plain(self.cost),
            "about": self.about,
        }  # fmt: skip
        record["checks"] = to_plain(record["checks"])
        return record if shelf else {**record, "shelf": own.to_dict()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], shelf: Shelf | None = None) -> Heatmaps:
        """The maps that `to_dict` wrote, rounded to float16."""
        own = shelf or Shelf.from_dict(record["shelf"])
        checks = cast("list[list[dict[str, Any]]]", from_plain(record["checks"]))
        return cls(
            values=map_from_plain(record["values"]), method=record["method"],
            targets=tuple(target_from_dict(target) for target in from_plain(record["targets"])),
            target_names=tuple(record["target_names"]),
            layer=layer_from_dict(record["layer"]) if record["layer"] else None,
            signed=record["signed"], frames=tuple(own.frames[place] for place in record["frames"]),
            seed=record["seed"], checks=tuple(tuple(Check(**check) for check in row) for row in checks),
            parameters=from_plain(record["parameters"]), model=own.models[record["model"]],
            versions=from_plain(record["versions"]), notes=tuple(record["notes"]), cost=from_plain(record["cost"]),
            about=record["about"],
        )  # fmt: skip

    def fragment(self) -> Markup:
        tiles = [
            fragments.tile(drawn(self, index, side=360).pixels, picture_alt(self, index), self.target_names[index])
            for index in range(min(len(self), _TILES))
        ]
        more = f"{len(self) - _TILES} more pictures are not drawn here." if len(self) > _TILES else ""
        return fragments.gallery(self.title, self.about, tiles, more)

    def __rich__(self) -> RenderableType:
        rows = [
            [frame.name, self.target_names[index], "passed" if self.passed(index) else self.failure(index)]
            for index, frame in enumerate(self.frames)
        ]
        return terminal.table(
            f"{self.title}{f' at {self.layer.name}' if self.layer else ''}", ["picture", "explains", "checks"], rows
        )

    def _writers(self) -> Mapping[str, Callable[[], bytes]]:
        return {**super()._writers(), ".png": lambda: sheet.maps_png(self), ".npz": self._npz}

    def _npz(self) -> bytes:
        buffer = io.BytesIO()
        names = [frame.name for frame in self.frames]
        np.savez_compressed(
            buffer, values=self.values.numpy(), method=self.method, names=names, targets=list(self.target_names),
            seed=self.seed, signed=self.signed, layer=self.layer.name if self.layer else "",
            fingerprint=self.model.fingerprint,
        )  # fmt: skip
        return buffer.getvalue()


_TILES = 12
