"""Attacks on the pixels a map names: if these decide, little change of them turns the decision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.perturb import ORDERS, ordered, pixels, ranking, whole_answers
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.registry import metric
from pellucid.subject import VisionModel
from pellucid.trust.measured import Maps, Measured, spread_of
from pellucid.trust.removal import blanked, counted
from pellucid.values.seed import Seed
from pellucid.values.target import Call

PARTS = (0.05, 0.2, 0.5)
NORMS = ("l2", "linf")
_OCTAVES = 12  # from the largest radius downwards
_REACH = 2.5  # steps together may go so many radii, so that a wrong start can be mended
_HELD = 2**26  # numbers of attacked pictures that are worked on at once


def _passes(*, parts: Sequence[float] = PARTS, searches: int = 7, steps: int = 5, **_: Any) -> float:
    return len(parts) * searches * (3 * steps + 1)


@metric(
    "robustness_sr", better="lower", paper="Hsieh et al. 2021", range=(0.0, float("inf")), shared=1, cost=_passes,
)  # fmt: skip
def robustness_sr(
    evidence: Evidence, model: VisionModel, maps: Maps, *, parts: Sequence[float] = PARTS, norm: str = "l2",
    searches: int = 7, steps: int = 5, largest: float | None = None, order: str = "signed", seed: int | None = None,
) -> Measured:  # fmt: skip
    """How much the most important pixels must change, and they alone, to turn the model's decision.

    parts:    of the picture, most important pixels first, that may be changed
    norm:     `l2`, the length of the change over all values, or `linf`, the largest change of a value
    searches: bisections of the radius, on a scale of octaves: 7 leave it known to 14 %
    steps:    of projected gradient descent on the margin of the decision, for each radius
    largest:  the radius beyond which nothing is tried; None is a change of every value by the picture's range
    returns:  smallest radius found, in units of the model input, mean over parts. An attack finds an upper bound: the
              true one may be smaller. Changed values may leave the range of colours

    Raises MethodUnavailable for a black box, which has no gradients to follow.
    """
    return _attacked(
        "robustness_sr", evidence, model, maps, parts, _Effort(norm, searches, steps, largest), order, seed, rest=False
    )


@metric(
    "robustness_sr_complement", better="higher", paper="Hsieh et al. 2021", range=(0.0, float("inf")), shared=1,
    cost=_passes,
)  # fmt: skip
def robustness_sr_complement(
    evidence: Evidence, model: VisionModel, maps: Maps, *, parts: Sequence[float] = PARTS, norm: str = "l2",
    searches: int = 7, steps: int = 5, largest: float | None = None, order: str = "signed", seed: int | None = None,
) -> Measured:  # fmt: skip
    """How much the rest of the picture must change to turn the decision while the most important pixels hold still.

    parts:   of the picture, most important pixels first, that are held still
    returns: smallest radius found, in units of the model input, mean over parts. What matters is held, so higher is
             better

    All else as of `robustness_sr`. Raises MethodUnavailable for a black box, which has no gradients to follow.
    """
    return _attacked(
        "robustness_sr_complement", evidence, model, maps, parts, _Effort(norm, searches, steps, largest), order, seed,
        rest=True,
    )  # fmt: skip


@dataclass(frozen=True)
class _Effort:
    """How a radius is searched, as the measures have it."""

    norm: str
    searches: int
    steps: int
    largest: float | None


def _attacked(
    measure: str, evidence: Evidence, model: VisionModel, maps: Maps, parts: Sequence[float], effort: _Effort,
    order: str, seed: int | None, *, rest: bool,
) -> Measured:  # fmt: skip
    """The radii at which changes of the most important pixels, or of all the rest, turn the decision."""
    if not model.differentiable:
        raise MethodUnavailable(measure, "it is a black box: it has no gradients to follow.", ("deletion",))
    if effort.norm not in NORMS:
        raise RequestError(f"norm={effort.norm!r}; expected {' or '.join(NORMS)}.")
    if effort.searches < 1 or effort.steps < 1:
        raise RequestError(f"searches={effort.searches}, steps={effort.steps}; expected at least 1 of each.")
    counts = counted(parts, pixels(evidence))
    question = evidence.asking(_margins(whole_answers(evidence).predicted))
    ties = (evidence.seed if seed is None else Seed(seed)).child("ties")
    named = list(ordered(maps, order).items())
    changed = [pixels(evidence) - count for count in counts] if rest else counts
    limits = _limits(evidence, changed, effort.norm, effort.largest)
    attack = Attack(question, effort.norm, effort.searches, effort.steps, limits)
    radii: dict[str, Tensor] = {}
    for chunk in _chunks(named, evidence, len(parts)):
        ranks = [ranking(values, ties) for _, values in chunk]
        allowed = torch.stack([(rank < count) != rest for rank in ranks for count in counts])
        found = attack.smallest(allowed, len(chunk)).view(len(chunk), len(parts), -1)
        radii |= {name: row for (name, _), row in zip(chunk, found, strict=True)}
    radii = blanked(radii, maps)
    stood = sum(int((row >= attack.largest).sum()) for row in radii.values())
    note = f"{stood} of {sum(row.numel() for row in radii.values())} decisions withstood the largest radius tried"
    return Measured(
        values={name: row.mean(dim=0) for name, row in radii.items()},
        spread=spread_of(radii),
        curves={name: {"fractions": list(parts), "radius": row.T[None].tolist()} for name, row in radii.items()},
        order=ORDERS[order],
        unit=f"{effort.norm} radius, model input",
        notes=(note,) if stood else (),
    )


@dataclass(frozen=True, eq=False)
class Attack:
    """Projected gradient descent on the margin of the decision, at ever better radii.

    question: asks for the margin by which the decision leads
    largest:  per part and picture, the radius beyond which nothing is tried
    """

    question: Evidence
    norm: str
    searches: int
    steps: int
    largest: Float[Tensor, "part batch"]

    def smallest(self, allowed: Bool[Tensor, "case batch height width"], maps: int) -> Float[Tensor, "case batch"]:
        """The smallest radius at which a change of the allowed pixels turns the decision; `largest` where none does."""
        high = self.largest.repeat(maps, 1)
        low = high * 2.0**-_OCTAVES
        best = high.clone()
        change = torch.zeros(*allowed.shape[:2], *self.question.inputs.shape[1:], device=self.question.inputs.device)
        masks = allowed[:, :, None].to(change)
        for search in range(self.searches):
            radius = high if search == 0 else (low * high).sqrt()
            change = self._descended(self._projected(change, radius), masks, radius)
            turned = self._margins(change) < 0
            best = torch.where(turned, radius, best)
            high, low = torch.where(turned, radius, high), torch.where(turned, low, radius)
        return best

    def _descended(self, change: Tensor, masks: Tensor, radius: Tensor) -> Tensor:
        stride = _wide(_REACH * radius / self.steps, change)
        for _ in range(self.steps):
            slopes = torch.stack(list(self.question.gradients_at(self._points(change)))) * masks
            if self.norm == "linf":
                direction = slopes.sign()
            else:
                direction = slopes / slopes.flatten(2).norm(dim=2).clamp(min=1e-30)[:, :, None, None, None]
            change = self._projected(change - stride * direction, radius)
        return change

    def _projected(self, change: Tensor, radius: Tensor) -> Tensor:
        bound = _wide(radius, change)
        if self.norm == "linf":
            return change.clamp(-bound, bound)
        length = change.flatten(2).norm(dim=2)[:, :, None, None, None]
        return change * (bound / length.clamp(min=1e-30)).clamp(max=1)

    def _margins(self, change: Tensor) -> Float[Tensor, "case batch"]:
        return torch.stack([answers.scores for answers in self.question.answers_at(self._points(change))])

    def _points(self, change: Tensor) -> Iterator[Tensor]:
        return (self.question.inputs + one for one in change)


def _wide(radius: Float[Tensor, "case batch"], like: Tensor) -> Tensor:
    return radius[:, :, None, None, None].to(like)


def _margins(decided: Float[Tensor, "batch"]) -> list[Call]:
    """For every picture, by how much the class decided for leads the best of the others."""
    known = {index: Call(_margin_of(index), name=f"lead of class {index}") for index in set(decided.int().tolist())}
    return [known[index] for index in decided.int().tolist()]


def _margin_of(index: int) -> Callable[[Tensor], Tensor]:
    def margin(outputs: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch"]:
        others = outputs.index_fill(1, torch.tensor([index], device=outputs.device), -torch.inf)
        return outputs[:, index] - others.amax(dim=1)

    return margin


def _limits(evidence: Evidence, counts: Sequence[int], norm: str, largest: float | None) -> Float[Tensor, "part batch"]:
    flat = evidence.inputs.flatten(1)
    span = (flat.amax(dim=1) - flat.amin(dim=1)).cpu().clamp(min=1e-12)
    if largest is not None:
        if not largest > 0:
            raise RequestError(f"largest={largest}; expected a radius above 0.")
        return torch.full((len(counts), len(span)), float(largest))
    values = torch.tensor([max(1, count) * evidence.inputs.shape[1] for count in counts])
    return span[None] * (values.sqrt() if norm == "l2" else torch.ones(len(counts)))[:, None]


def _chunks(named: list[tuple[str, Tensor]], evidence: Evidence, parts: int) -> Iterator[list[Any]]:
    together = max(1, _HELD // (parts * evidence.inputs.numel()))
    for start in range(0, len(named), together):
        yield named[start : start + together]
