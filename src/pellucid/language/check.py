"""The tests behind the sentences: each measures again, words what it found, and says whether the claim holds.

A test takes (model, claim) and gives the claim with what was measured now, the sentence for it, and the verdict on what
was claimed. So a claim is written by running its test on a claim without measurement, and `claim.recheck(model)` runs
the very same code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import rankdata
from torch import Tensor

from pellucid.engine import Evidence, look
from pellucid.engine.maps import compute, layer_for, refuse_if_unavailable
from pellucid.errors import RequestError, ShapeError
from pellucid.language import wording
from pellucid.registry import claim_test, find_method
from pellucid.results import Claim
from pellucid.subject import VisionModel
from pellucid.values import Class, Contrast, Probability, Seed, Target, Text

VERIFIED, REFUTED, UNVERIFIABLE = "verified", "refuted", "unverifiable"
RANDOM_REGIONS = 3
PASSES = 2 + RANDOM_REGIONS  # of one test of a region: the picture, the region, random regions
_SURE = 0.02  # probabilities this close are the same when a claim is tested again on another machine
_ALIKE = 0.1  # and so are correlations this close
_CLASSES = ("index", "this", "that")  # fields of targets that number a class


@claim_test("prediction")
def prediction(model: VisionModel, claim: Claim) -> Claim:
    """Is the class that was claimed still what the model ranks first, and as surely?

    Verified where the first class bears the name and, if there was an earlier measurement, its probability moved by at
    most 2 percentage points.
    """
    probabilities = model.probabilities(model.predict(claim_input(model, claim)))[0]
    best = int(probabilities.argmax())
    value, label = float(probabilities[best]), model.labels.name(best)
    claimed = claim.first.measured
    wanted = model.labels.named(str(claimed["label"])) if "label" in claimed else [int(claim.arguments["index"])]
    same = best in wanted and abs(value - float(claimed.get("value", value))) <= _SURE
    words = wording.prediction(in_percent=model.activation != "none")
    measured = {"model": model.name, "label": label, "value": value, "sure": wording.surety(value)}
    return answered(claim, same, words, measured)


@claim_test("removal")
def removal(model: VisionModel, claim: Claim) -> Claim:
    """Does the target fall further when the region goes than when random regions of its shape and size do?"""
    evidence = evidence_of(model, claim)
    mask, fill = region_on_input(evidence, claim), evidence.fill(str(claim.arguments["fill"]))
    masks = [mask, *shifted(mask, RANDOM_REGIONS, seed_of(claim))]
    after, *at_random = scores_of(evidence, (torch.where(spread(one), fill, evidence.inputs) for one in masks))
    before = score_of(evidence)
    drop, by_chance = before - after, [before - value for value in at_random]
    matters = drop > max(by_chance) and drop > 0
    measured = {
        "target": target_name(evidence), "before": before, "after": after, "random": _mean(at_random),
        "random_worst": min(at_random), "share": _share(mask),
    }  # fmt: skip
    words = wording.removal(measured, matters, _in_percent(evidence), _noun(evidence))
    return answered(claim, matters, words, measured, denies=not matters)


@claim_test("survival")
def survival(model: VisionModel, claim: Claim) -> Claim:
    """Is more of the target left when only the region is shown than when only a random one of its shape and size is?"""
    evidence = evidence_of(model, claim)
    mask, fill = region_on_input(evidence, claim), evidence.fill(str(claim.arguments["fill"]))
    masks = [mask, *shifted(mask, RANDOM_REGIONS, seed_of(claim))]
    after, *at_random = scores_of(evidence, (torch.where(spread(one), evidence.inputs, fill) for one in masks))
    suffices = after > max(at_random)
    measured = {
        "target": target_name(evidence), "before": score_of(evidence), "after": after, "random": _mean(at_random),
        "random_best": max(at_random), "share": _share(mask),
    }  # fmt: skip
    words = wording.survival(measured, suffices, _in_percent(evidence))
    return answered(claim, suffices, words, measured, denies=not suffices)


@claim_test("runner_up")
def runner_up(model: VisionModel, claim: Claim) -> Claim:
    """Does the lead over the runner-up shrink more without the region than without random regions like it?

    The lead is the difference of the two outputs, in the model's own unit (log odds for logits).
    """
    contrast = target_here(model, claim, claim.arguments["contrast"])
    assert isinstance(contrast, Contrast)
    evidence = evidence_of(model, claim, target=contrast)
    mask, fill = region_on_input(evidence, claim), evidence.fill(str(claim.arguments["fill"]))
    masks = [mask, *shifted(mask, RANDOM_REGIONS, seed_of(claim))]
    points = (torch.where(spread(one), fill, evidence.inputs) for one in masks)
    outputs = _outputs(evidence)
    before = float(contrast(outputs)[0])
    after, *at_random = [float(score[0]) for score in evidence.scores_at(points)]
    drop, by_chance = before - after, [before - value for value in at_random]
    separates = drop > max(by_chance) and drop > 0
    place = _place(outputs[0], contrast)
    measured = {
        "target": f"“{model.target_name(target_here(model, claim, claim.arguments['target']))}”",
        "runner": model.labels.name(int(contrast.that)), "place": place, "lead": before, "lead_after": after,
        "lead_random": _mean(at_random), "second": float(model.probabilities(outputs)[0, int(contrast.that)]),
        "share": _share(mask), "overtaken": bool(before > 0 > after),
    }  # fmt: skip
    words = wording.runner_up(measured, separates, in_percent=model.activation != "none")
    same = place == claim.first.measured.get("place", place)
    return answered(claim, separates, words, measured, denies=not separates, besides=same)


def _place(outputs: Float[Tensor, "classes"], contrast: Contrast) -> str:
    """Where the class stands that the target is compared with: `runner-up` to it, `answer` before it, or `neither`."""
    others = outputs.clone()
    others[int(contrast.this)] = -torch.inf
    if int(others.argmax()) != int(contrast.that):
        return "neither"
    return "runner-up" if outputs[int(contrast.this)] >= outputs[int(contrast.that)] else "answer"


@claim_test("agreement")
def agreement(model: VisionModel, claim: Claim) -> Claim:
    """How far do the maps of several methods rank the pixels alike?

    The mean of Spearman's correlation over all pairs, -1 to 1. Verified where it lies within 0.1 of what was claimed.
    """
    evidence = evidence_of(model, claim)
    maps: list[Tensor] = []
    for name, parameters in claim.arguments["methods"].items():
        method = find_method(name)
        refuse_if_unavailable(model, method)
        layer = layer_for(model, method, claim.arguments.get("layer"), evidence.size)
        values = compute(evidence, method, layer, **parameters)
        maps.append((values.sum(dim=1) if values.ndim == 4 else values)[0])
    measured = agreement_of(list(claim.arguments["methods"]), maps)
    correlation = measured["correlation"]
    claimed = float(claim.first.measured.get("correlation", correlation))
    return answered(claim, abs(correlation - claimed) <= _ALIKE, wording.agreement(correlation), measured)


def agreement_of(names: Sequence[str], maps: Sequence[Float[Tensor, "height width"]]) -> dict[str, Any]:
    """What a claim of agreement measures, of maps in the order of their methods' names."""
    correlation, lowest, pair = rank_agreement(names, maps)
    return {"correlation": correlation, "lowest": lowest, "first": pair[0], "second": pair[1], "count": len(maps)}


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
    asked = target or target_here(model, claim, claim.arguments["target"])
    return look(model, claim_input(model, claim), [asked], seed=int(claim.arguments.get("seed", 0)))


def target_here(model: VisionModel, claim: Claim, target: Target) -> Target:
    """The claim's target in this model, where its classes may stand in another order.

    Raises UnknownClass where the model has no class of that name, AmbiguousClass where it has several.
    """
    names = {int(index): str(name) for index, name in claim.arguments.get("classes", {}).items()}
    here = {
        field.name: _class_here(model, index, names[index])
        for field in fields(target)
        if field.name in _CLASSES and (index := getattr(target, field.name)) in names
    }
    return replace(target, **here)


def _class_here(model: VisionModel, index: int, name: str) -> int:
    known = model.labels.names
    return index if index < len(known) and known[index] == name else model.labels.index(name)


def classes_in(model: VisionModel, targets: Sequence[Target]) -> dict[int, str]:
    """The classes that targets number, by name: what `target_here` finds them again by."""
    numbers = (getattr(target, name, None) for target in targets for name in _CLASSES)
    return {index: model.labels.name(index) for index in numbers if isinstance(index, int)}


def region_on_input(evidence: Evidence, claim: Claim, name: str = "mask") -> Bool[Tensor, "height width"]:
    """The claim's region on the pixels of this model's input, which may show another part of the picture.

    Raises ShapeError where the claim is about a tensor of another size.
    """
    mask, frame, preprocess = np.asarray(claim.arguments[name], dtype=bool), claim.frame, evidence.model.preprocess
    if frame is not None and frame.geometry is not None and preprocess is not None and "input" not in claim.arguments:
        before, here = frame.geometry, frame.fitted(preprocess).geometry
        if here is not None and here != before and mask.shape == before.size:
            mask = here.mask_to_input(before.mask_to_frame(mask))
    if mask.shape != evidence.size:
        raise ShapeError("The claim's region", got=mask.shape, expected=f"that of the model input, {evidence.size}")
    return torch.from_numpy(mask).to(evidence.inputs.device)


def shifted(mask: Bool[Tensor, "height width"], count: int, seed: Seed) -> Iterator[Bool[Tensor, "height width"]]:
    """The same shape at random other places: moved around the picture, coming in again on the opposite side."""
    height, width = mask.shape
    generator = seed.child("regions").generator()
    for _ in range(count):
        down = int(torch.randint(height // 4, max(height // 4 + 1, height - height // 4), (1,), generator=generator))
        right = int(torch.randint(width // 4, max(width // 4 + 1, width - width // 4), (1,), generator=generator))
        yield mask.roll((down, right), (0, 1))


def scores_of(evidence: Evidence, points: Iterator[Tensor]) -> list[float]:
    return [float(score[0]) for score in evidence.scores_at(points, probability=True)]


def score_of(evidence: Evidence) -> float:
    """The same at the picture itself."""
    target = evidence.targets[0]
    if isinstance(target, (Class, Text)) and isinstance(target.index, int):
        return float(evidence.model.probabilities(_outputs(evidence))[0, target.index])
    return float(evidence.score()[0])


def _outputs(evidence: Evidence) -> Float[Tensor, "1 classes"]:
    """The answer to the picture itself, finite or not: a claim about what is no number is unverifiable, no error."""
    return evidence.remember("answer", lambda: evidence.model.predict(evidence.inputs))


def _in_percent(evidence: Evidence) -> bool:
    return isinstance(evidence.targets[0], (Class, Probability, Text)) and evidence.model.activation != "none"


def target_name(evidence: Evidence) -> str:
    return f"“{evidence.model.target_name(evidence.targets[0])}”"


def _noun(evidence: Evidence) -> str:
    """What the target is: the model's answer, another class, or something else in it."""
    target = evidence.targets[0]
    if not isinstance(target, (Class, Text)):
        return "target"
    is_answer = target.index == int(_outputs(evidence)[0].argmax())
    return "answer" if is_answer else "class" if isinstance(target, Class) else "text"


def spread(mask: Bool[Tensor, "height width"]) -> Bool[Tensor, "1 1 height width"]:
    return mask[None, None]


def _share(mask: Bool[Tensor, "height width"]) -> float:
    return float(mask.float().mean())


def seed_of(claim: Claim) -> Seed:
    return Seed(int(claim.arguments.get("seed", 0)))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def answered(
    claim: Claim, holds: bool, words: str, measured: Mapping[str, Any], *, denies: bool | None = None,
    besides: bool = True,
) -> Claim:  # fmt: skip
    """The claim with what was measured now, in the words for it.

    denies:  whether the words say that the region does not do what it was tested for; None where there is no such sense
    besides: whether what else was claimed holds too
    """
    together = {**claim.measured, **measured}
    if not all(np.isfinite(value) for value in measured.values() if isinstance(value, float)):
        return replace(claim, template=wording.NO_NUMBER, measured=together, verdict=UNVERIFIABLE)
    # A sentence may say that the test fails ("no further than random"); then failing is what makes it true.
    true = besides and holds == claim.arguments.get("expected", True)
    kind = claim.predicate if denies is None else "not_" * denies + claim.predicate.removeprefix("not_")
    return replace(claim, template=words, predicate=kind, measured=together, verdict=VERIFIED if true else REFUTED)
