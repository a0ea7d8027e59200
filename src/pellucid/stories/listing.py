"""What there is to choose from, described for people and machines."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pellucid.registry import Method, methods
from pellucid.values import Rule

_USUAL_SIZE = (224, 224)


@dataclass(frozen=True)
class DescribedMethod:
    """One row of `pellucid methods`. cost: passes per picture beyond the shared pair at default parameters."""

    name: str
    question: str
    summary: str
    needs: tuple[str, ...]
    sees: tuple[str, ...]
    signed: bool
    class_agnostic: bool
    control: bool
    cost: str
    paper: str
    aliases: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def described_methods() -> list[DescribedMethod]:
    """Every method, cheapest first, controls last."""
    ordered = sorted(methods().values(), key=lambda method: (method.control, default_cost(method), method.name))
    return [
        DescribedMethod(
            method.name,
            method.question,
            method.summary,
            tuple(need.name for need in method.needs),
            method.sees,
            method.signed,
            method.class_agnostic,
            method.control,
            f"{default_cost(method):.0f}",
            method.paper,
            method.aliases,
        )
        for method in ordered
    ]


def default_cost(method: Method, size: tuple[int, int] = _USUAL_SIZE, **parameters: Any) -> float:
    """Passes beyond the shared forward and backward; every changed backward rule is a backward of its own."""
    rules = 2 * sum(isinstance(need, Rule) for need in method.needs)
    cost = method.cost
    return rules + (cost(**parameters, size=size) if callable(cost) else cost)
