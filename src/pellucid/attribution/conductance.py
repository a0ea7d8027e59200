"""What flows through a layer, or through some of its neurons, on the way from a baseline to the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.attribution.cams import neuron_mask
from pellucid.attribution.paths import averaged, between, quadrature
from pellucid.engine import Evidence
from pellucid.engine.flow import through
from pellucid.registry import method
from pellucid.values import Activation, Gradient, Gradients, InputGradient, Layer

_GRID = ("map", "tokens")
Neurons = Bool[Tensor, "h w"] | Sequence[tuple[int, int, int]] | None


def _stepwise(*, steps: int = 50, **_: Any) -> float:
    return 3.0 * (steps + 1)


@method(
    "conductance",
    needs=[Activation, Gradient, Gradients],
    sees=_GRID,
    paper="Dhamdhere et al. 2019",
    signed=True,
    cost=_stepwise,
)
def conductance(
    evidence: Evidence,
    layer: Layer,
    *,
    steps: int = 50,
    baseline: str = "black",
    channels: Sequence[int] | None = None,
    neurons: Neurons = None,
) -> Float[Tensor, "batch h w"]:
    """How much of the target's rise from a baseline to the picture flows through each place of a layer.

    steps:    stretches between the points of the Gauss-Legendre rule along the way
    baseline: where the way begins
    channels: only these feature maps; None is all
    neurons:  only these positions, a mask [h w], or only these neurons, a list of (channel, row, column); None is all
    returns:  the sum over stretches of (gradient at its beginning) x (change of the layer's output), over channels.
              Over a whole layer that nothing leads around it sums to target(picture) - target(baseline)
    """
    nodes, _ = quadrature(steps + 1)
    evidence.keep([layer], gradients=True)
    total = torch.zeros_like(evidence.activation(layer))
    before: tuple[Tensor, Tensor] | None = None
    for both in evidence.read_at(
        between(evidence.fill(baseline), evidence.inputs, nodes), lambda asked: _both(asked, layer)
    ):
        slope, output = both.chunk(2, dim=1)
        if before is not None:
            total += before[0] * (output - before[1])
        before = slope, output
    return (total * neuron_mask(total, channels, neurons)).sum(dim=1)


def _pointwise(*, steps: int = 50, **_: Any) -> float:
    return 3.0 * steps


@method(
    "internal_influence",
    needs=[Activation, Gradient, Gradients],
    sees=_GRID,
    paper="Leino et al. 2018",
    signed=True,
    cost=_pointwise,
)
def internal_influence(
    evidence: Evidence,
    layer: Layer,
    *,
    steps: int = 50,
    baseline: str = "black",
    channels: Sequence[int] | None = None,
    neurons: Neurons = None,
) -> Float[Tensor, "batch h w"]:
    """How strongly the target depends on each place of a layer, on average between a baseline and the picture.

    steps:    points of the Gauss-Legendre rule along the way
    baseline: where the way begins
    channels: only these feature maps; None is all
    neurons:  only these positions, a mask [h w], or only these neurons, a list of (channel, row, column); None is all
    returns:  the mean gradient, summed over channels, in target units per unit of activation
    """
    nodes, weights = quadrature(steps)
    evidence.keep([layer], gradients=True)
    slopes = evidence.read_at(
        between(evidence.fill(baseline), evidence.inputs, nodes), lambda asked: asked.gradient(layer)
    )
    total = averaged(weights, slopes)
    return (total * neuron_mask(total, channels, neurons)).sum(dim=1)


@method(
    "layer_integrated_gradients",
    needs=[Activation, Gradient, Gradients],
    sees=_GRID,
    paper="Sundararajan et al. 2017, in a layer",
    signed=True,
    cost=lambda *, steps=50, **_: 3.0 * steps + 1,
)
def layer_integrated_gradients(
    evidence: Evidence, layer: Layer, *, steps: int = 50, baseline: str = "black"
) -> Float[Tensor, "batch h w"]:
    """What each place of a layer contributes to the rise of the target as the layer goes from a baseline's output on.

    The way is straight in the layer, not in the picture: the model before the layer is asked only at its two ends.

    steps:    points of the Gauss-Legendre rule along the way, one gradient each
    baseline: the picture whose output the way begins with
    returns:  (output - baseline's output) times the mean gradient, summed over channels; sums to target(picture) -
              target(baseline) where nothing leads around the layer. Prefix tokens stay those of the picture
    """
    nodes, weights = quadrature(steps)
    output = evidence.activation(layer)
    start = evidence.at(evidence.fill(baseline)).activation(layer)
    slopes = evidence.layer_gradients_at(layer, between(start, output, nodes))
    return ((output - start) * averaged(weights, slopes)).sum(dim=1)


@method(
    "neuron_conductance",
    needs=[InputGradient, Activation, Gradient, Gradients],
    sees=_GRID,
    paper="Dhamdhere et al. 2019",
    signed=True,
    cost=_pointwise,
)
def neuron_conductance(
    evidence: Evidence,
    layer: Layer,
    *,
    steps: int = 50,
    baseline: str = "black",
    channels: Sequence[int] | None = None,
    neurons: Neurons = None,
) -> Float[Tensor, "batch channel height width"]:
    """What each pixel contributes to the target's rise from a baseline through some neurons of a layer alone.

    steps:    points of the Gauss-Legendre rule along the way
    baseline: where the way begins
    channels: only these feature maps; None is all
    neurons:  only these positions, a mask [h w], or only these neurons, a list of (channel, row, column); None is all
    returns:  (picture - baseline) times the mean of the gradient that comes through those neurons. Over a partition of
              the neurons these maps sum to integrated gradients where nothing leads around the layer
    """
    nodes, weights = quadrature(steps)
    chosen = neuron_mask(evidence.activation(layer), channels, neurons)
    start = evidence.fill(baseline)
    slopes = evidence.read_at(between(start, evidence.inputs, nodes), lambda asked: through(asked, layer, chosen))
    return (evidence.inputs - start) * averaged(weights, slopes)


def _both(evidence: Evidence, layer: Layer) -> Float[Tensor, "batch two_channels h w"]:
    return torch.cat([evidence.gradient(layer), evidence.activation(layer)], dim=1)
