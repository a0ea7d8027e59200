"""Regions in the order in which they add most of a map per pixel, as XRAI takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

_LEAST = 50 / 224**2  # part of the picture that a region has to add


@dataclass(frozen=True, eq=False)
class Taken:
    """One region as it was taken.

    mask:    what it added to those before it
    density: the map's mean over that
    covered: part of the picture covered with it, 0 to 1
    """

    mask: Bool[np.ndarray, "height width"]
    density: float
    covered: float


@dataclass(frozen=True, eq=False)
class Ranking:
    """The map painted region by region, and the regions in their order.

    values: on every pixel the density of the region that brought it; where no region came, the mean over what is left.
            Sums to what the map sums to
    """

    values: Float[Tensor, "height width"]
    taken: tuple[Taken, ...]

    def within(self, area: float) -> Bool[np.ndarray, "height width"]:
        """The first regions that together cover no more than this part of the picture, 0 to 1."""
        found = np.zeros(tuple(self.values.shape), dtype=bool)
        for one in self.taken:
            if one.covered > area:
                break
            found |= one.mask
        return found


def ranked_regions(
    values: Float[Tensor, "height width"], masks: Sequence[Bool[np.ndarray, "height width"]], least: float = _LEAST
) -> Ranking:
    """The region with the highest mean of the map first, then always the one with the highest mean of what it adds.

    masks: may overlap
    least: regions that would add less than this part of the picture are dropped

    Kapishnikov et al., XRAI, ICCV 2019.
    """
    flat = values.detach().cpu().double().flatten().numpy()
    inside = np.stack([np.asarray(mask, dtype=bool).ravel() for mask in masks])
    sums, sizes = np.array([flat[one].sum() for one in inside]), inside.sum(axis=1).astype(float)
    enough = max(1.0, least * flat.size)
    free = np.ones(flat.size, dtype=bool)
    painted = np.zeros(flat.size)
    taken: list[Taken] = []
    waiting = sizes >= enough
    while waiting.any():
        density = np.where(waiting, sums / np.maximum(sizes, 1), -np.inf)
        best = int(np.argmax(density))
        new = np.flatnonzero(inside[best] & free)
        painted[new] = density[best]
        free[new] = False
        mask = np.zeros(flat.size, dtype=bool)
        mask[new] = True
        taken.append(Taken(mask.reshape(tuple(values.shape)), float(density[best]), 1 - float(free.mean())))
        columns = inside[:, new]
        sums, sizes = sums - columns @ flat[new], sizes - columns.sum(axis=1)
        waiting &= sizes >= enough
        waiting[best] = False
    if free.any():
        painted[free] = flat[free].mean()
    return Ranking(torch.from_numpy(painted).view(values.shape).float(), tuple(taken))
