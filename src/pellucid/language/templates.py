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
from pellucid.language import check
from pellucid.registry import claim_tests
from pellucid.results import Claim, Prediction
from pellucid.subject import VisionModel
from pellucid.values import Contrast, Target

FILL = "blur"
_WORDS_FOR_FILL = {"blur": "blurred", "mean": "painted over in the mean colour", "noise": "replaced by noise"}
_AGREEMENT = ((0.7, "largely agree"), (0.4, "agree in part"), (0.15, "agree a little"), (-1.0, "hardly agree"))


@dataclass(frozen=True, eq=False)
class Topic:
    """What the sentences are about: one picture, one model, one target.

    input: the model input itself [channel h w], where it was given as a tensor; None where the Frame gives it
    unit:  `probability` where the target is a class, else `score`
    """

    model: VisionModel
    frame: Frame
    target: Target
    target_name: str
    seed: int
    unit: str = "probability"
    input: np.ndarray | None = None

    def claim(
        self, predicate: str, test: str, template: str, words: Mapping[str, Any], arguments: Mapping[str, Any]
    ) -> Claim:
        """The sentence after its test has run once."""
        kept = {} if self.input is None else {"input": self.input}
        # Until measured there is nothing to say, so the claim starts with a sentence that needs no figures.
        blank = Claim(
            template="Not measured yet.",
            predicate=predicate,
            test=test,
            measured=dict(words),
            arguments={"target": self.target, "seed": self.seed, **kept, **arguments},
            frame=self.frame,
        )
        measured = claim_tests()[test](self.model, blank)
        return replace(measured, template=template)


def predicted(topic: Topic, first: Prediction) -> Claim:
    """What the model ranks first, and how surely."""
    how = "{sure} ({value:.0%})" if _is_probability(topic) else "with a score of {value:.2f}"
    words = {"sure": _surety(first.probability), "model": topic.model.name}
    return topic.claim(
        "predicts", "prediction", f"The model sees “{{label}}”, {how}.", words, {"index": first.index}
    )  # fmt: skip


def removed(topic: Topic, mask: Bool[np.ndarray, "h w"], fill: str = FILL) -> Claim:
    """How far the target falls when the region is gone, against random regions of its shape and size."""
    template = (
        "It rests most on {region}, {part}: with that {gone}, {target} "
        f"falls from {_figure(topic, 'before')} to {_figure(topic, 'after')}; random regions of the same shape leave "
        f"{_figure(topic, 'random')}."
    )
    claim = topic.claim(
        "region_matters", "removal", template, _region_words(topic, mask, fill), {"mask": mask, "fill": fill}
    )
    if claim.verdict == check.REFUTED:
        return _denied(claim, (
            "The map points at {region}, {part}, but with that {gone} {target} goes from "
            f"{_figure(topic, 'before')} to {_figure(topic, 'after')}, no further than with a random region of the "
            f"same shape ({_figure(topic, 'random_worst')})."
        ))  # fmt: skip
    return claim


def survives(topic: Topic, mask: Bool[np.ndarray, "h w"], fill: str = FILL) -> Claim:
    """How much of the target is left when only the region is shown."""
    template = (
        "Shown alone, with everything else {gone}, that region leaves {target} at "
        f"{_figure(topic, 'after')} of {_figure(topic, 'before')}; random regions of the same shape leave "
        f"{_figure(topic, 'random')}."
    )
    claim = topic.claim(
        "region_suffices", "survival", template, _region_words(topic, mask, fill), {"mask": mask, "fill": fill}
    )
    if claim.verdict == check.REFUTED:
        return _denied(claim, (
            "That region is not enough by itself: shown alone, with everything else {gone}, it leaves {target} at "
            f"{_figure(topic, 'after')}, no more than a random region of the same shape does "
            f"({_figure(topic, 'random_best')})."
        ))  # fmt: skip
    return claim


def separated(topic: Topic, contrast: Contrast, mask: Bool[np.ndarray, "h w"], fill: str = FILL) -> Claim:
    """The runner-up, and how far the lead over it rests on a region."""
    second = "({second:.0%})" if _is_probability(topic) else "({second:.2f})"
    words = {**_region_words(topic, mask, fill), "runner": topic.model.labels.name(int(contrast.that))}
    template = (
        f"The runner-up is “{{runner}}” {second}. What separates the two most is {{region}}: with that {{gone}}, the "
        "lead shrinks from {lead:.1f} to {lead_after:.1f}; "
        "with random regions of the same shape it is {lead_random:.1f}."
    )
    claim = topic.claim("separates", "runner_up", template, words, {"contrast": contrast, "mask": mask, "fill": fill})
    if claim.verdict == check.REFUTED:
        return _denied(claim, (
            f"The runner-up is “{{runner}}” {second}. No single region was found to separate the two: with {{region}} "
            "{gone} the lead goes from {lead:.1f} to {lead_after:.1f}, with random regions to {lead_random:.1f}."
        ))  # fmt: skip
    if claim.measured["overtaken"]:
        return replace(claim, template=template.replace("shrinks from", "turns over, from"))
    return claim


def agreeing(
    topic: Topic, methods: Mapping[str, Mapping[str, Any]], layer: str | None, maps: Sequence[Float[Tensor, "h w"]]
) -> Claim:
    """How far methods agree on where the model looked; `maps` are theirs, in the same order.

    The maps at hand are the measurement, so nothing is computed again; `recheck` makes them anew.
    """
    correlation, lowest, pair = check.rank_agreement(list(methods), maps)
    words = {"correlation": correlation, "lowest": lowest, "first": pair[0], "second": pair[1], "count": len(maps)}
    kept = {} if topic.input is None else {"input": topic.input}
    return Claim(
        template=agreement_sentence(correlation),
        predicate="methods_agree",
        test="agreement",
        measured=words,
        arguments={
            "target": topic.target, "seed": topic.seed, **kept, "layer": layer,
            "methods": {name: dict(parameters) for name, parameters in methods.items()},
        },
        verdict=check.VERIFIED,
        frame=topic.frame,
    )  # fmt: skip


def agreement_sentence(correlation: float) -> str:
    """The sentence for that mean rank correlation."""
    how = next(words for limit, words in _AGREEMENT if correlation >= limit)
    return (
        f"The {{count}} methods {how} on where it looked: their mean rank correlation is {{correlation:.2f}} "
        "(1 is the same order, 0 none), least between {first} and {second} ({lowest:.2f})."
    )


def headline(claims: Sequence[Claim], target_name: str) -> str:
    """The story in one line, from claims that held."""
    held = {claim.predicate: claim for claim in claims if claim.verdict == check.VERIFIED}
    seen = held.get("predicts")
    matters = held.get("region_matters")
    lead = f"“{seen.measured['label']}”" if seen else f"“{target_name}”"
    return f"{lead}, because of {matters.measured['region']}" if matters else lead


def _denied(claim: Claim, template: str) -> Claim:
    """The sentence that says what a failed test has shown; it is true as long as the test keeps failing."""
    return replace(
        claim, template=template, predicate=f"not_{claim.predicate}", verdict=check.VERIFIED,
        arguments={**claim.arguments, "expected": False},
    )  # fmt: skip


def _region_words(topic: Topic, mask: Bool[np.ndarray, "h w"], fill: str) -> dict[str, Any]:
    on_frame, seen = _on_frame(topic.frame, mask)
    return {
        "region": in_words(on_frame, seen),
        "part": f"{percent(float(on_frame.mean()))} of the picture",
        "gone": _WORDS_FOR_FILL.get(fill, f"replaced ({fill})"),
        "target": f"“{topic.target_name}”",
    }


def _on_frame(frame: Frame, mask: Bool[np.ndarray, "h w"]) -> tuple[np.ndarray, np.ndarray | None]:
    geometry = frame.geometry
    if geometry is None or geometry.size != mask.shape:
        return mask, None
    return geometry.mask_to_frame(mask), geometry.seen


def _is_probability(topic: Topic) -> bool:
    return topic.unit == "probability" and topic.model.activation != "none"


def _figure(topic: Topic, name: str) -> str:
    return f"{{{name}:.0%}}" if _is_probability(topic) else f"{{{name}:.2f}}"


def _surety(probability: float) -> str:
    for limit, words in ((0.95, "almost certainly"), (0.75, "quite surely"), (0.5, "more likely than not")):
        if probability >= limit:
            return words
    return "but is not sure"
