"""Where the truth is known and the maps of two classes are compared: is each about its own class?"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.trust.ground import EMPTY, Ground, known
from pellucid.trust.localisation import hits
from pellucid.trust.measured import Maps, Measured, Remake, where_judged
from pellucid.trust.removal import not_finite
from pellucid.values.target import Class, Target


@metric(
    "contrast_pointing_game", better="higher", paper="Zhang et al. 2018", needs_truth=True, remakes=True,
    cost=lambda others=1, **_: others, shared=1,
)  # fmt: skip
def contrast_pointing_game(
    evidence: Evidence, maps: Maps, truth: Ground, remake: Remake, *, others: int = 1
) -> Measured:  # fmt: skip
    """Whether what a map shows of its class, and not of other classes, points at where the answer is.

    others:  how many other classes are taken away, those that the model ranks highest beside the target; the paper
             contrasts with all of them, which costs as many maps
    returns: the pointing game of the difference: positive part of the target's map less the mean of those of the other
             classes, each scaled to the sum 1. A map that is the same for all classes leaves nothing, which is a miss

    Raises RequestError where a target is no class, or where there are fewer other classes.
    """
    made = [remake(targets=targets) for targets in next_classes(evidence, others)]
    values = {
        name: _scaled(one) - torch.stack([_scaled(other[name]) for other in made]).mean(dim=0)
        for name, one in maps.items()
    }
    return where_judged(
        values, {EMPTY: truth.empty}, lambda shown, mask: hits(shown.clamp(min=0), mask), truth.mask,
        order="signed, largest first", unit="share of hits",
    )  # fmt: skip


@metric(
    "class_discrimination", better="higher", paper="Selvaraju et al. 2017", needs_truth=True, remakes=True,
    reads=("rival",), cost=1,
)  # fmt: skip
def class_discrimination(evidence: Evidence, maps: Maps, truth: Ground, remake: Remake) -> Measured:
    """Of pictures with two classes in them, how many of the two maps lie more on their own thing than on the other's.

    For the target and for its rival, the other class in the picture: is the mean positive value on the thing of the
    class that is asked for above that on the other thing? Mean of both answers, ties count half: 1 for maps that tell
    the classes apart, 0.5 for those that are the same whatever is asked, 0 for those that mix them up. Pictures of one
    class have no value. Raises RequestError where no second class is known.
    """
    place = known(truth.rival, "second class in each picture")
    asked = [own if rival is None else rival for rival, own in zip(truth.rivals, evidence.targets, strict=True)]
    there = torch.tensor([rival is not None for rival in truth.rivals])
    own, beside = truth.exact & ~place, place & ~truth.exact
    lone = ~there | ~own.flatten(1).any(dim=1) | ~beside.flatten(1).any(dim=1)
    other = maps if lone.all() else remake(targets=asked)

    def told(one: Tensor, for_rival: Tensor) -> Tensor:
        right = (_more(one, own, beside) + _more(for_rival, beside, own)) / 2
        return torch.where(not_finite(one) | not_finite(for_rival), torch.nan, right)

    values = {name: told(one, other[name]) for name, one in maps.items()}
    return where_judged(
        values, {"it shows one class only": lone}, lambda row: row, unit="share of maps that lie on their own class"
    )  # fmt: skip


def _more(
    values: Float[Tensor, "batch height width"],
    here: Bool[Tensor, "batch height width"],
    there: Bool[Tensor, "batch height width"],
) -> Float[Tensor, "batch"]:
    """1 where a map's mean positive value is larger here than there, 0.5 where both are equal."""
    positive = values.double().clamp(min=0)
    one, other = ((positive * mask).sum(dim=(-2, -1)) / mask.sum(dim=(-2, -1)).clamp(min=1) for mask in (here, there))
    return ((one - other).sign() + 1) / 2


def _scaled(values: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch height width"]:
    """The positive part with the sum 1; nothing where nothing is positive."""
    positive = values.double().clamp(min=0)
    return positive / positive.sum(dim=(-2, -1), keepdim=True).clamp(min=1e-300)


def next_classes(evidence: Evidence, count: int = 1) -> list[list[Target]]:
    """The classes that the model ranks highest beside each target: `count` times a target for every picture.

    Raises RequestError where a target is no class, or where there are fewer other classes.
    """
    outputs = evidence.output()
    own = [target.index for target in evidence.targets if isinstance(target, Class)]
    if len(own) < len(evidence.targets) or not 1 <= count < outputs.shape[-1]:
        raise RequestError(
            f"{count} classes beside the target: expected 1 to {outputs.shape[-1] - 1}, of class targets."
        )
    ranking = outputs.argsort(dim=-1, descending=True).tolist()
    others = [[label for label in row if label != index][:count] for row, index in zip(ranking, own, strict=True)]
    return [[Class(row[place]) for row in others] for place in range(count)]
