"""The template narrator: measurements in, sentences out. Every sentence is a Claim whose test has been run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.canvas.words import percent
from pellucid.images import Frame
from pellucid.images.position import in_words
from pellucid.language import check, wording
from pellucid.registry import claim_tests
from pellucid.results import Claim, Prediction
from pellucid.subject import VisionModel
from pellucid.values import Contrast, Target

FILL = "blur"


@dataclass(frozen=True, eq=False)
class Topic:
    """What the sentences are about: one picture, one model, one target.

    input: the model input itself [channel h w], where it was given as a tensor; None where the Frame gives it
    """

    model: VisionModel
    frame: Frame
    target: Target
    seed: int
    input: np.ndarray | None = None

    def claim(self, predicate: str, test: str, words: Mapping[str, Any], arguments: Mapping[str, Any]) -> Claim:
        """The sentence after its test has run once: what it says is what was found, so it is true, or unverifiable."""
        found = claim_tests()[test](self.model, self.blank(predicate, test, words, arguments))
        if found.predicate == predicate or found.verdict != check.REFUTED:
            return found
        # The words say that the test has failed, and stay true as long as it keeps failing.
        return replace(found, verdict=check.VERIFIED, arguments={**found.arguments, "expected": False})

    def blank(self, predicate: str, test: str, words: Mapping[str, Any], arguments: Mapping[str, Any]) -> Claim:
        """A claim before its test has run: until then there is nothing to say."""
        kept = {} if self.input is None else {"input": self.input}
        named = [self.target, *(value for value in arguments.values() if isinstance(value, Target))]
        return Claim(
            template=wording.UNMEASURED,
            predicate=predicate,
            test=test,
            measured=dict(words),
            arguments={
                "target": self.target, "seed": self.seed, "classes": check.classes_in(self.model, named), **kept,
                **arguments,
            },
            frame=self.frame,
        )  # fmt: skip


def predicted(topic: Topic, first: Prediction) -> Claim:
    """What the model ranks first, and how surely."""
    return topic.claim("predicts", "prediction", {}, {"index": first.index})


def removed(topic: Topic, mask: Bool[np.ndarray, "h w"], fill: str = FILL) -> Claim:
    """How far the target falls when the region is gone, against random regions of its shape and size."""
    return topic.claim("region_matters", "removal", _region_words(topic, mask, fill), {"mask": mask, "fill": fill})


def survives(topic: Topic, mask: Bool[np.ndarray, "h w"], fill: str = FILL) -> Claim:
    """How much of the target is left when only the region is shown."""
    return topic.claim("region_suffices", "survival", _region_words(topic, mask, fill), {"mask": mask, "fill": fill})


def separated(topic: Topic, contrast: Contrast, mask: Bool[np.ndarray, "h w"], fill: str = FILL) -> Claim:
    """The runner-up, and how far the lead over it rests on a region."""
    arguments = {"contrast": contrast, "mask": mask, "fill": fill}
    return topic.claim("separates", "runner_up", _region_words(topic, mask, fill), arguments)


def fires(
    topic: Topic, layer: str, channel: int, concept: str, mask: Bool[np.ndarray, "h w"], fill: str = FILL
) -> Claim:
    """Whether a unit fires on the concept that lies in a region: how far it falls when that is gone."""
    arguments = {"layer": layer, "channel": channel, "mask": mask, "fill": fill}
    return topic.claim("unit_fires", "unit", {**_region_words(topic, mask, fill), "concept": concept}, arguments)


def shows(
    topic: Topic, concept: str, against: Sequence[str], *, encoder: str, writer: str | None = None,
    mask: Bool[np.ndarray, "h w"] | None = None,
) -> Claim:  # fmt: skip
    """Whether a concept is in the picture, or a region of it, rather than any of `against`.

    encoder: the dual encoder that judges, as `load` takes it; writer: who said it, who may not judge
    """
    where = "in the picture" if mask is None else _region_words(topic, mask, FILL)["region"]
    arguments = {"concept": concept, "against": list(against), "encoder": encoder, "writer": writer}
    kept = arguments if mask is None else {**arguments, "mask": mask}
    return topic.claim("concept_present", "concept", {"where": where}, kept)


def outweighs(topic: Topic, mask: Bool[np.ndarray, "h w"], other: Bool[np.ndarray, "h w"], fill: str = FILL) -> Claim:
    """Whether one region matters more to the target than another."""
    words = {**_region_words(topic, mask, fill), "other_region": _region_words(topic, other, fill)["region"]}
    return topic.claim("more_than", "comparison", words, {"mask": mask, "other_mask": other, "fill": fill})


def flips(topic: Topic, mask: Bool[np.ndarray, "h w"], fill: str = FILL) -> Claim:
    """Whether the answer becomes another when the region is gone."""
    return topic.claim("flips_if_removed", "flip", _region_words(topic, mask, fill), {"mask": mask, "fill": fill})


def agreeing(
    topic: Topic, methods: Mapping[str, Mapping[str, Any]], layer: str | None, maps: Sequence[Float[Tensor, "h w"]]
) -> Claim:
    """How far methods agree on where the model looked; `maps` are theirs, in the same order.

    The maps at hand are the measurement, so nothing is computed again; `recheck` makes them anew.
    """
    measured = check.agreement_of(list(methods), maps)
    arguments = {"layer": layer, "methods": {name: dict(parameters) for name, parameters in methods.items()}}
    blank = topic.blank("methods_agree", "agreement", measured, arguments)
    return replace(blank, template=wording.agreement(measured["correlation"]), verdict=check.VERIFIED)


def _region_words(topic: Topic, mask: Bool[np.ndarray, "h w"], fill: str) -> dict[str, str]:
    on_frame, seen = _on_frame(topic.frame, mask)
    return {
        "region": in_words(on_frame, seen),
        "part": f"{percent(float(on_frame.mean()))} of the picture",
        "gone": wording.gone(fill),
    }


def _on_frame(frame: Frame, mask: Bool[np.ndarray, "h w"]) -> tuple[np.ndarray, np.ndarray | None]:
    geometry = frame.geometry
    if geometry is None or geometry.size != mask.shape:
        return mask, None
    return geometry.mask_to_frame(mask), geometry.seen
