"""Training and measuring nets that name what they see."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pellucid.compute import train as training
from pellucid.testbed.scene import Scenes, scenes
from pellucid.testbed.train.pictures import Order, coins, digits, mirrored, planes
from pellucid.testbed.train.plans import PLANS, Job

# Digits, a tag in the left corner, a grating at an angle: mirrored they are something else.
_ONE_WAY = ("digits", "cnn_tag", "cnn_trace")


def fit(job: Job) -> training.Course:
    """Cross entropy on pictures of which half are mirrored, where that leaves them what they are."""
    pictures, labels = _pool(job)
    order, seed = Order(len(pictures), job.plan.recipe.batch, job.seed), job.seed

    def batch(step: int) -> training.Batch:
        chosen = order(step)
        inputs = pictures[chosen].float() / 255
        if job.name not in _ONE_WAY:
            inputs = mirrored(inputs, coins(len(chosen), seed, step))
        return inputs.contiguous(memory_format=job.plan.layout), labels[chosen]

    job.net.to(memory_format=job.plan.layout)
    return training.fit(job.net, batch, job.plan.recipe, **job.manner)


def measure(name: str, net: nn.Module, seed: int, count: int) -> dict[str, float]:
    """Share of pictures recognised, by set: fresh scenes, and for a biased net with and against its shortcut."""
    if name == "digits":
        pictures, labels = digits(held_out=True)
        return {"held_out": share(answers(net, pictures.float() / 255) == labels)}
    return {
        word: share(answers(net, drawn.tensor()) == torch.from_numpy(drawn.labels))
        for word, drawn in tried_on(name, seed, count).items()
    }


def tried_on(name: str, seed: int, count: int) -> dict[str, Scenes]:
    """What a net is measured on: fresh scenes; for a biased net those with and those against its shortcut."""
    settings = PLANS[name].settings
    shortcut = settings.get("shortcut")
    if shortcut is None:
        return {"fresh": scenes(seed, count, task=settings.get("task", "species"))}
    return {
        "aligned": scenes(seed, count, shortcut=shortcut, strength=1.0),
        "conflict": scenes(seed, count, shortcut=shortcut, strength=0.0),
    }


def answers(net: nn.Module, pictures: Float[Tensor, "picture 3 h w"]) -> Int64[Tensor, "picture"]:
    """The class of each picture."""
    with torch.no_grad(), training.one_thread():
        return torch.cat([net(batch).argmax(dim=1) for batch in pictures.split(250)])


def share(right: Tensor) -> float:
    """The mean of yes and no, to four places."""
    return round(float(right.float().mean()), 4)


def _pool(job: Job) -> tuple[Tensor, Tensor]:
    if job.name == "digits":
        return digits(held_out=False)
    drawn = scenes(job.seed, job.plan.pool, **job.plan.settings)
    return planes(drawn), torch.from_numpy(drawn.labels)
