"""Where the truth is known: how much of a map lies on it, and how much on what decides nothing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.trust.ground import Ground
from pellucid.trust.localisation import shared_overlap
from pellucid.trust.measured import Maps, Measured, per_map

_POSITIVE = "values below 0, which speak against the target, are left out; a map without any other scores 0"


@metric("relevance_mass", better="higher", paper="Arras et al. 2022", needs_truth=True)
def relevance_mass(maps: Maps, truth: Ground) -> Measured:
    """What part of a map's positive evidence lies on the deciding place itself.

    Sum of the positive values inside the exact mask over their sum: 0 to 1. A flat map scores the mask's share of the
    picture. Relevance mass accuracy of CLEVR-XAI.
    """
    return Measured(per_map(maps, mass, truth.exact), unit="share of the positive evidence", notes=(_POSITIVE,))


@metric("relevance_rank", better="higher", paper="Arras et al. 2022", needs_truth=True)
def relevance_rank(maps: Maps, truth: Ground) -> Measured:
    """How many of a map's strongest pixels, as many as the truth has, lie on the truth.

    0 to 1, ties at the cut counted with their share. Relevance rank accuracy of CLEVR-XAI; where the truth is one
    region it orders maps as `mask_iou` does.
    """
    values = {
        name: torch.tensor([shared_overlap(one, mask) for one, mask in zip(rows.flatten(1), _flat(truth), strict=True)])
        for name, rows in maps.items()
    }
    area = truth.exact.flatten(1).sum(dim=1)
    return Measured(
        {name: (inside / area).float() for name, inside in values.items()}, order="signed, largest first",
        unit="share of the strongest pixels",
    )  # fmt: skip


@metric("energy_pointing_game", better="higher", paper="Wang et al. 2020 (Score-CAM)", needs_truth=True)
def energy_pointing_game(maps: Maps, truth: Ground) -> Measured:
    """What part of a map's positive evidence lies within the boxes around the deciding places.

    Where no boxes are known, the box around the mask. 0 to 1; a flat map scores the boxes' share of the picture, so a
    large box is easy to hit.
    """
    return Measured(per_map(maps, mass, boxed(truth)), unit="share of the positive evidence", notes=(_POSITIVE,))


@metric("background_mass", better="lower", paper="Zhang et al. 2018; Yang & Kim 2019", needs_truth=True)
def background_mass(maps: Maps, truth: Ground) -> Measured:
    """What part of a map's positive evidence lies where there is no object at all.

    0 to 1, lower is better where the background decides nothing; a flat map scores the background's share. More than
    half says that the model, or the map, looks beside the object. Raises RequestError where no background is known.
    """
    mask = _known(truth.background, "background")
    return _where_present(maps, mask, "background", "share of the positive evidence", mass, mask)


@metric("distractor_mass", better="lower", paper="Kim et al. 2018; Hesse et al. 2023", needs_truth=True)
def distractor_mass(maps: Maps, truth: Ground) -> Measured:
    """Of a map's positive evidence on things, what part lies on those that look like a cause and decide nothing.

    Positive values on distractors over those on distractors and on the deciding place: 0 to 1. What lies beside all
    things does not count, so a map gains nothing by spreading over the background; a flat map scores the distractors'
    share of the area of things, and so does a map with no evidence on any. Pictures without distractors have no value.
    Raises RequestError where no distractors are known.
    """
    mask = _known(truth.distractors, "distractors")

    def part(values: Tensor, both: Tensor) -> Tensor:
        positive = values.double().clamp(min=0)
        found, flat = (_inside(shown, both) for shown in (positive, torch.ones_like(positive)))
        return torch.where(found.isnan(), flat, found)

    both = torch.stack([mask, truth.exact & ~mask], dim=1)
    return _where_present(maps, mask, "distractors", "share of the positive evidence on things", part, both)


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

    return Measured(per_map(maps, part, truth.exact), unit="share of both means", notes=(_POSITIVE,))


def mass(
    values: Float[Tensor, "batch height width"], mask: Bool[Tensor, "batch height width"]
) -> Float[Tensor, "batch"]:
    """Share of the positive values that lies in the mask, 0 to 1; 0 where nothing is positive."""
    positive = values.double().clamp(min=0)
    total = positive.sum(dim=(-2, -1))
    return torch.where(total > 0, (positive * mask).sum(dim=(-2, -1)) / total.clamp(min=1e-300), 0.0 * total)


def boxed(truth: Ground) -> Bool[Tensor, "batch height width"]:
    """True within the boxes of the truth, or within the box around its exact mask where it has none."""
    covered = torch.zeros_like(truth.exact)
    for index, mask in enumerate(truth.exact):
        known = truth.boxes[index] if truth.boxes else ()
        for left, top, right, bottom in known or (box_around(mask),):
            covered[index, top:bottom, left:right] = True
    return covered


def box_around(mask: Bool[Tensor, "height width"]) -> tuple[int, int, int, int]:
    """The smallest box that holds the mask: left, top, right, bottom, the last two exclusive."""
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _inside(
    positive: Float[Tensor, "batch height width"], both: Bool[Tensor, "batch 2 height width"]
) -> Float[Tensor, "batch"]:
    """Of what lies in either mask, the part in the first; NaN where nothing does."""
    first, second = (positive[:, None] * both).sum(dim=(-2, -1)).unbind(dim=1)
    return first / (first + second)


def _known(mask: Bool[Tensor, "batch height width"] | None, what: str) -> Bool[Tensor, "batch height width"]:
    if mask is None:
        raise RequestError(f"This measure needs to know the {what}, and the truth that was given does not say.")
    return mask


def _where_present(
    maps: Maps, mask: Bool[Tensor, "batch height width"], what: str, unit: str,
    share: Callable[[Tensor, Tensor], Tensor], *masks: Tensor,
) -> Measured:  # fmt: skip
    """The share of each map, and no value for pictures without what is masked."""
    present = mask.flatten(1).any(dim=1)
    skipped = {at: f"it has no {what}" for at, there in enumerate(present.tolist()) if not there}

    def value(values: Tensor, *given: Tensor) -> Tensor:
        found = share(values, *given)
        return torch.where(present, found, torch.full_like(found, torch.nan))

    return Measured(per_map(maps, value, *masks), unit=unit, skipped=skipped)


def _flat(truth: Ground) -> Bool[Tensor, "batch pixel"]:
    return truth.exact.flatten(1)
