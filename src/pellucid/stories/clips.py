"""Where in a film a model looked, and when: one or many methods on one film, the passes shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import MethodUnavailable, RequestError
from pellucid.images import Frame
from pellucid.results import Heatmaps
from pellucid.results.clip import ClipMap
from pellucid.stories.maps import attribute
from pellucid.stories.request import Asked, method_names, subject
from pellucid.subject import VisionModel
from pellucid.subject.clips import as_films, as_strips
from pellucid.values import Layer

# Those that ask each number for itself, weigh channels over a whole grid, or know time. Others take segments, windows
# or masks of one picture, and would take the frames one below another for one.
SUITED = (
    "gradient", "gradient_x_input", "guided_backprop", "deconvnet", "smoothgrad", "smoothgrad_squared", "vargrad",
    "integrated_gradients", "grad_cam", "grad_cam_pp", "hires_cam", "layer_cam", "xgrad_cam", "eigen_cam",
    "eigen_grad_cam", "time_occlusion", "time_rise", "random",
)  # fmt: skip

Film = Float[Tensor, "_ frame height width"] | Sequence[Frame]


def watch(
    model: Asked, film: Film, methods: str | Sequence[str] = "grad_cam", *, target: Any = None,
    layer: Layer | str | None = None, seed: int = 0, memory: float | None = None, name: str = "film", **parameters: Any,
) -> dict[str, ClipMap]:  # fmt: skip
    """Where in one film the model looked for its answer, and when, by each method.

    model:      a model of films, as `subject.clips.wrap_clips` makes it, or "testbed:clips"
    film:       model input [channel frame height width] as it is, or its frames as pictures
    methods:    a name or several, of SUITED
    parameters: the methods' own; of several methods each takes what it has

    Raises RequestError for a model of pictures and a film of another length, MethodUnavailable for other methods.
    """
    under_study, names = subject(model), method_names(methods)
    if under_study.frames == 1:
        raise RequestError(f"{under_study.name} is a model of pictures. Films need one that subject.clips.wrap_clips "
                           f"made, or testbed:clips.")  # fmt: skip
    if unsuited := [one for one in names if one not in SUITED]:
        reason = "it was made for pictures, and would take the frames, one below another, for one."
        raise MethodUnavailable(unsuited[0], reason, ("time_occlusion", "time_rise", "grad_cam"))
    inputs = _input(under_study, film)
    strips = as_strips(inputs[None])
    heats = attribute(under_study, strips, names, target=target, layer=layer, seed=seed, memory=memory, **parameters)
    shown = _pixels(under_study, film, inputs)
    return {one: _clip(under_study, heat, shown, strips, name) for one, heat in heats.items()}


def _clip(model: VisionModel, heat: Heatmaps, shown: np.ndarray, strips: Tensor, name: str) -> ClipMap:
    values = as_films(heat.one_channel[:, None], model.frames)[0, 0]
    index = getattr(heat.targets[0], "index", None)
    sure = float(model.probabilities(model.predict(strips))[0, index]) if isinstance(index, int) else None
    return ClipMap(
        values, shown, name, heat.method, heat.target_names[0], heat.layer.name if heat.layer else None, heat.signed,
        sure, heat.parameters, heat.checks[0] if heat.checks else (), heat.notes, heat.model, heat.seed,
    )  # fmt: skip


def _input(model: VisionModel, film: Film) -> Float[Tensor, "_ frame height width"]:
    whole = film if isinstance(film, Tensor) else model.prepare(list(film)).transpose(0, 1)
    if whole.ndim != 4 or whole.shape[1] != model.frames:
        raise RequestError(
            f"The film has shape {tuple(whole.shape)}; expected [channel frame height width] with the {model.frames} "
            f"frames that {model.name} takes."
        )
    return whole


def _pixels(model: VisionModel, film: Film, inputs: Float[Tensor, "_ frame height width"]) -> np.ndarray:
    """The frames as they are shown: of model input the colours it was made of."""
    if not isinstance(film, Tensor) and len({frame.pixels.shape for frame in film}) == 1 and _whole(model, film):
        return np.stack([frame.pixels for frame in film])
    frames = (Frame.from_tensor(one, f"frame {at}", preprocess=model.preprocess)
              for at, one in enumerate(torch.unbind(inputs.detach().cpu(), dim=1)))  # fmt: skip
    return np.stack([frame.pixels for frame in frames])


def _whole(model: VisionModel, film: Sequence[Frame]) -> bool:
    """Whether the model saw each frame whole, so that a map over its input lies over the picture too."""
    if model.preprocess is None:
        return True
    geometry = film[0].fitted(model.preprocess).geometry
    return geometry is None or (geometry.offset == (0, 0) and geometry.size == geometry.resized)
