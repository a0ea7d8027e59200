"""Name → declaration, for methods, metrics and claim tests.

The decorators fill the tables; a table's room is walked when it is first asked for, never at import.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pellucid.errors import UnknownMethod
from pellucid.values.need import Need

_methods: dict[str, Method] = {}
_metrics: dict[str, Metric] = {}
_claim_tests: dict[str, Callable[..., Any]] = {}


@dataclass(frozen=True)
class Learning:
    """How an explainer learns: AdamW, one cycle of the learning rate; it stops once held-out pictures say so.

    updates, batch: how many updates at most, of how many pictures
    held_out:       share of the pictures that only judge; 0 runs all updates
    every:          how many updates lie between two judgements
    patience:       how many judgements in a row may be no better than the best
    """

    updates: int = 600
    batch: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 5e-4
    held_out: float = 0.1
    every: int = 50
    patience: int = 6


@dataclass(frozen=True)
class Fitting:
    """How the explainer of a method that is fitted to a model comes about; `attribution.fitted.fit` carries it out.

    shape: (model, **settings) -> what its net must be like for this model, as plain values
    build: (**shape) -> the net, its weights drawn from torch's random state
    loss:  (net, lesson) -> one number to be made small
    """

    shape: Callable[..., dict[str, Any]]
    build: Callable[..., Any]
    loss: Callable[..., Any]
    learning: Learning = Learning()


@dataclass(frozen=True)
class Method:
    """How a method is declared: what it needs, what it costs, where it comes from.

    sees:     the kinds of layer it reads (`map`, `tokens`); `pixels` for methods that need no layer
    signed:   whether negative values mean evidence against the target
    channels: how colour channels of a pixel map become one value: their `sum`, or the `largest` magnitude
    cost:     passes per picture beyond the shared pair of one forward and one backward (a backward counts two); the
              most it can take, where it stops when it has seen enough
    promise:  what the paper promises of the finished map: (evidence, values, parameters) -> list of Check per picture
    fitting:  for methods that need an explainer fitted to the model: how it comes about
    """

    name: str
    function: Callable[..., Any]
    needs: tuple[Need, ...]
    sees: tuple[str, ...]
    paper: str
    question: str = "where"
    signed: bool = False
    channels: str | None = "sum"
    cost: Callable[..., float] | float = 0
    class_agnostic: bool = False
    control: bool = False
    promise: Callable[..., Any] | None = None
    fitting: Fitting | None = None
    aliases: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (self.function.__doc__ or "").strip().splitlines()[0]

    @property
    def gradient(self) -> bool:
        return any(need.gradient for need in self.needs)

    @property
    def inside(self) -> bool:
        return any(need.inside for need in self.needs)

    @property
    def layered(self) -> bool:
        """Whether it explains at a layer."""
        return "pixels" not in self.sees

    def passes(self, **parameters: Any) -> float:
        """Passes per picture beyond the shared pair, for these parameters."""
        return self.cost(**parameters) if callable(self.cost) else self.cost


@dataclass(frozen=True)
class Metric:
    """How a trust measure is declared.

    A measure is a function of what it names as arguments: `evidence`, `maps` (by name, the controls among them),
    `model`, `truth`, `remake`, `heats`; its parameters are keywords. It gives one table for all maps.

    range:   the least and the greatest value it can take
    cost:    passes per picture and map, for these parameters; those that remake maps add the maps' own
    shared:  passes per picture on top, once for all maps
    reads:   what of the truth it needs beside the mask, by the names that Ground has for it
    remakes: whether it makes the maps anew
    trains:  whether it trains models: it takes pictures to learn from instead, gives a Retraining, and is run by
             `pellucid retrain` or called, never on maps alone
    limit:   the value beyond which a map fails, for measures that are checks; None where the controls are the measure
    oracle:  truth -> the map that answers this measure's question best; None is the mask of the deciding place
    changes: for measures of how well a map foretells the model: by which changes of the picture, in words
    """

    name: str
    function: Callable[..., Any]
    better: str
    paper: str
    range: tuple[float, float] = (0.0, 1.0)
    cost: Callable[..., float] | float = 0
    needs_truth: bool = False
    reads: tuple[str, ...] = ()
    remakes: bool = False
    trains: bool = False
    limit: float | None = None
    oracle: Callable[..., Any] | None = None
    changes: str = ""
    shared: Callable[..., float] | float = 0

    @property
    def summary(self) -> str:
        return (self.function.__doc__ or "").strip().splitlines()[0]

    def passes(self, **parameters: Any) -> float:
        """Passes per picture and map, for these parameters."""
        return self.cost(**parameters) if callable(self.cost) else self.cost

    def shared_passes(self, **parameters: Any) -> float:
        """Passes per picture once for all maps, for these parameters."""
        return self.shared(**parameters) if callable(self.shared) else self.shared


def method(
    name: str,
    *,
    needs: Sequence[Need],
    sees: Sequence[str] = ("pixels",),
    paper: str,
    **declaration: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare the decorated function as the method `name`; the function itself comes back unchanged."""

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        _methods[name] = Method(name, function, tuple(needs), tuple(sees), paper, **declaration)
        return function

    return declare


def metric(
    name: str, *, better: str, paper: str, **declaration: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare the decorated function as the trust measure `name`."""

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        _metrics[name] = Metric(name, function, better, paper, **declaration)
        return function

    return declare


def claim_test(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare the decorated function, (model, claim) -> claim, as the test that claims call `name`."""

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        _claim_tests[name] = function
        return function

    return declare


def methods() -> dict[str, Method]:
    """Every method by name."""
    _walk("attribution")
    return dict(_methods)


def metrics() -> dict[str, Metric]:
    """Every trust measure by name."""
    _walk("trust")
    return dict(_metrics)


def claim_tests() -> dict[str, Callable[..., Any]]:
    """Every claim test by name."""
    _walk("language")
    return dict(_claim_tests)


def find_method(name: str) -> Method:
    """The method of that name or alias. Raises UnknownMethod with the nearest names."""
    table = methods()
    aliases = {alias: entry for entry in table.values() for alias in entry.aliases}
    found = table.get(name) or aliases.get(name)
    if found is None:
        raise UnknownMethod(name, [*table, *aliases])
    return found


def find_metric(name: str) -> Metric:
    """The trust measure of that name. Raises UnknownMethod with the nearest names."""
    table = metrics()
    if name not in table:
        raise UnknownMethod(name, list(table), kind="metric")
    return table[name]


@cache
def _walk(room: str) -> None:
    package = importlib.import_module(f"pellucid.{room}")
    for entry in pkgutil.iter_modules(package.__path__, f"pellucid.{room}."):
        importlib.import_module(entry.name)
