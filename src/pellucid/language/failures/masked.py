"""Pictures of which only what the model looked at is left, for any search for failures.

Marani, Mancini, Bruno et al., ViG-Bias: Visually grounded bias discovery and mitigation, ECCV 2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.errors import ParameterError, ShapeError

QUANTILE = 0.7


@dataclass(frozen=True, eq=False)
class Masked:
    """Pictures with the rest gone.

    kept:  which pixels stayed
    empty: pictures whose map is the same everywhere; they are left whole, for it says nothing of them
    """

    pictures: Float[Tensor, "picture 3 height width"]
    kept: Bool[Tensor, "picture height width"]
    empty: Bool[Tensor, "picture"]


def masked(
    pictures: Float[Tensor, "picture 3 height width"], heat: Float[Tensor, "picture height width"], *,
    quantile: float = QUANTILE, fill: float = 0.0, cue: bool = False,
) -> Masked:  # fmt: skip
    """What the model looked at, without the rest: pixels below the picture's own quantile become `fill`.

    pictures: as the encoder or captioner takes them, cut like the model's own, or the map lies beside its place
    heat:     of the model's own prediction; one fixed class for all pictures is a mistake of the reference code
    quantile: .7 leaves three tenths of the picture
    cue:      the other way round: what the model looked at goes, as training on masked pictures wants it
    """
    if heat.shape != (len(pictures), *pictures.shape[2:]):
        expected = f"{[len(pictures), *pictures.shape[2:]]}, one map for each picture"
        raise ShapeError("heat", got=list(heat.shape), expected=expected)
    if not 0 <= quantile < 1:
        raise ParameterError("masked", "quantile", quantile, "0 up to 1; at 1 nothing would be left")
    flat = heat.flatten(1)
    level = torch.quantile(flat.float(), quantile, dim=1, keepdim=True)
    kept = (flat >= level).view_as(heat)
    empty = flat.amax(dim=1) == flat.amin(dim=1)
    shown = (~kept if cue else kept) | empty[:, None, None]
    return Masked(torch.where(shown[:, None], pictures, torch.full_like(pictures, fill)), shown, empty)
