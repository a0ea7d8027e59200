"""A bag of pictures: what a model sees in each becomes features, and a net over bags says which of them decide."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.attribution.bags import BagExplainer
from pellucid.results.bag import Bag
from pellucid.stories.activations import activations
from pellucid.stories.request import Asked, Batch, Pictures, batches_of, subject
from pellucid.subject import VisionModel
from pellucid.testbed.bags import BAG_LABELS
from pellucid.testbed.nets import BagNet, loaded

TESTBED = "testbed:bags"


def explainer_of(spec: str) -> BagExplainer:
    """The fitted net over bags in a file, or the testbed's, over `flatten` of testbed:cnn. Raises FileError."""
    return BagExplainer(loaded("bags", BagNet).bag, BAG_LABELS) if spec == TESTBED else BagExplainer.load(spec)


def bag(
    explainer: BagExplainer, model: Asked, images: Pictures, *, layer: str | None = None,
    places: Sequence[tuple[int, int]] | None = None, memory: float | None = None,
) -> Bag:  # fmt: skip
    """Which pictures of a bag decide.

    model:  what sees the single picture; layer: whose mean over the grid is its features, as in fitting
    places: row and column of each picture on its slide
    """
    under_study = subject(model)
    batches = batches_of(under_study, images)
    frames = tuple(frame for batch in batches for frame in batch.frames)
    return explainer.read(_features(under_study, batches, layer, memory), frames=frames, places=places)


def features(
    model: Asked, images: Pictures, *, layer: str | None = None, memory: float | None = None
) -> Float[Tensor, "instance features"]:
    """What a model saw in each picture of a bag, the mean over a layer's grid; None is the default layer."""
    under_study = subject(model)
    return _features(under_study, batches_of(under_study, images), layer, memory)


def _features(
    model: VisionModel, batches: Sequence[Batch], layer: str | None, memory: float | None
) -> Float[Tensor, "instance features"]:
    return torch.cat([one.flatten(2).mean(dim=2) for one in activations(model, batches, layer, memory, "bag")])
