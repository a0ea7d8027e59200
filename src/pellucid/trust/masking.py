"""The picture seen through its map: does the model still know it, or know it better?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.perturb import Shade, shaded_answers, whole_answers
from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.trust.measured import Maps, Measured, spread_of
from pellucid.trust.removal import blanked, followed
from pellucid.values.seed import Seed

AREAS = (1.0, 0.5, 0.15)
_PRICE: Mapping[str, Callable[..., float]] = {
    "cost": lambda areas=AREAS, **_: len(areas), "shared": lambda areas=AREAS, **_: 1 + len(areas),
}  # fmt: skip
FAKE = "all ones but one pixel"
"""A map that knows nothing and passes for the best where only the prediction through the map counts."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What the model says to pictures through maps.

    before: what is followed on the whole pictures [batch]
    after:  per map and for the fake map, through the map [area batch]
    usable: pictures for which a part of `before` can be stated; `why` says what hinders the others
    """

    before: Float[Tensor, "batch"]
    after: Mapping[str, Float[Tensor, "area batch"]]
    unit: str
    why: Mapping[int, str]


@metric("average_drop", better="lower", paper="Chattopadhay et al. 2018", **_PRICE)
def average_drop(
    evidence: Evidence, maps: Maps, *, areas: Sequence[float] = AREAS, fill: str = "black", seed: int | None = None
) -> Measured:
    """How much of the prediction is lost when the picture is seen through the map.

    areas:   parts of the picture that the map may show, its largest values first; 1 shows through all of it, as in the
             paper, where a map wins by hiding nothing. Smaller areas ask for a choice
    fill:    what shines through where the map is 0
    returns: max(0, before - after) / before, mean over areas; a mean over pictures times 100 is the published figure
    """
    seen = look_through(evidence, maps, areas, fill, seed)
    return _measured(seen, areas, fill, lambda before, after: drop(before, after), "part of the prediction lost")


@metric("increase_in_confidence", better="higher", paper="Chattopadhay et al. 2018", **_PRICE)
def increase_in_confidence(
    evidence: Evidence, maps: Maps, *, areas: Sequence[float] = AREAS, fill: str = "black", seed: int | None = None
) -> Measured:
    """Whether the model is surer of the picture through the map than of the whole: 1 yes, 0 no, mean over areas.

    Parameters as for `average_drop`.
    """
    seen = look_through(evidence, maps, areas, fill, seed)
    return _measured(seen, areas, fill, lambda before, after: (after > before).float(), "share that rose")


@metric("average_gain", better="higher", paper="Zhang et al. 2023", **_PRICE)
def average_gain(
    evidence: Evidence, maps: Maps, *, areas: Sequence[float] = AREAS, fill: str = "black", seed: int | None = None
) -> Measured:
    """How much of what was missing to certainty the map wins when the picture is seen through it.

    Parameters as for `average_drop`. max(0, after - before) / (1 - before), mean over areas; the counterpart of the
    drop, which says nothing of pictures that win. NaN where the model was certain before.
    """
    seen = look_through(evidence, maps, areas, fill, seed, certain=True)
    return _measured(
        seen, areas, fill, lambda before, after: (after - before).clamp(min=0) / (1 - before),
        "part of the missing probability won",
    )  # fmt: skip


@metric("win_share", better="higher", paper="Chattopadhay et al. 2018", **_PRICE)
def win_share(
    evidence: Evidence, maps: Maps, *, areas: Sequence[float] = AREAS, fill: str = "black", seed: int | None = None
) -> Measured:
    """Share of the other maps of the same picture, controls among them, through which more of the prediction is lost.

    Parameters as for `average_drop`. Equal drops count half; so a map among its equals scores 0.5. Depends on the
    company: compare only figures of one table.
    """
    seen = look_through(evidence, maps, areas, fill, seed)
    drops = {name: drop(seen.before, after) for name, after in seen.after.items() if name != FAKE}
    if len(drops) < 2:
        raise RequestError("win_share compares maps; give at least two.")
    together = torch.stack(list(drops.values()))  # [map area batch]
    others = (~together.isnan()).sum(dim=0) - 1

    def won(own: Tensor) -> Tensor:
        beaten = (together > own).sum(dim=0) + ((together == own).sum(dim=0) - 1) / 2
        return torch.where(own.isnan(), torch.nan, beaten / others)

    return _tabled(seen, {name: won(own) for name, own in drops.items()}, areas, fill, "share of maps beaten")


def drop(before: Float[Tensor, "batch"], after: Float[Tensor, "area batch"]) -> Float[Tensor, "area batch"]:
    """The part of `before` that is lost, 0 where nothing is."""
    return (before - after).clamp(min=0) / before


def look_through(
    evidence: Evidence, maps: Maps, areas: Sequence[float], fill: str, seed: int | None = None, *, certain: bool = False
) -> Seen:
    """Every picture through every map and through the fake one. Raises RequestError for areas outside 0 to 1.

    certain: whether pictures of which the model is certain cannot be used either
    """
    if not areas or not all(0 < area <= 1 for area in areas):
        raise RequestError(f"areas={tuple(areas)}; expected parts of the picture above 0, at most 1.")
    what = followed(evidence)
    shades = [Shade(fill, area) for area in areas]
    given = {**maps, FAKE: fake(evidence)}
    found = shaded_answers(evidence, given, shades, None if seed is None else Seed(seed))
    before = what.read(whole_answers(evidence))
    after = {name: torch.stack([what.read(found[name][shade]) for shade in shades]) for name in given}
    why: dict[int, str] = {}
    for index, value in enumerate(before.tolist()):
        if value <= 0:
            why[index] = f"the {what.unit} of the whole picture is {value:.3g}, so no part of it can be lost"
        elif certain and value >= 1:
            why[index] = f"the {what.unit} of the whole picture is {value:.3g}, so nothing can be won"
    blank = torch.tensor([index in why for index in range(len(evidence))])
    after = {name: torch.where(blank, torch.nan, rows) for name, rows in blanked(after, given).items()}
    return Seen(before, after, what.unit, why)


def fake(evidence: Evidence) -> Float[Tensor, "batch height width"]:
    """All ones but one pixel in the corner, which scaling makes 0: through it nearly all of the picture is seen."""
    ones = torch.ones(len(evidence), *evidence.size)
    ones[:, 0, 0] = 0
    return ones


def _measured(
    seen: Seen, areas: Sequence[float], fill: str, read: Callable[[Tensor, Tensor], Tensor], unit: str
) -> Measured:
    rows = {name: read(seen.before, after) for name, after in seen.after.items()}
    rows = {name: torch.where(seen.after[name].isnan(), torch.nan, row) for name, row in rows.items()}
    return _tabled(seen, rows, areas, fill, unit)


def _tabled(
    seen: Seen, rows: Mapping[str, Float[Tensor, "area batch"]], areas: Sequence[float], fill: str, unit: str
) -> Measured:
    beside = {FAKE: rows[FAKE].T[None].tolist()} if FAKE in rows else {}
    warning = (
        (f"a map of {FAKE} reaches {float(rows[FAKE].nanmean()):.3g}: beside it a figure says little",)
        if FAKE in rows else ()
    )  # fmt: skip
    maps = {name: row for name, row in rows.items() if name != FAKE}
    return Measured(
        values={name: row.mean(dim=0) for name, row in maps.items()},
        spread=spread_of(maps),
        curves={name: {"areas": list(areas), "by area": row.T[None].tolist(), **beside} for name, row in maps.items()},
        fills=(fill,),
        order="scaled to 0..1, largest first",
        unit=f"{unit}, mean over areas of {', '.join(f'{area:.0%}' for area in areas)}",
        notes=warning,
        skipped=seen.why,
    )
