"""Pictures as they come back from elsewhere: saved with loss, or with a tissue's dyes in other amounts."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

# How much of red, green and blue a unit of haematoxylin, eosin and DAB absorbs (Ruifrok & Johnston 2001).
_STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
_DARKEST = 1e-6


def saved_as_jpeg(
    pixels: UInt8[np.ndarray, "picture height width *channel"], quality: int
) -> UInt8[np.ndarray, "picture height width *channel"]:
    """The pictures as they come back from a JPEG file, colour at half resolution.

    quality: 1 to 100; one channel of grey has no last axis
    """
    opened = np.empty(pixels.shape, dtype=np.uint8)
    for at, picture in enumerate(pixels):
        file = BytesIO()
        Image.fromarray(np.ascontiguousarray(picture)).save(file, "JPEG", quality=quality, subsampling="4:2:0")
        with Image.open(file, formats=["JPEG"]) as image:
            opened[at] = np.asarray(image)
    return opened


def restained(
    colours: Float[Tensor, "batch 3 height width"], factors: Float[Tensor, "batch 3"], offsets: Float[Tensor, "batch 3"]
) -> Float[Tensor, "batch 3 height width"]:
    """The pictures with other amounts of the three dyes of a slide: `amount * factor + offset` of each.

    colours: 0 black to 1 white; what would be brighter becomes white
    factors, offsets: of haematoxylin, eosin and DAB. Factors 1 and offsets 0 leave every picture as it is, also one
             that is no slide: its colours are then only read as if they were mixed of dyes

    Tellez et al., Whole-Slide Mitosis Detection in H&E Breast Histology, TMI 2018.
    """
    stains = torch.tensor(_STAINS, dtype=torch.float64, device=colours.device)
    stains = stains / stains.norm(dim=1, keepdim=True)
    density = -colours.double().clamp(min=_DARKEST).log()
    amounts = torch.einsum("bchw,cs->bshw", density, stains.inverse())
    changed = amounts * factors.to(amounts)[:, :, None, None] + offsets.to(amounts)[:, :, None, None]
    return torch.einsum("bshw,sc->bchw", changed, stains).neg().exp().clamp(max=1).to(colours)
