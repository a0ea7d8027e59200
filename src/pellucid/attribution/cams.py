"""Class activation maps: the channels of one layer, weighted and summed. Maps are on the layer's grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.attribution.gradients import noisy_copies
from pellucid.engine import Evidence
from pellucid.engine.flow import curvature
from pellucid.registry import method
from pellucid.values import Activation, Gradient, Layer, Rule, Scores, Tail

_GRID = ("map", "tokens")


@method("grad_cam", needs=[Activation, Gradient], sees=_GRID, paper="Selvaraju et al. 2017")
def grad_cam(evidence: Evidence, layer: Layer) -> Float[Tensor, "batch h w"]:
    """Channels of the layer, weighted by their average gradient, summed and rectified.

    Zero everywhere when every channel speaks against the target. The average forgets where the gradient was, so the
    map is faithful only at the last spatial layer; further down use layer_cam or hires_cam.
    """
    weights = evidence.gradient(layer).mean(dim=(-2, -1), keepdim=True)
    return (weights * evidence.activation(layer)).sum(dim=1).clamp(min=0)


@method(
    "guided_grad_cam",
    needs=[Activation, Gradient, Rule("guided")],
    sees=_GRID,
    paper="Selvaraju et al. 2017",
    signed=True,
)
def guided_grad_cam(evidence: Evidence, layer: Layer) -> Float[Tensor, "batch 3 height width"]:
    """The fine pattern of guided backpropagation, kept only where Grad-CAM finds support for the target."""
    region = interpolate(grad_cam(evidence, layer)[:, None], evidence.size, mode="bilinear", align_corners=False)
    return region * evidence.input_gradient(rule="guided")


@method("grad_cam_pp", needs=[Activation, Gradient], sees=_GRID, paper="Chattopadhay et al. 2018")
def grad_cam_pp(evidence: Evidence, layer: Layer) -> Float[Tensor, "batch h w"]:
    """Grad-CAM whose weights count every position alike that raises the target, so that several objects are covered.

    The score is exp(target) in a ReLU network, so its second and third derivatives are powers of the gradient; the
    common factor exp(target) is left out of the weights.
    """
    first, activation = evidence.gradient(layer), evidence.activation(layer)
    weights = _plus_plus_weights(activation, first, first**2, first**3)
    return (weights * activation).sum(dim=1).clamp(min=0)


def _smooth_passes(*, samples: int = 5, **_: Any) -> float:
    return 3.0 * samples


@method("smooth_grad_cam_pp", needs=[Activation, Gradient], sees=_GRID, paper="Omeiza et al. 2019", cost=_smooth_passes)
def smooth_grad_cam_pp(
    evidence: Evidence,
    layer: Layer,
    *,
    samples: int = 5,
    noise: float = 0.1,
    channels: Sequence[int] | None = None,
    neurons: Bool[Tensor, "h w"] | Sequence[tuple[int, int, int]] | None = None,
) -> Float[Tensor, "batch h w"]:
    """Grad-CAM++ with derivatives averaged over noisy copies, for a layer, some of its channels, or some neurons.

    noise:    standard deviation of the added Gaussian, as part of the picture's own range
    channels: only these feature maps; None is all
    neurons:  only these positions, a mask [h w], or only these neurons, a list of (channel, row, column); None is all

    What a subset holds of the whole map is left as a note.
    """
    parts = _smooth_parts(evidence, layer, samples, noise)
    inside = parts * neuron_mask(parts, channels, neurons)
    if channels is not None or neurons is not None:
        whole = parts.sum(dim=(1, 2, 3))
        shares = torch.where(whole == 0, 0, inside.sum(dim=(1, 2, 3)) / whole)
        low, high = f"{float(shares.min()):.0%}", f"{float(shares.max()):.0%}"
        share = low if low == high else f"{low} to {high}"
        evidence.note(f"The chosen neurons of {layer.name} hold {share} of the whole Smooth Grad-CAM++ map.")
    return inside.sum(dim=1).clamp(min=0)


@method("layer_cam", needs=[Activation, Gradient], sees=_GRID, paper="Jiang et al. 2021")
def layer_cam(evidence: Evidence, layer: Layer) -> Float[Tensor, "batch h w"]:
    """Each cell of each channel weighted by its own positive gradient, summed over channels."""
    weights = evidence.gradient(layer).clamp(min=0)
    return (weights * evidence.activation(layer)).sum(dim=1).clamp(min=0)


@method("hires_cam", needs=[Activation, Gradient], sees=_GRID, paper="Draelos & Carin 2020", signed=True)
def hires_cam(evidence: Evidence, layer: Layer) -> Float[Tensor, "batch h w"]:
    """What each cell of the layer adds to the target, exactly so where everything after the layer is linear."""
    return (evidence.gradient(layer) * evidence.activation(layer)).sum(dim=1)


@method("xgrad_cam", needs=[Activation, Gradient], sees=_GRID, paper="Fu et al. 2020")
def xgrad_cam(evidence: Evidence, layer: Layer) -> Float[Tensor, "batch h w"]:
    """Channels weighted by their gradient averaged where they are active, so that what they add is conserved.

    Before rectifying, the map sums to the sum of gradient times activation. A channel that sums to nothing weighs
    nothing.
    """
    activation = evidence.activation(layer)
    total = activation.sum(dim=(-2, -1), keepdim=True)
    added = (evidence.gradient(layer) * activation).sum(dim=(-2, -1), keepdim=True)
    weights = torch.where(total.abs() < 1e-7, 0, added / total)
    return (weights * activation).sum(dim=1).clamp(min=0)


@method("eigen_cam", needs=[Activation], sees=_GRID, paper="Muhammad & Yeasin 2020", class_agnostic=True)
def eigen_cam(evidence: Evidence, layer: Layer, *, center: bool = False) -> Float[Tensor, "batch h w"]:
    """The strongest spatial pattern of the layer, whatever the class: its projection on the first singular vector.

    center: subtract every channel's mean over the grid first, as some implementations do; the paper does not

    The sign, which the decomposition leaves open, is the one that follows the mean activation; the rest is rectified.
    """
    activation = evidence.activation(layer)
    return _first_component(evidence, activation, activation.mean(dim=1), center).clamp(min=0)


@method("eigen_grad_cam", needs=[Activation, Gradient], sees=_GRID, paper="Muhammad & Yeasin 2020", signed=True)
def eigen_grad_cam(evidence: Evidence, layer: Layer, *, center: bool = False) -> Float[Tensor, "batch h w"]:
    """The strongest spatial pattern in gradient times activation, with the sign that speaks for the target.

    center:  subtract every channel's mean over the grid first
    returns: signed: negative where the pattern speaks against the target
    """
    product = evidence.gradient(layer) * evidence.activation(layer)
    return _first_component(evidence, product, product.sum(dim=1), center)


def _one_per_channel(*, top: int | None = None, layer: Layer | None = None, **_: Any) -> float:
    """`layer` may be given by a planner that knows it; 512 is what common classifiers have."""
    channels = layer.channels if layer is not None and layer.channels else 512
    return min(top or channels, channels)


@method("score_cam", needs=[Activation, Scores], sees=_GRID, paper="Wang et al. 2020", cost=_one_per_channel)
def score_cam(evidence: Evidence, layer: Layer, *, top: int | None = None) -> Float[Tensor, "batch h w"]:
    """Channels weighted by the score the model keeps when it sees the picture only where the channel is active.

    top: only the channels that vary most over the grid (of each picture); None takes all

    Weights are the softmax over channels of the target under each mask; the score of the empty picture, which the
    paper subtracts, cancels in it. A channel that is the same everywhere masks nothing and weighs nothing.
    """
    activation = evidence.activation(layer)
    spread = activation.flatten(2).var(dim=2, correction=0)
    chosen = spread.argsort(dim=1, descending=True, stable=True)[:, :top].sort(dim=1).values
    activation = torch.take_along_dim(activation, chosen[:, :, None, None], dim=1)

    def masked() -> Iterator[Tensor]:
        for channel in activation.unbind(dim=1):
            yield evidence.inputs * _unit_range(interpolate(channel[:, None], evidence.size, mode="bilinear"))

    scores = torch.stack(list(evidence.scores_at(masked())), dim=1)
    flat = activation.amax(dim=(-2, -1)) == activation.amin(dim=(-2, -1))
    # All flat: softmax over nothing is nan, and the map is zero.
    weights = scores.masked_fill(flat, -torch.inf).softmax(dim=1).nan_to_num(0)
    return (weights[:, :, None, None] * activation).sum(dim=1).clamp(min=0)


@method("ablation_cam", needs=[Activation, Tail], sees=_GRID, paper="Desai & Ramaswamy 2020", cost=_one_per_channel)
def ablation_cam(evidence: Evidence, layer: Layer) -> Float[Tensor, "batch h w"]:
    """Channels weighted by how far the target falls, in parts of its own magnitude, when the channel is set to zero.

    Unlike in the paper's quotient a negative target does not turn the sign of the weights.
    """
    activation, score = evidence.activation(layer), evidence.score()

    def without() -> Iterator[Tensor]:
        for channel in range(activation.shape[1]):
            ablated = activation.clone()
            ablated[:, channel] = 0
            yield ablated

    falls = score[:, None] - torch.stack(list(evidence.tail_scores(layer, without())), dim=1)
    weights = falls / score.abs().clamp(min=1e-12)[:, None]
    return (weights[:, :, None, None] * activation).sum(dim=1).clamp(min=0)


@method("shapley_cam", needs=[Activation, Gradient], sees=_GRID, paper="Cai 2025", cost=5.0)
def shapley_cam(evidence: Evidence, layer: Layer) -> Float[Tensor, "batch h w"]:
    """Grad-CAM whose weights count half of what the gradient itself loses when the layer goes to zero.

    The gradient G becomes G - H A / 2 with the Hessian H of the target in the layer's output A, the second-order form
    of each neuron's Shapley value. Where all that follows is linear piece by piece, as after the last ReLU of a ResNet,
    H is zero and the map is Grad-CAM's.
    """
    activation = evidence.activation(layer)
    share = evidence.gradient(layer) - curvature(evidence, layer) / 2
    return (share.mean(dim=(-2, -1), keepdim=True) * activation).sum(dim=1).clamp(min=0)


def _plus_plus_weights(activation: Tensor, first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    """sum_ij alpha relu(D1), alpha = D2 / (2 D2 + sum_ab A D3), zero where the denominator is."""
    denominator = 2 * second + activation.sum(dim=(-2, -1), keepdim=True) * third
    alpha = torch.where(denominator == 0, 0, second / denominator)
    return (alpha * first.clamp(min=0)).sum(dim=(-2, -1), keepdim=True)


def _smooth_parts(evidence: Evidence, layer: Layer, samples: int, noise: float) -> Float[Tensor, "batch channel h w"]:
    """What every neuron adds to the Smooth Grad-CAM++ map, before rectifying."""
    activation = evidence.activation(layer)
    moments = [torch.zeros_like(activation) for _ in range(3)]
    for copy in noisy_copies(evidence, samples, noise):
        slope = evidence.at(copy).gradient(layer)
        for power, moment in enumerate(moments, start=1):
            moment += slope**power / samples
    return _plus_plus_weights(activation, *moments) * activation


def neuron_mask(
    parts: Float[Tensor, "batch channel h w"],
    channels: Sequence[int] | None,
    neurons: Bool[Tensor, "h w"] | Sequence[tuple[int, int, int]] | None,
) -> Float[Tensor, "channel h w"]:
    """1 for the chosen neurons, 0 for the others."""
    _, count, height, width = parts.shape
    chosen = torch.ones(count, height, width, device=parts.device)
    if channels is not None:
        only = torch.zeros(count, device=parts.device)
        only[list(channels)] = 1
        chosen = chosen * only[:, None, None]
    if isinstance(neurons, Tensor):
        return chosen * neurons.to(chosen)
    if neurons is not None:
        only = torch.zeros_like(chosen)
        only[tuple(torch.tensor(list(neurons), dtype=torch.long).reshape(-1, 3).T)] = 1
        return chosen * only
    return chosen


def _first_component(
    evidence: Evidence, values: Float[Tensor, "batch channel h w"], lead: Float[Tensor, "batch h w"], center: bool
) -> Float[Tensor, "batch h w"]:
    """Projection of every cell on the first right singular vector of [cell, channel]; its sign follows `lead`."""
    # In double precision: singular vectors close in strength turn visibly under float32 rounding.
    matrix = values.flatten(2).transpose(1, 2).double()
    if center:
        matrix = matrix - matrix.mean(dim=1, keepdim=True)
    left, strengths, _ = torch.linalg.svd(matrix, full_matrices=False)
    first = left[:, :, 0] * strengths[:, :1]
    follows = ((first - first.mean(dim=1, keepdim=True)) * lead.flatten(1)).sum(dim=1)
    sign = torch.where(follows == 0, first.sum(dim=1), follows).sign()[:, None]
    if strengths.shape[1] > 1 and bool((strengths[:, 0] < 1.1 * strengths[:, 1]).any()):
        evidence.note(
            "Two patterns of the layer are almost equally strong: Eigen-CAM's choice between them is unstable."
        )
    return (sign * first).reshape(lead.shape).to(values.dtype)


def _unit_range(masks: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch 1 height width"]:
    """Every mask stretched to 0..1; one that is the same everywhere becomes zeros."""
    low, high = masks.amin(dim=(-2, -1), keepdim=True), masks.amax(dim=(-2, -1), keepdim=True)
    return torch.where(high == low, 0, (masks - low) / (high - low))
