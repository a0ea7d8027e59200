"""What in pictures, or in a layer of a model, foretells one of its answers only together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from pellucid.attribution.interactions import (
    Screening,
    interactions,
    windows,
    windows_of,
)
from pellucid.compute.ranking import auroc
from pellucid.engine import look
from pellucid.errors import RequestError
from pellucid.results.interactions import Interactions
from pellucid.stories.request import Asked, Pictures, batches_of, subject
from pellucid.subject import VisionModel
from pellucid.values import Class

_AT_ONCE = 64


def foretelling(
    model: Asked, images: Pictures, of: int | str, *, layer: str | None = None, cells: int = 12,
    truth: Bool[np.ndarray, "picture"] | None = None, screening: Screening | None = None, seed: int = 0,
    memory: float | None = None,
) -> Interactions:  # fmt: skip
    """The sets of filters, or of places, that foretell a class together.

    images: of that class and of others; of: the class, the model's answer unless `truth` says for each picture
    layer:  whose filters (their means over the grid) are the variables; None is the brightness of the picture's
            `cells` x `cells` places, and then windows of 2 x 2 of them are mapped too

    Raises RequestError for a target that is no class, and as `attribution.interactions.interactions`.
    """
    under_study = subject(model)
    (target,) = under_study.resolve(of, 1)
    if not isinstance(target, Class):
        raise RequestError(f"Interactions foretell a class; {of!r} is none.")
    index = int(target.index)
    batches = [(batch.inputs[first : first + _AT_ONCE]) for batch in batches_of(under_study, images)
               for first in range(0, len(batch), _AT_ONCE)]  # fmt: skip
    read = [_read(under_study, inputs, layer, cells, memory) for inputs in batches]
    values = torch.cat([one for one, _ in read]).double().numpy()
    said = torch.cat([answers for _, answers in read]).numpy() == index
    answers = said if truth is None else np.asarray(truth, dtype=bool)
    names = [f"{layer} {at}" for at in range(values.shape[1])] if layer else [
        f"row {at // cells + 1} column {at % cells + 1}" for at in range(values.shape[1])
    ]  # fmt: skip
    found = interactions(values, answers, names=names, label=under_study.labels[index], screening=screening, seed=seed,
                         model=under_study.card)  # fmt: skip
    return found if layer or cells < 2 else _mapped(found, values.reshape(-1, cells, cells), answers)


def _mapped(
    found: Interactions, maps: Float[np.ndarray, "sample h w"], answers: Bool[np.ndarray, "sample"]
) -> Interactions:
    """With the I-score of every window, learned on every second picture, and its feature's AUC on the others."""
    scores, _, features = windows(maps[::2], answers[::2].astype(np.float64))
    made = windows_of(features, maps[1::2]).reshape(len(maps[1::2]), -1)
    each = np.array([auroc(answers[1::2], column) for column in made.T]).reshape(scores.shape)
    return replace(found, windows=scores, features=each)


def _read(
    model: VisionModel, inputs: Tensor, layer: str | None, cells: int, memory: float | None
) -> tuple[Float[Tensor, "picture variable"], Tensor]:
    evidence = look(model, inputs, layers=[layer] if layer else [], memory=memory)
    answers = evidence.output().argmax(dim=1).cpu()
    if layer is not None:
        return evidence.activation(layer).flatten(2).mean(dim=2).cpu(), answers
    return adaptive_avg_pool2d(evidence.inputs.mean(dim=1), cells).flatten(1).cpu(), answers
