"""Does the answer hang on the concepts in the order that an importance gives? Deletion, insertion, mu-fidelity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pellucid.compute.bootstrap import Interval, interval
from pellucid.engine.perturb import ranking
from pellucid.errors import RequestError, ShapeError
from pellucid.trust.concepts.completeness import Tail
from pellucid.trust.concepts.finding import Finding
from pellucid.values.seed import Seed

RESIDUALS = ("kept", "dropped")
_TOGETHER = 2**21  # numbers of changed activations held at once


@dataclass(frozen=True, eq=False)
class Decomposition:
    """A layer's activations as sums of concepts, and the rest of the network behind them.

    activations: one vector per item, or a map of vectors
    codes:       how much of each concept is in each of them; places as in `activations`
    directions:  of the concepts
    tail:        from that layer to the model's answer
    target:      which of its numbers is asked for
    residual:    what the concepts leave over is "kept" whatever is taken away, or "dropped" from the beginning
    """

    activations: Float[Tensor, "item channel ..."]
    codes: Float[Tensor, "item concept ..."]
    directions: Float[Tensor, "concept channel"]
    tail: Tail
    target: int = 0
    residual: str = "kept"
    rest: Float[Tensor, "item channel ..."] = field(init=False)

    def __post_init__(self) -> None:
        if self.residual not in RESIDUALS:
            raise RequestError(f"residual={self.residual!r}; expected {' or '.join(RESIDUALS)}.")
        items, channels, *places = self.activations.shape
        expected = (items, len(self.directions), *places)
        if tuple(self.codes.shape) != expected or self.directions.shape[1] != channels:
            raise ShapeError(
                "codes", got=tuple(self.codes.shape),
                expected=f"{list(expected)}, and directions [{len(self.directions)} {channels}]",
            )  # fmt: skip
        left = self.activations - self._sum(self.codes)
        object.__setattr__(self, "rest", left if self.residual == "kept" else torch.zeros_like(left))

    @property
    def concepts(self) -> int:
        """How many there are."""
        return len(self.directions)

    def answers(self, kept: Float[Tensor, "version item concept"]) -> Float[Tensor, "version item"]:
        """The answer with each concept's part scaled by `kept`: 1 leaves it, 0 takes it away."""
        together = max(1, _TOGETHER // max(1, self.activations.numel()))
        with torch.no_grad():
            return torch.cat([self._answers(part) for part in kept.split(together)])

    def answer_of(self, codes: Float[Tensor, "item concept ..."]) -> Float[Tensor, "item"]:
        """The answer when the concepts are present as `codes` says."""
        return self.tail(self.rest + self._sum(codes))[:, self.target]

    def slopes(self, codes: Float[Tensor, "item concept ..."]) -> Float[Tensor, "item concept ..."]:
        """How the answer changes with each code."""
        held = codes.detach().clone().requires_grad_()
        with torch.enable_grad():
            (slopes,) = torch.autograd.grad(self.answer_of(held).sum(), held)
        return slopes

    def _answers(self, kept: Float[Tensor, "version item concept"]) -> Float[Tensor, "version item"]:
        versions, items = kept.shape[:2]
        everywhere = kept.reshape(*kept.shape, *[1] * (self.codes.ndim - 2)).to(self.codes.dtype)
        values = self.rest + self._sum((self.codes * everywhere).flatten(0, 1)).unflatten(0, (versions, items))
        return self.tail(values.flatten(0, 1))[:, self.target].view(versions, items)

    def _sum(self, codes: Tensor) -> Tensor:
        return torch.einsum("ik...,kc->ic...", codes, self.directions.to(codes.dtype))


@dataclass(frozen=True, eq=False, kw_only=True)
class ConceptCurves(Finding):
    """How the answer goes as concepts go, or come, in an order of importance.

    deletion, insertion: area under the mean answer, over the share of concepts taken away or given; lower and higher
                is better
    deleted, inserted: the curves, mean over items, from no concept to all
    random_deletion, random_insertion: the same in drawn orders
    margin_deletion, margin_insertion: how much better than drawn orders, per item; above 0 is better
    kept, total: items
    """

    deletion: Interval
    insertion: Interval
    deleted: tuple[float, ...]
    inserted: tuple[float, ...]
    random_deletion: Interval
    random_insertion: Interval
    margin_deletion: Interval
    margin_insertion: Interval


@dataclass(frozen=True, eq=False, kw_only=True)
class ConceptFidelity(Finding):
    """Whether summed importances foretell what is lost when several concepts go at once.

    values:   per item, Pearson's correlation over subsets, -1 to 1; NaN where the answer or the sums never change
    fidelity: their mean; random: that of drawn importances; margin: the difference, per item
    kept, total: items with a value, and all
    """

    values: Float[Tensor, "item"]
    fidelity: Interval
    random: Interval
    margin: Interval


@dataclass(frozen=True, eq=False, kw_only=True)
class EstimatorComparison(Finding):
    """Several ways to say how important concepts are, by name, each measured in the same three ways."""

    curves: Mapping[str, ConceptCurves]
    fidelity: Mapping[str, ConceptFidelity]


def concept_curves(
    parts: Decomposition, importance: Float[Tensor, "concept"] | Float[Tensor, "item concept"], *,
    random_orders: int = 5, seed: int = 0,
) -> ConceptCurves:  # fmt: skip
    """How fast the answer dies when the most important concepts go first, and how fast it comes when they come first.

    importance: one for all items or one per item; equal ones are ordered by the seed
    returns:    areas in the unit of the answer, by the trapezoid rule

    Fel et al., CRAFT, CVPR 2023; A Holistic Approach to Unifying Automatic Concept Extraction, NeurIPS 2023.
    """
    ranks = ranking(_per_item(parts, importance), Seed(seed).child("ties"))
    deleted, inserted = _curves(parts, ranks)
    drawn = [_drawn_ranks(parts, Seed(seed).child("order", at)) for at in range(random_orders)]
    rivals = [_curves(parts, one) for one in drawn]
    by_chance = [torch.stack([_area(rival[side]) for rival in rivals]).mean(dim=0) for side in (0, 1)]
    own = _area(deleted), _area(inserted)
    return ConceptCurves(
        deletion=_interval(own[0], seed), insertion=_interval(own[1], seed),
        deleted=tuple(deleted.mean(dim=1).tolist()), inserted=tuple(inserted.mean(dim=1).tolist()),
        random_deletion=_interval(by_chance[0], seed), random_insertion=_interval(by_chance[1], seed),
        margin_deletion=_interval(by_chance[0] - own[0], seed),
        margin_insertion=_interval(own[1] - by_chance[1], seed),
        kept=len(parts.activations), total=len(parts.activations), seed=seed,
    )  # fmt: skip


def concept_mu_fidelity(
    parts: Decomposition, importance: Float[Tensor, "concept"] | Float[Tensor, "item concept"], *,
    subsets: int = 128, seed: int = 0,
) -> ConceptFidelity:  # fmt: skip
    """How well the summed importances of concepts foretell the fall of the answer when they go together.

    subsets: drawn once for all items, each concept in half of them

    Bhatt et al. 2020 (of features); Fel et al. 2023 (of concepts).
    """
    gone = torch.rand(subsets, parts.concepts, generator=Seed(seed).child("subsets").generator()) < 0.5
    items = len(parts.activations)
    whole = parts.answers(torch.ones(1, items, parts.concepts))[0]
    falls = whole - parts.answers((~gone)[:, None].expand(-1, items, -1).float())
    own = _foretold(_per_item(parts, importance), gone, falls)
    noise = torch.randn(items, parts.concepts, generator=Seed(seed).child("noise").generator())
    rival = _foretold(noise, gone, falls)
    flat = "the answer or the summed importances are the same for every subset"
    return ConceptFidelity(
        values=own, fidelity=_interval(own, seed), random=_interval(rival, seed), margin=_interval(own - rival, seed),
        kept=int(own.isfinite().sum()), total=items, seed=seed,
        skipped={f"item {at}": flat for at in torch.nonzero(own.isnan())[:, 0].tolist()},
    )  # fmt: skip


def compare_estimators(
    parts: Decomposition, importances: Mapping[str, Float[Tensor, "item concept"]], *, random_orders: int = 5,
    subsets: int = 128, seed: int = 0,
) -> EstimatorComparison:  # fmt: skip
    """Deletion, insertion and mu-fidelity of every estimate; `estimators.all_of` makes the known ones."""
    items = len(parts.activations)
    return EstimatorComparison(
        curves={
            name: concept_curves(parts, values, random_orders=random_orders, seed=seed)
            for name, values in importances.items()
        },
        fidelity={
            name: concept_mu_fidelity(parts, values, subsets=subsets, seed=seed)
            for name, values in importances.items()
        },
        kept=items,
        total=items,
        seed=seed,
    )  # fmt: skip


def _curves(
    parts: Decomposition, ranks: Int[Tensor, "item concept"]
) -> tuple[Float[Tensor, "step item"], Float[Tensor, "step item"]]:
    steps = torch.arange(parts.concepts + 1).view(-1, 1, 1)
    return parts.answers((ranks >= steps).float()), parts.answers((ranks < steps).float())


def _area(curve: Float[Tensor, "step item"]) -> Float[Tensor, "item"]:
    return torch.trapezoid(curve.double(), dim=0) / (len(curve) - 1)


def _per_item(parts: Decomposition, importance: Tensor) -> Float[Tensor, "item concept"]:
    items = len(parts.activations)
    values = importance.expand(items, -1) if importance.ndim == 1 else importance
    if tuple(values.shape) != (items, parts.concepts):
        raise ShapeError("importance", got=tuple(importance.shape), expected=f"[{items} {parts.concepts}]")
    return values


def _drawn_ranks(parts: Decomposition, seed: Seed) -> Tensor:
    return torch.rand(len(parts.activations), parts.concepts, generator=seed.generator()).argsort(dim=1)


def _foretold(
    values: Float[Tensor, "item concept"], gone: Bool[Tensor, "subset concept"], falls: Float[Tensor, "subset item"]
) -> Float[Tensor, "item"]:
    sums = gone.double() @ values.double().T
    sums, lost = sums - sums.mean(dim=0), falls.double() - falls.double().mean(dim=0)
    scale = sums.norm(dim=0) * lost.norm(dim=0)
    # Sums of equal numbers differ by rounding; what is no larger than that is no change.
    least = 1e-6 * (1 + falls.double().abs().amax(dim=0)) * (1 + values.double().abs().amax(dim=1))
    return torch.where(scale > least, (sums * lost).sum(dim=0) / scale.clamp(min=1e-300), torch.nan)


def _interval(values: Tensor, seed: int) -> Interval:
    held: Sequence[float] = values.double().tolist()
    return interval(held, seed)
