"""Rules of layer-wise relevance propagation for one linear operation z = w x + b.

Bach et al. 2015; Montavon et al. 2019. A rule says how the relevance that arrives at z is shared among x. Most give a
changed gradient c with relevance x * c, so that operations without a rule of their own can hand it on as they would
hand on a gradient; those for the picture itself (`flat`, `w_square`, `z_box`) do not look at x and give relevance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

TINY = 1e-6  # keeps denominators from zero
Bounds = tuple[Tensor, Tensor]
"""The least and the greatest value that a picture's numbers can take."""


@dataclass(frozen=True)
class Linear:
    """One linear operation, with the numbers that it used.

    forward: (x, weight, bias) -> z; back: (s, weight, x) -> s handed back, of the shape of x
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    forward: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    back: Callable[[Tensor, Tensor, Tensor], Tensor]
    channel: int = 0  # axis of the weight that counts what comes out
    plainly: Callable[[Tensor, Tensor], Tensor] | None = None  # (gradient, x), where a gradient goes back another way

    def plain(self, gradient: Tensor, x: Tensor) -> Tensor:
        """The gradient in x, by what rule gradients follow."""
        return self.back(gradient, self.weight, x) if self.plainly is None else self.plainly(gradient, x)

    def merged(self, slope: Tensor, shift: Tensor) -> Linear:
        """Followed by a normalisation with fixed statistics: slope * z + shift, per channel."""
        shape = [1] * self.weight.ndim
        shape[self.channel] = -1
        bias = shift if self.bias is None else self.bias * slope + shift
        return Linear(
            f"{self.name} and batch norm", self.weight * slope.view(shape), bias, self.forward, self.back, self.channel
        )  # fmt: skip


@dataclass(frozen=True)
class Arrived:
    """What a rule shares out.

    x, z:     what went in and came out
    gradient: the changed gradient at z; the relevance there is z * gradient
    bounds:   the least and the greatest value that x can take, where x is the picture
    """

    linear: Linear
    x: Tensor
    z: Tensor
    gradient: Tensor
    bounds: Bounds | None = None

    @property
    def relevance(self) -> Tensor:
        return self.z * self.gradient

    def to(self, dtype: torch.dtype) -> Arrived:
        """The same in other numbers."""
        linear, bias = self.linear, self.linear.bias
        wide = replace(linear, weight=linear.weight.to(dtype), bias=None if bias is None else bias.to(dtype))
        ends = None if self.bounds is None else (self.bounds[0].to(dtype), self.bounds[1].to(dtype))
        return Arrived(wide, self.x.to(dtype), self.z.to(dtype), self.gradient.to(dtype), ends)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return self.linear.forward(x, weight, bias)

    def back(self, shares: Tensor, weight: Tensor) -> Tensor:
        return self.linear.back(shares, weight, self.x)


LinearRule = Callable[[Arrived], Tensor]


def stable(values: Tensor, epsilon: float = TINY) -> Tensor:
    """Moved away from zero by epsilon; zero itself counts as positive."""
    return values + torch.where(values < 0, -epsilon, epsilon)


def zero(arrived: Arrived) -> Tensor:
    """LRP-0: in proportion to what each input adds."""
    return arrived.back(arrived.gradient, arrived.linear.weight)


def epsilon(arrived: Arrived, size: float = TINY) -> Tensor:
    """As LRP-0, with a part of the denominator that takes relevance out of what is weak."""
    return arrived.back(arrived.relevance / stable(arrived.z, size), arrived.linear.weight)


def z_plus(arrived: Arrived, *, biased: bool = True) -> Tensor:
    """In proportion to what each input adds to the positive side (alpha 1, beta 0)."""
    weight, bias = arrived.linear.weight, arrived.linear.bias if biased else None
    return _one_sided(arrived, weight.clamp(min=0), weight.clamp(max=0), _part(bias, 0.0, None), arrived.relevance)


def alpha_beta(arrived: Arrived, alpha: float = 2.0, beta: float = 1.0) -> Tensor:
    """alpha parts of what adds, less beta parts of what takes away; alpha - beta = 1."""
    weight, bias = arrived.linear.weight, arrived.linear.bias
    above, below = weight.clamp(min=0), weight.clamp(max=0)
    for_it = _one_sided(arrived, above, below, _part(bias, 0.0, None), arrived.relevance)
    against = _one_sided(arrived, below, above, _part(bias, None, 0.0), arrived.relevance)
    return alpha * for_it - beta * against


def gamma(arrived: Arrived, size: float = 0.25) -> Tensor:
    """What agrees in sign with z counts more by `size`."""
    weight, bias, z = arrived.linear.weight, arrived.linear.bias, arrived.z
    raised, lowered = weight + size * weight.clamp(min=0), weight + size * weight.clamp(max=0)
    up = None if bias is None else bias + size * bias.clamp(min=0)
    down = None if bias is None else bias + size * bias.clamp(max=0)
    found = _one_sided(arrived, raised, lowered, up, arrived.relevance * (z > 0))
    negative = arrived.relevance * (z < 0)
    if bool((negative != 0).any()):
        found = found + _one_sided(arrived, lowered, raised, down, negative)
    return found


def flat(arrived: Arrived) -> Tensor:
    """Each input of the receptive field gets an equal share. Relevance."""
    ones = torch.ones_like(arrived.linear.weight)
    count = arrived.forward(torch.ones_like(arrived.x[:1]), ones)
    return arrived.back(arrived.relevance / stable(count), ones)


def w_square(arrived: Arrived) -> Tensor:
    """In proportion to the squared weights, whatever the picture. Relevance."""
    square = arrived.linear.weight.square()
    total = arrived.forward(torch.ones_like(arrived.x[:1]), square)
    return arrived.back(arrived.relevance / stable(total), square)


def z_box(arrived: Arrived) -> Tensor:
    """In proportion to how far each input is from the end of its range that would add the least. Relevance."""
    assert arrived.bounds is not None
    low, high = (end.expand_as(arrived.x) for end in arrived.bounds)
    weight, bias = arrived.linear.weight, arrived.linear.bias
    above, below = weight.clamp(min=0), weight.clamp(max=0)
    least = arrived.forward(low, above, _part(bias, 0.0, None)) + arrived.forward(high, below, _part(bias, None, 0.0))
    shares = arrived.relevance / stable(arrived.forward(arrived.x, weight, bias) - least)
    whole, upper, lower = (arrived.back(shares, part) for part in (weight, above, below))
    return arrived.x * whole - low * upper - high * lower


FOR_PICTURES: Sequence[LinearRule] = (flat, w_square, z_box)


def _one_sided(arrived: Arrived, up: Tensor, down: Tensor, bias: Tensor | None, relevance: Tensor) -> Tensor:
    """Shares in proportion to positive inputs through `up` and negative ones through `down`."""
    x = arrived.x
    if bool((x >= 0).all()):  # behind a rectifier, which is nearly everywhere: half the work
        return arrived.back(relevance / stable(arrived.forward(x, up, bias)), up)
    sides = arrived.forward(x.clamp(min=0), up, bias) + arrived.forward(x.clamp(max=0), down)
    shares = relevance / stable(sides)
    return torch.where(x > 0, arrived.back(shares, up), arrived.back(shares, down))


def _part(bias: Tensor | None, low: float | None, high: float | None) -> Tensor | None:
    return None if bias is None else bias.clamp(low, high)
