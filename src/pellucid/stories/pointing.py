"""Does the map shown first point at what decides the answer? Measured on fresh scenes of the testbed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.stories.ranking import rank_maps
from pellucid.stories.request import DEFAULT_BUDGET, Batch, Request
from pellucid.stories.runner import Here, Runner
from pellucid.subject import VisionModel
from pellucid.testbed.scene import Scenes, scenes
from pellucid.testbed.truth import causal, grown, tolerance
from pellucid.trust.localisation import fixed_pixel, hits
from pellucid.trust.measured import controls


@dataclass
class Tally:
    """Hits of one kind of map over the scenes so far; a tie counts as the share of its pixels inside."""

    scenes: int = 0
    grown: float = 0.0
    ungrown: float = 0.0

    def add(self, grown_hit: float, ungrown_hit: float) -> None:
        self.scenes, self.grown, self.ungrown = self.scenes + 1, self.grown + grown_hit, self.ungrown + ungrown_hit

    def to_dict(self) -> dict[str, float]:
        count = max(1, self.scenes)
        return {"grown": self.grown / count, "ungrown": self.ungrown / count, "scenes": self.scenes}


@dataclass(frozen=True)
class Pointing:
    """How often maps point at a deciding part of the scene, the part grown by one pixel and not.

    total, kept: scenes drawn, and those the model recognises; only these count
    first:       the map shown first, chosen per picture without knowing the truth
    rows:        every map of the panel; the centre, the random map's expectation, and the fixed pixel: for each scene
                 the one that hits in most of the other scenes
    chosen:      how often which method was shown first
    """

    model: str
    seed: int
    total: int
    kept: int
    budget: int
    first: dict[str, float]
    rows: dict[str, dict[str, float]]
    chosen: dict[str, int]
    beat_controls: int
    passes: float

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass
class _Sums:
    tallies: dict[str, Tally] = field(default_factory=dict[str, Tally])
    chosen: Counter[str] = field(default_factory=Counter[str])
    places: list[tuple[Tensor, Tensor]] = field(default_factory=list[tuple[Tensor, Tensor]])
    beat: int = 0
    passes: float = 0.0

    def add(self, name: str, values: Tensor, masks: tuple[Tensor, Tensor]) -> None:
        found = [hits(values.cpu(), mask)[0] for mask in masks]
        self.tallies.setdefault(name, Tally()).add(found[0], found[1])

    def add_fixed_pixel(self) -> None:
        """What a constant guess hits, which needs the answers of several scenes."""
        if len(self.places) < 2:
            return
        grown, ungrown = (torch.cat(masks) for masks in zip(*self.places, strict=True))
        for grown_hit, ungrown_hit in zip(fixed_pixel(grown).tolist(), fixed_pixel(ungrown).tolist(), strict=True):
            self.tallies.setdefault("fixed pixel", Tally()).add(grown_hit, ungrown_hit)


def pointing(
    model: VisionModel,
    *,
    count: int = 200,
    seed: int = 1000,
    budget: int = DEFAULT_BUDGET,
    methods: Sequence[str] | None = None,
    memory: float | None = None,
    runner: Runner | None = None,
) -> Pointing:
    """The pointing game on `count` fresh scenes of the testbed, for the map `explain` shows first.

    seed: which scenes; nets are trained on seed 0, and nothing was tuned on seeds from 1000 on
    Raises RequestError for a model that does not know the testbed's birds, or recognises none of the scenes.
    """
    if count < 1:
        raise RequestError(f"--scenes {count}; expected at least 1.")
    drawn = scenes(seed, count)
    if tuple(model.labels) != tuple(drawn.task.labels):
        raise RequestError(f"{model.name} does not classify the testbed's birds; try testbed:cnn or testbed:vit.")
    right = (model.predict(drawn.tensor()).argmax(dim=1).cpu().numpy() == drawn.labels).nonzero()[0].tolist()
    if not right:
        raise RequestError(f"{model.name} recognises none of the {count} scenes, so there is nothing to point at.")
    sums = _Sums()
    request = Request(methods=None if methods is None else tuple(methods), budget=budget)

    def work(index: int) -> None:
        _one(model, drawn[[index]], sums, request, memory)

    for _ in (runner or Here()).run(work, right, label=f"{model.name}: pointing game"):
        pass
    sums.add_fixed_pixel()
    rows = {name: tally.to_dict() for name, tally in sums.tallies.items() if name != "first"}
    return Pointing(
        model.name, seed, count, len(right), budget, sums.tallies["first"].to_dict(),
        dict(sorted(rows.items(), key=lambda row: -row[1]["grown"])), dict(sums.chosen.most_common()), sums.beat,
        sums.passes / len(right),
    )  # fmt: skip


def _one(model: VisionModel, scene: Scenes, sums: _Sums, request: Request, memory: float | None) -> None:
    exact = causal(scene)
    masks = (torch.from_numpy(grown(exact, tolerance(scene.world.size))), torch.from_numpy(exact))
    sums.places.append(masks)
    frames = scene.frames()
    picture = Batch(frames, model.prepare(frames))
    seen = rank_maps(model, picture, request, memory=memory)
    sums.add("first", seen.maps[0].one_channel, masks)
    for heat in seen.maps:
        sums.add(heat.method, heat.one_channel, masks)
    sums.add("centre", controls(seen.evidence)["centre"], masks)
    sums.tallies.setdefault("random (expected)", Tally()).add(*(float(mask.float().mean()) for mask in masks))
    sums.chosen[seen.choice.method] += 1
    sums.beat += seen.choice.beats_controls
    sums.passes += seen.evidence.passes.cost
