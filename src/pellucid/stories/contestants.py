"""Which methods take part in a benchmark, and with how many samples each stays within the cap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pellucid.engine.maps import alternatives
from pellucid.engine.parameters import parameters_of
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.registry import Method, find_method
from pellucid.stories.maps import available, why_not
from pellucid.stories.panel import LOOK, PAIR, Prices
from pellucid.subject import VisionModel

# What a method draws more or fewer of; the first it has is the one that is cut.
_COUNTS = ("most_steps", "steps", "samples", "masks", "top", "closer")


@dataclass(frozen=True)
class Contestant:
    """A method with its parameters, and the passes its map takes alone (a backward counts two)."""

    method: Method
    passes: float
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])


def contestants(
    model: VisionModel, size: tuple[int, int], asked: str | Sequence[str], cap: float
) -> tuple[tuple[Contestant, ...], tuple[tuple[str, float, str], ...]]:
    """Who takes part, and who is left out as (name, passes, reason).

    asked: `all`, or names: these run as they are, whatever they cost
    Raises UnknownMethod, MethodUnavailable for a named method that cannot explain this model, RequestError.
    """
    if not cap >= 1:
        raise RequestError(f"cap={cap}; expected 1 pass or more.")
    prices = Prices(model, size)
    if asked != "all":
        names = (asked,) if isinstance(asked, str) else tuple(asked)
        named = [find_method(name) for name in dict.fromkeys(names)]
        if not named:
            raise RequestError("methods is empty; name at least one, or `all`.")
        for method in named:
            reason = why_not(model, method, size)
            if reason is not None:
                raise MethodUnavailable(method.name, reason, alternatives(model, method))
        return tuple(Contestant(method, _alone(prices, method)) for method in named), ()
    taking_part: list[Contestant] = []
    left_out: list[tuple[str, float, str]] = []
    for method in available(model, size).values():
        if method.question != "where" or method.control:
            continue
        one = fitted(prices, method, cap)
        if one is None:
            left_out.append((method.name, _alone(prices, method), f"takes more than {cap:.0f} passes a picture"))
        else:
            taking_part.append(one)
    return tuple(taking_part), tuple(left_out)


def fitted(prices: Prices, method: Method, cap: float) -> Contestant | None:
    """The method with its own parameters, or with as many samples as the cap allows; None where it has none to cut."""
    if _alone(prices, method) <= cap:
        return Contestant(method, _alone(prices, method))
    known = parameters_of(method)
    counted = next((name for name in _COUNTS if isinstance(known.get(name), int)), None)
    if counted is None:
        return None
    low, high = 0, int(known[counted])
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _alone(prices, method, **{counted: middle}) <= cap else (low, middle)
    if low < 1:
        return None
    return Contestant(method, _alone(prices, method, **{counted: low}), {counted: low})


def _alone(prices: Prices, method: Method, **parameters: Any) -> float:
    shared = PAIR if method.gradient else LOOK
    return shared + prices.of(method, **parameters)
