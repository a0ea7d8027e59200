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
_UNMEASURED = "Not measured yet."
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
            template=_UNMEASURED,
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
    how = "with a score of {value:.2f}" if topic.model.activation == "none" else "{sure} ({value:.0%})"
    words = {"model": topic.model.name}
    return topic.claim(
        "predicts", "prediction", f"The model sees “{{label}}”, {how}.", words, {"index": first.index}
    )  # fmt: skip


def removed(topic: Topic, mask: Bool[np.ndarray, "h w"], fill: str = FILL) -> Claim:
    """How far the target falls when the region is gone, against random regions of its shape and size."""
    words = _region_words(topic, mask, fill)
    claim = topic.claim("region_matters", "removal", _UNMEASURED, words, {"mask": mask, "fill": fill})
    figure = _figures(topic, claim, "before", "after", "random", "random_worst")
    if claim.verdict == check.REFUTED:
        return _denied(
            claim,
            f"The map points at {{region}}, {{part}}, but with that {{gone}} {{target}} goes from "
            f"{figure['before']} to {figure['after']}, no further than with a random region of the "
            f"same shape ({figure['random_worst']}).",
        )
    return replace(
        claim,
        template=f"{{target}} rests most on {{region}}, {{part}}: with that {{gone}}, it falls from "
        f"{figure['before']} to {figure['after']}; random regions of the same shape leave {figure['random']}.",
    )


def survives(topic: Topic, mask: Bool[np.ndarray, "h w"], fill: str = FILL) -> Claim:
    """How much of the target is left when only the region is shown."""
    words = _region_words(topic, mask, fill)
    claim = topic.claim("region_suffices", "survival", _UNMEASURED, words, {"mask": mask, "fill": fill})
    figure = _figures(topic, claim, "after", "random", "random_best")
    if claim.verdict == check.REFUTED:
        return _denied(
            claim,
            f"That region is not enough by itself: shown alone, with everything else {{gone}}, it leaves {{target}} at "
            f"{figure['after']}, no more than a random region of the same shape does ({figure['random_best']}).",
        )
    return replace(
        claim,
        template=f"Shown alone, with everything else {{gone}}, that region keeps {{target}} at {figure['after']}; "
        f"random regions of the same shape keep it at {figure['random']}.",
    )


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


def _figures(topic: Topic, claim: Claim, *names: str) -> dict[str, str]:
    """Template fields for measured values, with as many digits as it takes to tell the first two apart."""
    first, second = (abs(float(claim.measured[name])) for name in names[:2])
    if _is_probability(topic):
        digits = next((count for count in (0, 1) if f"{first:.{count}%}" != f"{second:.{count}%}"), 2)
        return {name: f"{{{name}:.{digits}%}}" for name in names}
    digits = next((count for count in (2, 3) if f"{first:.{count}f}" != f"{second:.{count}f}"), 4)
    return {name: f"{{{name}:.{digits}f}}" for name in names}
