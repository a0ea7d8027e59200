"""Training and measuring the dual encoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pellucid.compute import train as training
from pellucid.compute.train import seeded
from pellucid.testbed.fields import SPECIES, WORDS
from pellucid.testbed.nets import Dual
from pellucid.testbed.nets.dual import EMBEDDING
from pellucid.testbed.scene import Scenes, scenes
from pellucid.testbed.train.classifiers import answers, share, tried_on
from pellucid.testbed.train.pictures import Order, coins, mirrored, planes
from pellucid.testbed.train.plans import Job
from pellucid.testbed.train.statements import FIELDS, Spoken, Telling, agree, told

SHARES = {"full": 0.4, "short": 0.4, "name": 0.1, "species": 0.1}
AMONG = 64  # retrieval picks one text among so many


class Taught(nn.Module):
    """A dual encoder that is also asked for single fields, while it learns: that shows it what to look for."""

    def __init__(self, net: Dual, fields: Sequence[str]) -> None:
        super().__init__()
        self.net = net
        self.asked = nn.ModuleDict({name: nn.Linear(EMBEDDING, len(WORDS[name])) for name in fields})

    def forward(self, pictures: Float[Tensor, "scene 3 h w"], spoken: Spoken) -> Float[Tensor, ""]:
        embedding = self.net.image(pictures).float()
        texts = self.net.encode_numbers(spoken.numbers).float()
        logits = functional.normalize(embedding, dim=-1) @ texts.T * self.net.scale
        told = [
            functional.cross_entropy(ask(embedding).float(), spoken.facts[:, FIELDS.index(name)])
            for name, ask in self.asked.items()
        ]
        return match_loss(logits, spoken) + torch.stack(told).sum()


def match_loss(logits: Float[Tensor, "scene text"], spoken: Spoken) -> Float[Tensor, ""]:
    """InfoNCE in both directions (Radford et al. 2021); what is true of a picture by chance is no counterexample."""
    pairs = torch.arange(len(logits))
    also_true = agree(spoken.facts, spoken.stated) & ~torch.eye(len(logits), dtype=torch.bool)
    logits = logits.masked_fill(also_true, -torch.inf)
    return (functional.cross_entropy(logits, pairs) + functional.cross_entropy(logits.T, pairs)) / 2


def fit(job: Job) -> training.Course:
    """Pictures and sentences find each other within a batch; beside that the tower is asked for fields."""
    assert isinstance(job.net, Dual)
    drawn = scenes(job.seed, job.plan.pool, **job.plan.settings)
    with seeded(job.seed):
        taught = Taught(job.net, FIELDS)
    telling = Telling(told(drawn, job.net.words), job.net.words, SHARES, job.seed)
    return training.descend(taught, asking(job, taught, drawn, telling), job.plan.recipe, **job.manner)


def asking(job: Job, taught: Taught, drawn: Scenes, telling: Telling) -> Callable[[int], Tensor]:
    """The loss of each update: scenes in a random order, half of them mirrored, each with a sentence."""
    pictures, order = planes(drawn), Order(len(drawn), job.plan.recipe.batch, job.seed)
    taught.to(memory_format=job.plan.layout)

    def objective(step: int) -> Tensor:
        chosen = order(step)
        flipped = coins(len(chosen), job.seed, step)
        inputs = mirrored(pictures[chosen].float() / 255, flipped).contiguous(memory_format=job.plan.layout)
        return taught(inputs, telling(chosen, flipped, step))

    return objective


class ZeroShot(nn.Module):
    """A classifier out of a dual encoder: one logit per text. Its layers are called as when it is loaded."""

    texts: Tensor

    def __init__(self, net: Dual, texts: Sequence[str]) -> None:
        super().__init__()
        self.image = net.image
        with torch.no_grad():
            self.register_buffer("texts", net.encode_texts(texts) * net.scale)

    def forward(self, pictures: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch text"]:
        return functional.normalize(self.image(pictures), dim=-1) @ self.texts.T


def zero_shot(net: nn.Module) -> ZeroShot:
    """Names the 12 species by their names in words."""
    assert isinstance(net, Dual)
    return ZeroShot(net, [f"a {name}" for name in SPECIES])


def measure(name: str, net: nn.Module, seed: int, count: int) -> dict[str, float]:
    """How often a picture finds its own full caption among 64, and how often the species is named right."""
    assert isinstance(net, Dual)
    named = zero_shot(net)
    sets = tried_on(name, seed, count)
    figures = {
        f"species_{word}": share(answers(named, drawn.tensor()) == torch.from_numpy(drawn.labels))
        for word, drawn in sets.items()
    }
    drawn = next(iter(sets.values()))
    found: list[Tensor] = []
    with torch.no_grad(), training.one_thread():
        for at in range(0, len(drawn) - AMONG + 1, AMONG):
            some = drawn[at : at + AMONG]
            logits = net.encode_images(some.tensor()) @ net.encode_texts(some.captions).T
            found.append(logits.argmax(dim=1) == torch.arange(AMONG))
    return {"caption_among_64": share(torch.cat(found)), **figures}
