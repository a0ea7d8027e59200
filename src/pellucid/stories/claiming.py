"""Are sentences of explanations true of the scene? They were tested by blurring; here the scene is painted anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from pellucid.compute.bootstrap import Interval, wilson
from pellucid.compute.progress import track
from pellucid.errors import RequestError
from pellucid.language.check import RANDOM_REGIONS, seed_of, shifted
from pellucid.results import Claim
from pellucid.stories.picture import explain_one
from pellucid.stories.request import Request, batches_of
from pellucid.subject import VisionModel
from pellucid.testbed.effects import EFFECT_FIELDS, Effects, effect
from pellucid.testbed.fields import SPECIES
from pellucid.testbed.scene import Scenes, scenes
from pellucid.testbed.truth import place_of
from pellucid.testbed.twins import PROP_NAMES, another, twin

REGIONAL = ("region_matters", "region_suffices", "separates")


@dataclass(frozen=True)
class Claiming:
    """How the sentences of explanations of fresh scenes fared against the renderer.

    asserted: by predicate, the share that is true of those that say a region does something
    denied:   the same of those that say that the region tested does not do it; `separates` is not among them, for "no
              region was found" says nothing of the scene
    named:    share of answers that are the species painted
    """

    model: str
    scenes: int
    seed: int
    asserted: Mapping[str, Interval]
    denied: Mapping[str, Interval]
    named: Interval

    @property
    def true(self) -> Interval:
        """The share that is true of all these sentences."""
        rows = (*self.asserted.values(), *self.denied.values())
        counts = [(row.mean * row.count, row.count) for row in rows if row.count]
        return wilson(sum(true for true, _ in counts), sum(count for _, count in counts))

    def to_dict(self) -> dict[str, Any]:
        tables = {name: {key: vars(row) for key, row in getattr(self, name).items()} for name in ("asserted", "denied")}
        return {**vars(self), **tables, "named": vars(self.named), "true": vars(self.true)}


def claiming(model: VisionModel, *, count: int = 300, seed: int = 3000) -> Claiming:
    """Explains `count` fresh scenes and holds every verified sentence about a region against the scene itself.

    What a region truly carries is the sum over all that can be painted otherwise: by how much the target falls when it
    is, times the share of it that lies in the region. A sentence is true where its region carries more than each of
    the random regions it was tested beside: of the answer, or of the lead over the runner-up. That a region alone is
    not enough is true where the answer is lost once all is painted otherwise that does not lie in it by half.

    Raises RequestError for less than one scene, or a model that does not name the testbed's species.
    """
    if count < 1:
        raise RequestError(f"--scenes {count}; expected 1 or more.")
    if tuple(model.labels) != tuple(SPECIES):
        raise RequestError(f"{model.name} does not name the testbed's species; try testbed:cnn or testbed:vit.")
    verdicts = {denies: {name: list[bool]() for name in REGIONAL} for denies in (False, True)}
    named: list[bool] = []
    for scene in track(scenes(seed, count), total=count, label=f"{model.name}: sentences of scenes"):
        story = explain_one(model, batches_of(model, scene.frames())[0], Request())
        named.append(story.predictions[0].index == int(scene.labels[0]))
        for claim in story.claims.verified:
            kind = claim.predicate.removeprefix("not_")
            if claim.predicate == "not_region_suffices":
                verdicts[True][kind].append(lost_without_the_rest(model, scene, claim))
            elif kind in REGIONAL and claim.predicate != "not_separates":
                denies = kind != claim.predicate
                verdicts[denies][kind].append(carries(model, scene, claim) != denies)
    asserted, denied = (
        {name: wilson(sum(rows), len(rows)) for name, rows in table.items()} for table in verdicts.values()
    )
    del denied["separates"]
    return Claiming(model.name, count, seed, asserted, denied, wilson(sum(named), len(named)))


def carries(model: VisionModel, scene: Scenes, claim: Claim) -> bool:
    """Whether the claim's region carries more of what the claim is about than each region it was tested beside."""
    target = claim.arguments.get("contrast", claim.arguments["target"])
    found = effect(model.predict, scene, target)
    region = torch.from_numpy(np.asarray(claim.arguments["mask"], dtype=bool))
    beside = shifted(region, RANDOM_REGIONS, seed_of(claim))
    return carried(scene, found, region.numpy()) > max(carried(scene, found, other.numpy()) for other in beside)


def lost_without_the_rest(model: VisionModel, scene: Scenes, claim: Claim) -> bool:
    """Whether the claim's target keeps less than half of its probability with the region alone left as it is."""
    target, region = claim.arguments["target"], np.asarray(claim.arguments["mask"], dtype=bool)
    other = scene
    for name in (name for name in EFFECT_FIELDS if name not in PROP_NAMES):
        place = place_of(scene, name)[0]
        if place.any() and 2 * (place & region).sum() < place.sum():
            other = twin(other, **{name: another(other, name)})
    before, after = (model.probabilities(model.predict(drawn.tensor()))[0, target.index] for drawn in (scene, other))
    return bool(after < before / 2)


def carried(scene: Scenes, found: Effects, region: Bool[np.ndarray, "height width"]) -> float:
    """What a region carries of one scene's target, in the unit of the effects (log probability, or logits)."""
    total = 0.0
    for name, drops in found.drops.items():
        place = place_of(scene, name)[0]
        if place.any():
            total += float(drops[0]) * float((place & region).sum() / place.sum())
    return total
