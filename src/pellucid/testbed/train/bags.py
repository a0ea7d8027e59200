"""Training and measuring the net that answers for a bag of pictures."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.compute import train as training
from pellucid.compute.bags import bag_loss
from pellucid.testbed.bags import Bags, bags
from pellucid.testbed.nets import BagNet, features_of
from pellucid.testbed.train.pictures import Order
from pellucid.testbed.train.plans import Job
from pellucid.values import Seed


def fit(job: Job) -> training.Course:
    """Cross entropy of the bag and of each branch, and how far the branches overlap; high attentions are masked."""
    assert isinstance(job.net, BagNet)
    net, drawn = job.net, bags(job.seed, job.plan.pool)
    seen, labels = _seen(net, drawn), torch.from_numpy(drawn.labels)
    order = Order(len(drawn), job.plan.recipe.batch, job.seed)

    def objective(step: int) -> Tensor:
        masking = Seed(job.seed).child("masking", step).generator()
        return torch.stack([bag_loss(net.bag.look(seen[one], masking), labels[one]) for one in order(step)]).mean()

    return training.descend(net, objective, job.plan.recipe, **job.manner)


def measure(name: str, net: nn.Module, seed: int, count: int) -> dict[str, float]:
    """Bags named right; of those with a plume, how often a bird with one gets the most attention and adds the most."""
    assert isinstance(net, BagNet)
    drawn = bags(seed, count // 4)
    right, looked, added = list[bool](), list[bool](), list[bool]()
    with torch.no_grad(), training.one_thread():
        for features, label, deciding in zip(_seen(net, drawn), drawn.labels, drawn.deciding, strict=True):
            found = net.bag.look(features)
            right.append(int(found.logits.argmax()) == label)
            if label == 1:
                share = net.bag.contributions(found)
                looked.append(bool(deciding[int(found.attention.mean(dim=0).argmax())]))
                added.append(bool(deciding[int((share[:, 1] - share[:, 0]).argmax())]))
    figures = {"bags": right, "most_attended": looked, "most_added": added}
    return {word: round(float(np.mean(values)), 4) for word, values in figures.items()}


def _seen(net: BagNet, drawn: Bags) -> tuple[Tensor, ...]:
    """The features of every bag, a few bags of pictures at a time."""
    with training.one_thread():
        return features_of(net, drawn.drawn.tensor()).split(drawn.sizes.tolist())
