"""One training loop for every part that pellucid trains itself. It knows no model under study."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from time import process_time
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.compute.progress import track

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Recipe:
    """How a net is trained: AdamW, one cycle of the learning rate, clipped gradients.

    steps, batch:  how many updates of how many samples
    learning_rate: the peak; reached after the share `warm_up` of the steps, then falls along a cosine to nothing
    clip:          largest norm of the whole gradient
    smoothing:     share of the target spread over all classes
    """

    steps: int
    learning_rate: float
    batch: int = 64
    weight_decay: float = 0.02
    warm_up: float = 0.15
    clip: float = 1.0
    smoothing: float = 0.05

    def rate(self, step: int) -> float:
        """The learning rate of one update."""
        rising = max(1, round(self.warm_up * self.steps))
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, self.steps - rising)))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Course:
    """What happened in training: the loss of every update, and processor seconds."""

    losses: tuple[float, ...]
    seconds: float


def fit(
    net: nn.Module,
    batches: Callable[[int], Batch],
    recipe: Recipe,
    *,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    label: str = "Training",
) -> Course:
    """Fit `net` in place, the same bits every time on one machine, and leave it in evaluation mode.

    batches: step -> (inputs, targets); must depend on the step alone
    loss:    (outputs, targets) -> one number; None is cross entropy with the recipe's smoothing
    """
    loss = loss or nn.CrossEntropyLoss(label_smoothing=recipe.smoothing)
    decayed = [weight for weight in net.parameters() if weight.ndim > 1]
    kept = [weight for weight in net.parameters() if weight.ndim <= 1]  # biases and norms: shrinking them only harms
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": kept, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        foreach=True,
    )
    losses: list[float] = []
    begun = process_time()
    net.train()
    with one_thread():
        for step in track(range(recipe.steps), total=recipe.steps, label=label):
            inputs, targets = batches(step)
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate(step)
            value = loss(net(inputs), targets)
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
            optimiser.step()
            losses.append(value.item())
    net.eval()
    return Course(tuple(losses), process_time() - begun)


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums are made in one order, so that the same seed gives the same bits; the caller's setting comes back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
