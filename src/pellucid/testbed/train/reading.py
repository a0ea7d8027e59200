"""Training and measuring the independent reader of scenes."""

from __future__ import annotations

from collections.abc import Mapping
from time import process_time
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from pellucid.compute import train as training
from pellucid.compute.progress import track
from pellucid.compute.train import seeded
from pellucid.testbed.nets.witness import FIELDS, Witness, looked_at
from pellucid.testbed.scene import scenes
from pellucid.testbed.train.plans import Job
from pellucid.values import Seed

_CHUNK = 200  # scenes looked at together
Facts = Mapping[str, Int64[Tensor, "scene"]]


def fit(job: Job) -> training.Course:
    """Cross entropy of every field, summed; the head alone learns, from what the frozen segmenter sees."""
    net = job.net
    assert isinstance(net, Witness)
    with training.one_thread():
        seen, wanted = _looked_at_scenes(job.seed, job.plan.pool, job.plan.settings)
        net.mean.copy_(seen.mean(dim=0))
        net.deviation.copy_(seen.std(dim=0) + 1e-3)
        with seeded(job.seed):
            Witness()  # chance stands where drawing the first weights left it
            return _descended(job, net, seen, wanted)


def measure(name: str, net: nn.Module, seed: int, count: int) -> dict[str, float]:
    """The share of scenes of which each field is read right, and the mean over the fields."""
    assert isinstance(net, Witness)
    with torch.no_grad():
        seen, wanted = _looked_at_scenes(seed, count, {})
        right = {field: logits.argmax(dim=1) == wanted[field] for field, logits in net(seen).items()}
    right["crest_hue"] = right["crest_hue"][wanted["crest"] > 0]  # a plume that is not has no colour
    each = {field: round(float(hits.double().mean()), 4) for field, hits in right.items()}
    return {"fields_read": round(float(np.mean(list(each.values()))), 4), **each}


def _looked_at_scenes(
    seed: int, count: int, settings: Mapping[str, Any]
) -> tuple[Float[Tensor, "scene feature"], Facts]:
    seen: list[Tensor] = []
    facts: dict[str, list[np.ndarray]] = {name: [] for name in FIELDS}
    for first in range(0, count, _CHUNK):
        drawn = scenes(seed, range(first, min(first + _CHUNK, count)), **settings)
        seen.append(looked_at(drawn.tensor()))
        for name in FIELDS:
            facts[name].append(drawn.fields[name].astype(np.int64))
    return torch.cat(seen), {name: torch.from_numpy(np.concatenate(facts[name])) for name in FIELDS}


def _descended(job: Job, net: Witness, seen: Float[Tensor, "scene feature"], wanted: Facts) -> training.Course:
    """One cycle of the learning rate, and of the momentum against it; broken off it goes on to the same bits."""
    recipe = job.plan.recipe
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, recipe.steps, pct_start=recipe.warm_up
    )
    generator = Seed(job.seed).child("witness").generator()
    losses, before, begun = list[float](), 0.0, process_time()
    if job.checkpoint is not None and job.checkpoint.exists():
        held = training.resumed(job.checkpoint, net, optimiser)
        losses, before = list(held["losses"]), float(held["seconds"])
        schedule.load_state_dict(held["schedule"])
        generator.set_state(held["drawn"])
        torch.set_rng_state(held["chance"])
    net.train()
    for _ in track(range(len(losses), recipe.steps), total=recipe.steps - len(losses), label=job.manner["label"]):
        rows = torch.randint(0, len(seen), (recipe.batch,), generator=generator)
        loss = _missed(net(seen[rows]), {name: facts[rows] for name, facts in wanted.items()})
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if job.checkpoint is not None and len(losses) % training.CHECKPOINT_STEPS == 0:
            training.keep(
                job.checkpoint, net, optimiser, losses=losses, seconds=before + process_time() - begun,
                schedule=schedule.state_dict(), drawn=generator.get_state(), chance=torch.get_rng_state(),
            )  # fmt: skip
    net.eval()
    if job.checkpoint is not None:
        job.checkpoint.unlink(missing_ok=True)
    return training.Course(tuple(losses), before + process_time() - begun)


def _missed(told: Mapping[str, Float[Tensor, "row word"]], wanted: Facts) -> Float[Tensor, ""]:
    crested = wanted["crest"] > 0
    loss = torch.zeros(())
    for name, logits in told.items():
        counted = crested if name == "crest_hue" else torch.ones_like(crested)  # a plume that is not has no colour
        loss = loss + functional.cross_entropy(logits[counted], wanted[name][counted])
    return loss
