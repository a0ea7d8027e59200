"""Rebuild the shipped nets from a seed, and measure what their cards say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from pellucid.compute.train import Course, one_thread, seeded
from pellucid.testbed import nets
from pellucid.testbed.effects import effect
from pellucid.testbed.nets import ARCHITECTURES, VAE, WEIGHTS, Answerer, Card, Generator, Segmenter, words_of
from pellucid.testbed.train import (
    attending,
    bags,
    classifiers,
    clips,
    detection,
    dual,
    grounding,
    layers,
    lessons,
    painting,
    reading,
    segmentation,
    talking,
    telling,
)
from pellucid.testbed.train.plans import PLANS, TEST_SEED, Job, Plan

_READ = 0.05  # of the largest effect, from which on a card names a thing


@dataclass(frozen=True, eq=False)
class Trained:
    """A net after its training, not yet measured, the plan as carried out, and how the loss fell."""

    net: nn.Module
    plan: Plan
    course: Course


@dataclass(frozen=True)
class Kind:
    """How nets of one kind learn, and what is measured on them.

    layer: name, net, candidates -> default layer and why
    """

    fit: Callable[[Job], Course]
    measure: Callable[[str, nn.Module, int, int], dict[str, float]]
    layer: Callable[[str, nn.Module, tuple[str, ...]], tuple[str, str]] = lambda *_: ("", "")


def _fit_dual(job: Job) -> Course:
    return dual.fit(job) if job.plan.settings.get("shortcut") is None else lessons.fit(job)


KINDS: Mapping[str, Kind] = {
    "classifier": Kind(classifiers.fit, classifiers.measure, layers.best_layer),
    "dual": Kind(_fit_dual, dual.measure, lambda name, net, asked: layers.best_layer(name, dual.zero_shot(net), asked)),
    "segmenter": Kind(segmentation.fit, segmentation.measure),
    "detector": Kind(detection.fit, detection.measure),
    "reader": Kind(reading.fit, reading.measure),
    "captioner": Kind(telling.fit, telling.measure),
    "attender": Kind(attending.fit, attending.measure),
    "answerer": Kind(grounding.fit, grounding.measure),
    "vlm": Kind(talking.fit, talking.measure),
    "vae": Kind(painting.fit_vae, painting.measure_vae),
    "bag": Kind(bags.fit, bags.measure),
    "clip": Kind(clips.fit, clips.measure),
    "gan": Kind(painting.fit_gan, painting.measure_gan),
}


def train(
    name: str, seed: int = 0, *, folder: Path = WEIGHTS, steps: int | None = None, pool: int | None = None
) -> Card:
    """Train one of the shipped nets anew, measure it, and write its weights with the card into `folder`.

    seed:  of the first weights, the order of pictures and the scenes; the shipped weights have seed 0
    steps: fewer (or more) updates than the recipe's, for a trial
    pool:  fewer rendered pictures than the recipe's, for a trial

    On one machine the same arguments give the same bytes. A training that was broken off goes on where it stopped:
    how far it came is kept beside the weights. Raises SceneError for a name that is not shipped.
    """
    nets.known(name)
    outcome = trained(name, seed, steps=steps, pool=pool, folder=folder)
    card = measured(name, nets.rounded(outcome.net), seed, outcome.plan)
    nets.save(outcome.net, card, folder)
    return card


def trained(
    name: str,
    seed: int,
    *,
    steps: int | None = None,
    pool: int | None = None,
    plan: Plan | None = None,
    folder: Path | None = None,
) -> Trained:
    """Train a net, without measuring or keeping it. In `folder`, if given, it notes how far it came.

    plan: another than the shipped net's
    """
    plan = (plan or PLANS[name]).changed(steps, pool)
    with seeded(seed):
        net = nets.build(name)
    if plan.start is not None:
        _begin_with(net, plan.start)
    net.load_state_dict({**net.state_dict(), **nets.tower_of(name)})
    checkpoint = None if folder is None else folder / f".{name}-{_digest(name, seed, plan)}.progress"
    course = KINDS[ARCHITECTURES[name].kind].fit(Job(name, net, plan, seed, checkpoint))
    return Trained(net, plan, course)


def measured(name: str, net: nn.Module, seed: int, plan: Plan) -> Card:
    """The card of a trained net, every figure taken now."""
    layer, why = KINDS[ARCHITECTURES[name].kind].layer(name, net, plan.layers)
    size = plan.settings.get("size", 32 if name == "digits" else 64)
    labels = ARCHITECTURES[name].labels or words_of(net)
    return Card(name, labels, size, layer, why, accuracies(name, net), seed, plan.to_dict(), rests_on(name, net))


def accuracies(name: str, net: nn.Module, seed: int = TEST_SEED, count: int = 1000) -> dict[str, float]:
    """What the card says of a net, measured on scenes of a seed."""
    return KINDS[ARCHITECTURES[name].kind].measure(name, net, seed, count)


def rests_on(name: str, net: nn.Module, seed: int = TEST_SEED, count: int = 200) -> dict[str, float]:
    """What the answers of a net that names species rest on, as its card says; nothing for other nets.

    Scenes are those on which it is right: of a biased net those whose cue agrees with the label.
    """
    kind, task = ARCHITECTURES[name].kind, PLANS[name].settings.get("task", "species")
    if kind not in ("classifier", "dual") or task != "species" or name == "digits":
        return {}
    predict = dual.zero_shot(net) if kind == "dual" else net
    drawn = next(iter(classifiers.tried_on(name, seed, count).values()))
    with one_thread():
        found = effect(predict, drawn)
    means = {field: round(found.mean(field), 4) for field in found.drops}
    least = _READ * max(means.values())
    return {field: means[field] for field in sorted(means, key=lambda field: -means[field]) if means[field] > least}


def _begin_with(net: nn.Module, start: str) -> None:
    """The picture tower or the decoder of another net; the head is its own."""
    known = nets.load(start)[0]
    if isinstance(net, Generator) and isinstance(known, VAE):
        painting.begin_with(net, known)
        return
    if isinstance(net, Answerer) and isinstance(known, Segmenter):
        grounding.begin_with(net, known)
        return
    tower = net.get_submodule("image")
    shared = {key: value for key, value in known.state_dict().items() if not key.startswith("head.")}
    tower.load_state_dict({**tower.state_dict(), **shared})


def _digest(name: str, seed: int, plan: Plan) -> str:
    """Tells one training from another: what is broken off may only be gone on with by the same plan."""
    written = json.dumps([name, seed, plan.to_dict()], sort_keys=True)
    return hashlib.blake2b(written.encode(), digest_size=6).hexdigest()
