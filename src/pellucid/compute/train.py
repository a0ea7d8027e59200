"""One training loop for every part that pellucid trains itself. It knows no model under study."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.compute.early import Early
from pellucid.compute.progress import track

Batch = tuple[Tensor, Tensor]
CHECKPOINT_STEPS = 50


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
    checkpoint: Path | None = None,
    quick: bool = False,
) -> Course:
    """Fit `net` in place, the same bits every time on one machine, and leave it in evaluation mode.

    batches:    step -> (inputs, targets); must depend on the step alone
    loss:       (outputs, targets) -> one number; None is cross entropy with the recipe's smoothing
    checkpoint, quick: see `descend`
    """
    judge = loss or nn.CrossEntropyLoss(label_smoothing=recipe.smoothing)

    def objective(step: int) -> Tensor:
        inputs, targets = batches(step)
        return judge(net(inputs).float(), targets)

    return descend(net, objective, recipe, label=label, checkpoint=checkpoint, quick=quick)


def descend(
    net: nn.Module,
    objective: Callable[[int], Tensor],
    recipe: Recipe,
    *,
    label: str = "Training",
    checkpoint: Path | None = None,
    quick: bool = False,
    early: Early | None = None,
) -> Course:
    """Bring `objective` down by changing `net` in place, and leave it in evaluation mode.

    objective:  step -> one number to be made small; must depend on the step and the net alone
    checkpoint: a file that says how far it came, written every 50 updates and removed at the end. Where it lies there
                already, training goes on from it, to the same bits as without the break
    quick:      multiply in bfloat16 where the processor has it: about half the time
    early:      stops it before its last step and brings back the best net; None runs all steps
    """
    optimiser = adamw(net, recipe)
    losses: list[float] = []
    before = 0.0
    if checkpoint is not None and checkpoint.exists():
        seen = resumed(checkpoint, net, optimiser)
        losses, before = list(seen["losses"]), float(seen["seconds"])
        if early is not None:
            early.resume(seen["early"])
    begun, first = process_time(), len(losses)
    net.train()
    with one_thread():
        for step in track(range(first, recipe.steps), total=recipe.steps - first, label=label):
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate(step)
            with torch.autocast("cpu", torch.bfloat16, enabled=quick and has_bfloat16()):
                value = objective(step)
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
            optimiser.step()
            losses.append(value.item())
            stopping = early is not None and early.stops(len(losses), net)
            if checkpoint is not None and len(losses) % CHECKPOINT_STEPS == 0:
                spent = before + process_time() - begun
                judged = {} if early is None else {"early": early.facts()}
                keep(checkpoint, net, optimiser, losses=losses, seconds=spent, **judged)
            if stopping:
                break
    if early is not None:
        early.settle(net)
    net.eval()
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return Course(tuple(losses), before + process_time() - begun)


def has_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16 itself; elsewhere it would be slower than float32."""
    known = torch.cpu.get_capabilities()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def adamw(net: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW for the weights that learn; biases and norms do not decay, as shrinking them only harms."""
    learning = [weight for weight in net.parameters() if weight.requires_grad]
    decayed = [weight for weight in learning if weight.ndim > 1]
    kept = [weight for weight in learning if weight.ndim <= 1]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": kept, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        foreach=True,
    )


def keep(path: Path, net: nn.Module, optimiser: torch.optim.Optimizer, **facts: Any) -> None:
    """Write a checkpoint: the whole file or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    torch.save({"net": net.state_dict(), "optimiser": optimiser.state_dict(), **facts}, partial)
    partial.replace(path)


def resumed(path: Path, net: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Bring net and optimiser to where a checkpoint left them; gives the facts that were kept with them."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    net.load_state_dict(state.pop("net"))
    optimiser.load_state_dict(state.pop("optimiser"))
    return state


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random weights drawn inside depend on `seed` alone; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums are made in one order, so that the same seed gives the same bits; the caller's setting comes back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
