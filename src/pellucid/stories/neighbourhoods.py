"""Which explanation to choose for the changes one cares about, measured on pictures as the user has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from pellucid.engine import Evidence, look
from pellucid.engine.maps import compute, layer_for, unavailable
from pellucid.engine.parameters import parameters_of
from pellucid.engine.perturb import cells
from pellucid.errors import RequestError
from pellucid.registry import Method, find_method
from pellucid.results.neighbourhoods import Neighbourhoods
from pellucid.stories.maps import needs_of
from pellucid.stories.request import Asked, Pictures, batches_of, method_names, subject
from pellucid.trust.choosing import Intercept, Reads, Surrogate, choose_by_neighbourhood
from pellucid.trust.measured import CONTROLS, control
from pellucid.trust.neighbourhoods import (
    Neighbourhood,
    coalitions,
    fade,
    noise,
    random_segments,
    single_segments,
)

SIGMAS = (0.05, 0.15, 0.3)
METHODS = ("gradient", "smoothgrad", "integrated_gradients", "lime", "kernel_shap", "occlusion", "grad_cam")

# What a map's numbers mean, for methods whose numbers have a meaning; "segments" holds a segment's in each pixel.
_SLOPES = ("gradient", "smoothgrad", "c_lime")
_CONTRIBUTIONS = ("gradient_x_input", "integrated_gradients", "kernel_shap", "exact_shapley", "owen")
_OF_SEGMENTS = ("lime", "occlusion")


def neighbourhoods(
    model: Asked, images: Pictures, methods: str | Sequence[str] = METHODS, *, sigmas: Sequence[float] = SIGMAS,
    fill: str = "blur", grid: int = 8, samples: int = 64, method_samples: int = 500,
    yours: Sequence[Neighbourhood] = (), intercept: Intercept = "free", target: Any = None, seed: int = 0,
    memory: float | None = None,
) -> Neighbourhoods:  # fmt: skip
    """How much each explanation foretells of the model under each kind of change, and which to choose for which.

    methods: names; those that the model does not allow are left out, with a note. Maps that know nothing join them
    sigmas:  of the noise, as part of the picture's own range; SmoothGrad and C-LIME take part once with each
    fill:    what is taken away becomes, for the methods as for the changes
    grid:    rows and columns of the segments that are taken away, for the methods as for the changes
    samples: changes in each neighbourhood; method_samples: those that a method is fitted to, a twentieth for SmoothGrad
    yours:   more neighbourhoods, such as `pellucid.trust.neighbourhoods.your_own(perturber)`
    intercept: as of `choose_by_neighbourhood`

    Raises RequestError where pictures become inputs of several sizes, and as `choose_by_neighbourhood`.
    """
    under_study = subject(model)
    batches = batches_of(under_study, images)
    if len(batches) != 1:
        raise RequestError("The pictures became inputs of several sizes; compare neighbourhoods one size at a time.")
    asked = [find_method(name) for name in method_names(methods)]
    evidence = look(under_study, batches[0].inputs, target, needs=needs_of(asked), seed=seed, memory=memory)
    segments = cells(*evidence.size, grid)
    shared: dict[str, Any] = {"segments": segments, "baseline": fill, "samples": method_samples}
    shared |= _window(evidence, grid)
    surrogates, notes = dict[str, Surrogate](), list[str]()
    for method in asked:
        if reason := unavailable(under_study, method):
            notes.append(f"{method.name} is left out: {reason}")
            continue
        surrogates |= dict(_surrogates(evidence, method, shared, sigmas))
    around = [
        *(noise(sigma) for sigma in sigmas), fade(fill=fill), random_segments(segments, fill),
        coalitions(segments, fill), single_segments(segments, fill), *yours,
    ]  # fmt: skip
    known = {control(name): Surrogate(compute(evidence, find_method(name))) for name in CONTROLS}
    found = choose_by_neighbourhood(
        evidence, surrogates | known, around, samples=samples, intercept=intercept, seed=seed
    )
    names = {under_study.target_name(target) for target in evidence.targets}
    return replace(
        found, model=under_study.card, target=names.pop() if len(names) == 1 else "", notes=(*notes, _PASSES.format(
            forwards=evidence.passes.forwards, backwards=evidence.passes.backwards)),
    )  # fmt: skip


_PASSES = "It took {forwards:.0f} forward and {backwards:.0f} backward passes per picture, the maps among them."


def _surrogates(
    evidence: Evidence, method: Method, shared: Mapping[str, Any], sigmas: Sequence[float]
) -> Iterator[tuple[str, Surrogate]]:
    """The maps of one method as linear models, one for each noise where it has some."""
    has = parameters_of(method)
    given = {name: value for name, value in shared.items() if name in has}
    if method.name == "smoothgrad":
        given["samples"] = max(1, shared["samples"] // 20)  # it learns from whole gradients, not from numbers
    if method.name not in _SLOPES or "noise" not in has:
        yield method.name, _surrogate(evidence, method, given, shared["segments"])
        return
    for sigma in sigmas:
        yield f"{method.name} {sigma:g}", _surrogate(evidence, method, given | {"noise": sigma}, shared["segments"])


def _surrogate(
    evidence: Evidence, method: Method, given: Mapping[str, Any], segments: Int[Tensor, "height width"]
) -> Surrogate:
    layer = layer_for(evidence.model, method, None, evidence.size)
    reads: Reads = (
        "slopes" if method.name in _SLOPES
        else "contributions" if method.name in (*_CONTRIBUTIONS, *_OF_SEGMENTS) else "ranks"
    )  # fmt: skip
    values = compute(evidence, replace(method, channels=None) if reads == "slopes" else method, layer, **given)
    if method.name in _OF_SEGMENTS:
        values = _spread_over(values, segments)
    if reads == "slopes" and values.ndim == 3:  # of all colours together
        values = values[:, None].expand_as(evidence.inputs) / evidence.inputs.shape[1]
    return Surrogate(values.sum(dim=1) if reads != "slopes" and values.ndim == 4 else values, reads)


def _spread_over(
    values: Float[Tensor, "batch height width"], segments: Int[Tensor, "height width"]
) -> Float[Tensor, "batch height width"]:
    """What every pixel of a segment holds, shared out among them."""
    return values / segments.flatten().bincount()[segments].to(values)


def _window(evidence: Evidence, grid: int) -> dict[str, Any]:
    """Windows of occlusion as large as the segments."""
    height, width = evidence.size
    side = (max(1, -(-height // grid)), max(1, -(-width // grid)))
    return {"window": side, "stride": side}
