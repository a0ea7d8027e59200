"""The gradient with respect to the picture: plain, times the picture, averaged over noise, with changed ReLU rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.registry import method
from pellucid.values import Gradients, InputGradient, Rule


@method(
    "gradient",
    needs=[InputGradient],
    paper="Simonyan et al. 2014",
    channels="largest",
    aliases=("saliency",),
)
def gradient(evidence: Evidence) -> Float[Tensor, "batch 3 height width"]:
    """How strongly the target answers to an infinitesimal change of each pixel.

    returns: d target / d input, signed, in target units per unit of model input; the map of a picture keeps the largest
             magnitude among the colours, as the paper does
    """
    return evidence.input_gradient()


@method("gradient_x_input", needs=[InputGradient], paper="Shrikumar et al. 2016", signed=True)
def gradient_x_input(evidence: Evidence) -> Float[Tensor, "batch 3 height width"]:
    """What each pixel would add to the target if the model were linear around this picture.

    The product is taken in model input space (after normalisation), so a pixel of the mean colour counts nothing.
    """
    return evidence.input_gradient() * evidence.inputs


@method("guided_backprop", needs=[Rule("guided")], paper="Springenberg et al. 2015", signed=True)
def guided_backprop(evidence: Evidence) -> Float[Tensor, "batch 3 height width"]:
    """Pixel patterns that excite the target along paths where every ReLU is active and asked for more.

    At each ReLU the gradient passes where both the input and the gradient are positive. The result is sharp and only
    weakly tied to the class: it looks much the same after the upper layers are randomised (Adebayo et al. 2018).
    """
    return evidence.input_gradient(rule="guided")


@method("deconvnet", needs=[Rule("deconvnet")], paper="Zeiler & Fergus 2014", signed=True)
def deconvnet(evidence: Evidence) -> Float[Tensor, "batch 3 height width"]:
    """Pixel patterns that excite the target when every ReLU lets only positive gradient back, whatever came forward."""
    return evidence.input_gradient(rule="deconvnet")


def _passes(*, samples: int = 50, **_: Any) -> float:
    return 3.0 * samples


@method("smoothgrad", needs=[InputGradient, Gradients], paper="Smilkov et al. 2017", channels="largest", cost=_passes)
def smoothgrad(evidence: Evidence, *, samples: int = 50, noise: float = 0.15) -> Float[Tensor, "batch 3 height width"]:
    """The gradient that survives small changes of the picture: its mean over noisy copies.

    noise: standard deviation of the added Gaussian, as part of the picture's own range (largest minus smallest value)
    """
    return _noisy_gradients(evidence, samples, noise).mean


@method(
    "smoothgrad_squared",
    needs=[InputGradient, Gradients],
    paper="Smilkov et al. 2017; Hooker et al. 2019",
    cost=_passes,
)
def smoothgrad_squared(
    evidence: Evidence, *, samples: int = 50, noise: float = 0.15
) -> Float[Tensor, "batch 3 height width"]:
    """How large the gradient is on average over noisy copies, whichever way it points: the mean of its square.

    noise: standard deviation of the added Gaussian, as part of the picture's own range
    """
    moments = _noisy_gradients(evidence, samples, noise)
    return moments.mean.square() + moments.variance


@method("vargrad", needs=[InputGradient, Gradients], paper="Adebayo et al. 2018", cost=_passes)
def vargrad(evidence: Evidence, *, samples: int = 50, noise: float = 0.15) -> Float[Tensor, "batch 3 height width"]:
    """Where the gradient changes most when the picture changes a little: its variance over noisy copies.

    noise: standard deviation of the added Gaussian, as part of the picture's own range
    """
    return _noisy_gradients(evidence, samples, noise).variance


def noisy_copies(evidence: Evidence, samples: int, noise: float) -> Iterator[Float[Tensor, "batch 3 height width"]]:
    """The pictures under Gaussian noise of `noise` times their own range.

    Sample number n adds the same pattern to every picture, so a picture's map does not depend on its neighbours in
    the batch.
    """
    inputs = evidence.inputs
    sigma = noise * (inputs.amax(dim=(1, 2, 3), keepdim=True) - inputs.amin(dim=(1, 2, 3), keepdim=True))
    for number in range(samples):
        pattern = torch.randn(inputs.shape[1:], generator=evidence.seed.child("noise", number).generator())
        yield inputs + sigma * pattern.to(inputs)


class _Moments(NamedTuple):
    mean: Tensor
    variance: Tensor


def _noisy_gradients(evidence: Evidence, samples: int, noise: float) -> _Moments:
    """What the three maps are made of: the same copies serve all that are asked for together."""
    return evidence.remember(
        ("noisy gradients", samples, noise),
        lambda: _moments(evidence.gradients_at(noisy_copies(evidence, samples, noise))),
    )


def _moments(stream: Iterable[Tensor]) -> _Moments:
    """Mean and variance (divided by n) of a stream, by Welford's recurrence: two maps in memory, no cancellation."""
    mean, scatter, count = None, None, 0
    for count, value in enumerate(stream, start=1):
        if mean is None or scatter is None:
            mean, scatter = torch.zeros_like(value), torch.zeros_like(value)
        delta = value - mean
        mean = mean + delta / count
        scatter = scatter + delta * (value - mean)
    assert mean is not None and scatter is not None
    return _Moments(mean, scatter / count)
