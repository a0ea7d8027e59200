"""What an explanation says: claims about the region that its first map names, each tested, and their retelling."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.engine import Evidence, look
from pellucid.engine.maps import compute, layer_for, refuse_if_unavailable
from pellucid.errors import MethodUnavailable, RemoteError
from pellucid.images import baselines, masks
from pellucid.language import check, templates
from pellucid.language.narrators import Narrator, narrate
from pellucid.language.templates import Topic
from pellucid.registry import find_method
from pellucid.results import Claim, Claims, Heatmaps, Narration, Prediction
from pellucid.stories.maps import said_later
from pellucid.stories.ranking import FRACTIONS, Ranked
from pellucid.stories.request import (
    Batch,
)
from pellucid.subject import VisionModel
from pellucid.trust.faithfulness import Curves
from pellucid.values import Class, Contrast, Layer, Target, Text

REGIONS = FRACTIONS[1:5]  # how much of the picture a sentence may speak of: 2, 8, 18 or 33 %
_BETWEEN = ("lrp", "layer_cam")  # what finds the region that separates two classes, in this order


def claims_of(
    topic: Topic, seen: Ranked, outputs: Tensor, predictions: tuple[Prediction, ...], layer: Layer | str | None
) -> Claims:
    claims: list[Claim] = []
    evidence, chosen = seen.evidence, seen.maps[0]
    if seen.panel.words:
        claims.append(templates.predicted(topic, predictions[0]))
        evidence.passes.add(forwards=1)
        if chosen.passed(0):
            mask = region_of(chosen, seen.curves)
            claims += [templates.removed(topic, mask), templates.survives(topic, mask)]
            evidence.passes.add(forwards=2 * check.PASSES)
            claims += _separation(topic, evidence, outputs, mask, layer)
    named = [
        heat for heat in seen.maps
        if heat.passed(0) and not find_method(heat.method).control and heat.method != seen.searched
    ]  # fmt: skip
    if len(named) > 1:
        parameters = {heat.method: dict(heat.parameters) for heat in named}
        name = layer.name if isinstance(layer, Layer) else layer
        claims.append(templates.agreeing(topic, parameters, name, [heat.one_channel[0] for heat in named]))
    return Claims(claims)


def narration_of(
    model: VisionModel, claims: Claims, narrator: Narrator | None, picture: Batch, notes: list[str]
) -> Narration | None:
    """The claims in the narrator's words. What a server or the evidence makes impossible becomes a note."""
    if narrator is None:
        return None
    if not claims.verified:
        notes.append(f"{narrator.name} was not asked: there is no verified claim to retell.")
        return None
    try:
        return narrate(model, claims, narrator, frame=picture.frames[0])
    except RemoteError as error:
        notes.append(f"{narrator.name} told nothing. {error}")
        return None


def region_of(heat: Heatmaps, curves: Curves | None) -> Bool[np.ndarray, "height width"]:
    """The part of the picture a map speaks of: its strongest pixels, as many as it takes to halve the prediction.

    Where the curves say nothing, 8 % of the picture. Scattered maps are smoothed first, so that it is a place.
    """
    share = REGIONS[1]
    if curves is not None and heat.method in curves.deletion:
        blur = curves.fills.index("blur") if "blur" in curves.fills else 0
        curve = curves.deletion[heat.method][blur, 0]
        start, least = float(curve[0]), float(curve.min())
        reached = [
            fraction
            for fraction, value in zip(curves.fractions, curve.tolist(), strict=True)
            if fraction in REGIONS and value <= (start + least) / 2
        ]
        share = reached[0] if reached else REGIONS[-1]
    return masks.threshold_area(smooth(heat.one_channel[0]), share, seed=heat.seed)


def smooth(values: Float[Tensor, "height width"]) -> Float[Tensor, "height width"]:
    """The map without its grain: blurred by a 64th of the shorter side."""
    return baselines.blur(values[None, None], max(0.5, min(values.shape) / 64))[0, 0]


def _separation(
    topic: Topic, evidence: Evidence, outputs: Tensor, mask: Bool[np.ndarray, "height width"], layer: Layer | str | None
) -> list[Claim]:
    """The runner-up, and the region that separates the target from it.

    The map of the answer does not tell: without what two classes share, the lead of one over the other shrinks too.
    """
    contrast = _contrast(topic.target, outputs)
    if contrast is None:
        return []
    between = _contrast_region(topic.model, evidence, contrast, layer, float(mask.mean()))
    evidence.passes.add(forwards=check.PASSES)
    return [templates.separated(topic, contrast, mask if between is None else between)]


def _contrast(target: Target, outputs: Float[Tensor, "1 classes"]) -> Contrast | None:
    """The target's class against the strongest other one."""
    if not isinstance(target, (Class, Text)) or not isinstance(target.index, int) or outputs.shape[1] < 2:
        return None
    others = outputs[0].clone()
    others[target.index] = float("-inf")
    return Contrast(target.index, int(others.argmax()))


def _contrast_region(
    model: VisionModel, evidence: Evidence, contrast: Contrast, layer: Layer | str | None, share: float
) -> Bool[np.ndarray, "height width"] | None:
    """Where the lead over the runner-up comes from: relevance of the difference, or LayerCAM; None without either."""
    for name in _BETWEEN:
        method = find_method(name)
        try:
            with said_later():
                refuse_if_unavailable(model, method)
                address = layer_for(model, method, layer, evidence.size)
                asked = look(model, evidence.inputs, [contrast], needs=method.needs,
                             layers=[] if address is None else [address], seed=evidence.seed)  # fmt: skip
                values = compute(asked, method, address)
        except MethodUnavailable:
            continue
        evidence.passes.add(forwards=asked.passes.forwards, backwards=asked.passes.backwards)
        found = values.sum(dim=1)[0] if values.ndim == 4 else values[0]
        if bool(found.max() > found.min()):
            return masks.threshold_area(smooth(found), share, seed=int(evidence.seed))
    return None
