"""The tests behind the sentences: each measures again and says whether the sentence holds.

A test takes (model, claim) and gives the claim with what was measured now and its verdict. So a claim is written by
running its test on a claim without measurement, and `claim.recheck(model)` runs the very same code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import rankdata
from torch import Tensor

from pellucid.engine import Evidence, look
from pellucid.engine.maps import compute, layer_for, refuse_if_unavailable
from pellucid.errors import RequestError
from pellucid.registry import claim_test, find_method
from pellucid.results import Claim
from pellucid.subject import VisionModel
from pellucid.values import Seed, Target

VERIFIED, REFUTED, UNVERIFIABLE = "verified", "refuted", "unverifiable"
RANDOM_REGIONS = 3
PASSES = 2 + RANDOM_REGIONS  # of one test of a region: the picture, the region, random regions
_SURE = 0.02  # probabilities this close are the same when a claim is tested again on another machine


@claim_test("prediction")
def prediction(model: VisionModel, claim: Claim) -> Claim:
    """Is `label` still what the model ranks first, and as surely?

    Verified where the first class is the one named and, if there was an earlier measurement, its probability moved by
    at most 2 percentage points.
    """
    outputs = model.predict(claim_input(model, claim))
    probabilities = model.probabilities(outputs)[0]
    best = int(probabilities.argmax())
    value = float(probabilities[best])
    before = claim.measured.get("value", value)
    same = best == int(claim.arguments["index"]) and abs(value - float(before)) <= _SURE
    return _answered(claim, same, label=model.labels.name(best), value=value, sure=_surety(value))


def _surety(probability: float) -> str:
    for limit, words in ((0.95, "almost certainly"), (0.75, "quite surely"), (0.5, "more likely than not")):
        if probability >= limit:
            return words
    return "but is not sure"


@claim_test("removal")
def removal(model: VisionModel, claim: Claim) -> Claim:
    """Does the target fall further when the region goes than when random regions of its shape and size do?"""
    evidence = evidence_of(model, claim)
    mask, fill = region_on_input(evidence, claim), evidence.fill(str(claim.arguments["fill"]))
    masks = [mask, *shifted(mask, RANDOM_REGIONS, _seed(claim))]
    points = (torch.where(_spread(one), fill, evidence.inputs) for one in masks)
    before, after, at_random = _before_and_after(evidence, points)
    drop, by_chance = before - after, [before - value for value in at_random]
    return _answered(
        claim, drop > max(by_chance) and drop > 0, before=before, after=after, random=_mean(at_random),
        random_worst=min(at_random), share=_share(mask),
    )  # fmt: skip


@claim_test("survival")
def survival(model: VisionModel, claim: Claim) -> Claim:
    """Is more of the target left when only the region is shown than when only a random one of its shape and size is?"""
    evidence = evidence_of(model, claim)
    mask, fill = region_on_input(evidence, claim), evidence.fill(str(claim.arguments["fill"]))
    masks = [mask, *shifted(mask, RANDOM_REGIONS, _seed(claim))]
    points = (torch.where(_spread(one), evidence.inputs, fill) for one in masks)
    before, after, at_random = _before_and_after(evidence, points)
    return _answered(
        claim, after > max(at_random), before=before, after=after, random=_mean(at_random), random_best=max(at_random),
        share=_share(mask),
    )  # fmt: skip


@claim_test("runner_up")
def runner_up(model: VisionModel, claim: Claim) -> Claim:
    """Does the lead over the runner-up shrink more without the region than without random regions like it?

    The lead is the difference of the two outputs, in the model's own unit (log odds for logits).
    """
    contrast = claim.arguments["contrast"]
    evidence = evidence_of(model, claim, target=contrast)
    mask, fill = region_on_input(evidence, claim), evidence.fill(str(claim.arguments["fill"]))
    masks = [mask, *shifted(mask, RANDOM_REGIONS, _seed(claim))]
    points = (torch.where(_spread(one), fill, evidence.inputs) for one in masks)
    outputs = evidence.output()
    before = float(contrast(outputs)[0])
    after, *at_random = [float(score[0]) for score in evidence.scores_at(points)]
    probabilities = model.probabilities(outputs)[0]
    second = float(probabilities[contrast.that])
    drop, by_chance = before - after, [before - value for value in at_random]
    return _answered(
        claim, drop > max(by_chance) and drop > 0, lead=before, lead_after=after, lead_random=_mean(at_random),
        second=second, share=_share(mask), overtaken=bool(after < 0),
    )  # fmt: skip


@claim_test("agreement")
def agreement(model: VisionModel, claim: Claim) -> Claim:
    """How far do the maps of several methods rank the pixels alike?

    The mean of Spearman's correlation over all pairs, -1 to 1. Verified where it lies within 0.1 of what was said.
    """
    evidence = evidence_of(model, claim)
    maps = []
    for name, parameters in claim.arguments["methods"].items():
        method = find_method(name)
        refuse_if_unavailable(model, method)
        layer = layer_for(model, method, claim.arguments.get("layer"), evidence.size)
        values = compute(evidence, method, layer, **parameters)
        maps.append((values.sum(dim=1) if values.ndim == 4 else values)[0])
    correlation, lowest, pair = rank_agreement(list(claim.arguments["methods"]), maps)
    said = float(claim.measured.get("correlation", correlation))
    return _answered(
        claim, abs(correlation - said) <= 0.1, correlation=correlation, lowest=lowest, first=pair[0], second=pair[1],
        count=len(maps),
    )  # fmt: skip


def rank_agreement(
    names: Sequence[str], maps: Sequence[Float[Tensor, "height width"]]
) -> tuple[float, float, tuple[str, str]]:
    """Mean rank correlation over all pairs, the lowest one, and the pair that has it."""
    ranks = [_ranks(one) for one in maps]
    pairs = list(combinations(range(len(names)), 2))
    values = [float(np.corrcoef(ranks[a], ranks[b])[0, 1]) for a, b in pairs]
    worst = int(np.argmin(values))
    return float(np.mean(values)), values[worst], (names[pairs[worst][0]], names[pairs[worst][1]])


def _ranks(values: Float[Tensor, "height width"]) -> np.ndarray:
    return rankdata(values.detach().cpu().double().numpy().ravel())


# -- what a claim is about ------------------------------------------------------------------------------------------


def claim_input(model: VisionModel, claim: Claim) -> Float[Tensor, "1 channel height width"]:
    """The model input the claim speaks of: kept with the claim where it was given as a tensor, else the Frame's."""
    kept = claim.arguments.get("input")
    if kept is not None:
        return model.check_input(torch.as_tensor(np.asarray(kept))[None])
    if claim.frame is None:
        raise RequestError("This claim is about no picture of its own, so its test has nothing to run on.")
    return model.prepare([claim.frame])


def evidence_of(model: VisionModel, claim: Claim, target: Target | None = None) -> Evidence:
    """Evidence for the claim's picture and target."""
    return look(
        model,
        claim_input(model, claim),
        [target or claim.arguments["target"]],
        seed=int(claim.arguments.get("seed", 0)),
    )


def region_on_input(evidence: Evidence, claim: Claim) -> Bool[Tensor, "height width"]:
    """The claim's region on the pixels of the model input."""
    return torch.from_numpy(np.asarray(claim.arguments["mask"], dtype=bool)).to(evidence.inputs.device)


def shifted(mask: Bool[Tensor, "height width"], count: int, seed: Seed) -> Iterator[Bool[Tensor, "height width"]]:
    """The same shape at random other places: moved around the picture, coming in again on the opposite side."""
    height, width = mask.shape
    generator = seed.child("regions").generator()
    for _ in range(count):
        down = int(torch.randint(height // 4, max(height // 4 + 1, height - height // 4), (1,), generator=generator))
        right = int(torch.randint(width // 4, max(width // 4 + 1, width - width // 4), (1,), generator=generator))
        yield mask.roll((down, right), (0, 1))


def _before_and_after(evidence: Evidence, points: Iterator[Tensor]) -> tuple[float, float, list[float]]:
    def all_points() -> Iterator[Tensor]:
        yield evidence.inputs
        yield from points

    before, after, *at_random = [float(score[0]) for score in evidence.scores_at(all_points(), probability=True)]
    return before, after, at_random


def _spread(mask: Bool[Tensor, "height width"]) -> Bool[Tensor, "1 1 height width"]:
    return mask[None, None]


def _share(mask: Bool[Tensor, "height width"]) -> float:
    return float(mask.float().mean())


def _seed(claim: Claim) -> Seed:
    return Seed(int(claim.arguments.get("seed", 0)))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _answered(claim: Claim, holds: bool, **measured: Any) -> Claim:
    finite = all(np.isfinite(value) for value in measured.values() if isinstance(value, float))
    # A sentence may say that the test fails ("no further than random"); then failing is what makes it true.
    true = holds == claim.arguments.get("expected", True)
    verdict = (VERIFIED if true else REFUTED) if finite else UNVERIFIABLE
    return replace(claim, measured={**claim.measured, **measured}, verdict=verdict)
