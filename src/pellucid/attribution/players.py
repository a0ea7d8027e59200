"""Segments of a picture as players of a game: who they are, and what the target is when only some of them are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.errors import RequestError
from pellucid.images import superpixels


def segments_of(evidence: Evidence, segments: int | Int[Tensor, "height width"]) -> list[Int[Tensor, "height width"]]:
    """Segment numbers 0, 1, 2 ... of every picture, on the CPU; an int is about how many superpixels."""
    if isinstance(segments, Tensor):
        return _given(evidence, segments)
    return [
        torch.as_tensor(superpixels.slic(picture, segments, preprocess=evidence.preprocess)).long()
        for picture in evidence.inputs.cpu()
    ]


def few_segments_of(
    evidence: Evidence, segments: int | Int[Tensor, "height width"], most: int
) -> list[Int[Tensor, "height width"]]:
    """The same, in exactly that number of connected segments. Raises RequestError where they are more than `most`."""
    count = len(segments.unique()) if isinstance(segments, Tensor) else segments
    if count > most:
        raise RequestError(f"There are {count} segments; their coalitions can be tried of at most {most}.")
    if isinstance(segments, Tensor):
        return _given(evidence, segments)
    return [
        torch.as_tensor(superpixels.merged(picture, segments, preprocess=evidence.preprocess)).long()
        for picture in evidence.inputs.cpu()
    ]


def scores_shown(
    evidence: Evidence,
    maps: Sequence[Int[Tensor, "height width"]],
    shown: Sequence[Float[Tensor, "_ _"]],
    baseline: str,
) -> Float[Tensor, "batch sample"]:
    """The target when only the chosen segments are shown. Shorter lists are filled up with the whole picture.

    shown: of every picture [sample segment], 1 for shown and 0 for hidden
    """
    hidden = evidence.fill(baseline)

    def points() -> Iterator[Tensor]:
        for sample in range(max(map(len, shown))):
            visible = [
                choices[sample][numbers] > 0 if sample < len(choices) else torch.ones_like(numbers, dtype=torch.bool)
                for choices, numbers in zip(shown, maps, strict=True)
            ]
            yield torch.where(torch.stack(visible)[:, None].to(hidden.device), evidence.inputs, hidden)

    scores = list(evidence.scores_at(points()))
    return torch.stack(scores, dim=1).cpu() if scores else torch.zeros(len(maps), 0)


def shares_on_pixels(
    shares: Float[Tensor, "segment"], numbers: Int[Tensor, "height width"]
) -> Float[Tensor, "height width"]:
    """Every segment's share spread evenly over its pixels, so that the map sums to what was shared."""
    return (shares / numbers.flatten().bincount(minlength=len(shares)))[numbers]


def _given(evidence: Evidence, segments: Tensor) -> list[Tensor]:
    numbers = segments.cpu().unique(return_inverse=True)[1]
    return [numbers] * len(evidence.inputs)
