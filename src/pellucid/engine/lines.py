"""Straight lines above and below what is not affine, and how a bound follows them back (CROWN).

Each operation hands on its value at the centre of the box. On the way back a slope that is positive takes the upper
line, a negative one the lower; how far a line lies from the value at the centre goes into a ledger.
Zhang, Weng, Chen, Hsieh, Daniel. Efficient Neural Network Robustness Certification. NeurIPS 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.engine.intervals import Interval, spelled
from pellucid.engine.tape import Step


class Ledger:
    """What the lines add to a bound beside their slopes, [row]."""

    def begin(self, rows: int, like: Tensor) -> None:
        self.total = like.new_zeros(rows)

    def add(self, gaps: Tensor) -> None:
        self.total = self.total + gaps.flatten(1).sum(dim=1)


def relaxed(step: Step, args: Sequence[Any], before: Interval, after: Interval, ledger: Ledger) -> Any:
    """What the step gives at `args`, with lines for the way back; flat ones where it has no better."""
    name, value = spelled(step), args[0]
    if name == "relu":
        return _rectified(value, before, ledger)
    if name in ("hardtanh", "clamp", "clamp_min") and not step.kwargs:
        return _clipped(value, before, _ends(name, args), ledger)
    if name == "leaky_relu":
        slope = args[1] if len(args) > 1 else 0.01
        return slope * value + (1 - slope) * _rectified(value, before, ledger)
    if name == "max_pool2d_with_indices":
        return _pooled(step, args, before, after, ledger)
    return _flattened(value, after, ledger)


# -- inside ---------------------------------------------------------------------------------------------------------


class _Lines(torch.autograd.Function):
    """Hands on `found`; slopes go back along the upper line where they are positive, else along the lower."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, found: Tensor, slopes: tuple[Tensor, Tensor], gaps: tuple[Tensor, Tensor],
        ledger: Ledger,
    ) -> Tensor:  # fmt: skip
        ctx.slopes, ctx.gaps, ctx.ledger = slopes, gaps, ledger
        return found.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        above, below = gradients[0].clamp(min=0), gradients[0].clamp(max=0)
        ctx.ledger.add(above * ctx.gaps[0] + below * ctx.gaps[1])
        return above * ctx.slopes[0] + below * ctx.slopes[1], None, None, None, None


def _lined(value: Tensor, found: Tensor, slopes: Any, gaps: Any, ledger: Ledger) -> Tensor:
    applied: Any = _Lines.apply(value, found, slopes, gaps, ledger)
    return applied


def _rectified(value: Tensor, before: Interval, ledger: Ledger) -> Tensor:
    low, high = before.lower, before.upper
    open_, bent = (low >= 0).to(low), (low < 0) & (high > 0)
    rise = torch.where(bent, high / (high - low).clamp(min=torch.finfo(low.dtype).tiny), open_)
    under = torch.where(bent, (high > -low).to(low), open_)
    at = value.detach()
    found = at.clamp(min=0)
    over = rise * at - torch.where(bent, rise * low, torch.zeros_like(low))
    return _lined(value, found, (rise, under), (over - found, under * at - found), ledger)


def _clipped(value: Tensor, before: Interval, ends: tuple[float | None, float | None], ledger: Ledger) -> Tensor:
    """clip(z, a, b) = a + relu(z - a) - relu(z - b); with one end missing, one part is."""
    least, most = ends
    shifted = lambda end: _rectified(value - end, Interval(before.lower - end, before.upper - end), ledger)
    if least is None:
        assert most is not None
        return value - shifted(most)
    return least + shifted(least) - (0 if most is None else shifted(most))


def _pooled(step: Step, args: Sequence[Any], before: Interval, after: Interval, ledger: Ledger) -> Any:
    """Below lies the member whose lower end is highest; above too where it exceeds all others, else the highest end."""
    value = args[0]
    lower, places = step.operation(before.lower, *args[1:])
    chosen = value.flatten(2).gather(2, places.flatten(2)).view_as(lower)
    sure = torch.zeros_like(lower, dtype=torch.bool)
    if _apart(args):  # else what one window chose may be another's second
        others = before.upper.flatten(2).scatter(2, places.flatten(2), -torch.inf).view_as(before.upper)
        sure = lower >= step.operation(others, *args[1:])[0]
    found = step.operation(value.detach(), *args[1:])[0]
    at = chosen.detach()
    ones = torch.ones_like(at)
    over = torch.where(sure, at, after.upper)
    line = _lined(chosen, found, (sure.to(at), ones), (over - found, at - found), ledger)
    return line, places


def _apart(args: Sequence[Any]) -> bool:
    """Whether the windows of a pool share no place."""
    kernel, stride = list(args[1]), list(args[2]) if len(args) > 2 and args[2] else list(args[1])
    return all(one <= other for one, other in zip(kernel, stride, strict=True)) and len(args) < 5


def _flattened(value: Tensor, after: Interval, ledger: Ledger) -> Tensor:
    zeros, found = torch.zeros_like(after.lower), after.centre
    return _lined(value, found, (zeros, zeros), (after.upper - found, after.lower - found), ledger)


def _ends(name: str, args: Sequence[Any]) -> tuple[float | None, float | None]:
    if name == "clamp_min":
        return args[1], None
    usual = (-1.0, 1.0) if name == "hardtanh" else (None, None)
    given = [*args[1:3], *usual[len(args[1:3]) :]]
    return given[0], given[1]
