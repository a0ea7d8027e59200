"""Ask one method of one network, as the stories do, without their upsampling and reduction of colours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pellucid.attribution.fitted import unfitted
from pellucid.engine import Evidence, look
from pellucid.registry import find_method
from pellucid.subject import VisionModel, wrap


def evidence_of(network: nn.Module | VisionModel, inputs: Tensor, target: Any = 2, seed: int = 0) -> Evidence:
    """Evidence with nothing planned: every question asks for what it needs."""
    model = network if isinstance(network, VisionModel) else wrap(network, input_size=tuple(inputs.shape[-2:]))
    return look(model, inputs, target, seed=seed)


def ask(
    name: str, network: nn.Module | VisionModel, inputs: Tensor, target: Any = 2, layer: str | None = None,
    seed: int = 0, **parameters: Any,
) -> Tensor:  # fmt: skip
    """The method's own values: [batch h w] on its grid, or [batch 3 height width]."""
    return values_of(name, evidence_of(network, inputs, target, seed), layer, **parameters)


def values_of(name: str, evidence: Evidence, layer: str | None = None, **parameters: Any) -> Tensor:
    method = find_method(name)
    parameters |= explainer_for(name, evidence.model, evidence.size) if "explainer" not in parameters else {}
    if not method.layered:
        return method.function(evidence, **parameters)
    address = evidence.layers[layer] if layer else evidence.layers.default
    return method.function(evidence, address, **parameters)


def explainer_for(name: str, model: VisionModel, size: tuple[int, int]) -> dict[str, Any]:
    """For methods that need one, an explainer as it is before it was fitted: what it shows means nothing."""
    return {"explainer": unfitted(name, model, size)} if find_method(name).fitting else {}


def relative(got: Tensor, expected: Tensor) -> float:
    """Largest difference in parts of the largest expected magnitude."""
    return float((got - expected).abs().max() / expected.abs().max().clamp(min=torch.finfo(torch.float32).tiny))
