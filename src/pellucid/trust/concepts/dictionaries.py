"""How good is a dictionary of features, beside one made from what is known of the pictures? Its approximation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pellucid.compute.bootstrap import Interval
from pellucid.compute.resample import divided, sums_interval
from pellucid.errors import RequestError, ShapeError
from pellucid.trust.concepts.finding import Finding, same_length
from pellucid.values.seed import Seed

Answer = Callable[[Float[Tensor, "item channel"]], Float[Tensor, "item"]]
"""What the task asks of activations, one number per item: a difference of two logits, say."""


@dataclass(frozen=True, eq=False)
class SupervisedDictionary:
    """One direction for each value of each attribute: what a perfect dictionary of these attributes would hold.

    mean:    of the activations
    vectors: for each attribute [value channel]; a value that never occurred has a vector of zeros
    made:    "mean" or "least squares"
    """

    mean: Float[Tensor, "channel"]
    vectors: tuple[Float[Tensor, "value channel"], ...]
    made: str

    def reconstruct(self, attributes: Int[Tensor, "item attribute"]) -> Float[Tensor, "item channel"]:
        """The activations that these attributes alone would give."""
        parts = [own[attributes[:, at]] for at, own in enumerate(self.vectors)]
        return self.mean + torch.stack(parts).sum(dim=0)

    def edit(
        self, activations: Float[Tensor, "item channel"], attribute: int, before: Int[Tensor, "item"],
        after: Int[Tensor, "item"],
    ) -> Float[Tensor, "item channel"]:  # fmt: skip
        """The activations with one attribute's value exchanged for another's."""
        own = self.vectors[attribute]
        return activations - own[before] + own[after]


@dataclass(frozen=True, eq=False, kw_only=True)
class Approximation(Finding):
    """What a reconstruction of activations keeps of a task.

    sufficiency: share of the answer's height above the mean activation's that the reconstruction reaches: 1 all of it
    necessity:   share of it that is lost when the reconstruction's part is taken out: 1 all of it
    shuffled_sufficiency, shuffled_necessity: the same with every item given another item's reconstruction
    variance:    share of the activations' variance that is explained; below 0 worse than their mean
    active:      codes above 0 per item (L0); dead: share of units that never are. NaN without codes
    kept, total: items
    """

    sufficiency: Interval
    necessity: Interval
    shuffled_sufficiency: float
    shuffled_necessity: float
    variance: float
    active: float
    dead: float


def mean_dictionary(
    activations: Float[Tensor, "item channel"], attributes: Int[Tensor, "item attribute"]
) -> SupervisedDictionary:
    """Each value's vector is the mean activation of the items that have it, less the mean of all.

    Right where attributes are independent of each other; where they are not, a vector holds part of its companions.
    Makelov et al., Towards Principled Evaluations of Sparse Autoencoders, 2024.
    """
    counts = _counts(activations, attributes)
    mean = activations.mean(dim=0)
    vectors: list[Tensor] = []
    for at, count in enumerate(counts):
        sums = torch.zeros(count, activations.shape[1], dtype=activations.dtype)
        sums.index_add_(0, attributes[:, at], activations)
        met = torch.bincount(attributes[:, at], minlength=count)[:, None]
        vectors.append(torch.where(met > 0, sums / met.clamp(min=1) - mean, torch.zeros_like(sums)))
    return SupervisedDictionary(mean, tuple(vectors), "mean")


def least_squares_dictionary(
    activations: Float[Tensor, "item channel"], attributes: Int[Tensor, "item attribute"]
) -> SupervisedDictionary:
    """All vectors together such that the squared error of the reconstruction is least; right for linked attributes too.

    Of the solutions that fit alike the shortest is taken. Makelov et al. 2024.
    """
    counts = _counts(activations, attributes)
    mean = activations.mean(dim=0)
    shown = torch.cat(
        [torch.nn.functional.one_hot(attributes[:, at], count) for at, count in enumerate(counts)], dim=1
    ).double()  # fmt: skip
    solved = torch.from_numpy(np.linalg.lstsq(shown.numpy(), (activations - mean).double().numpy(), rcond=None)[0])
    return SupervisedDictionary(mean, tuple(solved.to(activations.dtype).split(counts)), "least squares")


def approximation(
    activations: Float[Tensor, "item channel"], reconstruction: Float[Tensor, "item channel"], answer: Answer, *,
    mean: Float[Tensor, "channel"] | None = None, codes: Float[Tensor, "item unit"] | None = None, seed: int = 0,
) -> Approximation:  # fmt: skip
    """How much of a task's answer a reconstruction carries, and how much is lost without it.

    answer: one number per item, higher where the task is done better
    mean:   of the activations; that of these items by default
    codes:  the dictionary's, for counting how many are active and dead

    With L the mean answer: sufficiency = (L(reconstruction) - L(mean)) / (L(activations) - L(mean)), necessity =
    (L(activations) - L(mean + activations - reconstruction)) / (L(activations) - L(mean)). Intervals are over items.
    Raises RequestError where the mean activation answers as well as the activations. Makelov et al. 2024.
    """
    if reconstruction.shape != activations.shape:
        raise ShapeError("reconstruction", got=tuple(reconstruction.shape), expected=f"{list(activations.shape)}")
    centre = activations.mean(dim=0) if mean is None else mean
    items = len(activations)
    with torch.no_grad():
        clean, empty = answer(activations), answer(centre.expand_as(activations).contiguous())
        height = (clean - empty).double()
        if abs(float(height.mean())) < 1e-9:
            raise RequestError("The mean activation answers as well as the activations do: there is nothing to keep.")

        def shares(rebuilt: Tensor) -> tuple[Tensor, Tensor]:
            kept = answer(rebuilt) - empty
            lost = clean - answer(centre + activations - rebuilt)
            return kept.double(), lost.double()

        own = shares(reconstruction)
        order = torch.randperm(items, generator=Seed(seed).child("shuffle").generator())
        other = shares(reconstruction[order])
    error, spread = ((activations - base).double().square().sum() for base in (reconstruction, centre))
    active = torch.zeros(0, 0) if codes is None else (codes > 0).double()
    return Approximation(
        sufficiency=_shared(own[0], height, seed), necessity=_shared(own[1], height, seed),
        shuffled_sufficiency=float(other[0].sum() / height.sum()),
        shuffled_necessity=float(other[1].sum() / height.sum()),
        variance=1 - float(error / spread) if float(spread) > 0 else float("nan"),
        active=float(active.sum(dim=1).mean()) if codes is not None else float("nan"),
        dead=float((active.sum(dim=0) == 0).double().mean()) if codes is not None else float("nan"),
        kept=items, total=items, seed=seed,
    )  # fmt: skip


def never(codes: Float[Tensor, "item unit"]) -> Bool[Tensor, "unit"]:
    """Units that no item makes active."""
    return ~(codes > 0).any(dim=0)


def _shared(part: Tensor, height: Tensor, seed: int) -> Interval:
    return sums_interval(torch.stack([part, height], dim=1).numpy(), divided, seed=seed)


def _counts(activations: Tensor, attributes: Tensor) -> list[int]:
    same_length("attributes", len(attributes), len(activations), "item")
    if not len(attributes) or int(attributes.min()) < 0:
        raise RequestError("attributes: expected at least one item, and values counted from 0.")
    return [int(top) + 1 for top in attributes.amax(dim=0)]
