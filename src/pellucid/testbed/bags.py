"""Bags of little birds: the bag has a class, its pictures have none, and which of them decide is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from pellucid.errors import SceneError
from pellucid.testbed.chance import choose, uniform_numbers
from pellucid.testbed.scene import Scenes, indices, scenes

BAG_LABELS = ("no plume", "a plume")
SMALLEST_BAG, LARGEST_BAG = 6, 24
_MOST_DECIDING = 3
_PLUME = 1  # the value of the field `crest`


@dataclass(frozen=True, eq=False)
class Bags:
    """Bags of pictures, of varying number; a bag's class is whether any bird in it wears a plume.

    drawn:    every picture of every bag, those of one bag one after another
    sizes:    how many pictures each bag holds
    labels:   the class of each bag, a position in BAG_LABELS
    deciding: which pictures of each bag have a plume; none do in a bag of class 0
    """

    drawn: Scenes
    sizes: Int64[np.ndarray, "bag"]
    labels: Int64[np.ndarray, "bag"]
    deciding: tuple[Bool[np.ndarray, "_"], ...]

    def __len__(self) -> int:
        return len(self.sizes)

    def rows(self, bag: int) -> slice:
        """Where the pictures of one bag stand among all. Raises SceneError for a bag that is not there."""
        if not 0 <= bag < len(self):
            raise SceneError(f"There is no bag {bag}: there are {len(self)}, counted from 0.")
        first = int(self.sizes[:bag].sum())
        return slice(first, first + int(self.sizes[bag]))

    def scenes(self, bag: int) -> Scenes:
        """The scenes of one bag, with their masks and parts."""
        return self.drawn[self.rows(bag)]

    def pictures(self, bag: int) -> Float32[Tensor, "instance 3 height width"]:
        """The pictures of one bag in 0..1."""
        return self.scenes(bag).tensor()


def bags(seed: int, count: int | Sequence[int] | np.ndarray, *, size: int = 64) -> Bags:
    """Bags of 6 to 24 birds; in half of them one to three birds wear a plume, and in the others none does.

    seed:  which world; training uses 0, tests 2 and above
    count: how many, or the indices of those wanted: bag 17 is the same alone and in any batch

    Raises SceneError for indices below 0.
    """
    index = indices(count, "bags")
    sizes = SMALLEST_BAG + choose(uniform_numbers(seed, index, "bag_size"), LARGEST_BAG - SMALLEST_BAG + 1)
    labels = choose(uniform_numbers(seed, index, "bag_label"), len(BAG_LABELS))
    many = np.where(labels == 1, 1 + choose(uniform_numbers(seed, index, "bag_deciding"), _MOST_DECIDING), 0)
    each = [bag * LARGEST_BAG + np.arange(size) for bag, size in zip(index, sizes, strict=True)]
    rows = np.concatenate([*each, np.empty(0, dtype=np.int64)])
    deciding = tuple(
        _first_by_chance(uniform_numbers(seed, pictures, "bag_place"), int(number))
        for pictures, number in zip(each, many, strict=True)
    )
    crest = np.concatenate([*deciding, np.empty(0, dtype=bool)]) * _PLUME
    return Bags(scenes(seed, rows, size=size).with_fields(crest=crest.astype(np.int64)), sizes, labels, deciding)


def _first_by_chance(drawn: np.ndarray, number: int) -> Bool[np.ndarray, "_"]:
    """The places of the `number` lowest draws."""
    return np.argsort(np.argsort(drawn, kind="stable"), kind="stable") < number
