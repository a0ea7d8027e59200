"""Parts that can be left out of a picture: does a map give to each what leaving it out does to the answer?

The protocols of FunnyBirds (Hesse et al., ICCV 2023), on whatever can say what each part's absence does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.trust.ground import Ground
from pellucid.trust.likeness import rank_correlation
from pellucid.trust.measured import Maps, Measured
from pellucid.trust.removal import not_finite

THRESHOLDS = tuple(torch.linspace(0.01, 0.50, 80, dtype=torch.float64).tolist())
DILATION = 5
IRRELEVANT = 0.05  # of the target's value
_NOISE = 1e-4  # of the largest effect: two effects nearer than that are one
_ROUNDING = 1e-6  # of the largest sum of a map in single precision
_FEW = "fewer than two of its parts show, so there is no order to agree with"
_EQUAL = "the target falls as much without one part as without any other, so there is no order to agree with"

Ask = Callable[[Sequence[tuple[int, frozenset[int]]]], Sequence[bool]]
"""For (picture, things left out): whether the class ranked first stays the same. Asked once, for all maps."""


def _true_effects(truth: Ground) -> Float[Tensor, "batch height width"]:
    """What each part's absence does, painted on the part; the mask where that is not known."""
    if not truth.effects:
        return truth.exact.float()
    names = [name for name in truth.parts if name in truth.effects]
    effects = torch.stack([truth.effects[name].double() for name in names], dim=1)
    return painted(effects.nan_to_num(), torch.stack([truth.parts[name] for name in names], dim=1))


@metric(
    "part_deletion_correlation", better="higher", paper="Hesse et al. 2023 (FunnyBirds)", range=(-1.0, 1.0),
    needs_truth=True, reads=("effects",), oracle=_true_effects,
)  # fmt: skip
def part_deletion_correlation(maps: Maps, truth: Ground, *, beyond_area: bool = False) -> Measured:
    """Whether a map ranks the parts of an object by what really leaving each of them out does to the target.

    beyond_area: the partial correlation, given how large each part is: sums grow with area, so where large parts matter
                 a map that knows nothing agrees too. The true effects still score 1, a map of areas 0
    returns:     Spearman's correlation over the parts that show of (sum of the map on the part) with (fall of the
                 target when the picture is made without it), -1 to 1; 0 for a map that gives the same to every part

    Raises RequestError where the effects of parts are not known.
    """
    if not truth.effects:
        raise RequestError("This measure needs to know what leaving out each part does, and this truth does not say.")
    names = [name for name in truth.parts if name in truth.effects]
    masks = torch.stack([truth.parts[name] for name in names], dim=1)
    effects = torch.stack([truth.effects[name].double() for name in names], dim=1)
    shows = masks.flatten(2).any(dim=2) & effects.isfinite()
    reasons = {at: why for at in range(len(shows)) if (why := _unranked(effects[at][shows[at]]))}
    values: dict[str, Tensor] = {}
    for name, heat in maps.items():
        given = importance(heat, masks)
        rows = torch.full((len(given),), torch.nan)
        for at in range(len(given)):
            if at not in reasons:
                area = masks[at][shows[at]].flatten(1).sum(dim=1).double() if beyond_area else None
                rows[at] = _agreement(given[at][shows[at]], effects[at][shows[at]], area)
        values[name] = torch.where(not_finite(heat), torch.nan, rows)
    return Measured(
        values, order="signed, largest first",
        unit=f"rank correlation over parts{', given their area' if beyond_area else ''}", skipped=reasons,
        notes=(f"{float(shows.sum(dim=1).double().mean()):.1f} parts show in a picture on average",),
    )  # fmt: skip


def importance(
    values: Float[Tensor, "batch height width"], masks: Bool[Tensor, "batch thing height width"]
) -> Float[Tensor, "batch thing"]:
    """The sum of each map over every thing, float64."""
    return torch.einsum("bhw,bthw->bt", values.detach().cpu().double(), masks.cpu().double())


def painted(
    effects: Float[Tensor, "batch thing"], masks: Bool[Tensor, "batch thing height width"]
) -> Float[Tensor, "batch height width"]:
    """The map that gives every thing exactly its effect, spread evenly over where it shows."""
    area = masks.flatten(2).sum(dim=2).clamp(min=1)
    return torch.einsum("bt,bthw->bhw", effects.double() / area, masks.double()).float()


def dilated(
    masks: Bool[Tensor, "batch thing height width"], side: int = DILATION
) -> Bool[Tensor, "batch thing height width"]:
    """The masks grown by a square window of that odd side. Raises RequestError for an even one."""
    if side < 1 or side % 2 == 0:
        raise RequestError(f"A window of {side} pixels; expected an odd number.")
    return functional.max_pool2d(masks.float(), side, stride=1, padding=side // 2) > 0


# -- the protocols ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Birds:
    """Pictures with parts and other things that can be left out, and what that does; things are counted in one row.

    places:     where each thing shows, the parts first
    parts:      how many of the things are parts; the rest are objects of the background
    there:      which things each picture has
    value:      the target's value on the whole picture
    falls:      by how much it falls without the thing
    sufficient: per picture the smallest sets of parts that tell its class by themselves; empty where there are none
    rivals:     per picture two other classes, see Rivals; None where there are no such two
    """

    places: Bool[Tensor, "picture thing height width"]
    parts: int
    there: Bool[Tensor, "picture thing"]
    value: Float[Tensor, "picture"]
    falls: Float[Tensor, "picture thing"]
    sufficient: Sequence[Sequence[frozenset[int]]]
    rivals: Sequence[Rivals | None]

    def __len__(self) -> int:
        return len(self.value)

    def all_parts(self, at: int) -> frozenset[int]:
        """The parts that a picture has."""
        return frozenset(torch.nonzero(self.there[at, : self.parts]).flatten().tolist())

    def irrelevant(self, at: int) -> frozenset[int]:
        """The things without which the target's value rises, or changes by less than 5 % of it."""
        fall = self.falls[at]
        idle = (fall < 0) | (fall.abs() < IRRELEVANT * self.value[at].abs())
        return frozenset(torch.nonzero(self.there[at] & idle).flatten().tolist())


@dataclass(frozen=True)
class Rivals:
    """Two other classes that share parts with the picture, one these and the other those, none of them both.

    confirmed: whether the model sees it so: without `these` the first class falls further than without `those`, and
               the second the other way round
    """

    these: frozenset[int]
    those: frozenset[int]
    confirmed: bool


@dataclass(frozen=True, eq=False)
class PartTable:
    """What the protocols found for one map of each picture; NaN where one could not be taken.

    csdc, pc, dc, d: per threshold of what counts as important
    sd, ts:          single deletion 0 to 1, target sensitivity 0, .5 or 1
    """

    csdc: Float[Tensor, "picture threshold"]
    pc: Float[Tensor, "picture threshold"]
    dc: Float[Tensor, "picture threshold"]
    d: Float[Tensor, "picture threshold"]
    sd: Float[Tensor, "picture"]
    ts: Float[Tensor, "picture"]

    @staticmethod
    def joined(tables: Sequence[PartTable]) -> PartTable:
        """The tables of several batches, one after the other."""
        return PartTable(*(torch.cat([getattr(one, row.name) for one in tables]) for row in fields(PartTable)))


@dataclass(frozen=True)
class PartRow:
    """The protocols' figures for one method, each 0 to 1, higher is better; NaN where no picture could be taken.

    csdc, pc, dc, d: at the threshold that serves the method best
    com, cor, con:   completeness, correctness, contrastivity; `mean` is of the three
    pictures:        by protocol, how many pictures it could be taken on
    """

    csdc: float
    pc: float
    dc: float
    d: float
    sd: float
    ts: float
    threshold: float
    com: float
    cor: float
    con: float
    mean: float
    pictures: Mapping[str, int]


def important(
    given: Float[Tensor, "batch thing"], total: Float[Tensor, "batch"], thresholds: Sequence[float] = THRESHOLDS
) -> Bool[Tensor, "threshold batch thing"]:
    """Which things hold more than each threshold's share of the whole map's sum."""
    return given[None] > torch.tensor(thresholds, dtype=torch.float64)[:, None, None] * total[None, :, None]


def part_tables(
    maps: Maps, birds: Birds, ask: Ask, rival_maps: tuple[Maps, Maps], *, thresholds: Sequence[float] = THRESHOLDS,
    dilation: int = DILATION,
) -> dict[str, PartTable]:  # fmt: skip
    """The protocols for all maps of the same pictures; whatever they have to know of the model is asked once.

    rival_maps: the same methods' maps for the first and the second rival class; of a picture without rivals anything
    dilation:   side of the window by which parts are grown before the map is summed over them
    """
    if any(low >= high for low, high in pairwise(thresholds)) or not thresholds:
        raise RequestError("thresholds; expected rising numbers, at least one.")
    wide = dilated(birds.places, dilation) & birds.there[:, :, None, None]
    given = {name: importance(values, wide) for name, values in maps.items()}
    chosen = {
        name: _sets(important(given[name], values.cpu().double().sum(dim=(-2, -1)), thresholds), birds)
        for name, values in maps.items()
    }
    asked: dict[tuple[int, frozenset[int]], bool] = {}
    for rows in chosen.values():
        for row in rows:
            for at, things in enumerate(row):
                parts = birds.all_parts(at)
                asked |= {(at, parts - things): True, (at, parts & things): True}
    same = dict(zip(asked, ask(list(asked)), strict=True))
    rivals = tuple({name: importance(values, wide) for name, values in one.items()} for one in rival_maps)
    return {
        name: PartTable(
            *_over_thresholds(chosen[name], birds, same), _single_deletion(given[name], birds),
            _target_sensitivity(rivals[0][name], rivals[1][name], birds),
        )
        for name in maps
    }  # fmt: skip


def part_row(table: PartTable, thresholds: Sequence[float] = THRESHOLDS) -> PartRow:
    """The figures over all pictures, at the threshold where completeness is largest."""
    curves = {name: getattr(table, name).nanmean(dim=0) for name in ("csdc", "pc", "dc", "d")}
    inside = (curves["csdc"] + curves["pc"] + curves["dc"]) / 3
    complete = (inside + curves["d"]) / 2
    best = int(complete.nan_to_num(-1.0).argmax())
    correct, contrast = float(table.sd.nanmean()), float(table.ts.nanmean())
    whole = float(complete[best])
    counts = {
        row.name: int(getattr(table, row.name).reshape(len(table.sd), -1)[:, 0].isfinite().sum())
        for row in fields(PartTable)
    }
    at_best = {name: float(curve[best]) for name, curve in curves.items()}
    return PartRow(
        csdc=at_best["csdc"], pc=at_best["pc"], dc=at_best["dc"], d=at_best["d"], sd=correct, ts=contrast,
        threshold=thresholds[best], com=whole, cor=correct, con=contrast, mean=(whole + correct + contrast) / 3,
        pictures=counts,
    )  # fmt: skip


# -- inside ------------------------------------------------------------------------------------------------


def _unranked(effects: Float[Tensor, "part"]) -> str:
    """Why these effects put parts in no order; nothing where they do."""
    if len(effects) < 2:
        return _FEW
    spread = float(effects.max() - effects.min())
    return _EQUAL if spread <= _NOISE * float(effects.abs().max()) else ""


def _agreement(
    given: Float[Tensor, "part"], effects: Float[Tensor, "part"], area: Float[Tensor, "part"] | None = None
) -> float:
    """Spearman's correlation, partial to the area if that is given; numbers nearer than rounding are equal."""
    one, other = _snapped(given, _ROUNDING), _snapped(effects, _NOISE)
    found = _ranked(one, other)
    if area is None:
        return found
    by_area, true_by_area = _ranked(one, area), _ranked(other, area)
    left = (1 - by_area**2) * (1 - true_by_area**2)
    return max(-1.0, min(1.0, (found - by_area * true_by_area) / left**0.5)) if left > _ROUNDING else 0.0


def _snapped(values: Float[Tensor, "part"], step: float) -> Float[Tensor, "part"]:
    """In whole steps of a part of the largest."""
    return (values / (step * values.abs().max()).clamp(min=1e-300)).round()


def _ranked(one: Float[Tensor, "part"], other: Float[Tensor, "part"]) -> float:
    return float(rank_correlation(one[None, None], other[None, None])[0])


def _sets(chosen: Bool[Tensor, "threshold picture thing"], birds: Birds) -> list[list[frozenset[int]]]:
    """The important things that are there, by threshold and picture."""
    return [
        [frozenset(torch.nonzero(row).flatten().tolist()) for row in rows] for rows in chosen & birds.there[None]
    ]  # fmt: skip


def _over_thresholds(
    chosen: list[list[frozenset[int]]], birds: Birds, same: Mapping[tuple[int, frozenset[int]], bool]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Controlled check, preservation, deletion and distractibility, each [picture threshold]."""
    tables = torch.full((4, len(birds), len(chosen)), torch.nan, dtype=torch.float64)
    for at in range(len(birds)):
        parts, idle, enough = birds.all_parts(at), birds.irrelevant(at), [one for one in birds.sufficient[at] if one]
        for level, rows in enumerate(chosen):
            things = rows[at]
            if enough:
                tables[0, at, level] = max(len(things & one) / len(one) for one in enough)
            tables[1, at, level] = float(same[at, parts - things])
            tables[2, at, level] = float(not same[at, parts & things])
            if idle:
                tables[3, at, level] = 1 - len(things & idle) / len(idle)
    csdc, pc, dc, d = tables
    return csdc, pc, dc, d


def _single_deletion(given: Float[Tensor, "picture thing"], birds: Birds) -> Float[Tensor, "picture"]:
    """Half of one more than the rank correlation of what the map gives to parts and what they are worth."""
    found = torch.full((len(birds),), torch.nan, dtype=torch.float64)
    for at in range(len(birds)):
        parts = sorted(birds.all_parts(at))
        if not _unranked(birds.falls[at, parts].double()):
            found[at] = 0.5 * _agreement(given[at, parts], birds.falls[at, parts].double()) + 0.5
    return found


def _target_sensitivity(
    first: Float[Tensor, "picture thing"], second: Float[Tensor, "picture thing"], birds: Birds
) -> Float[Tensor, "picture"]:
    """Whether each rival's map gives more than the other's to the parts that this rival shares with the picture."""
    found = torch.full((len(birds),), torch.nan, dtype=torch.float64)
    for at, rivals in enumerate(birds.rivals):
        if rivals is not None and rivals.confirmed:
            these, those = sorted(rivals.these), sorted(rivals.those)
            right = first[at, these].sum() > second[at, these].sum()
            found[at] = (float(right) + float(second[at, those].sum() > first[at, those].sum())) / 2
    return found
