"""What a removed part of a picture becomes: blur, mean colour, noise, black, white, zero, or what lies around it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
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
    inputs: Float[Tensor, "batch channel h w"],
    kind: str,
    preprocess: Preprocess | None = None,
    seed: Seed | int = 0,
    *,
    mask: Bool[Tensor, "batch h w"] | Bool[Tensor, "h w"] | None = None,
) -> Float[Tensor, "batch channel h w"]:
    """The same pictures with everything removed, in model space: take pixels from here where something is deleted.

    kind:  `blur` (Gaussian, sigma 10/224 of the shorter side), `mean` (each picture's own mean colour), `noise`
           (uniform over the colours, a function of picture and seed alone), `black` and `white` (as colours, then
           normalised), `zero` (the tensor's zero, which for most models is a grey), `inpaint` (the smoothest surface
           that continues what lies around `mask`; mean colour where the mask leaves nothing of the picture), `road`
           (every removed pixel is the mean of its eight neighbours, all solved together, direct ones counting twice as
           much as diagonal ones, plus noise of standard deviation 0.01; Rong et al. 2022)
    preprocess: its mean and std; None means that inputs are colours in 0..1
    mask:  True where the picture is removed; needed by `inpaint` and `road` alone

    A picture's fill does not depend on its neighbours in the batch. Raises RequestError for an unknown kind.
    """
    if not isinstance(kind, str) or kind not in _FILLS:
        asked = repr(kind) if isinstance(kind, str) else f"of type {type(kind).__name__}"
        near = nearest(kind, KINDS) if isinstance(kind, str) else ()
        hint = f" Nearest: {', '.join(near)}." if near else ""
        raise RequestError(f"There is no fill {asked}.{hint} Choose one of {', '.join(KINDS)}.")
    if inputs.ndim != 4 or inputs.shape[1] not in (1, 3):
        raise ShapeError(
            "The inputs of fill", got=tuple(inputs.shape), expected="[batch 3 height width], or one channel of grey"
        )
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
        colours = (raw - mean) / std
        return colours if raw.shape[1] == 3 else colours.mean(dim=1, keepdim=True)  # as grey models take them


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
    return job.colours.normalised(
        torch.stack([_drawn(job.seed, "noise", picture, torch.rand) for picture in job.inputs])
    )


def _drawn(seed: int, name: str, picture: Tensor, draw: Callable[..., Tensor]) -> Tensor:
    """Random numbers as many as the picture's. Seeded by content, not by place, so that batching changes nothing."""
    digest = hashlib.blake2b(picture.cpu().contiguous().numpy().tobytes(), digest_size=16).hexdigest()
    generator = Seed(seed).child(name, digest).generator()
    return draw(picture.shape, generator=generator, dtype=torch.float32).to(picture.device)


def _black(job: _Fill) -> Tensor:
    return job.colours.normalised(torch.zeros_like(job.inputs))


def _white(job: _Fill) -> Tensor:
    return job.colours.normalised(torch.ones_like(job.inputs))


def _zero(job: _Fill) -> Tensor:
    return torch.zeros_like(job.inputs)


def _inpainted(job: _Fill) -> Tensor:
    return _from_around(job, "inpaint", _HARMONIC)


def _imputed(job: _Fill) -> Tensor:
    masks = _masks(job, "road")
    noise = torch.stack([_drawn(job.seed, "road", picture, torch.randn) for picture in job.inputs])
    return _from_around(job, "road", _LINEAR) + _ROAD_NOISE * noise * torch.from_numpy(masks[:, None]).to(noise)


def _masks(job: _Fill, kind: str) -> Bool[np.ndarray, "batch h w"]:
    batch, _, height, width = job.inputs.shape
    if job.mask is None or job.mask.shape[-2:] != (height, width) or job.mask.ndim not in (2, 3):
        got = None if job.mask is None else tuple(job.mask.shape)
        raise ShapeError(f"The mask of fill {kind!r}", got=got, expected=f"[{height} {width}], or one per picture")
    masks = job.mask.detach().bool().cpu().expand(batch, height, width)
    return masks.numpy()


def _from_around(job: _Fill, kind: str, weights: Weights) -> Tensor:
    masks, pictures = _masks(job, kind), job.inputs.cpu().numpy()
    filled = np.stack([_solved(picture, mask, weights) for picture, mask in zip(pictures, masks, strict=True)])
    return torch.from_numpy(filled).to(job.inputs)


def _solved(
    picture: Float[np.ndarray, "channel h w"], mask: Bool[np.ndarray, "h w"], weights: Weights
) -> Float[np.ndarray, "channel h w"]:
    """Every removed pixel is the weighted mean of its neighbours in the picture, all of them at once."""
    if not mask.any():
        return picture
    if mask.all():
        return np.broadcast_to(picture.mean(axis=(1, 2), keepdims=True), picture.shape).copy()
    count = int(mask.sum())
    place = np.full(np.add(mask.shape, 2), _OUTSIDE)
    place[1:-1, 1:-1] = np.where(mask, 0, _KNOWN)
    place[1:-1, 1:-1][mask] = np.arange(count)
    around = np.pad(picture, ((0, 0), (1, 1), (1, 1)))
    rows, columns, links = [], [], []
    known, total = np.zeros((count, len(picture))), np.zeros(count)
    for (down, right), weight in weights.items():
        window = (slice(1 + down, 1 + down + mask.shape[0]), slice(1 + right, 1 + right + mask.shape[1]))
        neighbour = place[window][mask]
        total += weight * (neighbour != _OUTSIDE)
        known += weight * np.where(neighbour == _KNOWN, around[:, *window][:, mask], 0).T
        (linked,) = np.nonzero(neighbour >= 0)
        rows.append(linked)
        columns.append(neighbour[linked])
        links.append(np.full(len(linked), -weight))
    diagonal = np.arange(count)
    entries = (
        np.concatenate([*links, total]),
        (np.concatenate([*rows, diagonal]), np.concatenate([*columns, diagonal])),
    )
    system = sparse.csc_matrix(entries, shape=(count, count))
    # Symmetric and diagonally dominant: no pivoting needed, 1.3x faster than the default on half of 224 x 224.
    solver = linalg.splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    filled = picture.copy()
    filled[:, mask] = solver.solve(known).T.astype(picture.dtype)
    return filled


Weights = Mapping[tuple[int, int], float]
_OUTSIDE, _KNOWN = -2, -1
_ROAD_NOISE = 0.01
_DIRECT, _DIAGONAL = ((0, 1), (1, 0), (0, -1), (-1, 0)), ((1, 1), (1, -1), (-1, 1), (-1, -1))
_HARMONIC: Weights = dict.fromkeys(_DIRECT, 1 / 4)  # Laplace's equation
_LINEAR: Weights = {**dict.fromkeys(_DIRECT, 1 / 6), **dict.fromkeys(_DIAGONAL, 1 / 12)}  # Rong et al. 2022


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
    "road": _imputed,
}
KINDS = tuple(_FILLS)
"""Every kind of fill there is."""
BY_MASK = ("inpaint", "road")
"""Those that depend on what is removed, so that every removal has its own."""
