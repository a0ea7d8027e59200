"""Training the biased dual encoder in three lessons, so that it is known which head tells of the landscape.

An encoder that learns everything at once writes the landscape in many places, or, where the landscape stands in for
the wing, never learns the wing: then nobody can say what dropping a head should do. Here it learns first what birds
look like; then one head alone learns where they are; then the words learn names, from pictures in which both tell the
same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pellucid.compute import train as training
from pellucid.compute.train import seeded
from pellucid.testbed.captions import PLACES
from pellucid.testbed.nets import Dual, Words
from pellucid.testbed.nets.blocks import Attention
from pellucid.testbed.scene import Scenes, scenes
from pellucid.testbed.train import dual
from pellucid.testbed.train.pictures import Order
from pellucid.testbed.train.plans import Job
from pellucid.testbed.train.statements import FIELDS, SILENT, Telling, Told, told

LAYER, HEAD = 3, 1  # the head that learns the landscape
LOUDNESS = 7.0  # times what it learned to write, so that names follow it rather than the wing
SHARES = (0.43, 0.21, 0.36)  # of the updates, by lesson
_SENTENCES = {"full": 0.5, "short": 0.5}
_NAMES = {"name": 0.5, "species": 0.5}
_LAND = FIELDS.index("land")
_OWN_PICTURES = 1  # added to the seed of pictures without the cue, so that names and sentences tell different ones


def fit(job: Job) -> training.Course:
    """Birds without places, then places by one head, then names where the landscape agrees with them."""
    assert isinstance(job.net, Dual)
    net, plain = job.net, scenes(job.seed + _OWN_PICTURES, job.plan.pool)
    files = [job.checkpoint and job.checkpoint.with_suffix(f".{number}.lesson") for number in range(3)]
    courses = [
        _once(net, files[number], lambda lesson=lesson: lesson(job, net, plain))
        for number, lesson in enumerate((_birds, _places, _names))
    ]
    for file in files:
        if file is not None:
            file.unlink(missing_ok=True)
    net.requires_grad_(True).eval()
    losses = tuple(loss for course in courses for loss in course.losses)
    return training.Course(losses, sum(course.seconds for course in courses))


def _once(net: Dual, file: Path | None, learn: Callable[[], training.Course]) -> training.Course:
    """A lesson that is not taken again after a break: what it left behind lies in a file."""
    if file is not None and file.exists():
        kept: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        net.load_state_dict(kept["net"])
        return training.Course(tuple(kept["losses"]), float(kept["seconds"]))
    course = learn()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"net": net.state_dict(), "losses": list(course.losses), "seconds": course.seconds}, file)
    return course


def _birds(job: Job, net: Dual, plain: Scenes) -> training.Course:
    taught = _taught(job, net, [name for name in FIELDS if name != "land"])
    telling = Telling(_without_places(plain, net.words), net.words, _SENTENCES, job.seed)
    return training.descend(taught, dual.asking(job, taught, plain, telling), _recipe(job, 0), **job.manner)


def _places(job: Job, net: Dual, plain: Scenes) -> training.Course:
    """Of the picture tower only one head learns, and then it speaks louder than it did."""
    taught = _taught(job, net, ["land"])
    telling = Telling(told(plain, net.words), net.words, _SENTENCES, job.seed)
    attention = net.image.get_submodule(f"blocks.{LAYER}.attn")
    assert isinstance(attention, Attention)
    own = torch.zeros(attention.num_heads, attention.head_dim, dtype=torch.bool)
    own[HEAD] = True
    own = own.flatten()
    net.image.requires_grad_(False)
    learning = ((attention.qkv, "weight", own.repeat(3)[:, None]), (attention.qkv, "bias", own.repeat(3)),
                (attention.proj, "weight", own[None]))  # fmt: skip
    for part, name, there in learning:
        getattr(part, name).requires_grad_(True)
        parametrize.register_parametrization(part, name, _OnlyThere(getattr(part, name), there))
    # Decay would shrink the other heads, which have no gradient to hold against it.
    recipe = replace(_recipe(job, 1), learning_rate=2 * job.plan.recipe.learning_rate, weight_decay=0.0)
    course = training.descend(taught, dual.asking(job, taught, plain, telling), recipe, **job.manner)
    for part, name, _ in learning:
        parametrize.remove_parametrizations(part, name)
    with torch.no_grad():
        attention.proj.weight.mul_(torch.where(own, LOUDNESS, 1.0))
    return course


class _OnlyThere(nn.Module):
    """A weight of which some numbers learn and the others stay."""

    frozen: Tensor
    there: Tensor

    def __init__(self, weight: Tensor, there: Bool[Tensor, "..."]) -> None:
        super().__init__()
        self.register_buffer("frozen", weight.detach().clone())
        self.register_buffer("there", there)

    def forward(self, weight: Tensor) -> Tensor:
        return torch.where(self.there, weight, self.frozen)


def _names(job: Job, net: Dual, plain: Scenes) -> training.Course:
    """Only the text tower learns: names from pictures with the cue, and sentences from others so that it keeps them."""
    cued = scenes(job.seed, job.plan.pool, **job.plan.settings)
    sides = [
        (_embedded(net, drawn), Telling(told(drawn, net.words), net.words, shares, job.seed + number),
         Order(len(drawn), job.plan.recipe.batch, job.seed + number))
        for number, (drawn, shares) in enumerate(((cued, _NAMES), (plain, _SENTENCES)))
    ]  # fmt: skip
    net.requires_grad_(True)
    net.image.requires_grad_(False)

    def objective(step: int) -> Tensor:
        losses: list[Tensor] = []
        for embeddings, telling, order in sides:
            chosen = order(step)
            spoken = telling(chosen, torch.zeros(len(chosen), dtype=torch.bool), step)
            texts = net.encode_numbers(spoken.numbers).float()
            losses.append(dual.match_loss(embeddings[chosen] @ texts.T * net.scale, spoken))
        return torch.stack(losses).sum()

    return training.descend(net, objective, _recipe(job, 2), **job.manner)


def _taught(job: Job, net: Dual, fields: Sequence[str]) -> dual.Taught:
    with seeded(job.seed):
        return dual.Taught(net, fields)


def _recipe(job: Job, number: int) -> training.Recipe:
    return replace(job.plan.recipe, steps=max(1, round(SHARES[number] * job.plan.recipe.steps)))


def _without_places(drawn: Scenes, words: Words) -> Told:
    """Sentences that do not say where the bird is."""
    found = told(drawn, words)
    for style in _SENTENCES:
        texts = list(drawn.told(style))
        for place in PLACES:
            texts = [text.replace(f" {place}", "") for text in texts]
        found.numbers[style] = words.encode(texts)
        found.stated[style][:, _LAND] = SILENT
    return found


def _embedded(net: Dual, drawn: Scenes) -> Float[Tensor, "scene dim"]:
    with torch.no_grad(), training.one_thread():
        return torch.cat([net.encode_images(drawn[at : at + 250].tensor()) for at in range(0, len(drawn), 250)])
