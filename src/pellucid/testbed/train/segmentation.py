"""Training and measuring the segmenter."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from pellucid.compute import train as training
from pellucid.testbed.nets.dense import PART_COUNT
from pellucid.testbed.palette import PART_IDS
from pellucid.testbed.scene import scenes
from pellucid.testbed.train.pictures import Order, coins, mirrored, planes
from pellucid.testbed.train.plans import Job


def fit(job: Job) -> training.Course:
    """Cross entropy and Dice in equal parts (Milletari et al. 2016)."""
    drawn = scenes(job.seed, job.plan.pool, **job.plan.settings)
    pictures, parts = planes(drawn), torch.from_numpy(drawn.parts)
    order = Order(len(pictures), job.plan.recipe.batch, job.seed)

    def batch(step: int) -> training.Batch:
        chosen = order(step)
        where = coins(len(chosen), job.seed, step)
        wanted = mirrored(parts[chosen][:, None], where)[:, 0].long()
        return mirrored(pictures[chosen].float() / 255, where).contiguous(memory_format=job.plan.layout), wanted

    job.net.to(memory_format=job.plan.layout)
    return training.fit(job.net, batch, job.plan.recipe, loss=overlap_and_entropy, **job.manner)


def overlap_and_entropy(
    logits: Float[Tensor, "batch part h w"], wanted: Int64[Tensor, "batch h w"]
) -> Float[Tensor, ""]:
    """Cross entropy plus one minus the mean Dice overlap of the parts."""
    shares = logits.softmax(dim=1)
    truth = functional.one_hot(wanted, PART_COUNT).permute(0, 3, 1, 2).to(shares)
    shared = (shares * truth).sum(dim=(0, 2, 3))
    either = (shares + truth).sum(dim=(0, 2, 3))
    dice = (2 * shared + 1) / (either + 1)
    return functional.cross_entropy(logits, wanted) + 1 - dice.mean()


def measure(name: str, net: nn.Module, seed: int, count: int) -> dict[str, float]:
    """Overlap of what is named and what is painted, over all pixels: the mean over the parts, and each part's."""
    drawn = scenes(seed, count)
    with torch.no_grad(), training.one_thread():
        named = torch.cat([net(batch).argmax(dim=1).to(torch.uint8) for batch in drawn.tensor().split(50)]).numpy()
    each = overlaps(named, drawn.parts)
    words = {number: part for part, number in PART_IDS.items()}
    listed = {words.get(number, "background"): round(value, 4) for number, value in each.items()}
    return {"mean_overlap": round(float(np.mean(list(each.values()))), 4), **listed}


def overlaps(named: UInt8[np.ndarray, "scene h w"], truth: UInt8[np.ndarray, "scene h w"]) -> dict[int, float]:
    """Intersection over union of each id that occurs."""
    pairs = np.bincount(truth.ravel().astype(np.int64) * 256 + named.ravel(), minlength=256 * 256).reshape(256, 256)
    union = pairs.sum(axis=0) + pairs.sum(axis=1) - np.diag(pairs)
    return {int(at): float(pairs[at, at] / union[at]) for at in np.flatnonzero(pairs.sum(axis=1))}
