"""The full-gradient representation: what the pixels and the biases inside the network make of the target together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.engine import Evidence
from pellucid.registry import method
from pellucid.values import BiasGradient, Check, InputGradient

LIMIT = 1e-3
# Where these stand the network is no longer linear piece by piece, and the paper promises nothing.
CURVED = frozenset({
    "GELU", "GELUTanh", "QuickGELU", "NewGELUActivation", "GELUActivation", "QuickGELUActivation", "SiLU",
    "SiLUActivation", "Swish", "Mish", "Hardswish", "Hardsigmoid", "Sigmoid", "Tanh", "Softplus", "ELU", "SELU", "CELU",
    "Softmax", "LayerNorm", "LayerNorm2d", "GroupNorm", "InstanceNorm2d", "RMSNorm", "MultiheadAttention", "Attention",
    "SqueezeExcite", "SqueezeExcitation",
})  # fmt: skip


def completeness(evidence: Evidence, values: Tensor, parameters: Mapping[str, Any]) -> list[Check]:
    """Whether input and bias terms together make up the target, one check per picture.

    The terms are summed as they are: the map itself holds their rescaled magnitudes and sums to nothing in particular.
    """
    terms, score = full_gradient_sum(evidence), evidence.score()
    curved = sorted({type(module).__name__ for module in evidence.model.network.modules()} & CURVED)  # type: ignore[union-attr]
    checks: list[Check] = []
    for total, wanted in zip(terms.tolist(), score.tolist(), strict=True):
        gap = abs(total - wanted) / max(abs(wanted), 1e-8)
        words = f"Input and bias terms sum to {total:.4g}; the target is {wanted:.4g} (gap {gap:.2%})."
        if gap > LIMIT and curved:
            words += f" The network is not piecewise linear ({', '.join(curved[:3])}), so nothing is promised."
        checks.append(Check("completeness", True if gap <= LIMIT else None if curved else False, gap, words))
    return checks


@method(
    "fullgrad",
    needs=[InputGradient, BiasGradient],
    paper="Srinivas & Fleuret 2019",
    promise=completeness,
)
def fullgrad(evidence: Evidence) -> Float[Tensor, "batch height width"]:
    """Which pixels, and which biases inside the network, make up the target, with nothing left over.

    The magnitudes of gradient times input and of gradient times bias, each channel stretched to 0..1, brought to the
    picture's size and summed. Biases of layers without a grid count in the completeness check but have no place in the
    picture.
    """
    total = _aggregated(evidence.input_gradient() * evidence.inputs, evidence.size)
    for term in evidence.bias_terms():
        if term.on_grid is not None:
            total = total + _aggregated(term.on_grid, evidence.size)
    return total


def full_gradient_sum(evidence: Evidence) -> Float[Tensor, "batch"]:
    """<gradient, input> plus <gradient, bias> over every bias: the target itself in a piecewise linear network."""
    total = (evidence.input_gradient() * evidence.inputs).double().flatten(1).sum(dim=1)
    for term in evidence.bias_terms():
        on_grid = 0 if term.on_grid is None else term.on_grid.double().flatten(1).sum(dim=1)
        total = total + term.off_grid.double().sum(dim=1) + on_grid
    return total


def _aggregated(
    terms: Float[Tensor, "batch channel h w"], size: tuple[int, int]
) -> Float[Tensor, "batch height width"]:
    """The sum over channels of the paper's psi: magnitude, stretched to 0..1 per channel, upsampled bilinearly."""
    magnitude = terms.abs()
    low, high = magnitude.amin(dim=(-2, -1), keepdim=True), magnitude.amax(dim=(-2, -1), keepdim=True)
    stretched = torch.where(high == low, 0, (magnitude - low) / (high - low))
    # Upsampling is linear, so it may follow the sum: one map instead of hundreds.
    return interpolate(stretched.sum(dim=1, keepdim=True), size, mode="bilinear", align_corners=False)[:, 0]
