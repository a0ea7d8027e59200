"""What one pass back does not show: how a layer's gradient itself changes, and what flows through some neurons."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from pellucid import hooks
from pellucid.engine.evidence import Evidence
from pellucid.engine.recording import Recording, Wanted, gradients
from pellucid.errors import MethodUnavailable
from pellucid.subject.layers import from_grid, to_grid
from pellucid.values import Layer


def curvature(evidence: Evidence, layer: Layer) -> Float[Tensor, "batch channel h w"]:
    """The target's Hessian in the layer's output, times that output; zeros where the rest is linear piece by piece.

    Prefix tokens take part in the product and are left out of the answer. One forward and two backwards, apart from
    the shared pass. Raises MethodUnavailable where an operation of the model cannot be differentiated twice.
    """
    with _differentiable_twice():
        recording = evidence.recorded_apart(Wanted(layers=frozenset([layer.name]), gradients=True))
        output = recording.kept[layer.name]
        evidence.passes.add(backwards=2)
        return to_grid(_turned(recording, output), layer).float()


def through(
    evidence: Evidence, layer: Layer, neurons: Float[Tensor, "unit h w"]
) -> Float[Tensor, "batch channel height width"]:
    """The part of the target's gradient with respect to the input that comes through some neurons of a layer.

    neurons: 1 for those it comes through, 0 for the others; prefix tokens let nothing through

    Summed over a partition of the neurons it is the whole gradient where nothing leads around the layer. One forward
    and one backward, apart from the shared pass.
    """
    recording = evidence.recorded_apart(Wanted(layers=frozenset([layer.name]), gradients=True, inputs=True))
    output = recording.kept[layer.name]
    (slope,) = gradients(recording, [output])
    evidence.passes.add(backwards=1)
    passing = from_grid(to_grid(slope, layer) * neurons.to(slope), torch.zeros_like(slope), layer)
    with hooks.going_back(recording.leaf.device):
        (found,) = torch.autograd.grad(output, [recording.leaf], grad_outputs=passing)
    return found.float()


def _turned(recording: Recording, output: Tensor) -> Tensor:
    """Derivative of <gradient, output as it is> with respect to the output."""
    with hooks.going_back(recording.leaf.device):
        total = recording.scores.sum()
        if not total.requires_grad:
            return torch.zeros_like(output)
        try:
            slopes = torch.autograd.grad(total, [output], create_graph=True, allow_unused=True)
            (slope,) = cast("tuple[Tensor | None]", slopes)  # what is not used comes back as None
            if slope is None or not slope.requires_grad:
                return torch.zeros_like(output)
            turned = torch.autograd.grad(slope, [output], grad_outputs=output.detach(), allow_unused=True)
        except RuntimeError as error:
            if "derivative" not in str(error):
                raise
            reason = f"an operation of it cannot be differentiated twice ({str(error).splitlines()[0]})."
            raise MethodUnavailable("A second derivative", reason, ("grad_cam", "hires_cam")) from error
    (found,) = cast("tuple[Tensor | None]", turned)
    return torch.zeros_like(output) if found is None else found.detach()


@contextmanager
def _differentiable_twice() -> Iterator[None]:
    """Fused attention has no second derivative; written out it has."""
    with sdpa_kernel(SDPBackend.MATH):
        yield
