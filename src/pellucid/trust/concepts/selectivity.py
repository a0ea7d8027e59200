"""What does each feature of a dictionary stand for, and which attributes are hidden or split into pieces?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pellucid.compute.bootstrap import Interval, interval
from pellucid.errors import ShapeError
from pellucid.trust.concepts.finding import Finding, random_directions
from pellucid.values.seed import Seed

UNION = 10  # values of an attribute that one description may hold


@dataclass(frozen=True)
class Meaning:
    """The best description of a unit: one attribute and the values of it that count. f1: how good, 0 to 1."""

    attribute: int
    values: tuple[int, ...]
    f1: float
    precision: float
    recall: float


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureMeanings(Finding):
    """What the units of a dictionary stand for.

    meanings:  by unit; None where it is never active
    f1:        per unit, NaN where it is never active
    mean:      over units; weighed: over units by their causal weight (NaN without)
    monosemantic: share of the active units whose F1 is at least `sharp`
    shuffled:  mean F1 when the items' attributes are shuffled, one figure per shuffle
    margin:    F1 less the mean of the shuffles, per unit
    kept, total: units that are ever active, and all
    """

    meanings: tuple[Meaning | None, ...]
    f1: Float[Tensor, "unit"]
    mean: Interval
    weighed: float
    monosemantic: float
    sharp: float
    shuffled: tuple[float, ...]
    margin: Interval


@dataclass(frozen=True, eq=False, kw_only=True)
class OverSplitting(Finding):
    """Into how many units an attribute's value falls.

    units:    how many stand for the value, however partly
    best, together: F1 of the best of them, and of all of them joined by OR; far apart where the value was split
    shuffled: units counted when the items' presence is shuffled
    kept, total: items
    """

    units: int
    which: tuple[int, ...]
    best: float
    together: float
    shuffled: float


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureOcclusion(Finding):
    """Whether a weak attribute is still found beside a stronger one.

    ratios:       how many times as long the strong one's direction is
    weak, strong: F1 of the unit that is best for it, mean over draws
    shuffled:     the weak one's F1 when codes are shuffled, which is what chance gives
    kept, total:  draws
    """

    ratios: tuple[float, ...]
    weak: tuple[Interval, ...]
    strong: tuple[Interval, ...]
    shuffled: tuple[float, ...]


def feature_meanings(
    codes: Float[Tensor, "item unit"], attributes: Int[Tensor, "item attribute"], *,
    weights: Float[Tensor, "unit"] | None = None, threshold: float = 0.0, union: int = UNION, sharp: float = 0.8,
    shuffles: int = 5, seed: int = 0,
) -> FeatureMeanings:  # fmt: skip
    """The attribute and values that each unit's activity tells best, by F1.

    weights:   how much each unit matters to the model's answers, for the weighed mean
    threshold: a unit is active where its code is above
    union:     values of one attribute that a description may join ("red or blue")

    Values are joined in the order of the share of them that makes the unit active. Makelov et al. 2024.
    """
    if len(codes) != len(attributes):
        raise ShapeError("attributes", got=tuple(attributes.shape), expected=f"[{len(codes)} attribute]")
    active = codes > threshold
    alive = active.any(dim=0)
    meanings = tuple(meaning if lives else None for meaning, lives in
                     zip(_meanings(active, attributes, union), alive.tolist(), strict=True))  # fmt: skip
    f1 = torch.tensor([torch.nan if meaning is None else meaning.f1 for meaning in meanings], dtype=torch.float64)
    generator = Seed(seed).child("shuffle").generator()
    rivals = [
        torch.tensor([meaning.f1 for meaning in _meanings(
            active, attributes[torch.randperm(len(codes), generator=generator)], union
        )]).double() for _ in range(shuffles)
    ]  # fmt: skip
    chance = torch.stack(rivals).mean(dim=0)
    importance = None if weights is None else weights.double().abs()[alive]
    return FeatureMeanings(
        meanings=meanings, f1=f1, mean=interval(f1.tolist(), seed),
        weighed=float("nan") if importance is None else float((importance * f1[alive]).sum() / importance.sum()),
        monosemantic=float((f1[alive] >= sharp).double().mean()) if bool(alive.any()) else float("nan"), sharp=sharp,
        shuffled=tuple(float(rival[alive].mean()) for rival in rivals),
        margin=interval((f1 - chance).tolist(), seed), kept=int(alive.sum()), total=len(alive), seed=seed,
        skipped={f"unit {at}": "it is never active" for at in torch.nonzero(~alive)[:, 0].tolist()},
    )  # fmt: skip


def over_splitting(
    codes: Float[Tensor, "item unit"], present: Bool[Tensor, "item"], *, least: float = 0.1, purity: float = 0.5,
    threshold: float = 0.0, shuffles: int = 20, seed: int = 0,
) -> OverSplitting:  # fmt: skip
    """How many units share one thing that is present or not, and how well they tell it together.

    least:  F1 from which a unit counts as standing for part of it
    purity: how far its precision must lie between chance and 1: a unit that is always active has a fair F1 for
            anything common, and stands for nothing

    Makelov et al. 2024.
    """
    active = codes > threshold
    which = _parts_of(active, present, least, purity)
    f1 = _f1(active, present)
    generator = Seed(seed).child("shuffle").generator()
    by_chance = [
        len(_parts_of(active, present[torch.randperm(len(present), generator=generator)], least, purity))
        for _ in range(shuffles)
    ]
    joined = active[:, list(which)].any(dim=1, keepdim=True)
    return OverSplitting(
        units=len(which), which=which, best=float(f1[list(which)].max()) if which else 0.0,
        together=float(_f1(joined, present)[0]) if which else 0.0,
        shuffled=sum(by_chance) / max(1, len(by_chance)), kept=len(codes), total=len(codes), seed=seed,
    )  # fmt: skip


def feature_occlusion(
    learn: Callable[[Float[Tensor, "item channel"], int], Float[Tensor, "item unit"]], *,
    ratios: Sequence[float] = (1, 2, 4, 8, 16), items: int = 512, channels: int = 16, overlap: float = 0.5,
    noise: float = 0.02, draws: int = 3, seed: int = 0,
) -> FeatureOcclusion:  # fmt: skip
    """Whether a way to learn dictionaries still finds a weak attribute when another is much stronger.

    learn:   (activations, seed) -> codes, by a dictionary that was learned on these very activations
    ratios:  of the strong attribute's length to the weak one's, which is 1
    overlap: cosine of the two directions

    The activations are a toy: two attributes that are there or not, each in half of the items and independent, as sums
    of two directions, with a little noise. Makelov et al. 2024 saw dictionaries lose the weaker one.
    """
    found: list[tuple[list[float], list[float], list[float]]] = []
    for ratio in ratios:
        rows = [_toy(learn, ratio, items, channels, overlap, noise, Seed(seed).child("draw", at))
                for at in range(draws)]  # fmt: skip
        found.append(([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]))
    return FeatureOcclusion(
        ratios=tuple(float(ratio) for ratio in ratios), weak=tuple(interval(weak, seed) for weak, _, _ in found),
        strong=tuple(interval(strong, seed) for _, strong, _ in found),
        shuffled=tuple(sum(chance) / len(chance) for _, _, chance in found), kept=draws, total=draws, seed=seed,
    )  # fmt: skip


def _toy(
    learn: Callable[[Tensor, int], Tensor], ratio: float, items: int, channels: int, overlap: float, noise: float,
    seed: Seed,
) -> tuple[float, float, float]:  # fmt: skip
    generator = seed.generator()
    strong = random_directions(1, channels, seed.child("strong"))[0]
    other = random_directions(1, channels, seed.child("weak"))[0]
    other = other - (other @ strong) * strong
    weak = overlap * strong + (1 - overlap**2) ** 0.5 * other / other.norm()
    there = torch.rand(items, 2, generator=generator) < 0.5
    activations = there.float() @ torch.stack([weak, ratio * strong])
    activations = activations + noise * torch.randn(items, channels, generator=generator)
    codes = learn(activations, int(seed) % 2**31)
    shuffled = there[torch.randperm(items, generator=generator), 0]
    return _best_f1(codes, there[:, 0]), _best_f1(codes, there[:, 1]), _best_f1(codes, shuffled)


def _best_f1(codes: Float[Tensor, "item unit"], present: Bool[Tensor, "item"]) -> float:
    """Over units, and over the thresholds at nine tenths of each unit's active codes."""
    best = 0.0
    for tenth in range(10):
        cut = torch.stack([_active_quantile(column, tenth / 10) for column in codes.T])
        best = max(best, float(_f1(codes > cut, present).max()))
    return best


def _active_quantile(column: Float[Tensor, "item"], share: float) -> Float[Tensor, ""]:
    above = column[column > 0]
    return torch.quantile(above, share) if share > 0 and len(above) else torch.zeros((), dtype=column.dtype)


def _meanings(active: Bool[Tensor, "item unit"], attributes: Tensor, union: int) -> list[Meaning]:
    """Of every unit, over all attributes."""
    best: list[Meaning] = [Meaning(0, (), 0.0, 0.0, 0.0)] * active.shape[1]
    sizes = active.sum(dim=0).double()
    for at, column in enumerate(attributes.T):
        shown = torch.nn.functional.one_hot(column).double()
        both = active.double().T @ shown  # [unit value]
        counts = shown.sum(dim=0)
        order = (both / counts.clamp(min=1)).argsort(dim=1, descending=True, stable=True)[:, :union]
        hits, held = both.gather(1, order).cumsum(dim=1), counts[order].cumsum(dim=1)
        f1 = 2 * hits / (sizes[:, None] + held).clamp(min=1)
        place = f1.argmax(dim=1)
        for unit, last in enumerate(place.tolist()):
            score = float(f1[unit, last])
            if score > best[unit].f1:
                hit = float(hits[unit, last])
                best[unit] = Meaning(
                    at, tuple(sorted(order[unit, : last + 1].tolist())), score, hit / max(1.0, float(sizes[unit])),
                    hit / max(1.0, float(held[unit, last])),
                )  # fmt: skip
    return best


def _f1(active: Bool[Tensor, "item unit"], present: Bool[Tensor, "item"]) -> Float[Tensor, "unit"]:
    hits = (active & present[:, None]).sum(dim=0).double()
    return 2 * hits / (active.sum(dim=0) + present.sum()).clamp(min=1)


def _parts_of(
    active: Bool[Tensor, "item unit"], present: Bool[Tensor, "item"], least: float, purity: float
) -> tuple[int, ...]:
    base = present.double().mean()
    precision = (active & present[:, None]).sum(dim=0).double() / active.sum(dim=0).clamp(min=1)
    chosen = (_f1(active, present) >= least) & (precision >= base + purity * (1 - base))
    return tuple(torch.nonzero(chosen)[:, 0].tolist())
