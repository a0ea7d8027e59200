"""What stands out in a layer: its strongest pattern under a kernel or by segments, its strongest activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import linalg
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.registry import method
from pellucid.values import Activation, Gradient, Layer

_GRID = ("map", "tokens")
_SMALL = 1024  # cells up to which the whole spectrum is quicker than one vector
_HELD = 128 * 2**20  # bytes of likenesses between all cells; more are worked out again whenever needed


@method("kpca_cam", needs=[Activation], sees=_GRID, paper="Karmani et al. 2024", class_agnostic=True)
def kpca_cam(
    evidence: Evidence, layer: Layer, *, kernel: str = "sigmoid", gamma: float | None = None
) -> Float[Tensor, "batch h w"]:
    """The strongest spatial pattern of the layer, whatever the class, where likeness of cells may be nonlinear.

    The first component of kernel principal component analysis over the cells, channels centred first. Its sign, which
    the decomposition leaves open, is the one that follows the mean activation; the rest is rectified.

    kernel: how alike two cells are: `sigmoid`, `rbf`, `poly` (of degree 3), `cosine`, or `linear` (Eigen-CAM, centred)
    gamma:  factor on the inner product or squared distance; None is 1 / channels
    """
    activation = evidence.activation(layer)
    cells = activation.flatten(2).transpose(1, 2).double()
    cells = cells - cells.mean(dim=1, keepdim=True)
    scale = 1 / cells.shape[2] if gamma is None else gamma
    first = torch.stack([_first_component(one, _KERNELS[kernel], scale) for one in cells])
    lead = activation.mean(dim=1).flatten(1).double()
    follows = (first * (lead - lead.mean(dim=1, keepdim=True))).sum(dim=1, keepdim=True)
    signed = torch.where(follows < 0, -first, first)
    return signed.unflatten(1, activation.shape[2:]).to(activation.dtype).clamp(min=0)


@method("seg_eigen_cam", needs=[Activation, Gradient], sees=_GRID, paper="Chung & Ying 2025")
def seg_eigen_cam(evidence: Evidence, layer: Layer) -> Float[Tensor, "batch h w"]:
    """The strongest spatial pattern of activations weighted by how much the target depends on them, either way.

    The first principal component, over the cells, of gradient magnitude times activation. Its sign is that of its
    largest magnitude; the rest is rectified.
    """
    weighted = evidence.gradient(layer).abs() * evidence.activation(layer)
    cells = weighted.flatten(2).transpose(1, 2).double()
    cells = cells - cells.mean(dim=1, keepdim=True)
    left, strengths, _ = torch.linalg.svd(cells, full_matrices=False)
    first = left[:, :, 0] * strengths[:, :1]
    turned = first.amin(dim=1, keepdim=True).abs() > first.amax(dim=1, keepdim=True).abs()
    return torch.where(turned, -first, first).unflatten(1, weighted.shape[2:]).to(weighted.dtype).clamp(min=0)


@method("fem", needs=[Activation], sees=_GRID, paper="Fuad et al. 2020", class_agnostic=True)
def fem(evidence: Evidence, layer: Layer, *, deviations: float = 2.0) -> Float[Tensor, "batch h w"]:
    """Channels weighted by the part of the grid where they are unusually active, whatever the class.

    deviations: how many standard deviations above its mean a channel has to be for that
    """
    activation = evidence.activation(layer)
    usual = activation.mean(dim=(-2, -1), keepdim=True)
    spread = activation.std(dim=(-2, -1), keepdim=True, correction=0)
    rare = (activation > usual + deviations * spread).float().mean(dim=(-2, -1), keepdim=True)
    return (rare * activation).sum(dim=1).clamp(min=0)


Kernel = Callable[[Tensor, Tensor, float], Tensor]
"""Likeness of each row of the first to each row of the second, scaled."""

_KERNELS: Mapping[str, Kernel] = {
    "linear": lambda some, cells, scale: some @ cells.T,
    "sigmoid": lambda some, cells, scale: (scale * some @ cells.T + 1).tanh(),
    "rbf": lambda some, cells, scale: (-scale * torch.cdist(some, cells).square()).exp(),
    "poly": lambda some, cells, scale: (scale * some @ cells.T + 1) ** 3,
    "cosine": lambda some, cells, scale: torch.nn.functional.normalize(some) @ torch.nn.functional.normalize(cells).T,
}


def _first_component(cells: Float[Tensor, "cell channel"], kernel: Kernel, scale: float) -> Float[Tensor, "cell"]:
    """Every cell's coordinate along the first component of the centred kernel; zeros where that has no extent."""
    count = len(cells)
    if count <= _SMALL:
        likeness = kernel(cells, cells, scale)
        centred = likeness - likeness.mean(dim=0) - likeness.mean(dim=1, keepdim=True) + likeness.mean()
        strengths, vectors = torch.linalg.eigh(centred)
        return vectors[:, -1] * strengths[-1].clamp(min=0).sqrt()
    held = kernel(cells, cells, scale) if 8 * count**2 <= _HELD else None
    rows = max(1, _HELD // (8 * count))

    def centred_product(vector: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(vector.reshape(-1)).to(cells)
        given = given - given.mean()
        blocks = (kernel(some, cells, scale) for some in cells.split(rows)) if held is None else [held]
        found = torch.cat([block @ given for block in blocks])
        return (found - found.mean()).cpu().numpy()

    build: Any = linalg.LinearOperator  # its declaration knows no functions
    operator = build((count, count), matvec=centred_product, dtype=np.float64)
    # A start of our own: the default draws from the global generator.
    strengths, vectors = linalg.eigsh(operator, k=1, which="LA", v0=np.linspace(-1, 1, count) ** 3 + 0.1)
    return torch.from_numpy(vectors[:, 0] * max(float(strengths[0]), 0) ** 0.5).to(cells)
