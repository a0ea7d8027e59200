"""The difference from a reference shared out among the pixels, exactly, by multipliers in the place of slopes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.attribution.paths import difference, gap_checks, note_gap, score_of_references, starts_of
from pellucid.engine import Evidence
from pellucid.registry import method
from pellucid.values import Check, Gradients, InputGradient


def _completeness(evidence: Evidence, values: Tensor, parameters: Mapping[str, Any]) -> list[Check]:
    return gap_checks(values, difference(evidence, parameters.get("baseline", "black")))


@method(
    "deep_lift", needs=[InputGradient, Gradients], paper="Shrikumar et al. 2017", signed=True, cost=7,
    promise=_completeness,
)  # fmt: skip
def deep_lift(evidence: Evidence, *, baseline: str = "black") -> Float[Tensor, "batch 3 height width"]:
    """What each pixel adds to the target compared with a baseline, in one forward and one backward of both.

    baseline: what the picture is compared with; black is zeros where the model has no preprocessing
    returns:  (input - baseline) times the multipliers of the rescale rule, products shared half and half; sums to
              target(picture) - target(baseline), also through attention, gates and norms

    Raises MethodUnavailable where the model runs an operation that no multiplier is known for.
    """
    start = evidence.fill(baseline)
    values = (evidence.inputs - start) * evidence.multipliers(start)
    note_gap(evidence, values, difference(evidence, baseline), "DeepLIFT maps", "against this baseline; try another")
    return values


def _passes(*, references: Tensor | None = None, **_: Any) -> float:
    return 6.0 * (5 if references is None else len(references))


def _mean_completeness(evidence: Evidence, values: Tensor, parameters: Mapping[str, Any]) -> list[Check]:
    return gap_checks(values, evidence.score() - score_of_references(evidence, parameters.get("references")))


@method(
    "deep_shap", needs=[InputGradient, Gradients], paper="Lundberg & Lee 2017", signed=True, cost=_passes,
    promise=_mean_completeness,
)  # fmt: skip
def deep_shap(
    evidence: Evidence, *, references: Float[Tensor, "reference channel height width"] | None = None
) -> Float[Tensor, "batch 3 height width"]:
    """DeepLIFT averaged over several baselines: an estimate of Shapley values with the baselines as what is absent.

    references: model input that takes the baselines' place, best pictures of the model's own kind; None is black,
                white, the mean colour, blur and noise
    returns:    sums to target(picture) - mean target(references)
    """
    ways = starts_of(evidence, references)
    values = torch.zeros_like(evidence.inputs)
    for start in ways:
        values += (evidence.inputs - start) * evidence.multipliers(start) / len(ways)
    return values
