"""Finer-CAM: what tells the class from those that the model finds most like it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.errors import MethodUnavailable, TargetError
from pellucid.registry import find_method, method
from pellucid.values import Activation, Call, Class, Gradient, Layer, Target, Text


@method("finer_cam", needs=[Activation, Gradient], sees=("map", "tokens"), paper="Zhang et al. 2025", cost=3.0)
def finer_cam(
    evidence: Evidence, layer: Layer, *, rivals: int = 3, strength: float = 1.0, base: str = "grad_cam"
) -> Float[Tensor, "batch h w"]:
    """The class activation map of what tells the class from those with the nearest logits.

    rivals:   how many of them; where the model has fewer, all
    strength: how much of a rival's logit is taken off the class's; 0 leaves the class alone
    base:     the map that is asked for: a method that reads nothing but one layer's activation and gradient

    The target becomes the mean of (logit of the class - strength x logit of the rival), rivals weighted by their
    softmax probability. The gradient goes through these weights too. Raises TargetError unless the target is a class.
    """
    outputs = evidence.output()
    if outputs.shape[1] < 2:
        raise MethodUnavailable("Finer-CAM", "it knows one class, with nothing to compare.", (base,))
    classes = [_class_of(target) for target in evidence.targets]
    contrasts = [
        Call(_Contrast(own, _nearest(row, own, rivals), strength), name="against its nearest classes")
        for own, row in zip(classes, outputs, strict=True)
    ]
    finer = evidence.asking(contrasts)
    finer.keep([layer], gradients=True)
    return find_method(base).function(finer, layer)


def _class_of(target: Target) -> int:
    if isinstance(target, (Class, Text)) and isinstance(target.index, int):
        return target.index
    raise TargetError(f"Finer-CAM compares one class with others like it; the target {target} is no class.")


def _nearest(outputs: Float[Tensor, "classes"], own: int, count: int) -> tuple[int, ...]:
    """The other classes with the nearest logits, nearest first."""
    distance = (outputs - outputs[own]).abs()
    distance[own] = -1  # itself, first also where another class has the very same logit
    return tuple(distance.argsort(stable=True)[1 : 1 + count].tolist())


class _Contrast:
    """The mean lead of a class over its rivals; equal questions compare equal, so that one backward serves them."""

    def __init__(self, own: int, rivals: Sequence[int], strength: float) -> None:
        self.key = (own, tuple(rivals), strength)

    def __call__(self, outputs: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch"]:
        own, rivals, strength = self.key
        against = list(rivals)
        weights = outputs.softmax(dim=-1)[:, against]
        lead = outputs[:, own : own + 1] - strength * outputs[:, against]
        # Where all rivals are next to impossible their weights are rounding: then they count alike.
        total = weights.sum(dim=1)
        mean = (weights * lead).sum(dim=1) / total.clamp(min=torch.finfo(outputs.dtype).tiny)
        return torch.where(total > 1e-9, mean, lead.mean(dim=1))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Contrast) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)
