"""Training and measuring the captioner that looks at places."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pellucid.compute import train as training
from pellucid.testbed import nets
from pellucid.testbed.nets import Attender
from pellucid.testbed.nets.attending import GRID
from pellucid.testbed.nets.words import PAD
from pellucid.testbed.scene import Scenes, scenes
from pellucid.testbed.train.pictures import Order
from pellucid.testbed.train.plans import PLANS, Job
from pellucid.testbed.train.telling import next_word_loss, tokens, truthfulness
from pellucid.testbed.truth import grown
from pellucid.testbed.word_parts import part_words

EVENNESS = 0.01  # weight of the doubly stochastic penalty, beside the mean log loss of a word


def begin_with(net: Attender) -> None:
    """The eye as the nets that it comes from learned it."""
    parts, forms = nets.load("segmenter")[0].state_dict(), nets.load("cnn")[0].get_submodule("features")
    own = net.eye.state_dict()
    shared = {key: value for key, value in parts.items() if key in own}
    shared |= {f"forms.{key}": value for key, value in forms.state_dict().items() if f"forms.{key}" in own}
    net.eye.load_state_dict(shared)


def fit(job: Job) -> training.Course:
    """The next word of the full caption, at every word, and attention that leaves no place out (Xu et al. 2015).

    The eye stays as it is, so it looks at each picture once.
    """
    assert isinstance(job.net, Attender)
    net, plan = job.net, job.plan
    begin_with(net)
    drawn = scenes(job.seed, plan.pool, **plan.settings)
    net.eval().eye.requires_grad_(False)
    seen, numbers = tokens(net.look, drawn), net.words.encode(drawn.captions)
    order = Order(len(seen), plan.recipe.batch, job.seed)

    def objective(step: int) -> Tensor:
        chosen = order(step)
        said = net.attend(seen[chosen].float(), numbers[chosen, :-1])
        wanted = numbers[chosen, 1:]
        return next_word_loss(said.logits, wanted) + EVENNESS * unevenness(said.looks.float(), wanted)

    return training.descend(net, objective, plan.recipe, **job.manner)


def unevenness(looks: Float[Tensor, "text word place"], wanted: Int64[Tensor, "text word"]) -> Float[Tensor, ""]:
    """Mean over texts of the sum over places of (1 - how much the place was looked at in all)^2, per word.

    The paper's penalty. The looks of each word sum to 1, so the 1 only adds a constant: what is made small is how
    unevenly the places are looked at over the sentence.
    """
    there = wanted != PAD
    over_all = (looks * there[..., None]).sum(dim=1)
    return (((1 - over_all) ** 2).sum(dim=1) / there.sum(dim=1)).mean()


def measure(name: str, net: nn.Module, seed: int, count: int) -> dict[str, float]:
    """How true its captions are, and how often the hue and shape words of the true caption were looked up in their
    part.
    """
    assert isinstance(net, Attender)
    drawn = scenes(seed, count, **PLANS[name].settings)
    pictures = drawn.tensor()
    said: list[str] = []
    with training.one_thread():
        for at in range(0, count, 100):
            said += net.generate(pictures[at : at + 100])
        right = truthfulness(said, drawn)
        return {"looked_up": _looked_up(net, drawn[: min(count, 200)]), **right}


@torch.no_grad()
def _looked_up(net: Attender, drawn: Scenes) -> float:
    """The share of hue and shape words whose place of highest attention has a pixel of their part in its middle."""
    texts, size = drawn.captions, drawn.world.size
    looks = net.attend(net.look(drawn.tensor()), net.words.encode(texts)[:, :-1]).looks
    cell, hits = size // GRID, list[bool]()
    for at, text in enumerate(texts):
        for word in part_words(text):
            mask = grown(drawn[at].mask(word.part))[0]
            if word.kind != "noun" and mask.any():
                row, column = divmod(int(looks[at, word.at].argmax()), GRID)
                hits.append(
                    bool(mask[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell].mean() >= 0.25)
                )
    return round(float(np.mean(hits)), 4)
