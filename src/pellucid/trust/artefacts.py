"""Does the explanation that is shown contain what the picture does not, and how much does it keep of the answer?"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from pellucid.engine import Evidence
from pellucid.registry import metric
from pellucid.trust.measured import Maps, Measured

_EDGE = 0.1  # of the strongest edge a picture from black to white can have
_LEAST = 1e-6


@metric("hallucination", better="lower", paper="Kolek et al. 2023", range=(0.0, float("inf")))
def hallucination(evidence: Evidence, maps: Maps) -> Measured:
    """How many edges the masked picture shows that the picture itself does not have.

    The explanation is the picture times its map (negative values cut, greatest value 1). Its edges that do not touch
    one of the picture's, over the picture's edges: 0 is none, above 1 more invented than there were. Edges are Sobel's
    on grey values, where Kolek et al. take shearlets; a hard-cut mask draws its own outline and is caught by it.
    """
    grey = _grey(evidence.inputs)
    own = _edges(grey)
    near = functional.max_pool2d(own[:, None].float(), 3, stride=1, padding=1)[:, 0] > 0
    there = own.flatten(1).sum(dim=1)
    values = {
        name: torch.where(
            there > 0, (_edges(grey * _mask(one)) & ~near).flatten(1).sum(dim=1) / there.clamp(min=1), torch.nan
        )
        for name, one in maps.items()
    }
    skipped = {at: "it has no edges" for at, count in enumerate(there.tolist()) if not count}
    return Measured(values, unit="invented edges over the picture's", skipped=skipped)


@metric("conciseness", better="higher", paper="Kolek et al. 2023", range=(0.0, float("inf")), cost=1)
def conciseness(evidence: Evidence, maps: Maps) -> Measured:
    """How much of the answer's probability the masked picture keeps for every bit of picture it keeps.

    Retained probability over retained magnitude of the pixels (CP-L1 in pixels): 1 for the whole picture, higher for a
    mask that keeps the answer with little. Masked pixels become black.
    """
    size = evidence.size
    black = evidence.fill("black")
    masks = {name: _mask(values) for name, values in maps.items()}

    def points() -> list[Tensor]:
        shown = [mask.to(evidence.inputs)[:, None] for mask in masks.values()]
        return [evidence.inputs, *(black + mask * (evidence.inputs - black) for mask in shown)]

    whole, *kept = (answer.probabilities for answer in evidence.answers_at(points()))
    grey = (evidence.inputs - black).abs().sum(dim=1).cpu()
    total = grey.sum(dim=(-2, -1)).clamp(min=_LEAST)
    values: dict[str, Tensor] = {}
    for (name, mask), after in zip(masks.items(), kept, strict=True):
        assert mask.shape[-2:] == size
        held = ((grey * mask).sum(dim=(-2, -1)) / total).clamp(min=_LEAST)
        values[name] = after / whole.clamp(min=_LEAST) / held
    return Measured(values, fills=("black",), unit="retained probability over retained picture")


def _mask(values: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch height width"]:
    """The map as a mask: negative values cut, greatest value 1; nothing where nothing is positive."""
    positive = values.clamp(min=0)
    return positive / positive.amax(dim=(-2, -1), keepdim=True).clamp(min=1e-30)


def _grey(inputs: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch height width"]:
    """Grey values from 0 to 1, whatever the model's input is scaled to."""
    grey = inputs.detach().cpu().float().mean(dim=1)
    low, high = grey.amin(dim=(-2, -1), keepdim=True), grey.amax(dim=(-2, -1), keepdim=True)
    return (grey - low) / (high - low).clamp(min=1e-12)


def _edges(grey: Float[Tensor, "batch height width"]) -> Bool[Tensor, "batch height width"]:
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4
    kernels = torch.stack([across, across.T])[:, None]
    padded = functional.pad(grey[:, None], (1, 1, 1, 1), mode="replicate")
    return functional.conv2d(padded, kernels).norm(dim=1) > _EDGE
