"""Descent on what a picture is seen through: a mask of whatever kind, one per picture, all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid import hooks
from pellucid.engine.evidence import Evidence

Show = Callable[[Tensor, int], Sequence[Tensor]]
"""(mask, step) -> pictures seen through it, each [batch channel height width], in the mask's graph."""
Loss = Callable[[Tensor, Float[Tensor, "point batch"], int], Float[Tensor, "batch"]]
"""(mask, the target's value at those pictures, step) -> what is to become small, one number per picture."""


@dataclass(frozen=True, eq=False)
class Descent:
    """Where it ended, and the way there.

    found:  the mask of every picture
    losses: of every step, before it was made
    """

    found: Float[Tensor, "batch ..."]
    losses: Float[Tensor, "step batch"]


def descend(
    evidence: Evidence,
    start: Float[Tensor, "batch ..."],
    show: Show,
    loss: Loss,
    *,
    steps: int,
    rate: float,
    within: tuple[float, float] = (0.0, 1.0),
) -> Descent:
    """The mask after `steps` steps of Adam, kept `within` its bounds.

    The model is asked for the target's value and gradient at the pictures shown, which the engine cuts to its budget;
    what lies between mask and picture is differentiated here. Nothing of one picture enters another's mask. Each step
    costs a forward and a backward for every picture shown.
    """
    with hooks.going_back(evidence.inputs.device):
        mask = start.detach().clone()
        adam = _Adam(mask, rate)
        losses: list[Tensor] = []
        for step in range(steps):
            leaf = mask.clone().requires_grad_()
            points = list(show(leaf, step))
            answers = list(evidence.slopes_at(point.detach() for point in points))
            scores = torch.stack([score for score, _ in answers]).requires_grad_()
            value = loss(leaf, scores, step)
            of_scores, direct = torch.autograd.grad(
                value.sum(), [scores, leaf], allow_unused=True, materialize_grads=True
            )
            pulls = [slope * of[:, None, None, None] for (_, slope), of in zip(answers, of_scores, strict=True)]
            (through,) = torch.autograd.grad(points, leaf, grad_outputs=pulls)
            mask = (mask - adam.step(direct + through)).detach().clamp(*within)
            losses.append(value.detach())
        return Descent(mask, torch.stack(losses))


class _Adam:
    """Kingma and Ba 2015 with their constants. Torch's own takes seconds the first time, for what it imports."""

    def __init__(self, like: Tensor, rate: float) -> None:
        self.rate, self.steps = rate, 0
        self.mean, self.square = torch.zeros_like(like), torch.zeros_like(like)

    def step(self, slope: Tensor) -> Tensor:
        """What is to be subtracted."""
        self.steps += 1
        self.mean = torch.lerp(slope, self.mean, _MEMORY[0])
        self.square = torch.lerp(slope.square(), self.square, _MEMORY[1])
        mean, square = (
            moment / (1 - memory**self.steps) for moment, memory in zip((self.mean, self.square), _MEMORY, strict=True)
        )
        return self.rate * mean / (square.sqrt() + 1e-8)


_MEMORY = (0.9, 0.999)
