"""More tests behind sentences: units that fire, concepts that are there, what matters more, what turns the answer.

They follow the contract of `pellucid.language.check`: (model, claim) gives the claim with what was measured now.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.edits import Ablate
from pellucid.errors import RequestError
from pellucid.language.check import (
    RANDOM_REGIONS,
    UNVERIFIABLE,
    answered,
    evidence_of,
    region_on_input,
    score_of,
    scores_of,
    seed_of,
    shifted,
    spread,
    target_name,
)
from pellucid.registry import claim_test
from pellucid.results import Claim
from pellucid.subject import VisionModel, load
from pellucid.values import Layer

_OTHER_UNITS = 3
NOBODY_ELSE = (
    "Whether there is “{concept}” could not be tested: {encoder} said so itself, and is no witness of its own."
)


@claim_test("unit")
def unit(model: VisionModel, claim: Claim) -> Claim:
    """Does the unit lose more of its value when the region goes than when random regions like it do?

    The unit is a channel of a layer, its value the mean over the grid. It is also ablated, and so are others of the
    layer, to say what the target owes to it; that is told, and does not decide.
    """
    evidence = evidence_of(model, claim)
    layer = evidence.layers[str(claim.arguments["layer"])]
    channel = int(claim.arguments["channel"])
    masks = _with_random(evidence, claim)
    fill = evidence.fill(str(claim.arguments["fill"]))
    value = _value(evidence, layer, channel)
    points = (torch.where(spread(one), fill, evidence.inputs) for one in masks)
    without, *at_random = [_value(evidence.at(point), layer, channel) for point in points]
    total = int(evidence.activation(layer).shape[1])
    others = [one for one in _others(total, claim) if one != channel][:_OTHER_UNITS]
    ablated, *spared = [_ablated(evidence, layer, one) for one in (channel, *others)]
    drop = value - without
    fires = drop > max(value - one for one in at_random) and drop > 0
    measured = {
        "unit": f"Unit {channel} of {layer.name}", "value": value, "without": without, "random": _mean(at_random),
        "target": target_name(evidence), "before": score_of(evidence), "ablated": ablated,
        "others": _mean(spared) if spared else score_of(evidence),
    }  # fmt: skip
    words = (
        f"{{unit}} {'fires on' if fires else 'does not fire on'} {{concept}}, {{region}}: its value is "
        "{value:.3g}, {without:.3g} with that {gone}, and {random:.3g} with random regions of the same shape {gone}. "
        "Without the unit {target} is at {ablated:.2f} (it was {before:.2f}; without other units {others:.2f})."
    )
    return answered(claim, fires, words, measured, denies=not fires)


@claim_test("concept")
def concept(model: VisionModel, claim: Claim) -> Claim:
    """Does an encoder that did not write the sentence rank the concept before its rivals, in the region or the picture?

    Unverifiable where the encoder that is to judge is the one that wrote the sentence, or the model itself.
    """
    spec = str(claim.arguments["encoder"])
    text, rivals = str(claim.arguments["concept"]), [str(one) for one in claim.arguments["against"]]
    if not rivals or text in rivals:
        raise RequestError(f"The concept {text!r} is compared with nothing else; name what it could be instead.")
    if spec in (claim.arguments.get("writer"), model.name, f"testbed:{model.name}"):
        together = {**claim.measured, "encoder": spec, "concept": text}
        return replace(claim, template=NOBODY_ELSE, measured=together, verdict=UNVERIFIABLE)
    judge = _judge(spec, (text, *rivals))
    shown = _shown(judge, claim)
    shares = judge.probabilities(judge.predict(shown))[0].tolist()
    best = max(range(len(rivals)), key=lambda at: shares[1 + at])
    present = shares[0] > shares[1 + best]
    measured = {
        "encoder": spec, "concept": text, "score": shares[0], "rival": rivals[best], "rival_score": shares[1 + best],
    }  # fmt: skip
    words = (
        f"“{{concept}}” is {'there' if present else 'not there'}, {{where}}: {{encoder}}, which did not write this, "
        f"gives it {{score:.0%}} and the likeliest other, “{{rival}}”, {{rival_score:.0%}}."
    )
    return answered(claim, present, words, measured, denies=not present)


@claim_test("comparison")
def comparison(model: VisionModel, claim: Claim) -> Claim:
    """Does the target fall further without one region than without another?"""
    evidence = evidence_of(model, claim)
    fill = evidence.fill(str(claim.arguments["fill"]))
    masks = [region_on_input(evidence, claim, name) for name in ("mask", "other_mask")]
    first, second = scores_of(evidence, (torch.where(spread(one), fill, evidence.inputs) for one in masks))
    before = score_of(evidence)
    more = first < second
    measured = {"target": target_name(evidence), "before": before, "first": first, "second": second}
    words = (
        f"{{region}} {'matters' if more else 'does not matter'} more to {{target}} than {{other_region}}: from "
        "{before:.2f} it goes to {first:.2f} with the one {gone} and to {second:.2f} with the other."
    )
    return answered(claim, more, _opened(words), measured, denies=not more)


@claim_test("flip")
def flip(model: VisionModel, claim: Claim) -> Claim:
    """Does the model's answer become another when the region goes? Random regions like it are tried beside it."""
    evidence = evidence_of(model, claim)
    fill = evidence.fill(str(claim.arguments["fill"]))
    points = [torch.where(spread(one), fill, evidence.inputs) for one in _with_random(evidence, claim)]
    outputs = [evidence.output(), *(evidence.at(point).output() for point in points)]
    shares = [model.probabilities(one)[0] for one in outputs]
    first, after, *at_random = [int(one.argmax()) for one in shares]
    flips = after != first
    measured = {
        "label": model.labels.name(first), "before": float(shares[0][first]), "label_after": model.labels.name(after),
        "after": float(shares[1][after]), "flipped": sum(one != first for one in at_random), "tried": len(at_random),
    }  # fmt: skip
    figure = ".0%" if model.activation != "none" else ".2f"
    words = (
        f"With {{region}} {{gone}}, “{{label}}” ({{before:{figure}}}) turns into “{{label_after}}” "
        f"({{after:{figure}}}); "
        "of {tried} random regions of the same shape {flipped} turn the answer."
        if flips
        else f"With {{region}} {{gone}}, the answer stays “{{label}}”: {{before:{figure}}} before, {{after:{figure}}} "
        "after; of {tried} random regions of the same shape {flipped} turn it."
    )
    return answered(claim, flips, words, measured, denies=not flips)


def _with_random(evidence: Evidence, claim: Claim) -> list[Bool[Tensor, "height width"]]:
    mask = region_on_input(evidence, claim)
    return [mask, *shifted(mask, RANDOM_REGIONS, seed_of(claim))]


def _value(evidence: Evidence, layer: Layer, channel: int) -> float:
    grid = evidence.activation(layer)
    if not 0 <= channel < grid.shape[1]:
        raise RequestError(f"{layer.name} has {grid.shape[1]} units, 0 to {grid.shape[1] - 1}; there is no {channel}.")
    return float(grid[0, channel].mean())


def _others(total: int, claim: Claim) -> list[int]:
    """Other units of the layer, drawn by the claim's seed."""
    return torch.randperm(total, generator=seed_of(claim).child("units").generator())[: _OTHER_UNITS + 1].tolist()


def _ablated(evidence: Evidence, layer: Layer, channel: int) -> float:
    """The target's value without one unit."""
    with evidence.edited(Ablate(layer, [channel])) as without:
        return score_of(without)


@lru_cache(maxsize=8)
def _judge(spec: str, texts: tuple[str, ...]) -> VisionModel:
    return load(spec, texts=list(texts))


def _shown(judge: VisionModel, claim: Claim) -> Float[Tensor, "1 channel height width"]:
    """The claim's picture as the judge takes it; with a region, everything else in the mean colour of the picture."""
    if claim.frame is None:
        raise RequestError("This claim is about no picture of its own, so its test has nothing to run on.")
    inputs = judge.prepare([claim.frame])
    mask, fitted = claim.arguments.get("mask"), None
    if mask is None:
        return inputs
    geometry = claim.frame.geometry
    on_frame = torch.as_tensor(mask) if geometry is None else torch.from_numpy(geometry.mask_to_frame(mask))
    if judge.preprocess is not None:
        fitted = claim.frame.fitted(judge.preprocess).geometry
    on_input = on_frame if fitted is None else torch.from_numpy(fitted.mask_to_input(on_frame.numpy()))
    if tuple(on_input.shape) != tuple(inputs.shape[-2:]):
        raise RequestError(f"The claim's region does not fit the pictures that {judge.name} takes.")
    return torch.where(spread(on_input.bool()), inputs, inputs.mean(dim=(-2, -1), keepdim=True))


def _opened(words: str) -> str:
    """The sentence as it stands: regions are told in lower case, and one may begin it."""
    return f"Of two regions, {words}"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
