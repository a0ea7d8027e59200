"""What a layer puts out for many pictures, some at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jaxtyping import Float
from torch import Tensor

from pellucid.engine import look
from pellucid.stories.request import Batch
from pellucid.subject import VisionModel

_AT_ONCE = 64


def activations(
    model: VisionModel, batches: Sequence[Batch], layer: str | None, memory: float | None, asking: str
) -> Iterator[Float[Tensor, "batch channel h w"]]:
    """At the layer, or the model's default one for None, which is refused in the name of who is `asking`."""
    for batch in batches:
        for first in range(0, len(batch), _AT_ONCE):
            evidence = look(model, batch[first : first + _AT_ONCE].inputs, 0, memory=memory)
            yield evidence.activation(evidence.layers.chosen(asking, layer)).cpu()
