"""What a removed part of a picture becomes: blur, mean colour, noise, black, white, zero, or a smooth inpainting."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import sparse
from scipy.sparse import linalg
from torch import Tensor

from pellucid.errors import RequestError, ShapeError, nearest
from pellucid.values import Preprocess, Seed

BLUR_SIGMA = 10 / 224  # of the shorter side; Fong and Vedaldi 2017 blur with 10 pixels at 224


def fill(
    inputs: Float[Tensor, "batch 3 h w"],
    kind: str,
    preprocess: Preprocess | None = None,
    seed: Seed | int = 0,
    *,
    mask: Bool[Tensor, "batch h w"] | Bool[Tensor, "h w"] | None = None,
) -> Float[Tensor, "batch 3 h w"]:
    """The same pictures with everything removed, in model space: take pixels from here where something is deleted.

    kind:  `blur` (Gaussian, sigma 10/224 of the shorter side), `mean` (each picture's own mean colour), `noise`
           (uniform over the colours, a function of picture and seed alone), `black` and `white` (as colours, then
           normalised), `zero` (the tensor's zero, which for most models is a grey), `inpaint` (the smoothest surface
           that continues what lies around `mask`; mean colour where the mask leaves nothing of the picture)
    preprocess: its mean and std; None means that inputs are colours in 0..1
    mask:  True where the picture is removed; needed by `inpaint` alone

    A picture's fill does not depend on its neighbours in the batch. Raises RequestError for an unknown kind.
    """
    if kind not in _FILLS:
        hint = nearest(kind, KINDS)
        raise RequestError(f"There is no fill {kind!r}. Choose {', '.join(hint or KINDS)}.")
    if inputs.ndim != 4 or inputs.shape[1] != 3:
        raise ShapeError("The inputs of fill", got=tuple(inputs.shape), expected="[batch 3 height width]")
    job = _Fill(inputs.detach().float(), _colours(preprocess), int(seed), mask)
    return _FILLS[kind](job).to(inputs.dtype)


def blur(inputs: Float[Tensor, "batch channel h w"], sigma: float) -> Float[Tensor, "batch channel h w"]:
    """Gaussian blur by `sigma` pixels. At the border the weights that fall outside are shared among those inside."""
    height, width = inputs.shape[-2:]
    rows, columns = (_gaussian(side, sigma).to(inputs) for side in (height, width))
    return rows @ inputs @ columns.T


@dataclass(frozen=True)
class _Colours:
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def normalised(self, raw: Tensor) -> Tensor:
        mean, std = (torch.tensor(values, device=raw.device)[:, None, None] for values in (self.mean, self.std))
        return (raw - mean) / std


@dataclass(frozen=True)
class _Fill:
    inputs: Tensor
    colours: _Colours
    seed: int
    mask: Tensor | None


def _colours(preprocess: Preprocess | None) -> _Colours:
    preprocess = preprocess or Preprocess()
    return _Colours(preprocess.mean, preprocess.std)


def _blurred(job: _Fill) -> Tensor:
    return blur(job.inputs, BLUR_SIGMA * min(job.inputs.shape[-2:]))


def _mean_colour(job: _Fill) -> Tensor:
    return job.inputs.mean(dim=(-2, -1), keepdim=True).expand_as(job.inputs).clone()


def _noise(job: _Fill) -> Tensor:
    def one(picture: Tensor) -> Tensor:
        # Seeded by content, not by place in the batch, so that batching cannot change a measurement.
        digest = hashlib.blake2b(picture.cpu().contiguous().numpy().tobytes(), digest_size=16).hexdigest()
        generator = Seed(job.seed).child("noise", digest).generator()
        return torch.rand(picture.shape, generator=generator, dtype=torch.float32).to(picture.device)

    return job.colours.normalised(torch.stack([one(picture) for picture in job.inputs]))


def _black(job: _Fill) -> Tensor:
    return job.colours.normalised(torch.zeros_like(job.inputs))


def _white(job: _Fill) -> Tensor:
    return job.colours.normalised(torch.ones_like(job.inputs))


def _zero(job: _Fill) -> Tensor:
    return torch.zeros_like(job.inputs)


def _inpainted(job: _Fill) -> Tensor:
    batch, _, height, width = job.inputs.shape
    if job.mask is None or job.mask.shape[-2:] != (height, width) or job.mask.ndim not in (2, 3):
        got = None if job.mask is None else tuple(job.mask.shape)
        raise ShapeError("The mask of fill 'inpaint'", got=got, expected=f"[{height} {width}], or one per picture")
    masks = job.mask.detach().bool().cpu().numpy()
    masks = np.broadcast_to(masks, (batch, height, width))
    pictures = job.inputs.cpu().numpy()
    filled = np.stack([_harmonic(picture, mask) for picture, mask in zip(pictures, masks, strict=True)])
    return torch.from_numpy(filled).to(job.inputs)


def _harmonic(picture: Float[np.ndarray, "3 h w"], mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "3 h w"]:
    """Laplace's equation inside the mask: every removed pixel is the mean of its neighbours in the picture."""
    if not mask.any():
        return picture
    if mask.all():
        return np.broadcast_to(picture.mean(axis=(1, 2), keepdims=True), picture.shape).copy()
    count = int(mask.sum())
    number = np.full(mask.shape, -1)
    number[mask] = np.arange(count)
    rows, columns, known, degree = [], [], np.zeros((count, 3)), np.zeros(count)
    for here, there in _neighbours():
        inner, outer = number[here], number[there]
        both, border = (inner >= 0) & (outer >= 0), (inner >= 0) & (outer < 0)
        rows.append(inner[both])
        columns.append(outer[both])
        degree[inner[inner >= 0]] += 1  # a pixel has one neighbour in each direction, so no index comes twice
        known[inner[border]] += picture[(slice(None), *there)][:, border].T
    row, column = np.concatenate(rows), np.concatenate(columns)
    links = sparse.csr_matrix((np.ones(len(row)), (row, column)), shape=(count, count))
    solution = linalg.splu((sparse.diags(degree) - links).tocsc()).solve(known)
    filled = picture.copy()
    filled[:, mask] = solution.T.astype(picture.dtype)
    return filled


def _neighbours() -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    every, first, last = slice(None), slice(None, -1), slice(1, None)
    pairs = [((first, every), (last, every)), ((every, first), (every, last))]
    return pairs + [(there, here) for here, there in pairs]


def _gaussian(side: int, sigma: float) -> Float[Tensor, "side side"]:
    distance = torch.arange(side)[:, None] - torch.arange(side)[None, :]
    weights = torch.exp(-0.5 * (distance / max(sigma, 1e-6)) ** 2)
    return weights / weights.sum(dim=1, keepdim=True)


_FILLS: dict[str, Callable[[_Fill], Tensor]] = {
    "blur": _blurred,
    "mean": _mean_colour,
    "noise": _noise,
    "black": _black,
    "white": _white,
    "zero": _zero,
    "inpaint": _inpainted,
}
KINDS = tuple(_FILLS)
"""Every kind of fill there is."""
