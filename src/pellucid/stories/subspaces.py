"""Learners of likeness over a model's layer: features of pictures to fit them to, and pictures read by them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.attribution.subspaces import SubspaceExplainer
from pellucid.errors import RequestError
from pellucid.results.subspaces import Subspaces
from pellucid.stories.activations import activations
from pellucid.stories.request import Asked, Batch, Pictures, batches_of, subject
from pellucid.subject import VisionModel


def grids(
    model: Asked, images: Pictures, *, layer: str | None = None, memory: float | None = None
) -> Float[Tensor, "picture channel h w"]:
    """What a model's layer holds of pictures, on its grid; None is the default layer.

    Raises RequestError where pictures of different sizes have different grids.
    """
    under_study = subject(model)
    return _grids(under_study, batches_of(under_study, images), layer, memory)


def subspaces(
    explainer: SubspaceExplainer, model: Asked, images: Pictures, known: Pictures, answers: Sequence[int], *,
    layer: str | None = None, nearest: int = 5, seed: int = 0, memory: float | None = None,
) -> Subspaces:  # fmt: skip
    """Where each learner looks in pictures, and which known ones they are like to it.

    layer:   the one the learners were fitted to; None is the default layer
    known:   pictures to find neighbours among, and their classes, positions in the explainer's labels
    """
    under_study = subject(model)
    asked, shown = (batches_of(under_study, given) for given in (images, known))
    features, theirs = (_grids(under_study, batches, layer, memory) for batches in (asked, shown))
    frames, known_frames = (tuple(frame for batch in batches for frame in batch.frames) for batches in (asked, shown))
    return explainer.read(
        features, theirs, answers, frames=frames, known_frames=known_frames, nearest=nearest, seed=seed
    )


def _grids(
    model: VisionModel, batches: Sequence[Batch], layer: str | None, memory: float | None
) -> Float[Tensor, "picture channel h w"]:
    found = list(activations(model, batches, layer, memory, "subspaces"))
    if len(sizes := {tuple(one.shape[2:]) for one in found}) > 1:
        raise RequestError(f"The pictures have grids of {sorted(sizes)}; give the model pictures of one size.")
    return torch.cat(found)
