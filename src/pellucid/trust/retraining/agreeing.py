"""Do nets that learned from nearly the same pictures explain alike, and unlike where one of them is wrong?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pellucid.compute.bootstrap import ratio
from pellucid.engine.perturb import digest
from pellucid.errors import RequestError, ShapeError
from pellucid.registry import metric
from pellucid.results.encoding import map_from_plain, map_to_plain
from pellucid.results.retraining import Retraining
from pellucid.trust.likeness import correlation, ranks
from pellucid.trust.retraining.labels import Explain
from pellucid.trust.retraining.learning import (
    Facts,
    Learn,
    Record,
    Split,
    Work,
    accuracy,
    answers,
    as_input,
    check_maps,
    facts_of,
    here,
    packed,
    unpacked,
)
from pellucid.values.seed import Seed

_LOTS = 200  # times that the pairs are dealt out anew
_PIECE = 50  # pictures explained at once
_READ = "A map that ignores the model has a MeGe of 1 and a ReCo of 0: neither says anything without the other."
_LOT = (
    "by lot: ReCo where right and wrong were dealt out anew among the pictures, mean of 200. The best threshold of few "
    "pairs is above 0 by itself; clearly: above 95 % of those."
)


@dataclass(frozen=True, eq=False)
class Likeness:
    """How near maps of several nets are, over the pairs of one kind of distance.

    mege: 1 / (1 + mean distance of the agreeing pairs), 0 to 1; low, high: its 95 % interval over pictures
    reco: the greatest of (share of the agreeing pairs within a threshold) + (share of the others beyond it) - 1 over
          thresholds, 0 to 1; by_lot: what it is where pairs are dealt out by lot; clearly: above 95 % of those
    agreeing, disagreeing: mean distances

    NaN where there is no pair of a kind.
    """

    mege: float
    low: float
    high: float
    reco: float
    by_lot: float
    clearly: bool
    agreeing: float
    disagreeing: float


@metric("consistency", better="higher", paper="Fel et al. 2022", trains=True)
def consistency(
    explain: Explain, data: Split, recipe: Learn, *, folds: int = 4, explained: int = 64, seed: int = 0,
    work: Work = here,
) -> Retraining:  # fmt: skip
    """Whether nets that learned without one fold of the pictures explain its pictures as the nets that had it do.

    explain:   makes the maps of a net, the controls among them
    data:      the pictures to learn from are cut into `folds`; one net is trained without each, from a start of its
               own. The held-out pictures only say how well the nets do
    explained: pictures in all, as many of each fold, whose maps are compared, always for their own class: the map of
               the net that has not learned from the picture with those of the others

    One row per map. A pair of nets agrees where both are right about the picture, disagrees where one of them is, and
    counts for nothing where none is. Distances are 1 - |rank correlation|, 0 to 1, and the length of the difference
    (L2) of maps scaled to length 1, 0 to 2. MeGe and ReCo as `Likeness` has them; NaN, and a note, where there is no
    pair of the kind. Raises RequestError, ShapeError.
    """
    if not 2 <= folds <= len(data.pictures):
        raise RequestError(f"folds={folds}; expected 2 to {len(data.pictures)}, the pictures there are.")
    if not folds <= explained <= len(data.pictures):
        raise RequestError(
            f"explained={explained}; expected {folds} to {len(data.pictures)}, one of each fold at least."
        )
    job = Folding(explain, data, recipe, folds, explained, int(Seed(seed)))
    asked = [{"without": fold} for fold in range(folds)]
    records = work(job, asked)
    home = job.fold_of[job.shown]
    others = torch.stack([torch.tensor([fold for fold in range(folds) if fold != own]) for own in home.tolist()])
    pairs = torch.stack([home[:, None].expand_as(others), others], dim=-1)
    details = [{"net": f"without fold {one['without']}", **{name: record[name] for name in _FIGURES}}
               for one, record in zip(asked, records, strict=True)]  # fmt: skip
    facts = {"learned from": len(data.pictures), "folds": folds, "explained": len(home), "seed": seed,
             "recipe": facts_of(recipe)}  # fmt: skip
    return _table(records, pairs, details, facts, len(records))


def consistency_of(
    nets: Sequence[nn.Module], explain: Explain, pictures: Tensor, labels: Int64[Tensor, "picture"], *,
    names: Sequence[str] = (), work: Work = here,
) -> Retraining:  # fmt: skip
    """The same of nets that there are already: every two of them, on pictures that none has learned from.

    nets:  of one architecture, such as one recipe from several seeds; at least two
    names: what the table calls them

    Raises RequestError, ShapeError.
    """
    if len(nets) < 2:
        raise RequestError(f"{len(nets)} nets; expected at least 2, since their maps are compared.")
    if len(pictures) == 0 or len(pictures) != len(labels):
        raise ShapeError(
            "pictures", got=tuple(pictures.shape), expected=f"one picture for each of {len(labels)} classes"
        )
    if names and len(names) != len(nets):
        raise RequestError(f"{len(names)} names for {len(nets)} nets; expected one each, or none.")
    asked = [{"net": place} for place in range(len(nets))]
    records = work(Comparing(explain, tuple(nets), pictures, labels), asked)
    both = torch.tensor(list(combinations(range(len(nets)), 2)))
    pairs = both.expand(len(pictures), -1, -1)
    told = names or [f"net {place}" for place in range(len(nets))]
    details = [{"net": name, "unseen": record["unseen"]} for name, record in zip(told, records, strict=True)]
    return _table(records, pairs, details, {"nets": len(nets), "explained": len(pictures)}, 0)


_FIGURES = ("known", "unseen", "held out")


@dataclass(frozen=True, eq=False)
class Folding:
    """Trains a net without one fold, and explains the shown pictures of all folds with it.

    asked: without, the fold
    """

    explain: Explain
    data: Split
    recipe: Learn
    folds: int
    explained: int
    seed: int

    @property
    def fold_of(self) -> Int64[Tensor, "picture"]:
        """The fold of every picture, by lot: as equal as may be."""
        count = len(self.data.pictures)
        order = torch.randperm(count, generator=Seed(self.seed).child("folds").generator())
        folds = torch.empty(count, dtype=torch.long)
        folds[order] = torch.arange(count) % self.folds
        return folds

    @property
    def shown(self) -> Int64[Tensor, "shown"]:
        """The pictures whose maps are compared: the first of each fold, as many of each."""
        folds, each = self.fold_of, self.explained // self.folds
        return torch.cat([torch.nonzero(folds == fold).flatten()[:each] for fold in range(self.folds)])

    def __call__(self, asked: Facts) -> Record:
        data, without = self.data, self.fold_of == asked["without"]
        seed = int(Seed(self.seed).child("fold", asked["without"]))
        net = self.recipe(data.pictures[~without], data.labels[~without], seed=seed)
        return {
            "known": accuracy(net, data.pictures[~without], data.labels[~without]),
            "unseen": accuracy(net, data.pictures[without], data.labels[without]),
            "held out": accuracy(net, data.held_out, data.held_labels),
            **_said(net, self.explain, data.pictures[self.shown], data.labels[self.shown]),
        }

    def facts(self, asked: Facts) -> list[Any]:
        return [self.data.name, facts_of(self.recipe), facts_of(self.explain), self.folds, self.explained, self.seed]


@dataclass(frozen=True, eq=False)
class Comparing:
    """Explains pictures with one of several nets. asked: net, its place"""

    explain: Explain
    nets: tuple[nn.Module, ...]
    pictures: Tensor
    labels: Int64[Tensor, "picture"]

    def __call__(self, asked: Facts) -> Record:
        net = self.nets[asked["net"]]
        return {"unseen": accuracy(net, self.pictures, self.labels),
                **_said(net, self.explain, self.pictures, self.labels)}  # fmt: skip

    def facts(self, asked: Facts) -> list[Any]:
        state = self.nets[asked["net"]].state_dict()
        told = "".join(f"{key} {digest(value.float())}" for key, value in state.items())
        net = hashlib.blake2b(told.encode(), digest_size=8).hexdigest()
        return [net, digest(self.pictures.float()), self.labels.tolist(), facts_of(self.explain)]


def likeness(distances: Float[Tensor, "picture pair"], right: Int64[Tensor, "picture pair"], seed: int = 0) -> Likeness:
    """MeGe and ReCo of distances. right: how many of both nets are right about the picture, 0 to 2."""
    agree, differ = right == 2, right == 1
    near, far = distances[agree], distances[differ]
    mean = ratio((distances * agree).sum(dim=1).tolist(), agree.sum(dim=1).tolist(), seed)
    generator = Seed(seed).child("lots").generator()
    lots: list[float] = []
    found = parted(near, far)
    for _ in range(_LOTS if found == found else 0):
        dealt = right[torch.randperm(len(right), generator=generator)]
        lots.append(parted(distances[dealt == 2], distances[dealt == 1]))
    return Likeness(
        1 / (1 + mean.mean), 1 / (1 + mean.high), 1 / (1 + mean.low), found,
        float(np.mean(lots)) if lots else float("nan"), bool(lots) and found > float(np.quantile(lots, 0.95)),
        float(near.mean()), float(far.mean()),
    )  # fmt: skip


def parted(near: Float[Tensor, "near"], far: Float[Tensor, "far"]) -> float:
    """The greatest of (share of `near` within a threshold) + (share of `far` beyond it) - 1, 0 to 1; NaN of nothing."""
    if not len(near) or not len(far):
        return float("nan")
    inside, outside = near.double().sort().values, far.double().sort().values
    thresholds = torch.cat([inside, outside])
    within = torch.searchsorted(inside, thresholds, right=True).double() / len(inside)
    beyond = 1 - torch.searchsorted(outside, thresholds, right=True).double() / len(outside)
    return max(0.0, float((within + beyond - 1).max()))


def distances_of(
    maps: Float[Tensor, "net picture height width"], pairs: Int64[Tensor, "picture pair 2"]
) -> dict[str, Float[Tensor, "picture pair"]]:
    """Both kinds of distance of every pair of nets; equal maps are at distance 0 although they be flat."""
    ranked = torch.stack([ranks(values) for values in maps])  # [net picture pixel]
    flat = maps.double().flatten(2)
    sizes = flat.norm(dim=-1, keepdim=True)
    scaled = flat / torch.where(sizes == 0, 1.0, sizes)
    picture = torch.arange(maps.shape[1])
    rank, length = torch.zeros(pairs.shape[:2]), torch.zeros(pairs.shape[:2])
    for place in range(pairs.shape[1]):
        one, other = pairs[:, place, 0], pairs[:, place, 1]
        same = (flat[one, picture] == flat[other, picture]).all(dim=1)
        alike = correlation(ranked[one, picture][:, None], ranked[other, picture][:, None]).abs()
        rank[:, place] = torch.where(same, 0.0, 1 - alike).float()
        length[:, place] = (scaled[one, picture] - scaled[other, picture]).norm(dim=1).float()
    return {"rank": rank.clamp(min=0), "length": length}


def _said(net: nn.Module, explain: Explain, pictures: Tensor, labels: Int64[Tensor, "picture"]) -> Record:
    """Which pictures the net is right about, and its maps of them for their own class."""
    parts: dict[str, list[Tensor]] = {}
    for given, classes in zip(pictures.split(_PIECE), labels.split(_PIECE), strict=True):
        shown = as_input(given)
        made = explain(net, shown, classes)
        check_maps("explain", made, shown)
        for name, values in made.items():
            parts.setdefault(name, []).append(values.detach())
    return {
        "right": packed(answers(net, pictures) == labels),
        "maps": {name: map_to_plain(torch.cat(values)) for name, values in parts.items()},
    }


def _table(
    records: Sequence[Record], pairs: Int64[Tensor, "picture pair 2"], details: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any], trainings: int,
) -> Retraining:  # fmt: skip
    knows = torch.stack([unpacked(record["right"]) for record in records]).long()  # [net picture]
    right = knows[pairs, torch.arange(len(pairs))[:, None, None]].sum(dim=-1)
    rows = [
        _row(name, torch.stack([map_from_plain(record["maps"][name]).float() for record in records]), pairs, right)
        for name in records[0]["maps"]
    ]
    counts = {"agreeing pairs": int((right == 2).sum()), "disagreeing pairs": int((right == 1).sum())}
    lacking = [
        f"There are no {name}, so {measure} has no value."
        for (name, count), measure in zip(counts.items(), ("MeGe", "ReCo"), strict=True) if not count
    ]  # fmt: skip
    return Retraining(
        "consistency", "higher", tuple(sorted(rows, key=lambda row: -np.nan_to_num(row["ReCo"], nan=-1.0))),
        tuple(details), {**facts, **counts}, notes=(_READ, _LOT, *lacking), trainings=trainings,
        seconds=sum(record.get("seconds", 0.0) for record in records),
    )  # fmt: skip


def _row(
    name: str, maps: Float[Tensor, "net picture height width"], pairs: Int64[Tensor, "picture pair 2"],
    right: Int64[Tensor, "picture pair"],
) -> dict[str, Any]:  # fmt: skip
    apart = distances_of(maps, pairs)
    rank, length = (likeness(apart[kind], right) for kind in ("rank", "length"))
    return {
        "map": name, "ReCo": rank.reco, "by lot": rank.by_lot, "clearly": rank.clearly, "MeGe": rank.mege,
        "low": rank.low, "high": rank.high, "agreeing": rank.agreeing, "disagreeing": rank.disagreeing,
        "ReCo, L2": length.reco, "MeGe, L2": length.mege,
    }  # fmt: skip
