"""A bridge learns from captions while the language model stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from pellucid import hooks
from pellucid.compute import train as training
from pellucid.compute.train import Recipe
from pellucid.language.translation.bridges import Bridge
from pellucid.language.translation.decoders import FILL, Decoder
from pellucid.language.translation.ports import Features
from pellucid.values import Seed

_PAPER_WIDTH, _PAPER_RATE, _HIGHEST_RATE = 768, 3e-4, 3e-3
_CHECKS = 8  # how often the held-out loss is looked at


@dataclass(frozen=True)
class Lesson:
    """How a bridge is trained.

    rate:      highest learning rate; None goes by the language model's width
    dropout:   the chance that a slot is hidden (DeViL's token dropout); at least one slot stays
    held_out:  share of the pictures that are never learned from
    smoothing: share of the target given to all tokens alike; what is given is spoken when sentences are drawn
    """

    steps: int = 250
    batch: int = 64
    rate: float | None = None
    dropout: float = 0.5
    held_out: float = 0.1
    smoothing: float = 0.0

    def recipe(self, width: int) -> Recipe:
        """Small nets learn well at higher rates than the paper's large ones."""
        rate = self.rate or min(_HIGHEST_RATE, _PAPER_RATE * _PAPER_WIDTH / width)
        return Recipe(self.steps, rate, batch=self.batch, weight_decay=0.01, warm_up=0.03, smoothing=self.smoothing)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def shortened(self, steps: int | None) -> Lesson:
        return self if steps is None else replace(self, steps=steps)


@dataclass(frozen=True)
class Losses:
    """Cross entropy per token on held-out pictures, natural logarithms: with their own features, with those of other
    pictures, and with the mean feature.
    """

    own: float
    shuffled: float
    mean: float

    def __str__(self) -> str:
        return (
            f"Loss per token on held-out pictures {self.own:.2f}; with other pictures' features {self.shuffled:.2f}, "
            f"with the mean feature {self.mean:.2f}."
        )


def divided(count: int, share: float, seed: Seed) -> tuple[list[int], list[int]]:
    """Which pictures are learned from, and which are held out."""
    order = torch.randperm(count, generator=seed.child("held out").generator()).tolist()
    cut = max(2, round(share * count))
    return sorted(order[cut:]), sorted(order[:cut])


def teach(
    bridge: Bridge, decoder: Decoder, features: Features, texts: Sequence[str], rows: Sequence[int],
    held_out: Sequence[int], lesson: Lesson, seed: Seed,
) -> Losses:  # fmt: skip
    """Fit `bridge` in place to the captions of `rows`; what it knew where the held-out loss was least is kept."""
    numbers, learnt = decoder.numbers(texts), torch.tensor(rows)
    bridge.settle(features[list(rows)])
    judged = list(held_out)[:128]
    best: tuple[float, dict[str, Tensor]] = (torch.inf, {})
    every = max(1, lesson.steps // _CHECKS)

    def objective(step: int) -> Tensor:
        nonlocal best
        if step and step % every == 0:
            best = _better(best, bridge, held_out_loss(bridge, decoder, features, numbers, judged))
        draw = seed.child("step", step).generator()
        chosen = learnt[torch.randint(len(learnt), (lesson.batch,), generator=draw)]
        which = torch.randint(features.slots[0].shape[1], (lesson.batch,), generator=draw)
        there = hidden(lesson.batch, len(features.slots), lesson.dropout, draw)
        prefix = bridge(features.picked(chosen, which), there)
        return _loss(decoder, prefix, numbers[chosen], lesson.smoothing)

    with hooks.guest(decoder.network, frozen=True):
        training.descend(bridge, objective, lesson.recipe(decoder.width), label="Learning to translate")
        best = _better(best, bridge, held_out_loss(bridge, decoder, features, numbers, judged))
        bridge.load_state_dict(best[1])
        return _losses(bridge, decoder, features, numbers, judged, learnt)


def hidden(rows: int, slots: int, dropout: float, generator: torch.Generator) -> Bool[Tensor, "row slot"]:
    """Which slots are there: each with chance 1 - dropout, at least one of each row."""
    there = torch.rand(rows, slots, generator=generator) >= dropout
    one = functional.one_hot(torch.randint(slots, (rows,), generator=generator), slots).bool()
    return there | (~there.any(dim=1, keepdim=True) & one)


@torch.no_grad()
def held_out_loss(
    bridge: Bridge, decoder: Decoder, features: Features, numbers: Int64[Tensor, "picture token"], rows: Sequence[int]
) -> float:
    """Cross entropy per token, every slot shown."""
    training_mode = bridge.training
    bridge.eval()
    value = float(_loss(decoder, bridge(features.picked(rows)), numbers[torch.tensor(rows)], 0.0))
    bridge.train(training_mode)
    return value


def _losses(
    bridge: Bridge, decoder: Decoder, features: Features, numbers: Tensor, rows: Sequence[int], learnt: Tensor
) -> Losses:
    told, vectors = numbers[torch.tensor(rows)], features.picked(rows)
    usual = [slot[learnt, 0].mean(dim=0, keepdim=True).expand(len(rows), -1) for slot in features.slots]
    with torch.no_grad():
        own, shuffled, mean = (
            float(_loss(decoder, bridge(given), told, 0.0))
            for given in (vectors, [one.roll(1, dims=0) for one in vectors], usual)
        )
    return Losses(own, shuffled, mean)


def _loss(
    decoder: Decoder, prefix: Float[Tensor, "row slot width"], numbers: Int64[Tensor, "row token"], smoothing: float
) -> Tensor:
    longest = int((numbers != FILL).sum(dim=1).max())
    told = numbers[:, :longest]
    logits = decoder.logits(prefix, told).float()
    return functional.cross_entropy(logits.flatten(0, 1), told.flatten(), ignore_index=FILL, label_smoothing=smoothing)


def _better(best: tuple[float, dict[str, Tensor]], bridge: Bridge, loss: float) -> tuple[float, dict[str, Tensor]]:
    if loss >= best[0]:
        return best
    return loss, {name: value.detach().clone() for name, value in bridge.state_dict().items()}
