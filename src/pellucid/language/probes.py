"""Pictures that units are probed with, as a recipe, so that anyone can probe with the same again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.images.reading import read
from pellucid.subject import VisionModel
from pellucid.testbed.planted import codes
from pellucid.testbed.scene import Scenes, scenes

SOURCES = ("scenes", "photographs", "files")
PAINTS = ("lit", "flat", "coded")
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "china", "flower")  # colour, and there without a download
_LEAST, _MOST = 0.25, 0.8  # side of a crop, in shares of the photograph's shorter side


@dataclass(frozen=True)
class Probe:
    """Pictures to probe with.

    source: `scenes` of the testbed, crops of the `photographs` that come with scikit-image and scikit-learn, or `files`
    paint:  of scenes, how the model sees them; the encoder always sees them `lit`
    """

    source: str = "scenes"
    seed: int = 1000
    count: int = 600
    paint: str = "lit"
    paths: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.source not in SOURCES or self.paint not in PAINTS:
            raise RequestError(
                f"A probe of {self.source!r} in {self.paint!r}; expected {', '.join(SOURCES)} and {', '.join(PAINTS)}."
            )
        if self.source == "files" and not self.paths:
            raise RequestError("A probe of files names none.")

    @classmethod
    def for_model(cls, model: VisionModel, *, seed: int = 1000, count: int = 600) -> Probe:
        """Scenes as this net of the testbed reads them; photographs for every other model."""
        if model.name in ("planted_linear", "planted_edges") or model.name.startswith("planted_head"):
            raise RequestError(f"{model.name} reads no scenes, so captions cannot name its units.")
        if model.name == "planted_hues":
            return cls("scenes", seed, count, "flat")
        if model.name.startswith("planted_"):
            return cls("scenes", seed, count, "coded")
        known = model.input_size == (64, 64)
        return cls("scenes" if known else "photographs", seed, count)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Probe:
        seed, count = int(record["seed"]), int(record["count"])
        return cls(str(record["source"]), seed, count, str(record["paint"]), tuple(record["paths"]))

    def frames(self) -> tuple[Frame, ...]:
        """The pictures as a person, or an encoder, sees them."""
        if self.source == "scenes":
            return self.scenes().frames()
        if self.source == "photographs":
            return _crops(self.seed, self.count)
        return tuple(read(path) for path in self.paths[: self.count])

    def scenes(self) -> Scenes:
        """The scenes on lit paper."""
        return _lit(self.seed, self.count)

    def inputs(self, model: VisionModel) -> Float[Tensor, "picture channel height width"]:
        """The same pictures as the model takes them."""
        if self.source != "scenes":
            return model.prepare(self.frames())
        lit = self.scenes()
        assert lit.pixels.size  # painted here, so that the coded ones share it
        painted = {"lit": lambda: lit, "flat": lambda: lit.with_world(flat=True), "coded": lambda: codes.coded(lit)}
        return painted[self.paint]().tensor()


def responses(
    model: VisionModel, inputs: Float[Tensor, "picture channel height width"], layer: str, *, pool: str = "mean",
    batch: int = 64,
) -> Float[np.ndarray, "picture unit"]:  # fmt: skip
    """What every unit of a layer answers to every picture: its `mean` or `max` over the grid."""
    if pool not in ("mean", "max"):
        raise RequestError(f"pool={pool!r}; expected mean or max.")
    pooled = [
        grid.mean(dim=(2, 3)) if pool == "mean" else grid.amax(dim=(2, 3))
        for grid in grids(model, inputs, layer, batch)
    ]
    return torch.cat(pooled).double().cpu().numpy()


def grids(
    model: VisionModel, inputs: Float[Tensor, "picture channel height width"], layer: str, batch: int = 64
) -> Iterator[Float[Tensor, "picture unit h w"]]:
    """The same before it is pooled, some pictures at a time."""
    from pellucid.engine import look
    from pellucid.values import Activation

    for block in inputs.split(batch):
        yield look(model, block, 0, needs=[Activation], layers=[layer]).activation(layer)


@lru_cache(maxsize=1)
def _lit(seed: int, count: int) -> Scenes:
    """Painted once for all claims that were made with them."""
    return scenes(seed, count, camera=0.0)


def _crops(seed: int, count: int) -> tuple[Frame, ...]:
    """Squares of random size and place, the photographs in turn, so that each is in both halves."""
    photographs, rng = [(name, _photograph(name)) for name in PHOTOGRAPHS], np.random.default_rng(seed)
    return tuple(_crop(*photographs[at // 2 % len(photographs)], at, rng) for at in range(count))


def _crop(name: str, pixels: np.ndarray, at: int, rng: np.random.Generator) -> Frame:
    side = round(min(pixels.shape[:2]) * rng.uniform(_LEAST, _MOST))
    top, left = (int(rng.integers(0, length - side + 1)) for length in pixels.shape[:2])
    return Frame(pixels[top : top + side, left : left + side], f"{name} {at}")


def _photograph(name: str) -> np.ndarray:
    from skimage import data
    from sklearn.datasets import load_sample_image

    pixels: Any = load_sample_image(f"{name}.jpg") if name in ("china", "flower") else getattr(data, name)()
    return np.asarray(pixels, dtype=np.uint8)


def held_out(count: int) -> Sequence[bool]:
    """Which pictures judge the names: every second one; the others help to find them."""
    return [at % 2 == 1 for at in range(count)]
