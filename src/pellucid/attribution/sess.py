"""SESS: any class activation map, made of many crops at many scales."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from pellucid.attribution.layers import unit_range
from pellucid.engine import Evidence
from pellucid.engine.maps import upsampled
from pellucid.engine.recording import chances
from pellucid.registry import find_method, method
from pellucid.values import Activation, Gradient, Gradients, Layer, Scores


def _passes(
    *, scales: int = 12, growth: float = 0.2857, discard: float = 0.0, size: tuple[int, int] = (224, 224), **_: Any
) -> float:
    """`size` may be given by a planner that knows the model's input size."""
    count = len(_crops(size, scales, growth))
    return 3.0 * (count - floor(count * discard)) + (count if discard else 0)


@method(
    "sess",
    needs=[Activation, Gradient, Gradients, Scores],
    sees=("map", "tokens"),
    paper="Tursun et al. 2022",
    cost=_passes,
)
def sess(
    evidence: Evidence,
    layer: Layer,
    *,
    base: str = "grad_cam",
    scales: int = 12,
    growth: float = 0.2857,
    discard: float = 0.0,
    fuse: str = "mean",
    smoothing: float = 5.0,
) -> Float[Tensor, "batch height width"]:
    """The class activation maps of crops at growing scales, each weighted by the class's chance in it, laid together.

    The picture is enlarged step by step; crops of the model's input size cover every enlargement. Every crop's map is
    brought to 0..1, multiplied by the target's probability in the crop (as part of the greatest) and put back.

    base:      the map of a crop: a method that reads nothing but one layer's activation and gradient
    scales:    how many sizes, the first the picture's own
    growth:    how much larger each next one is, in parts of the picture's own size
    discard:   part of the crops, those of the lowest probability, that are left out; they still cost a forward
    fuse:      `mean` over the maps that are above zero at a pixel, or their `max`
    smoothing: standard deviation, in pixels, of the Gaussian that ends it, cut off at one of them; 0 is none
    """
    crops = _crops(evidence.size, scales, growth)
    evidence.keep([layer], gradients=True)
    chosen = _chosen(evidence, crops, discard)
    total, count = torch.zeros_like(evidence.inputs[:, 0]), torch.zeros_like(evidence.inputs[:, 0])
    best = total.new_zeros(len(evidence))
    for values, places in zip(_read(evidence, layer, base, crops, chosen), chosen.T.tolist(), strict=True):
        crop_map, scores = values[:, :-1].unflatten(1, evidence.size), values[:, -1]
        back = torch.stack([crops[place].back(one) for place, one in zip(places, crop_map, strict=True)])
        # Weights are parts of the greatest score, which is known at the end: it divides everything alike.
        weighted = scores[:, None, None] * back
        total = torch.maximum(total, weighted) if fuse == "max" else total + weighted
        count += (weighted > 0).float()
        best = torch.maximum(best, scores)
    fused = total if fuse == "max" else total / count.clamp(min=1)
    return _smoothed(fused / best.clamp(min=torch.finfo(best.dtype).tiny)[:, None, None], smoothing)


@dataclass(frozen=True)
class _Crop:
    """A window of the input's size in the picture enlarged to `larger`, its corner at `top`, `left`."""

    size: tuple[int, int]
    larger: tuple[int, int]
    top: int
    left: int

    def of(self, picture: Float[Tensor, "channel height width"]) -> Float[Tensor, "channel height width"]:
        """What the window shows of the enlarged picture."""
        return self._moved(picture, lambda side, larger, start: _resizing(side, larger, picture)[start : start + side])

    def back(self, values: Float[Tensor, "height width"]) -> Float[Tensor, "height width"]:
        """The window's map where it belongs in the picture, zeros elsewhere."""
        return self._moved(values, lambda side, larger, start: _resizing(larger, side, values)[:, start : start + side])

    def _moved(self, values: Tensor, matrix: Callable[[int, int, int], Tensor]) -> Tensor:
        rows = matrix(self.size[0], self.larger[0], self.top)
        columns = matrix(self.size[1], self.larger[1], self.left)
        return rows @ values @ columns.T


def _crops(size: tuple[int, int], scales: int, growth: float) -> list[_Crop]:
    """Windows that cover every enlargement, side by side; the last of a row or column ends at the border."""
    found: list[_Crop] = []
    for number in range(scales):
        height, width = (side + number * round(side * growth) for side in size)
        corners = [(top, left) for top in _starts(height, size[0]) for left in _starts(width, size[1])]
        found += [_Crop(size, (height, width), top, left) for top, left in corners]
    return found


def _starts(length: int, window: int) -> list[int]:
    return [min(start, length - window) for start in range(0, length, window)]


def _resizing(side: int, larger: int, like: Tensor) -> Float[Tensor, "to of"]:
    """The matrix that brings a line of `side` pixels to `larger` bilinearly, or back."""
    identity = torch.eye(side, dtype=like.dtype, device=like.device)[None, None]
    return interpolate(identity, size=(larger, side), mode="bilinear", align_corners=False)[0, 0]


def _chosen(evidence: Evidence, crops: Sequence[_Crop], discard: float) -> Int[Tensor, "batch crop"]:
    """Which crops of each picture are looked at."""
    gone = floor(len(crops) * discard)
    if not gone:
        return torch.arange(len(crops)).expand(len(evidence), -1)
    points = (torch.stack([crop.of(picture) for picture in evidence.inputs]) for crop in crops)
    scores = torch.stack([one.cpu() for one in evidence.scores_at(points, probability=True)], dim=1)
    return scores.argsort(dim=1, stable=True)[:, gone:].sort(dim=1).values


def _read(
    evidence: Evidence, layer: Layer, base: str, crops: Sequence[_Crop], chosen: Int[Tensor, "batch crop"]
) -> Iterator[Float[Tensor, "batch value"]]:
    """The map of every chosen crop, 0..1 at input size and flat, and last the target's probability in it."""
    cam = find_method(base).function

    def points() -> Iterator[Tensor]:
        for places in chosen.T.tolist():
            pairs = zip(places, evidence.inputs, strict=True)
            yield torch.stack([crops[place].of(picture) for place, picture in pairs])

    def read(asked: Evidence) -> Tensor:
        # To 0..1 on the grid first: cells of no relevance stay exact zeros, which the mean leaves out.
        values = unit_range(upsampled(unit_range(cam(asked, layer).clamp(min=0)), asked.size))
        chance = chances(asked.model, asked.targets, asked.output())
        score = asked.score() if chance is None else chance.float()
        return torch.cat([values.flatten(1), score.clamp(min=0)[:, None]], dim=1)

    return evidence.read_at(points(), read)


def _smoothed(values: Float[Tensor, "batch height width"], sigma: float) -> Float[Tensor, "batch height width"]:
    """Blurred by a Gaussian cut off at one standard deviation; the picture is mirrored at its border."""
    reach = min(round(sigma), *(side - 1 for side in values.shape[-2:]))
    if reach < 1:
        return values
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).to(values) / sigma) ** 2)
    weights = weights / weights.sum()
    rows = conv2d(pad(values[:, None], (0, 0, reach, reach), mode="reflect"), weights[None, None, :, None])
    return conv2d(pad(rows, (reach, reach, 0, 0), mode="reflect"), weights[None, None, None])[:, 0]
