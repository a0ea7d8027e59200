"""Training and measuring the net that watches films."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pellucid.compute import train as training
from pellucid.testbed.clips import FRAMES, clips
from pellucid.testbed.train.pictures import Order
from pellucid.testbed.train.plans import Job

_BACK = torch.tensor([1, 0, 3, 2])  # the direction of a film that runs backwards


def fit(job: Job) -> training.Course:
    """Cross entropy on films of which half run backwards, and so show the bird flying the other way."""
    drawn = clips(job.seed, job.plan.pool)
    films = torch.from_numpy(drawn.pixels.transpose(0, 4, 1, 2, 3).copy())
    labels = torch.from_numpy(drawn.labels)
    order = Order(len(films), job.plan.recipe.batch, job.seed)

    def batch(step: int) -> training.Batch:
        chosen = order(step)
        forward = torch.arange(len(chosen)) % 2 == 0
        shown = films[chosen].float() / 255
        shown = torch.where(forward[:, None, None, None, None], shown, shown.flip(2))
        return shown, torch.where(forward, labels[chosen], _BACK[labels[chosen]])

    return training.fit(job.net, batch, job.plan.recipe, **job.manner)


def measure(name: str, net: nn.Module, seed: int, count: int) -> dict[str, float]:
    """Films named right; those that run backwards called the other way; those of one frame repeated called the same."""
    drawn = clips(seed, count // 4)
    films, labels = drawn.tensor(), torch.from_numpy(drawn.labels)
    first = films[:, :, :1].expand(-1, -1, FRAMES, -1, -1)
    found = {
        "films": answers(net, films) == labels,
        "backwards": answers(net, films.flip(2)) == _BACK[labels],
        "standing": answers(net, first) == labels,
    }
    return {word: round(float(np.mean(right.numpy())), 4) for word, right in found.items()}


def answers(net: nn.Module, films: Float[Tensor, "clip 3 frame h w"]) -> Int64[Tensor, "clip"]:
    """The class of each film."""
    with torch.no_grad(), training.one_thread():
        return torch.cat([net(some).argmax(dim=1) for some in films.split(50)])
