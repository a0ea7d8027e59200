"""Which explanation to choose: how well each, read as a linear model, foretells the model under changes of a kind."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.compute.bootstrap import Interval, ratio
from pellucid.engine import Evidence
from pellucid.errors import RequestError, ShapeError
from pellucid.results.model_card import ModelCard
from pellucid.results.neighbourhoods import Column, Loss, Neighbourhoods
from pellucid.trust.neighbourhoods import Change, Neighbourhood
from pellucid.values.seed import Seed

LEAST = 8  # samples, of which half fit the factor of maps without a unit
Reads = Literal["slopes", "contributions", "ranks"]
Intercept = Literal["picture", "free"]


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A map as a linear model of the model around the picture.

    values: [batch height width], or slopes per colour [batch channel height width]
    reads:  `slopes`, target units per unit of model input; `contributions`, what the target loses with a pixel, in its
            own units; `ranks`, of no unit, so that one factor, at least 0, is fitted to the first half of the samples
    """

    values: Float[Tensor, "batch *channel height width"]
    reads: Reads = "ranks"

    def __post_init__(self) -> None:
        expected = 4 if self.reads == "slopes" else 3
        if self.values.ndim != expected:
            axes = "[batch channel height width]" if self.reads == "slopes" else "[batch height width]"
            raise ShapeError(f"Surrogate.values of {self.reads}", got=tuple(self.values.shape), expected=axes)


class _Sample(NamedTuple):
    """What a surrogate said of one change, and how far its slopes were off; [batch]."""

    said: Tensor
    missed: Tensor


class _Found(NamedTuple):
    """Squared errors of every surrogate [item], and what they are a share of [item]."""

    errors: Mapping[str, Tensor]
    whole: Tensor


def choose_by_neighbourhood(
    evidence: Evidence, surrogates: Mapping[str, Surrogate], neighbourhoods: Sequence[Neighbourhood], *,
    samples: int = 64, intercept: Intercept = "free", seed: int = 0,
) -> Neighbourhoods:  # fmt: skip
    """How much of the target's changes each explanation foretells, neighbourhood by neighbourhood, and which wins.

    surrogates: by the name of the method, or the name and a word behind it ("smoothgrad 0.15")
    samples:    changes in each neighbourhood; the second half judges, on none of which anything was fitted
    intercept:  `free` is fitted to the first half, so that ups and downs count and not where their mean lies; with
                `picture`, as published, a surrogate says of the picture as it is what the model says
    returns:    per explanation and neighbourhood R² of the target's changes, 1 all, 0 no better than their mean, below
                0 worse; where pixels change by degrees and there are gradients, also the share of the gradients' power
                that its slopes hold: 1 all, 0 no better than a slope of 0. Squares are summed over all pictures before
                they are divided; intervals resample pictures, or the samples of a single one

    Raises RequestError for fewer than 8 samples, no surrogate or no neighbourhood. Han et al., Which Explanation Should
    I Choose?, NeurIPS 2022.
    """
    if samples < LEAST:
        raise RequestError(f"{samples} samples; expected at least {LEAST}, of which half fit what has no unit.")
    if not surrogates or not neighbourhoods:
        raise RequestError("Nothing to compare: expected at least one surrogate and one neighbourhood.")
    if intercept not in get_args(Intercept):
        raise RequestError(f"intercept={intercept!r}; expected {' or '.join(get_args(Intercept))}.")
    columns: list[Column] = []
    for around in neighbourhoods:
        losses: list[Loss] = [loss for loss in around.losses if loss == "answers" or evidence.model.differentiable]
        if losses:
            found = _measured(evidence, surrogates, around, samples, Seed(seed), "slopes" in losses, intercept)
            columns += [_column(around, loss, found[loss], seed) for loss in losses if found[loss].errors]
    return Neighbourhoods(tuple(columns), tuple(surrogates), len(evidence), samples, model=ModelCard("unknown"))


def _measured(
    evidence: Evidence, surrogates: Mapping[str, Surrogate], around: Neighbourhood, samples: int, seed: Seed,
    slopes: bool, intercept: Intercept,
) -> dict[Loss, _Found]:  # fmt: skip
    """Squared errors of answers, and of slopes where they were asked for, on the second half of the samples."""
    whole = evidence.score().double().cpu()
    answers: list[Tensor] = []
    powers: list[Tensor] = []
    weights: list[Tensor] = []
    rows: dict[str, list[_Sample]] = {name: [] for name in surrogates}
    for change, answer, gradient in _answered(evidence, around, samples, seed, slopes):
        answers.append(answer.double().cpu() - whole)
        weights.append(torch.as_tensor(change.weight).double().cpu().expand(len(whole)))
        true = None if gradient is None else _by_share(gradient, evidence, around)
        powers.append(torch.zeros(len(whole)).double() if true is None else _power(true))
        for name, one in surrogates.items():
            slope = None if true is None else _slopes(one, evidence, around)
            missed = torch.full_like(whole, torch.nan) if true is None or slope is None else _power(true - slope)
            rows[name].append(_Sample(_said(one, change, evidence.inputs), missed))
    half = len(answers) // 2
    fallen, weight = torch.stack(answers), torch.stack(weights)
    spread = weight[half:] * (fallen[half:] - _mean(fallen[half:], weight[half:])).square()
    errors: dict[str, Tensor] = {}
    for name, one in surrogates.items():
        said, fall = torch.stack([sample.said for sample in rows[name]]), fallen
        if intercept == "free":
            said, fall = said - _mean(said[:half], weight[:half]), fall - _mean(fall[:half], weight[:half])
        if one.reads == "ranks" or (one.reads == "contributions" and around.fill is None):
            said = said * _factor(said[:half], fall[:half], weight[:half])
        errors[name] = weight[half:] * (fall - said)[half:].square()
    missed = {name: torch.stack([sample.missed for sample in row])[half:] for name, row in rows.items()}
    told = {name: _items(one) for name, one in missed.items() if bool(torch.isfinite(one).all())}
    return {
        "answers": _Found({name: _items(one) for name, one in errors.items()}, _items(spread)),
        "slopes": _Found(told, _items(torch.stack(powers)[half:])),
    }


def _answered(
    evidence: Evidence, around: Neighbourhood, samples: int, seed: Seed, slopes: bool
) -> Iterator[tuple[Change, Tensor, Tensor | None]]:
    """Every change, the target there, and its gradient where slopes are compared."""
    waiting: deque[Change] = deque()

    def points() -> Iterator[Tensor]:
        for change in around.draw(evidence, samples, seed):
            waiting.append(change)
            yield change.inputs.to(evidence.inputs)

    if not slopes:
        for answer in evidence.scores_at(points()):
            yield waiting.popleft(), answer, None
        return
    for answer, gradient in evidence.slopes_at(points()):
        yield waiting.popleft(), answer, gradient


def _said(one: Surrogate, change: Change, inputs: Tensor) -> Float[Tensor, "batch"]:
    """By how much the target rises with the change, after the surrogate."""
    if one.reads == "slopes":
        moved = (change.inputs - inputs).cpu().double()
        return (one.values.cpu().double() * moved).flatten(1).sum(dim=1)
    return -(one.values.cpu().double() * change.taken.cpu().double()).flatten(1).sum(dim=1)


def _by_share(values: Tensor, evidence: Evidence, around: Neighbourhood) -> Tensor:
    """Slopes per unit of model input; where pixels are taken by degrees, per share of a pixel, all colours together."""
    if around.fill is None:
        return values
    return (values * (evidence.inputs - evidence.fill(around.fill))).sum(dim=1)


def _slopes(one: Surrogate, evidence: Evidence, around: Neighbourhood) -> Tensor | None:
    """The slopes of a surrogate in the units of `_by_share`; None where it has none."""
    values = one.values.to(evidence.inputs.device)
    if one.reads == "slopes":
        return _by_share(values, evidence, around)
    return values if one.reads == "contributions" and around.fill is not None else None


def _power(values: Tensor) -> Float[Tensor, "batch"]:
    return values.double().square().flatten(1).sum(dim=1).cpu()


def _mean(values: Tensor, weight: Tensor) -> Float[Tensor, "batch"]:
    return (weight * values).sum(dim=0) / weight.sum(dim=0).clamp(min=1e-300)


def _factor(said: Tensor, fallen: Tensor, weight: Tensor) -> Float[Tensor, "batch"]:
    power = (weight * said.square()).sum(dim=0)
    return ((weight * said * fallen).sum(dim=0) / torch.where(power > 0, power, 1)).clamp(min=0)


def _items(squares: Float[Tensor, "sample batch"]) -> Float[Tensor, "item"]:
    """What intervals resample: pictures, or the samples of a single one."""
    return squares.sum(dim=0) if squares.shape[1] > 1 else squares[:, 0]


def _column(around: Neighbourhood, loss: Loss, found: _Found, seed: int) -> Column:
    def explained(errors: Tensor) -> Interval:
        part = ratio(errors.numpy(), found.whole.numpy(), seed)
        return Interval(1 - part.mean, 1 - part.high, 1 - part.low, part.count)

    values = {name: explained(errors) for name, errors in found.errors.items()}
    best = min(found.errors, key=lambda name: float(found.errors[name].sum()))
    gaps = {
        name: ratio((errors - found.errors[best]).numpy(), found.whole.numpy(), seed)
        for name, errors in found.errors.items()
    }
    return Column(
        around.name, around.changes, loss, around.own, values, best,
        tuple(name for name, gap in gaps.items() if name != best and not gap.above_zero),
    )  # fmt: skip
