"""Training and measuring the net that shows where an answer is seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from pellucid.compute import train as training
from pellucid.testbed.asked_places import Asked, about_birds, about_parts, swapped
from pellucid.testbed.nets import Answerer, Segmenter
from pellucid.testbed.scene import Scenes, scenes
from pellucid.testbed.train.pictures import Order, planes
from pellucid.testbed.train.plans import Job

_FLOCKS = 0.5  # of the scenes have several birds, of which one is meant


def begin_with(net: Answerer, known: Segmenter) -> None:
    """All but gates, words and the last layer, as the segmenter learned them from parts."""
    own = net.state_dict()
    shared = {key: value for key, value in known.state_dict().items() if key in own and not key.startswith("head")}
    net.load_state_dict({**own, **shared})


def fit(job: Job) -> training.Course:
    """Cross entropy and Dice in equal parts, of the pixels in which the answer to a question is seen."""
    assert isinstance(job.net, Answerer)
    net, plan = job.net, job.plan
    single, flocks = _drawn(job.seed, plan.pool)
    pictures = torch.cat([planes(single), planes(flocks)])
    asked = [(one, 0) for one in about_parts(single, 3)] + [(one, len(single)) for one in about_birds(flocks)]
    masks = torch.from_numpy(np.stack([one.mask for one, _ in asked]))
    rows = torch.tensor([first + one.scene for one, first in asked])
    numbers = net.words.encode([one.text for one, _ in asked])
    order = Order(len(asked), plan.recipe.batch, job.seed)
    net.to(memory_format=plan.layout)

    def objective(step: int) -> Tensor:
        chosen = order(step)
        inputs = (pictures[rows[chosen]].float() / 255).contiguous(memory_format=plan.layout)
        return overlap_and_entropy(net(inputs, numbers[chosen]).float(), masks[chosen])

    return training.descend(net, objective, plan.recipe, **job.manner)


def overlap_and_entropy(logits: Float[Tensor, "batch h w"], wanted: Bool[Tensor, "batch h w"]) -> Float[Tensor, ""]:
    """Cross entropy plus one minus the mean Dice overlap of each mask."""
    shares, truth = logits.sigmoid(), wanted.to(logits)
    dice = (2 * (shares * truth).sum(dim=(1, 2)) + 1) / ((shares + truth).sum(dim=(1, 2)) + 1)
    return functional.binary_cross_entropy_with_logits(logits, truth) + 1 - dice.mean()


def measure(name: str, net: nn.Module, seed: int, count: int) -> dict[str, float]:
    """Overlap of what is painted with where the answer is seen: of parts, of the bird that is meant; and of the same
    when another question is asked.
    """
    assert isinstance(net, Answerer)
    figures: dict[str, float] = {}
    single, flocks = _drawn(seed, count)
    for word, drawn, asked in (("parts", single, about_parts(single, 2)), ("which", flocks, about_birds(flocks))):
        own = overlaps(net, drawn, asked, [one.text for one in asked])
        other = overlaps(net, drawn, asked, swapped(asked))
        figures |= {f"ground_{word}": round(float(own.mean()), 4), f"other_{word}": round(float(other.mean()), 4)}
    return figures


@torch.no_grad()
def overlaps(
    net: Answerer, drawn: Scenes, asked: Sequence[Asked], texts: Sequence[str]
) -> Float[np.ndarray, "question"]:
    """Intersection over union of the mask painted for each text with where the answer of the question is seen."""
    found: list[np.ndarray] = []
    pictures = drawn.tensor()
    numbers = net.words.encode(texts)
    with training.one_thread():
        for first in range(0, len(asked), 100):
            some = asked[first : first + 100]
            painted = (net(pictures[[one.scene for one in some]], numbers[first : first + 100]) > 0).numpy()
            truth = np.stack([one.mask for one in some])
            either = np.maximum((painted | truth).sum(axis=(1, 2)), 1)
            found.append((painted & truth).sum(axis=(1, 2)) / either)
    return np.concatenate(found)


def _drawn(seed: int, count: int) -> tuple[Scenes, Scenes]:
    """Single birds and flocks, both as small as single birds are."""
    return scenes(seed, round(count * (1 - _FLOCKS))), scenes(seed, round(count * _FLOCKS), mode="flock")
