"""NormGrad: what each place of a layer adds to the gradient of a virtual layer; over layers; after a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from pellucid.attribution.layers import combined, reference_layers
from pellucid.engine import Evidence
from pellucid.engine.steps import after_step
from pellucid.registry import method
from pellucid.values import Activation, Class, Gradient, Gradients, Layer

_GRID = ("map", "tokens")
_PAPER = "Rebuffi et al. 2020"


@method("normgrad", needs=[Activation, Gradient], sees=_GRID, paper=_PAPER)
def normgrad(
    evidence: Evidence, layer: Layer, *, identity: str = "conv1x1", aggregate: str = "norm"
) -> Float[Tensor, "batch h w"]:
    """How much every place would teach a convolution put in at this layer: gradient norm times activation norm.

    A virtual layer that changes nothing (its weights are an identity) has a weight gradient that is a sum over places;
    the map is the size of each summand.

    identity:  the virtual layer: `bias`, `scaling` of channels, `conv1x1`, `conv3x3`, or `depthwise3x3`
    aggregate: how a summand becomes one number: its `norm` (Frobenius), its `sum` (signed), its `max` (of magnitudes),
               or `filter_norm`, the norm of its positive part
    """
    return _map(evidence, layer, identity, aggregate)


def _over_layers(*, weights: str = "equal", **_: object) -> float:
    return 3.0 if weights == "equal" else 9.0


@method("normgrad_layers", needs=[Activation, Gradient], sees=_GRID, paper=_PAPER, cost=_over_layers)
def normgrad_layers(
    evidence: Evidence,
    layer: Layer,
    *,
    layers: Sequence[str] | None = None,
    combine: str = "product",
    weights: str = "equal",
    identity: str = "conv1x1",
    aggregate: str = "norm",
) -> Float[Tensor, "batch height width"]:
    """NormGrad maps of several layers as one: fine where early layers are, quiet where late ones see nothing.

    Every map is brought to the size of the input and to 0..1 before.

    layers:  by name; None is one for each of the last three grid sizes and `layer` itself (in a transformer, blocks
             evenly over its depth)
    combine: `product`, `geometric_mean`, or `sum` (the weighted mean)
    weights: of the layers in the mean: `equal`, or each layer's `sensitivity` to the class, 1 less the correlation of
             its maps for the highest and the lowest class of the picture
    """
    chosen = reference_layers(evidence.layers, layer) if layers is None else [evidence.layers[name] for name in layers]
    evidence.keep(chosen, gradients=True)
    read = lambda asked: [_map(asked, one, identity, aggregate) for one in chosen]
    shares = _sensitivities(evidence, chosen, read) if weights == "sensitivity" else None
    evidence.note(f"Combined: {', '.join(one.name for one in chosen)}.")
    return combined(read(evidence), evidence.size, combine, shares)


def _one_step(**_: object) -> float:
    return 6.0


@method("meta_normgrad", needs=[Activation, Gradient, Gradients], sees=_GRID, paper=_PAPER, cost=_one_step)
def meta_normgrad(
    evidence: Evidence, layer: Layer, *, rate: float = 1e-3, identity: str = "conv1x1", aggregate: str = "norm"
) -> Float[Tensor, "batch h w"]:
    """NormGrad after the model, in a copy, has taken one step of learning from this picture and the explained class.

    rate: of that step; 0 gives NormGrad itself, a negative one unlearns the class
    """
    maps: list[Tensor] = []
    for after in after_step(evidence, rate):
        after.keep([layer], gradients=True)
        maps.append(_map(after, layer, identity, aggregate))
    return torch.cat(maps)


def class_sensitivity(evidence: Evidence, read: Callable[[Evidence], Sequence[Tensor]]) -> Float[Tensor, "batch map"]:
    """Pearson correlation between the maps for each picture's highest and its lowest class; lower is more sensitive.

    read: the maps of one evidence, each [batch h w]

    A map that is flat correlates with nothing: 0. Rebuffi et al. 2020, section 5.
    """
    highest, lowest = evidence.output().argmax(dim=1).tolist(), evidence.output().argmin(dim=1).tolist()
    pairs = zip(*(read(evidence.asking([Class(index) for index in one])) for one in (highest, lowest)), strict=True)
    return torch.stack([_correlation(one.flatten(1), other.flatten(1)) for one, other in pairs], dim=1)


def _sensitivities(
    evidence: Evidence, layers: Sequence[Layer], read: Callable[[Evidence], Sequence[Tensor]]
) -> Float[Tensor, "batch map"]:
    def planned(asked: Evidence) -> Sequence[Tensor]:
        asked.keep(layers, gradients=True)
        return read(asked)

    return (1 - class_sensitivity(evidence, planned)).clamp(min=0)


def _correlation(one: Float[Tensor, "batch cell"], other: Float[Tensor, "batch cell"]) -> Float[Tensor, "batch"]:
    one, other = (values - values.mean(dim=1, keepdim=True) for values in (one.double(), other.double()))
    size = one.norm(dim=1) * other.norm(dim=1)
    return torch.where(size > 0, (one * other).sum(dim=1) / size.clamp(min=1e-300), 0.0).float()


# -- the size of each place's summand --------------------------------------------------------------------------------
#
# With the gradient g and what the virtual filter sees of the activation, a, a full convolution's summand is the matrix
# g a^T, one that keeps channels apart has g_k a_k alone. Both are read off without being made.


def _map(evidence: Evidence, layer: Layer, identity: str, aggregate: str) -> Float[Tensor, "batch h w"]:
    gradient, activation = evidence.gradient(layer), evidence.activation(layer)
    if identity == "bias":
        activation = torch.ones_like(activation)
    side = 3 if identity.endswith("3x3") else 1
    return (_FULL if identity.startswith("conv") else _APART)[aggregate](gradient, activation, side)


def _around(values: Float[Tensor, "batch channel h w"], side: int) -> Float[Tensor, "batch channel h w"]:
    """The sum over the window around every place; nothing lies outside of the grid."""
    return values if side == 1 else side**2 * avg_pool2d(values, side, stride=1, padding=side // 2)


def _largest(values: Float[Tensor, "batch channel h w"], side: int) -> Float[Tensor, "batch channel h w"]:
    return values.abs() if side == 1 else max_pool2d(values.abs(), side, stride=1, padding=side // 2)


def _squares(values: Tensor) -> tuple[Tensor, Tensor]:
    """Squares of the positive and of the negative part."""
    return values.clamp(min=0).square(), values.clamp(max=0).square()


Reading = Callable[[Tensor, Tensor, int], Tensor]


def _full_norm(g: Tensor, a: Tensor, side: int) -> Tensor:
    return g.norm(dim=1) * _around(a.square(), side).sum(dim=1).sqrt()


def _full_sum(g: Tensor, a: Tensor, side: int) -> Tensor:
    return g.sum(dim=1) * _around(a, side).sum(dim=1)


def _full_max(g: Tensor, a: Tensor, side: int) -> Tensor:
    return g.abs().amax(dim=1) * _largest(a, side).amax(dim=1)


def _full_filter_norm(g: Tensor, a: Tensor, side: int) -> Tensor:
    (rises, falls), (above, below) = _squares(g), _squares(a)
    both = rises.sum(dim=1) * _around(above, side).sum(dim=1) + falls.sum(dim=1) * _around(below, side).sum(dim=1)
    return both.sqrt()


def _apart_norm(g: Tensor, a: Tensor, side: int) -> Tensor:
    return (g.square() * _around(a.square(), side)).sum(dim=1).sqrt()


def _apart_sum(g: Tensor, a: Tensor, side: int) -> Tensor:
    return (g * _around(a, side)).sum(dim=1)


def _apart_max(g: Tensor, a: Tensor, side: int) -> Tensor:
    return (g.abs() * _largest(a, side)).amax(dim=1)


def _apart_filter_norm(g: Tensor, a: Tensor, side: int) -> Tensor:
    (rises, falls), (above, below) = _squares(g), _squares(a)
    return (rises * _around(above, side) + falls * _around(below, side)).sum(dim=1).sqrt()


_FULL: Mapping[str, Reading] = {
    "norm": _full_norm, "sum": _full_sum, "max": _full_max, "filter_norm": _full_filter_norm
}  # fmt: skip
_APART: Mapping[str, Reading] = {
    "norm": _apart_norm, "sum": _apart_sum, "max": _apart_max, "filter_norm": _apart_filter_norm
}  # fmt: skip
