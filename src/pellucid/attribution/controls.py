"""Maps that know nothing of the model. A method that does not beat them has shown nothing."""

from __future__ import annotations

import hashlib

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from pellucid.engine import Evidence
from pellucid.registry import method


@method("random", needs=[], paper="control", class_agnostic=True, control=True)
def random(evidence: Evidence, *, grid: int | None = None) -> Float[Tensor, "batch height width"]:
    """Uniform noise, 0 to 1: what a map is worth that was drawn by lot.

    grid: None draws every pixel; a number draws that many rows and columns and spreads them smoothly

    The draw depends on the seed and on the picture, so two pictures of a data set get two maps, in any batch.
    """
    height, width = evidence.size
    rows, columns = (height, width) if grid is None else (grid, grid)
    draws = [
        torch.rand(1, rows, columns, generator=evidence.seed.child("random", _digest(picture)).generator())
        for picture in evidence.inputs
    ]
    maps = torch.stack(draws).to(evidence.inputs)
    if grid is not None:
        maps = interpolate(maps, (height, width), mode="bilinear", align_corners=False)
    return maps[:, 0]


@method("centre", needs=[], paper="control", class_agnostic=True, control=True)
def centre(evidence: Evidence, *, width: float = 0.25) -> Float[Tensor, "batch height width"]:
    """A Gaussian in the middle of the picture, 0 to 1: photographers put things there.

    width: standard deviation in parts of each side
    """
    rows, columns = ((torch.linspace(-0.5, 0.5, side) / width).square() / 2 for side in evidence.size)
    bell = torch.exp(-(rows[:, None] + columns[None, :]))
    return bell.to(evidence.inputs).expand(len(evidence.inputs), -1, -1).clone()


@method("edge", needs=[], paper="control: Sobel", class_agnostic=True, control=True)
def edge(evidence: Evidence) -> Float[Tensor, "batch height width"]:
    """How strong the edges of the picture are, by the Sobel operator: many maps look convincing because edges do."""
    grey = pad(evidence.inputs.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]).to(grey) / 8
    slopes = conv2d(grey, torch.stack([across, across.T])[:, None])
    return slopes.square().sum(dim=1).sqrt()


def _digest(picture: Tensor) -> str:
    return hashlib.blake2b(picture.detach().float().cpu().contiguous().numpy().tobytes(), digest_size=8).hexdigest()
