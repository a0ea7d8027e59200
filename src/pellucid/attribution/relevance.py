"""Relevance handed back layer by layer, so that what the target is made of is shared out among the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.registry import method
from pellucid.values import Check, Rule


def conservation(evidence: Evidence, values: Tensor, parameters: Mapping[str, Any]) -> list[Check]:
    """How much of the target reached the pixels; information, for biases and stabilisers rightly take their part."""
    del values
    found = evidence.relevance(composite_of(evidence, parameters.get("composite", "auto")))
    reached = found.values.flatten(1).sum(dim=1)
    last = found.flows[0].arrived if found.flows else reached
    return [
        Check(
            "conservation", None, total / score if score else None,
            f"The map sums to {total:.4g}, the target is {score:.4g}; {arrived:.4g} arrived at the last layer, and "
            f"biases and stabilisers kept the rest on the way.",
        )
        for total, score, arrived in zip(reached.tolist(), evidence.score().tolist(), last.tolist(), strict=True)
    ]  # fmt: skip


@method("lrp", needs=[Rule("relevance")], paper="Bach et al. 2015", signed=True, promise=conservation)
def lrp(evidence: Evidence, *, composite: str = "auto") -> Float[Tensor, "batch 3 height width"]:
    """How much of the target each pixel carries when every layer shares out what it got among what it read.

    composite: which rule each kind of layer follows: zero, epsilon, epsilon_plus, epsilon_plus_flat,
               epsilon_alpha2_beta1, epsilon_alpha2_beta1_flat, epsilon_gamma_box, excitation, attention,
               attention_values; auto is epsilon_plus_flat for convolutional nets and attention for those with tokens
    returns:   relevance in target units, signed; sums to the target less what biases and stabilisers keep

    Raises MethodUnavailable where the model runs an operation that no rule is known for.
    """
    return evidence.relevance(composite_of(evidence, composite)).values


@method("excitation_backprop", needs=[Rule("relevance")], paper="Zhang et al. 2016")
def excitation_backprop(evidence: Evidence) -> Float[Tensor, "batch 3 height width"]:
    """Where excitation comes from: the chance that a walk back along positive weights ends in a pixel.

    returns: relevance of the excitation composite; of one sign, that of the target, behind rectifiers
    """
    return evidence.relevance("excitation").values


def composite_of(evidence: Evidence, name: str) -> str:
    """The composite that `auto` stands for, or the one named."""
    if name != "auto":
        return name
    return "attention" if evidence.layers.blocks else "epsilon_plus_flat"
