"""Which support pixels a few-shot segmenter that matches places segments a query by.

De Marinis, Kaymak, Brussee, Vessio, Castellano. Matching-based few-shot semantic segmentation models are interpretable
by design (Affinity Explainer). arXiv 2511.18163, 2025.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.errors import RequestError, ShapeError

WEIGHTINGS = ("ablation", "mean")
EXPLAINED = ("predicted", "truth", "all")
_LEAST = 1e-6  # added to every sum that divides, as published


@runtime_checkable
class Matcher(Protocol):
    """One query and its support as a few-shot segmenter sees them; a model of one's own satisfies it as it is."""

    def levels(self) -> Sequence[Float[Tensor, "down across shot row column"]]:
        """How well each query place matches each support place, per level of features, before any softmax."""
        ...

    def logits(self) -> Float[Tensor, "class height width"]:
        """The query's segmentation, background first."""
        ...

    def ablate(self, level: int) -> Float[Tensor, "class height width"]:
        """The same without what one level tells."""
        ...


@dataclass(frozen=True, eq=False)
class Affinity:
    """The support pixels of one class.

    values:  at least 0, 1 in sum over all shots
    weights: what each level counted for, 1 in sum
    blind:   whether no level's ablation took anything from the class, so that all count alike
    """

    values: Float[Tensor, "shot height width"]
    weights: Float[Tensor, "level"]
    blind: bool


def affinity(
    matcher: Matcher, of: int, explained: Bool[Tensor, "height width"], size: tuple[int, int], *,
    softmax: bool = True, weighting: str = "ablation",
) -> Affinity:  # fmt: skip
    """The support pixels that some of the query's pixels are matched to, over all levels.

    of:        the class whose logit weighs the levels
    explained: the query pixels, at the size of the logits
    size:      rows and columns of the support pictures
    softmax:   over all support places of a level; without, its scores are taken as they are and must not be negative
    weighting: `ablation`, by how much the class's logit falls in the explained pixels without a level, falls below 0
               taken as 0; `mean`, all levels alike

    Raises RequestError where nothing is explained, and without softmax for scores that are negative or all 0;
    ShapeError for scores and pixels of other sizes.
    """
    if weighting not in WEIGHTINGS:
        raise RequestError(f"weighting={weighting!r}; expected {' or '.join(WEIGHTINGS)}.")
    logits, levels = matcher.logits(), matcher.levels()
    if explained.shape != logits.shape[1:]:
        raise ShapeError("The explained pixels", got=tuple(explained.shape), expected=f"{list(logits.shape[1:])}")
    if not bool(explained.any()):
        raise RequestError(f"No pixel of the query is explained for class {of}, so no support pixel is to be found.")
    maps = torch.stack([_level(scores, explained, size, softmax) for scores in levels])
    weights, blind = _weights(matcher, logits, of, explained, len(levels), weighting)
    return Affinity(torch.einsum("l,lshw->shw", weights, maps), weights, blind)


def _level(
    scores: Float[Tensor, "down across shot row column"], explained: Bool[Tensor, "height width"],
    size: tuple[int, int], softmax: bool,
) -> Float[Tensor, "shot rows columns"]:  # fmt: skip
    """One level's map: for each support place, which part of its map over the query lies in the explained pixels."""
    if scores.ndim != 5:
        expected = "[down across shot row column]: query places by support places"
        raise ShapeError("The scores of a level", got=tuple(scores.shape), expected=expected)
    if softmax:
        scores = scores.flatten(2).softmax(dim=2).view(scores.shape)
    elif bool((scores < 0).any()):
        raise RequestError("The scores are negative in places, so without softmax they are no shares: softmax=True.")
    inside = _on_grid(explained.to(scores), scores.shape[:2])
    whole = _on_grid(torch.ones_like(explained).to(scores), scores.shape[:2])
    part = torch.einsum("dasrc,da->src", scores, inside / explained.sum())
    places = part / (torch.einsum("dasrc,da->src", scores, whole) + _LEAST)
    larger = interpolate(places[:, None], size, mode="bilinear", align_corners=False)[:, 0].cpu().float()
    if not float(larger.sum()) > 0:
        raise RequestError("A level's scores are 0 all over the explained pixels, so it has no map: softmax=True.")
    return larger / larger.sum()


def _on_grid(pixels: Float[Tensor, "height width"], grid: Sequence[int]) -> Float[Tensor, "down across"]:
    """How much each place of a grid counts in a sum over pixels of the grid enlarged bilinearly.

    The enlarged maps themselves, one per support place, would fill the memory.
    """
    down, across = (
        interpolate(torch.eye(cells).to(pixels)[None], side, mode="linear", align_corners=False)[0]
        for cells, side in zip(grid, pixels.shape, strict=True)
    )
    return down @ pixels @ across.T


def _weights(
    matcher: Matcher, logits: Tensor, of: int, explained: Tensor, levels: int, weighting: str
) -> tuple[Float[Tensor, "level"], bool]:
    alike = torch.full((levels,), 1 / levels)
    if weighting == "mean":
        return alike, False
    whole = logits[of][explained].mean()
    falls = torch.stack([whole - matcher.ablate(level)[of][explained].mean() for level in range(levels)])
    falls = falls.cpu().float().clamp(min=0)
    return (alike, True) if not float(falls.sum()) > 0 else (falls / falls.sum(), False)
