"""Training and measuring the nets that speak."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float16, Int64
from torch import Tensor, nn
from torch.nn import functional

from pellucid.compute import train as training
from pellucid.errors import SceneError
from pellucid.testbed import captions
from pellucid.testbed.fields import WORDS
from pellucid.testbed.nets import Captioner
from pellucid.testbed.nets.words import PAD
from pellucid.testbed.scene import Scenes, scenes
from pellucid.testbed.train.pictures import Order
from pellucid.testbed.train.plans import PLANS, Job


def fit(job: Job) -> training.Course:
    """The next word of the full caption, at every word. The tower stays as it is, so it looks at each picture once."""
    assert isinstance(job.net, Captioner)
    net = job.net
    drawn = scenes(job.seed, job.plan.pool, **job.plan.settings)
    net.tower.requires_grad_(False)
    seen, numbers = tokens(net.look, drawn), net.words.encode(drawn.captions)
    order = Order(len(seen), job.plan.recipe.batch, job.seed)

    def objective(step: int) -> Tensor:
        chosen = order(step)
        return next_word_loss(net.speak(seen[chosen].float(), numbers[chosen, :-1]), numbers[chosen, 1:])

    return training.descend(net, objective, job.plan.recipe, **job.manner)


def tokens(look: Callable[[Tensor], Tensor], drawn: Scenes) -> Float16[Tensor, "scene token width"]:
    """What a frozen tower sees of all scenes, in half the memory."""
    with torch.no_grad(), training.one_thread():
        return torch.cat([look(drawn[at : at + 250].tensor()).half() for at in range(0, len(drawn), 250)])


def next_word_loss(logits: Float[Tensor, "text word vocabulary"], wanted: Int64[Tensor, "text word"]) -> Tensor:
    """Cross entropy over the words that are there."""
    return functional.cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), ignore_index=PAD)


def measure(name: str, net: nn.Module, seed: int, count: int) -> dict[str, float]:
    """The share of what its captions state that is so, over all fields and of each; and the share of captions that are
    right in full.
    """
    assert isinstance(net, Captioner)
    drawn = scenes(seed, count, **PLANS[name].settings)
    with training.one_thread():
        said = [text for at in range(0, count, 100) for text in net.generate(drawn[at : at + 100].tensor())]
    return truthfulness(said, drawn)


def truthfulness(said: Sequence[str], drawn: Scenes) -> dict[str, float]:
    """How true captions are: all that they state, whole captions, and each field.

    A sentence outside the grammar states nothing that is so.
    """
    right: dict[str, list[bool]] = {}
    whole: list[bool] = []
    for at, text in enumerate(said):
        stated = _read(text)
        verdicts = {name: WORDS[name].index(word) == int(drawn.fields[name][at]) for name, word in stated.items()}
        for name, verdict in (verdicts or {"grammar": False}).items():
            right.setdefault(name, []).append(verdict)
        whole.append(bool(verdicts) and all(verdicts.values()))
    every = [verdict for verdicts in right.values() for verdict in verdicts]
    figures = {"stated": every, "whole_captions": whole, **dict(sorted(right.items()))}
    return {word: round(float(np.mean(verdicts)), 4) for word, verdicts in figures.items()}


def _read(text: str) -> Mapping[str, str]:
    try:
        return captions.parse(text)
    except SceneError:
        return {}
