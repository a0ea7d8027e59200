"""A class and what causes it in a model, from pictures as the user has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.attribution.causes import Walk, causes, layer_maps
from pellucid.engine import look
from pellucid.errors import ShapeError
from pellucid.results.causes import CausalGraph
from pellucid.stories.request import Asked, Pictures, batches_of, subject
from pellucid.subject import VisionModel


def causal_graph(
    model: Asked, images: Pictures, of: int | str, *, others: Pictures | None = None,
    layers: Sequence[str] | None = None, measure: str = "log_odds", walk: Walk | None = None, examples: int = 1,
    seed: int = 0, memory: float | None = None,
) -> CausalGraph:  # fmt: skip
    """The filters and paths that cause a class, with maps of the filters on the first `examples` pictures.

    images: pictures of the class; others: of other classes. The rest as of `attribution.causes.causes`
    """
    under_study = subject(model)
    own = _joined(under_study, images)
    graph = causes(
        under_study, own, of, others=None if others is None else _joined(under_study, others), layers=layers,
        measure=measure, walk=walk, seed=seed, memory=memory,
    )  # fmt: skip
    if not examples or not graph.edges:
        return graph
    evidence = look(under_study, own[:examples], graph.index, seed=seed, memory=memory)
    frames = batches_of(under_study, images)[0].frames[:examples]
    return replace(graph, frames=frames, maps=layer_maps(evidence, graph, layers))


def _joined(model: VisionModel, images: Pictures) -> Float[Tensor, "picture channel height width"]:
    """All pictures as one batch. Raises ShapeError where they become inputs of several sizes."""
    batches = batches_of(model, images)
    sizes = {tuple(batch.inputs.shape[-2:]) for batch in batches}
    if len(sizes) > 1:
        raise ShapeError("The pictures", got=sorted(sizes), expected="pictures that become one input size",
                         remedy="Give the model a preprocess with a size.")  # fmt: skip
    return torch.cat([batch.inputs for batch in batches])
