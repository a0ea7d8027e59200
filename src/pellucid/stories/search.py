"""The search for a more faithful map: methods, layers and baselines are tried until a target or a budget is reached.

Which to try next is decided by what has worked on this picture so far: baselines, layers and methods are explored and
exploited by Thompson sampling, as Barkan et al. (BEE, 2025) do for the baselines of path methods.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pellucid.engine import Evidence, look
from pellucid.engine.maps import takes_layer
from pellucid.engine.parameters import parameters_of
from pellucid.errors import MethodUnavailable
from pellucid.registry import Method
from pellucid.results import Heatmaps
from pellucid.stories.contestants import fitted
from pellucid.stories.maps import available, heatmaps, needs_of
from pellucid.stories.panel import Prices
from pellucid.stories.request import Batch
from pellucid.subject import VisionModel
from pellucid.subject.layers import LayerTree
from pellucid.trust.faithfulness import Curves, curve_passes, perturbation_curves
from pellucid.values import Layer, Seed

BASELINES = ("mean", "blur", "black", "noise", "zero")
MOST_LAYERS = 5
HELD_OUT = "white"
"""The fill that no search sees: what it found is measured with it in the end."""
_PER_MAP = 400  # passes one map may take, else it is tried with fewer samples


@dataclass(frozen=True)
class Arm:
    """One map that could be made: a method at a layer with parameters. passes: what making and scoring it takes."""

    method: Method
    layer: Layer | None
    parameters: Mapping[str, Any]
    passes: float

    @property
    def traits(self) -> tuple[str, ...]:
        """What its success says something about: the method, and where or against what it looks."""
        baseline = self.parameters.get("baseline")
        where = [f"layer {self.layer.name}"] if self.layer else [f"baseline {baseline}"] if baseline else []
        return (self.method.name, *where)

    @property
    def words(self) -> str:
        """How it is named in a sentence."""
        return " with ".join([" at ".join([self.method.name, self.layer.name]) if self.layer else self.method.name,
                              *[f"{key} {value}" for key, value in self.parameters.items()]])  # fmt: skip


@dataclass(frozen=True, eq=False)
class Found:
    """What a search brought.

    heat:     the best map, None where none was better than what was there
    gain:     its insertion less deletion, mean over the fills
    held_out: the same with a fill the search did not see, so that it cannot have been fitted to it
    tried:    maps that were made, with their gains, in the order tried
    """

    heat: Heatmaps | None
    curves: Curves | None
    gain: float
    held_out: float
    tried: tuple[tuple[str, float], ...]
    passes: float
    reached: bool

    def sentence(self, target: float) -> str:
        """What came of it, with its numbers."""
        end = (
            f"reached {self.gain:.2f}, the target of {target:.2f}" if self.reached
            else f"ended at {self.gain:.2f}, below the target of {target:.2f}"
        )  # fmt: skip
        maps = f"{len(self.tried)} more maps" if len(self.tried) != 1 else "1 more map"
        return (
            f"The search for a more faithful map tried {maps} in {self.passes:.0f} passes and {end}; with a fill it "
            f"did not see ({HELD_OUT}), the map has {self.held_out:.2f}."
        )


def search(
    model: VisionModel, picture: Batch, evidence: Evidence, *, best: tuple[Heatmaps, float], target: float,
    passes: float, fractions: Sequence[float], fills: Sequence[str], seed: int, memory: float | None = None,
) -> Found:  # fmt: skip
    """Tries maps of one picture until one has a gain of `target`, or the next would exceed `passes`.

    best: the most faithful map so far and its gain (insertion less deletion over `fractions` and `fills`)
    """
    arms = list(_arms(model, evidence.size, len(fills), len(fractions)))
    beliefs = _Beliefs(np.random.default_rng(int(Seed(seed).child("search"))))
    start = evidence.passes.cost
    passes -= curve_passes(1, len(fractions), 1) - 1  # for the fill that is held out
    wide = look(
        model, picture.inputs, list(evidence.targets), needs=needs_of(arm.method for arm in arms),
        layers=dict.fromkeys(arm.layer for arm in arms if arm.layer), seed=seed, memory=memory,
    )  # fmt: skip
    heat, gain = best
    found: Curves | None = None
    tried: list[tuple[str, float]] = []
    while gain < target and arms:
        affordable = [arm for arm in arms if evidence.passes.cost - start + wide.passes.cost + arm.passes <= passes]
        if not affordable:
            break
        arm = beliefs.choose(affordable)
        arms.remove(arm)
        made = _made(wide, picture, arm)
        if made is None:
            beliefs.learn(arm, better=False)
            continue
        curves = _scored(evidence, made, fractions, fills)
        reached = float(curves.gain(made.method).mean())
        tried.append((arm.words, reached))
        beliefs.learn(arm, better=reached > gain)
        if reached > gain:
            heat, gain, found = made, reached, curves
    spent = evidence.passes.cost - start + wide.passes.cost
    held_out = float(_scored(evidence, heat, fractions, (HELD_OUT,)).gain(heat.method).mean())
    evidence.passes.add(wide.passes.forwards, wide.passes.backwards)
    return Found(heat if found else None, found, gain, held_out, tuple(tried), spent, gain >= target)


@dataclass
class _Beliefs:
    """How often each method, layer and baseline made a better map: a Beta distribution each, uniform at first."""

    generator: np.random.Generator
    wins: dict[str, int] = field(default_factory=dict[str, int])
    losses: dict[str, int] = field(default_factory=dict[str, int])

    def choose(self, arms: Sequence[Arm]) -> Arm:
        """The arm whose drawn chance of success per pass is highest."""
        drawn = {trait: self._draw(trait) for trait in sorted({trait for arm in arms for trait in arm.traits})}
        return max(arms, key=lambda arm: float(np.mean([drawn[trait] for trait in arm.traits])) / arm.passes)

    def learn(self, arm: Arm, *, better: bool) -> None:
        table = self.wins if better else self.losses
        for trait in arm.traits:
            table[trait] = table.get(trait, 0) + 1

    def _draw(self, trait: str) -> float:
        return float(self.generator.beta(1 + self.wins.get(trait, 0), 1 + self.losses.get(trait, 0)))


def _arms(model: VisionModel, size: tuple[int, int], fills: int, points: int) -> Iterator[Arm]:
    """Every map worth trying: each method at several layers or against several baselines."""
    scoring = curve_passes(1, points, fills) - 1 - fills
    layers = _layers(model.layers_at(size)) if model.differentiable else []
    for method in available(model, size).values():
        if method.question != "where" or method.control:
            continue
        known = parameters_of(method)
        places: list[Layer | None] = [None]
        if takes_layer(method) and method.layered:
            places = [layer for layer in layers if layer.kind in method.sees] or [None]
        variants: list[dict[str, Any]] = [{}]
        if isinstance(known.get("baseline"), str):
            variants = [{"baseline": kind} for kind in BASELINES]
        cut = fitted(Prices(model, size), method, _PER_MAP)
        if cut is None:
            continue
        for place in places:
            for variant in variants:
                parameters = {**cut.parameters, **variant}
                yield Arm(method, place, parameters, Prices(model, size, place).of(method, **parameters) + scoring)


def _layers(tree: LayerTree) -> list[Layer]:
    """The last layer of every grid size, coarsest first; where there is one grid only, layers spread over the depth."""
    last: dict[tuple[int, int] | None, Layer] = {}
    for layer in tree.grid_layers:
        if layer.name not in tree.silent:
            last[layer.grid] = layer
    chosen = list(reversed(last.values()))
    if len(chosen) == 1 and tree.blocks:
        blocks = [tree[name] for name in tree.blocks if name not in tree.silent]
        chosen = [blocks[round(at)] for at in np.linspace(len(blocks) - 1, 0, min(MOST_LAYERS, len(blocks)))]
    default = [tree.default] if tree.default is not None else []
    return list({layer.name: layer for layer in [*default, *chosen]}.values())[:MOST_LAYERS]


def _made(evidence: Evidence, picture: Batch, arm: Arm) -> Heatmaps | None:
    """The arm's map; None where it turns out undefined, or fails its checks."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a layer that says nothing is tried and lost, not announced
            heat = heatmaps(evidence, picture, arm.method, layer=arm.layer, parameters=arm.parameters)
    except MethodUnavailable:
        return None
    return heat if heat.finite(0) and heat.passed(0) else None


def _scored(evidence: Evidence, heat: Heatmaps, fractions: Sequence[float], fills: Sequence[str]) -> Curves:
    return perturbation_curves(evidence, {heat.method: heat.one_channel}, fractions=fractions, fills=fills, over="side")
