"""Does the explanation that is shown contain what the picture does not, and how much does it keep of the answer?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from pellucid.engine import Evidence
from pellucid.errors import RequestError
from pellucid.images.shearlets import Shearlets, edge_strength
from pellucid.images.wavelets import Wavelets
from pellucid.registry import metric
from pellucid.trust.measured import Maps, Measured

_LEAST = 1e-6
_LOG_LEAST = 1e-7  # under the logarithm, as in the authors' code

Detector = Callable[[Float[Tensor, "batch height width"]], Float[Tensor, "batch height width"]]


@metric("hallucination", better="lower", paper="Kolek et al. 2023", range=(0.0, float("inf")))
def hallucination(evidence: Evidence, maps: Maps, *, edges: str = "sobel", threshold: float = 0.1) -> Measured:
    """How many edges the masked picture shows that the picture itself does not have.

    edges:     how they are found on grey values: by `sobel`, or by `shearlets` as in the paper
    threshold: how strong an edge must be to be one, in parts of the step from black to white, above 0 and below 1
    returns:   the explanation's edges that do not touch one of the picture's, over the picture's edges: 0 is none,
               above 1 more invented than there were

    The explanation is the picture times its map (negative values cut, greatest value 1). A hard-cut mask draws its own
    outline and is caught by it. Pictures without edges have no value.
    """
    if edges not in _DETECTORS:
        raise RequestError(f"edges={edges!r}; expected {' or '.join(_DETECTORS)}.")
    if not 0 < threshold < 1:
        raise RequestError(f"threshold={threshold}; expected a part of the strongest edge, above 0 and below 1.")
    grey = _grey(evidence.inputs)

    def found(shown: Float[Tensor, "batch height width"]) -> Bool[Tensor, "batch height width"]:
        return _DETECTORS[edges](shown) > threshold

    own = found(grey)
    near = functional.max_pool2d(own[:, None].float(), 3, stride=1, padding=1)[:, 0] > 0
    there = own.flatten(1).sum(dim=1)
    values = {
        name: torch.where(
            there > 0, (found(grey * _mask(one)) & ~near).flatten(1).sum(dim=1) / there.clamp(min=1), torch.nan
        )
        for name, one in maps.items()
    }
    skipped = {at: "it has no edges" for at, count in enumerate(there.tolist()) if not count}
    return Measured(values, unit=f"invented edges over the picture's, by {edges}", skipped=skipped)


@metric("conciseness", better="higher", paper="Kolek et al. 2023", range=(0.0, float("inf")), cost=1)
def conciseness(evidence: Evidence, maps: Maps, *, basis: str = "pixels", information: str = "l1") -> Measured:
    """How much of the answer's probability the masked picture keeps for every bit of picture it keeps.

    basis:       in what the picture is written: its `pixels`, `wavelets` or `shearlets`
    information: what is kept of the picture: the sum of the magnitudes (`l1`) or the `entropy` of the energies of its
                 coefficients, over that of the whole picture. Published are CP-L1-pixel, which is the default, and
                 CP-L1 and CP-Entropy in the representation that an explanation was made in
    returns:     retained probability over retained information: 1 for the whole picture, higher for a mask that keeps
                 the answer with little. Masked pixels become black

    Kolek et al. count the coefficients that their mask kept; a map has none, so those of the masked picture count.
    """
    if basis not in _BASES or information not in _INFORMATION:
        known = f"a basis of {', '.join(_BASES)}, and {' or '.join(_INFORMATION)}"
        raise RequestError(f"basis={basis!r}, information={information!r}; expected {known}.")
    black = evidence.fill("black")
    masks = {name: _mask(values) for name, values in maps.items()}

    def points() -> list[Tensor]:
        shown = [mask.to(evidence.inputs)[:, None] for mask in masks.values()]
        return [evidence.inputs, *(black + mask * (evidence.inputs - black) for mask in shown)]

    whole, *kept = (answer.probabilities for answer in evidence.answers_at(points()))
    colours, written = (evidence.inputs - black).cpu().float(), _BASES[basis](evidence.size)

    def told(shown: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch"]:
        # Picture by picture: shearlets of many at once would fill the memory.
        return torch.stack([_INFORMATION[information](written(one[None])) for one in shown]).clamp(min=_LEAST)

    total = told(colours)
    values = {
        name: after / whole.clamp(min=_LEAST) / (told(colours * mask[:, None]) / total).clamp(min=_LEAST)
        for (name, mask), after in zip(masks.items(), kept, strict=True)
    }
    unit = f"retained probability over retained {information} of {basis}"
    return Measured(values, fills=("black",), unit=unit)


def _mask(values: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch height width"]:
    """The map as a mask: negative values cut, greatest value 1; nothing where nothing is positive."""
    positive = values.clamp(min=0)
    return positive / positive.amax(dim=(-2, -1), keepdim=True).clamp(min=1e-30)


def _grey(inputs: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch height width"]:
    """Grey values from 0 to 1, whatever the model's input is scaled to."""
    grey = inputs.detach().cpu().float().mean(dim=1)
    low, high = grey.amin(dim=(-2, -1), keepdim=True), grey.amax(dim=(-2, -1), keepdim=True)
    return (grey - low) / (high - low).clamp(min=1e-12)


def _sobel(grey: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch height width"]:
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4
    kernels = torch.stack([across, across.T])[:, None]
    padded = functional.pad(grey[:, None], (1, 1, 1, 1), mode="replicate")
    return functional.conv2d(padded, kernels).norm(dim=1)


def _entropy(coefficients: Tensor) -> Float[Tensor, ""]:
    """Of the shares of the energy, in nats."""
    energy = coefficients.double().square()
    share = energy / energy.sum().clamp(min=1e-300)
    return -(share * (share + _LOG_LEAST).log()).sum().float()


_DETECTORS: Mapping[str, Detector] = {"sobel": _sobel, "shearlets": edge_strength}
_BASES: Mapping[str, Callable[[tuple[int, int]], Callable[[Tensor], Tensor]]] = {
    "pixels": lambda _: lambda picture: picture,
    "wavelets": lambda size: Wavelets.of(size).analysed,
    "shearlets": lambda size: Shearlets.of(size).analysed,
}
_INFORMATION: Mapping[str, Callable[[Tensor], Float[Tensor, ""]]] = {
    "l1": lambda coefficients: coefficients.abs().sum(),
    "entropy": _entropy,
}
