"""Can a dictionary change one thing about what a model sees, and nothing else?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.compute.bootstrap import Interval, interval
from pellucid.compute.resample import ratio
from pellucid.errors import ShapeError
from pellucid.trust.concepts.finding import Finding, same_length
from pellucid.values.seed import Seed

Decide = Callable[[Float[Tensor, "item channel"]], Int[Tensor, "item"]]
"""What the model decides about activations: the class, one per item."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Control(Finding):
    """Whether edits by a dictionary do what the true change would have done.

    control:    share of items decided as with the true counterfactual activations
    untouched:  the same without any edit; shuffled: with edits that were made for other items
    margin:     control less shuffled, per item
    magnitude:  length of the edit over length of the true change, all items together
    missed:     distance left to the true change over its length
    cross_talk: share of other attributes, of those that the true change leaves, that are read differently afterwards;
                None without probes
    shuffled_cross_talk: the same after the edits that were made for other items
    kept, total: items that the true change moves at all, and all
    """

    control: Interval
    untouched: float
    shuffled: float
    margin: Interval
    magnitude: Interval
    missed: Interval
    cross_talk: Interval | None
    shuffled_cross_talk: float


@dataclass(frozen=True, eq=False)
class AttributeProbes:
    """Linear readers of attributes, one each, learned on activations. accuracy: on items they did not learn from."""

    readers: tuple[Callable[[Tensor], Int[Tensor, "item"]], ...]
    accuracy: tuple[float, ...]

    @staticmethod
    def fitted(
        activations: Float[Tensor, "item channel"], attributes: Int[Tensor, "item attribute"], *, seed: int = 0
    ) -> AttributeProbes:
        """Logistic regressions on two thirds of the items."""
        from sklearn.linear_model import LogisticRegression

        same_length("attributes", len(attributes), len(activations), "item")
        order = torch.randperm(len(activations), generator=Seed(seed).child("probes").generator())
        cut = max(1, len(order) // 3)
        unseen, seen = order[:cut].numpy(), order[cut:].numpy()
        values, readers, accuracies = activations.detach().double().numpy(), list[Callable[[Tensor], Tensor]](), []
        for column in attributes.T.numpy():
            if len(np.unique(column[seen])) < 2:
                reader: Callable[[Tensor], Tensor] = _constant(int(column[seen][0]))
            else:
                reader = _reading(LogisticRegression(max_iter=500, tol=1e-3).fit(values[seen], column[seen]))
            readers.append(reader)
            said = reader(activations[torch.from_numpy(unseen)]).numpy()
            accuracies.append(float((said == column[unseen]).mean()))
        return AttributeProbes(tuple(readers), tuple(accuracies))

    def read(self, activations: Float[Tensor, "item channel"]) -> Int[Tensor, "item attribute"]:
        """What each of them says."""
        return torch.stack([reader(activations) for reader in self.readers], dim=1)


def swap_edit(
    activations: Float[Tensor, "item channel"], codes: Float[Tensor, "item unit"],
    other_codes: Float[Tensor, "item unit"], atoms: Float[Tensor, "unit channel"],
    target: Float[Tensor, "item channel"], *, swaps: int = 2,
) -> Float[Tensor, "item channel"]:  # fmt: skip
    """Activations in which a few codes were exchanged for those of a counterfactual, the most useful first.

    other_codes: of the counterfactual; target: its activations
    swaps: at most so many units; each is the one that brings the activations nearest to the target, and none is taken
           that leads away from it

    Makelov et al. 2024.
    """
    changes = other_codes - codes
    sizes = atoms.square().sum(dim=1)
    edited, free = activations.clone(), torch.ones_like(codes, dtype=torch.bool)
    rows = torch.arange(len(codes))
    for _ in range(min(swaps, codes.shape[1])):
        gains = 2 * changes * ((target - edited) @ atoms.T) - changes.square() * sizes
        gains = torch.where(free, gains, torch.full_like(gains, -torch.inf))
        best = gains.argmax(dim=1)
        useful = (gains[rows, best] > 0).to(edited.dtype)
        edited = edited + (useful * changes[rows, best])[:, None] * atoms[best]
        free[rows, best] = False
    return edited


def edit_control(
    activations: Float[Tensor, "item channel"], edited: Float[Tensor, "item channel"],
    true: Float[Tensor, "item channel"], decide: Decide, *, attribute: int | None = None,
    probes: AttributeProbes | None = None, seed: int = 0,
) -> Control:  # fmt: skip
    """How often an edit makes the model decide as the true change would have, how large it is, and what else it moves.

    edited:    by a dictionary, `SupervisedDictionary.edit` or `swap_edit`
    true:      activations of the same items with the attribute truly changed
    attribute: which of the probes' attributes was changed; the others are asked for cross-talk

    Items whose activations the true change leaves as they were are left out and counted. Makelov et al. 2024.
    """
    for name, values in (("edited", edited), ("true", true)):
        if values.shape != activations.shape:
            raise ShapeError(name, got=tuple(values.shape), expected=f"{list(activations.shape)}")
    moved = (true - activations).norm(dim=1) > 0
    clean, changed, wanted = activations[moved], edited[moved], true[moved]
    order = torch.randperm(len(clean), generator=Seed(seed).child("shuffle").generator())
    strange = clean + (changed - clean)[order]
    with torch.no_grad():
        goal = decide(wanted)
        same = [(decide(values) == goal).double() for values in (changed, clean, strange)]
    length = (wanted - clean).norm(dim=1).double()
    talk: Interval | None = None
    strange_talk = float("nan")
    if probes is not None:
        others = [at for at in range(len(probes.readers)) if at != attribute]
        own, rival = _talk(probes, others, clean, wanted, changed), _talk(probes, others, clean, wanted, strange)
        talk, strange_talk = interval(own.tolist(), seed), float(rival.nanmean())
    skipped = "the true change leaves its activations as they were"
    return Control(
        control=interval(same[0].tolist(), seed), untouched=float(same[1].mean()), shuffled=float(same[2].mean()),
        margin=interval((same[0] - same[2]).tolist(), seed),
        magnitude=ratio((changed - clean).norm(dim=1).double().tolist(), length.tolist(), seed=seed),
        missed=ratio((changed - wanted).norm(dim=1).double().tolist(), length.tolist(), seed=seed),
        cross_talk=talk, shuffled_cross_talk=strange_talk, kept=int(moved.sum()), total=len(activations), seed=seed,
        skipped={f"item {at}": skipped for at in torch.nonzero(~moved)[:, 0].tolist()},
    )  # fmt: skip


def _talk(
    probes: AttributeProbes, others: Sequence[int], clean: Tensor, wanted: Tensor, after: Tensor
) -> Float[Tensor, "item"]:
    """Per item, the share of the other attributes read differently, of those that the true change leaves."""
    before, right, read = (probes.read(values)[:, list(others)] for values in (clean, wanted, after))
    steady = before == right
    count = steady.sum(dim=1)
    return torch.where(count > 0, ((read != before) & steady).sum(dim=1).double() / count.clamp(min=1), torch.nan)


def _reading(classifier: Any) -> Callable[[Tensor], Tensor]:
    def read(values: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(classifier.predict(values.detach().double().numpy()), dtype=np.int64))

    return read


def _constant(value: int) -> Callable[[Tensor], Tensor]:
    return lambda values: torch.full((len(values),), value, dtype=torch.int64)
