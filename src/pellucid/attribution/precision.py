"""Regions in the order in which they speak for an answer: each is the one that helps most beside those before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pellucid.attribution.detection import found_at, to_size
from pellucid.attribution.players import few_segments_of
from pellucid.engine import Evidence
from pellucid.registry import method
from pellucid.values import Box, Check, Pixels, Proposals, Scores, Target

MOST_REGIONS = 400
_ENOUGH = 0.9  # of what the whole picture gives
_AT_ONCE = 8  # stale gains that are looked at again together
_OVERLAP = 0.5  # from which a box counts as found, where only that counts

Value = Callable[[Sequence[tuple[int, ...]]], Float[Tensor, "set 2"]]
"""Clue and collaboration of sets of regions."""


@dataclass(frozen=True, eq=False)
class Search:
    """What a greedy search over regions found.

    order:      the regions, the most helpful first
    clue:       how well the target is found with the first k regions alone shown, for k = 1, 2, ...
    collaboration: 1 less how well it is found with them hidden
    submodularity: the least, over the steps, of the summed single gains over the joint gain of all regions left; 1 or
                more where gains only shrink. None where not all gains were computed
    """

    order: tuple[int, ...]
    clue: tuple[float, ...]
    collaboration: tuple[float, ...]
    submodularity: float | None

    @property
    def value(self) -> tuple[float, ...]:
        return tuple(clue + other for clue, other in zip(self.clue, self.collaboration, strict=True))

    def smallest(self, part: float = _ENOUGH) -> int:
        """How many of the first regions alone give this part of what all of them give."""
        return next(count for count, clue in enumerate(self.clue, 1) if clue >= part * self.clue[-1])

    @property
    def harmful(self) -> tuple[int, ...]:
        """Regions whose showing made things worse than they were, and so came late: they speak against the target."""
        steps = zip(self.order[1:], pairwise(self.value), strict=True)
        return tuple(region for region, (before, after) in steps if after < before)

    def attribution(self) -> Float[Tensor, "region"]:
        """By region: what it and all after it changed, so that the first has the most and differences are changes."""
        nothing = 2 - self.clue[-1] - self.collaboration[-1]  # with all shown and none hidden, and the other way round
        changes = torch.tensor([nothing, *self.value]).diff().abs()
        painted = torch.zeros(len(self.order))
        painted[list(self.order)] = changes.flip(0).cumsum(0).flip(0)
        return painted


def _searched(*, segments: Any = 20, **_: Any) -> float:
    count = len(segments.unique()) if isinstance(segments, Tensor) else int(segments)
    return float(count * (count + 1))


def _told(evidence: Evidence, values: Tensor, parameters: Mapping[str, Any]) -> list[list[Check]]:
    """For every picture what the search found, as figures beside its map."""
    return [list(_figures(search)) for search in evidence.remember(_KEY, list[Search])]


_KEY = "visual_precision_search"


@method(
    "visual_precision_search", needs=[Scores], paper="Chen et al. 2025", cost=_searched, promise=_told,
)  # fmt: skip
def visual_precision_search(
    evidence: Evidence,
    *,
    segments: int | Int[Tensor, "height width"] = 20,
    match: str = "overlap",
    lazy: bool = False,
    baseline: str = "blur",
) -> Float[Tensor, "batch height width"]:
    """Regions in the order in which they help most to find the target when shown, and to lose it when hidden.

    segments: how many regions, by colour, or a map of region numbers [height width]; 100 is published, in 10,100 passes
    match:    of a box: `overlap` counts how much of it is hit, `class` only whether at least half is
    lazy:     looks again only at regions that may still be best; the same order where gains only shrink, in far fewer
              passes
    baseline: what hidden regions become
    returns:  on every pixel how much its region and all after it change the value (clue and collaboration, 0 to 2), so
              that the first region has the most. The curves stand in the checks of each map
    """
    maps = few_segments_of(evidence, segments, MOST_REGIONS)
    hidden = evidence.fill(baseline)
    searches: list[Search] = []
    for row, numbers in enumerate(maps):
        value = _value_of(evidence, row, numbers, hidden[row : row + 1], match)
        count = int(numbers.max()) + 1
        searches.append(lazily(value, count) if lazy else exactly(value, count))
    found: list[Search] = evidence.remember(_KEY, list[Search])
    found[:] = searches
    painted = [search.attribution()[numbers] for search, numbers in zip(searches, maps, strict=True)]
    return torch.stack(painted).to(evidence.inputs)


def exactly(value: Value, count: int) -> Search:
    """Greedy search that looks at every region left at every step: count (count + 1) / 2 sets."""
    chosen: tuple[int, ...] = ()
    curve: list[Tensor] = []
    gains: list[Tensor] = []
    while len(chosen) < count:
        left = [region for region in range(count) if region not in chosen]
        found = value([(*chosen, region) for region in left])
        best = int(found.sum(dim=1).argmax())
        if curve:
            gains.append((found.sum(dim=1) - curve[-1].sum()).sum())
        chosen, curve = (*chosen, left[best]), [*curve, found[best]]
    return _search(chosen, curve, _submodularity(curve, gains))


def lazily(value: Value, count: int) -> Search:
    """Greedy search that trusts older gains as bounds, and looks again only where one may still be the best."""
    chosen: tuple[int, ...] = ()
    curve: list[Tensor] = []
    bounds = torch.full((count,), torch.inf)
    while len(chosen) < count:
        before = curve[-1].sum() if curve else torch.tensor(0.0)
        fresh: dict[int, Tensor] = {}
        while True:
            left = [region for region in bounds.argsort(descending=True, stable=True).tolist() if region not in chosen]
            stale = [region for region in left if region not in fresh]
            best = max(fresh, key=lambda region: (float(bounds[region]), -region), default=None)
            if best is not None and (not stale or bounds[best] >= bounds[stale[0]]):
                break
            again = stale[:_AT_ONCE] if curve else stale
            for region, found in zip(again, value([(*chosen, region) for region in again]), strict=True):
                fresh[region], bounds[region] = found, found.sum() - before
        chosen, curve = (*chosen, best), [*curve, fresh[best]]
    return _search(chosen, curve, None)


def _search(order: tuple[int, ...], curve: Sequence[Tensor], submodularity: float | None) -> Search:
    clue, collaboration = torch.stack(list(curve)).unbind(dim=1)
    return Search(order, tuple(clue.tolist()), tuple(collaboration.tolist()), submodularity)


def _submodularity(curve: Sequence[Tensor], gains: Sequence[Tensor]) -> float | None:
    """Summed single gains of the regions left over their joint gain, the least of the steps where there is one."""
    joint = [curve[-1].sum() - before.sum() for before in curve[:-1]]
    ratios = [float(single / both) for single, both in zip(gains, joint, strict=True) if both > 1e-6]
    return min(ratios, default=None)


def _value_of(evidence: Evidence, row: int, numbers: Int[Tensor, "height width"], hidden: Tensor, match: str) -> Value:
    """Clue and collaboration of sets of regions of one picture: shown alone, and hidden from the rest."""
    picture = evidence.inputs[row : row + 1]

    def found(targets: Sequence[Target], said: Tensor) -> Tensor:
        return _confidence(targets[0], said, match, evidence.size)

    def points(sets: Sequence[tuple[int, ...]]) -> Iterator[Tensor]:
        for regions in sets:
            shown: Bool[Tensor, "height width"] = torch.isin(numbers, torch.tensor(regions)).to(picture.device)
            yield torch.where(shown, picture, hidden)
            yield torch.where(shown, hidden, picture)

    def value(sets: Sequence[tuple[int, ...]]) -> Tensor:
        scores = torch.cat(list(found_at(evidence, [row], points(sets), found))).view(-1, 2).cpu()
        return torch.stack([scores[:, 0], 1 - scores[:, 1]], dim=1)

    return value


def _confidence(target: Target, said: Tensor, match: str, size: tuple[int, int]) -> Float[Tensor, "1"]:
    """How surely a box is found where it is, or how probable a class is over its region, 0 to 1."""
    if isinstance(target, Box):
        proposals = Proposals.unpacked(said, target.classes)
        overlap = proposals.overlaps(target.rectangle)
        hit = (overlap > _OVERLAP).to(overlap) if match == "class" else overlap
        return (hit * proposals.odds[..., int(target.index)].sigmoid() * proposals.objectness).amax(dim=1)
    assert isinstance(target, Pixels)
    chance = to_size(said.softmax(dim=1), size)[:, int(target.index)]
    inside = torch.ones(size, dtype=torch.bool) if target.mask is None else target.mask
    return chance[:, inside.to(chance.device)].mean(dim=1)


def _figures(search: Search) -> Iterator[Check]:
    enough, count = search.smallest(), len(search.order)
    yield Check("regions in order", None, float(count), f"Regions in order: {', '.join(map(str, search.order))}.")
    yield Check(
        "smallest set", None, float(enough),
        f"The first {enough} of {count} regions alone give {search.clue[enough - 1]:.3f}, all of them "
        f"{search.clue[-1]:.3f}.",
    )  # fmt: skip
    for name, curve in (("clue", search.clue), ("collaboration", search.collaboration)):
        area = sum(curve) / count
        yield Check(f"{name} curve", None, area, f"{name.capitalize()}: {', '.join(f'{one:.3f}' for one in curve)}.")
    if search.submodularity is not None:
        words = f"Along the search single gains make at least {search.submodularity:.2f} of the joint gain"
        yield Check("submodularity", None, search.submodularity, f"{words}; no bound is proved where this is below 1.")
    if search.harmful:
        listed = ", ".join(map(str, search.harmful))
        yield Check("harmful regions", None, float(len(search.harmful)), f"Regions that made it worse: {listed}.")
