"""Where the truth is known: how much of a map lies on it, and how much on what decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.trust.ground import EMPTY, Ground, known
from pellucid.trust.localisation import shared_overlap
from pellucid.trust.measured import Maps, Measured, per_map, where_judged

_POSITIVE = "values below 0, which speak against the target, are left out; a map without any other scores 0"


@metric("relevance_mass", better="higher", paper="Arras et al. 2022", needs_truth=True)
def relevance_mass(maps: Maps, truth: Ground) -> Measured:
    """What part of a map's positive evidence lies on the deciding place itself.

    Sum of the positive values inside the exact mask over their sum: 0 to 1. A flat map scores the mask's share of the
    picture. Relevance mass accuracy of CLEVR-XAI.
    """
    return _on_positive(maps, {EMPTY: truth.empty}, mass, truth.exact)


@metric("relevance_rank", better="higher", paper="Arras et al. 2022", needs_truth=True)
def relevance_rank(maps: Maps, truth: Ground, *, k: int | None = None) -> Measured:
    """How many of a map's strongest pixels lie on the truth.

    k:       how many are strongest; None is as many as the truth has, the relevance rank accuracy of CLEVR-XAI, which
             where the truth is one region orders maps as `mask_iou` does. A number is the top-k intersection of Theiner
             et al. 2022, which looks at no more of the map than that
    returns: their share on the truth, 0 to 1, ties at the cut counted with their share; where k is more than the truth
             has, no map reaches 1
    """
    pixels = truth.exact[0].numel()
    if k is not None and not 1 <= k <= pixels:
        raise RequestError(f"k={k}; expected 1 to {pixels}, the pixels of the picture.")

    def share(values: Tensor, mask: Tensor) -> Tensor:
        rows = zip(values.flatten(1), mask.flatten(1), strict=True)
        return torch.tensor([shared_overlap(one, true, k) / max(k or int(true.sum()), 1) for one, true in rows])

    return where_judged(
        maps, {EMPTY: truth.empty}, share, truth.exact, order="signed, largest first",
        unit="share of the strongest pixels",
    )  # fmt: skip


@metric("energy_pointing_game", better="higher", paper="Wang et al. 2020 (Score-CAM)", needs_truth=True)
def energy_pointing_game(maps: Maps, truth: Ground) -> Measured:
    """What part of a map's positive evidence lies within the boxes around the deciding places.

    Where no boxes are known, the box around the mask. 0 to 1; a flat map scores the boxes' share of the picture, so a
    large box is easy to hit.
    """
    return _on_positive(maps, {EMPTY: truth.empty}, mass, truth.boxed)


@metric("background_mass", better="lower", paper="Zhang et al. 2018; Yang & Kim 2019", needs_truth=True,
        reads=("background",))  # fmt: skip
def background_mass(maps: Maps, truth: Ground) -> Measured:
    """What part of a map's positive evidence lies where there is no object at all.

    0 to 1, lower is better where the background decides nothing; a flat map scores the background's share. More than
    half says that the model, or the map, looks beside the object. Raises RequestError where no background is known.
    """
    mask = known(truth.background, "background")
    return _on_positive(maps, {"it has no background": _nowhere(mask)}, mass, mask)


@metric("distractor_mass", better="lower", paper="Kim et al. 2018; Hesse et al. 2023", needs_truth=True,
        reads=("distractors",))  # fmt: skip
def distractor_mass(maps: Maps, truth: Ground) -> Measured:
    """Of a map's positive evidence on things, what part lies on those that look like a cause and decide nothing.

    Positive values on distractors over those on distractors and on the deciding place: 0 to 1. What lies beside all
    things does not count, so a map gains nothing by spreading over the background; a flat map scores the distractors'
    share of the area of things, and so does a map with no evidence on any. Pictures without distractors have no value.
    Raises RequestError where no distractors are known.
    """
    mask = known(truth.distractors, "distractors")

    def part(values: Tensor, both: Tensor) -> Tensor:
        positive = values.double().clamp(min=0)
        found, flat = (_inside(shown, both) for shown in (positive, torch.ones_like(positive)))
        return torch.where(found.isnan(), flat, found)

    both = torch.stack([mask, truth.exact & ~mask], dim=1)
    missing = {EMPTY: truth.empty, "it has no distractors": _nowhere(mask)}
    return replace(_on_positive(maps, missing, part, both), unit="share of the positive evidence on things")


@metric("inside_outside", better="higher", paper="Lapuschkin et al. 2016", needs_truth=True)
def inside_outside(maps: Maps, truth: Ground) -> Measured:
    """How much stronger the map is inside the truth than outside, pixel for pixel.

    Mean positive value inside over the sum of the means inside and outside: 0.5 for a flat map, 1 for one that shows
    nothing but the truth. The ratio of Lapuschkin et al. is value / (1 - value).
    """

    def part(values: Tensor, mask: Tensor) -> Tensor:
        positive = values.double().clamp(min=0)
        inside = (positive * mask).sum(dim=(-2, -1)) / mask.sum(dim=(-2, -1))
        outside = (positive * ~mask).sum(dim=(-2, -1)) / (~mask).sum(dim=(-2, -1)).clamp(min=1)
        return torch.where(inside + outside > 0, inside / (inside + outside).clamp(min=1e-300), 0 * inside)

    return replace(_on_positive(maps, {EMPTY: truth.empty}, part, truth.exact), unit="share of both means")


def mass(
    values: Float[Tensor, "batch height width"], mask: Bool[Tensor, "batch height width"]
) -> Float[Tensor, "batch"]:
    """Share of the positive values that lies in the mask, 0 to 1; 0 where nothing is positive."""
    positive = values.double().clamp(min=0)
    total = positive.sum(dim=(-2, -1))
    return torch.where(total > 0, (positive * mask).sum(dim=(-2, -1)) / total.clamp(min=1e-300), 0.0 * total)


def _inside(
    positive: Float[Tensor, "batch height width"], both: Bool[Tensor, "batch 2 height width"]
) -> Float[Tensor, "batch"]:
    """Of what lies in either mask, the part in the first; NaN where nothing does."""
    first, second = (positive[:, None] * both).sum(dim=(-2, -1)).unbind(dim=1)
    return first / (first + second)


def _nowhere(mask: Bool[Tensor, "batch height width"]) -> Bool[Tensor, "batch"]:
    return ~mask.flatten(1).any(dim=1)


def clipped(values: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch"]:
    """What part of a map's evidence is negative, 0 to 1, and left out where only the positive counts; 0 for zeros."""
    size = values.double().abs().sum(dim=(-2, -1))
    negative = (-values.double()).clamp(min=0).sum(dim=(-2, -1))
    return torch.where(size > 0, negative / size.clamp(min=1e-300), 0.0 * size)


def _on_positive(
    maps: Maps, missing: Mapping[str, Bool[Tensor, "batch"]], share: Callable[[Tensor, Tensor], Tensor], mask: Tensor
) -> Measured:
    """What `share(values, mask)` says of each map's positive evidence, and how much of it is not."""
    found = where_judged(maps, missing, share, mask, unit="share of the positive evidence", notes=(_POSITIVE,))
    return replace(found, clipped=per_map(maps, clipped))
