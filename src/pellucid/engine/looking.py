"""The way in: evidence over a batch of pictures, planned so that all methods share its passes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jaxtyping import Float
from torch import Tensor

from pellucid.compute.memory import Budget
from pellucid.engine.evidence import Evidence
from pellucid.engine.least import least_bytes
from pellucid.engine.recording import Wanted
from pellucid.errors import RequestError
from pellucid.subject import VisionModel
from pellucid.subject.layers import LayerTree
from pellucid.values import (
    Activation,
    Attended,
    AttendedGradient,
    Attention,
    AttentionGradient,
    BiasGradient,
    Blocks,
    Gradient,
    InputGradient,
    Layer,
    Need,
    Rule,
    Seed,
    Tail,
)


def look(
    model: VisionModel,
    inputs: Float[Tensor, "batch channel height width"],
    target: Any = None,
    *,
    needs: Iterable[Need] = (),
    layers: Iterable[Layer | str] = (),
    seed: int | Seed = 0,
    memory: float | None = None,
) -> Evidence:
    """Evidence over a batch of model input, planned for all of `needs` so that they share one forward and backward.

    target: see `pellucid.subject.targets.resolve`; None is the predicted class of each picture
    layers: where activations and gradients will be asked for
    memory: GiB that passes may take; None is a quarter of what is free

    Raises ShapeError, TargetError, UnknownLayer, MemoryBudgetError where not even one picture fits into `memory`.
    """
    ours = model.check_input(inputs)
    asked = set(needs)
    tree = model.layers_at((int(ours.shape[-2]), int(ours.shape[-1]))) if model.differentiable else None
    names = frozenset((layer if isinstance(layer, Layer) else _known(tree, layer)).name for layer in layers)
    kept = names if asked & {Activation, Gradient} or not asked else frozenset[str]()
    if tree is not None and asked & {AttentionGradient, Blocks}:
        kept |= frozenset(tree.blocks)  # LeGrad reads every block's own tokens; asked for later they cost a forward
    wanted = Wanted(
        layers=kept,
        tails=names if Tail in asked else frozenset(),
        attention=bool(asked & {Attention, AttentionGradient}),
        attended=bool(asked & {Attended, AttendedGradient}),
        biases=BiasGradient in asked,
        rules=any(isinstance(need, Rule) and need.name != "relevance" for need in asked),
        relevance=Rule("relevance") in asked,
        gradients=any(need.gradient for need in asked),
        inputs=any(need == InputGradient or isinstance(need, Rule) for need in asked),
    )
    seed = seed if isinstance(seed, Seed) else Seed(seed)
    budget = Budget.of(memory, model.device)
    if tree is not None:
        size = tree.input_size
        budget.hold(least_bytes(model, asked, size), without_gradients=least_bytes(model, (), size))
    return Evidence(model, ours, model.resolve(target, len(ours)), wanted=wanted, seed=seed, budget=budget)


def _known(tree: LayerTree | None, name: str) -> Layer:
    if tree is None:
        raise RequestError(f"The model is a black box: it has no layer {name!r}.")
    return tree[name]
