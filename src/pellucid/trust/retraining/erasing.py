"""Pictures from which a part was taken, and pictures that show nothing but which part that was."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.values.seed import Seed


def taken(
    values: Float[Tensor, "picture height width"], level: float, keep: bool, seed: Seed
) -> Bool[Tensor, "picture height width"]:
    """Where pixels go: the first `level` of each map's order, or with `keep` all but those.

    Pixels that share the value at the cut are drawn by the seed, for every picture anew, so that a flat map takes other
    pixels from each.
    """
    flat = values.detach().cpu().float().flatten(1).numpy()
    first = round(level * flat.shape[1])
    if first == 0:
        chosen = np.zeros(flat.shape, dtype=bool)
    else:
        # Where the cut lies is all that is needed: a tenth of the time of sorting every picture.
        cut = np.partition(flat, -first, axis=1)[:, -first, None]
        chosen = flat >= cut
        for row in np.flatnonzero(chosen.sum(axis=1) > first):
            tied = np.flatnonzero(flat[row] == cut[row])
            order = torch.randperm(len(tied), generator=seed.child("ties", int(row)).generator()).numpy()
            chosen[row, tied[order[first - int((flat[row] > cut[row]).sum()) :]]] = False
    found = torch.from_numpy(chosen).view(values.shape)
    return ~found if keep else found


def erased(pictures: Tensor, gone: Bool[Tensor, "picture height width"], fill: Float[Tensor, "channel"]) -> Tensor:
    """The pictures with the pixels `gone` in the colour `fill`, in the pictures' own kind of number."""
    colour = fill.to(pictures.dtype) if pictures.is_floating_point() else fill.round().to(pictures.dtype)
    return torch.where(gone[:, None], colour[None, :, None, None], pictures)


def silhouettes(pictures: Tensor, gone: Bool[Tensor, "picture height width"]) -> Tensor:
    """Pictures of two colours: the mean colour where pixels are gone, one deviation beside it where they are not.

    All that tells them apart is the shape of what was taken. The mean picture would hide that shape wherever it has
    the colour of the fill, so the colour that stays is set apart by one standard deviation of each channel.
    """
    mean, spread = colours(pictures)
    shown = (mean + spread)[None, :, None, None].expand(len(pictures), -1, *pictures.shape[-2:])
    if not pictures.is_floating_point():
        shown = shown.round().clamp(0, 255)
    return erased(shown.to(pictures.dtype), gone, mean)


def colours(pictures: Tensor) -> tuple[Float[Tensor, "channel"], Float[Tensor, "channel"]]:
    """Mean and standard deviation of each channel over all pictures."""
    held = pictures.float()
    spread = held.std(dim=(0, 2, 3), correction=0)
    return held.mean(dim=(0, 2, 3)), torch.where(spread > 0, spread, torch.ones_like(spread))
