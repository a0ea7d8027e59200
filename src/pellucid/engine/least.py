"""What one picture needs at least while it is looked at, so that a smaller budget is refused before the first pass."""

from __future__ import annotations

from collections.abc import Collection

from pellucid.subject import VisionModel
from pellucid.values import BiasGradient, Gradients, InputGradient, Need, Rule

# A little below the least that was seen, so that nothing is refused that fits. Peaks of torch's own count over seven
# nets (the testbed's, EfficientNet-Lite0, ResNet-18, ViT-Ti, ConvNeXt-A, MobileNetV3-S): without gradients, and with
# those of late layers, before which no graph is kept, 2.5 to 19 times the widest output; in parts of what the graph
# keeps, 1.04 to 2.0 with gradients down to the input, 2.06 to 3.1 with those of the biases, 1.96 to 3.3 where gradients
# are streamed beside a graph that is kept.
_PLAIN = 2  # an operation holds what goes in and what comes out
_TO_INPUT, _TO_BIASES, _STREAMED = 1.0, 2.0, 1.9


def least_bytes(model: VisionModel, needs: Collection[Need], size: tuple[int, int]) -> int:
    """Bytes that one picture of `size` takes at least; 0 for a black box, of which nothing is known."""
    if not model.differentiable:
        return 0
    found = model.layers_at(size).footprint
    return max(_PLAIN * found.widest, int(_share(needs) * found.graph))


def _share(needs: Collection[Need]) -> float:
    """How many times what the graph keeps is held at once."""
    if Gradients in needs:
        return _STREAMED
    if BiasGradient in needs:
        return _TO_BIASES
    if InputGradient in needs or any(isinstance(need, Rule) for need in needs):
        return _TO_INPUT
    return 0.0  # the graph begins at the layers that are asked for
