"""Nets that learned the right classes, and nets that learned classes dealt out by lot: do their maps differ?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pellucid.compute.bootstrap import difference, interval
from pellucid.errors import NotLearned, RequestError
from pellucid.registry import metric
from pellucid.results.encoding import map_from_plain, map_to_plain
from pellucid.results.retraining import Retraining
from pellucid.trust.likeness import rank_correlation, structure
from pellucid.trust.measured import Maps
from pellucid.trust.retraining.learning import (
    Facts,
    Learn,
    Record,
    Split,
    Work,
    accuracy,
    as_input,
    check_maps,
    check_seeds,
    facts_of,
    here,
)
from pellucid.values.seed import Seed

RIGHT, PERMUTED, AGAIN = "right", "permuted", "right, another start"
_LEAST = 0.95


@runtime_checkable
class Explain(Protocol):
    """Maps of a net's answers, by name: [picture height width] for one class of each picture."""

    def __call__(
        self, net: nn.Module, pictures: Float[Tensor, "picture channel h w"], classes: Int64[Tensor, "picture"]
    ) -> Maps: ...


@metric("label_randomisation", better="lower", paper="Adebayo et al. 2018", range=(-1.0, 1.0), trains=True)
def label_randomisation(
    explain: Explain,
    data: Split,
    recipe: Learn,
    *,
    explained: int = 32,
    least: float = _LEAST,
    seeds: Sequence[int] = (0,),
    work: Work = here,
) -> Retraining:
    """How alike the maps of two nets are of which one learned the right classes and the other classes dealt by lot.

    explain:   makes the maps of a net; the controls among them, since those stay what they are
    data:      learned by heart, so few pictures; the first `explained` held-out ones are explained, for their own class
    recipe:    the same for both nets, and long enough that both know their pictures
    least:     what share of its pictures each net has to know; a net that knows less has learned no classes, wrong or
               right, and is refused

    One row per map: `similarity`, the rank correlation of both nets' maps, mean over pictures and seeds with its 95 %
    interval, -1 to 1: about 0 is right, 1 says that the map does not look at what was learned. Beside it that of the
    magnitudes, structural similarity, and `two honest nets`, the likeness of two nets of the right classes that began
    with other weights: a map is worth something where it is more alike there. Raises NotLearned, RequestError.
    """
    asked_seeds = check_seeds(seeds)
    if not 1 <= explained <= len(data.held_out):
        raise RequestError(f"explained={explained}; expected 1 to {len(data.held_out)} held-out pictures.")
    asked: list[dict[str, Any]] = [
        {"labels": labels, "seed": seed} for seed in asked_seeds for labels in (RIGHT, PERMUTED, AGAIN)
    ]
    records = work(Memorising(explain, data, recipe, explained), asked)
    for one, record in zip(asked, records, strict=True):
        if record["known"] <= least:
            raise NotLearned(f"The net of the {one['labels']} classes, seed {one['seed']},", record["known"], least)
    maps = {
        (one["labels"], one["seed"]): {name: map_from_plain(plain) for name, plain in record["maps"].items()}
        for one, record in zip(asked, records, strict=True)
    }
    rows = [_row(name, maps, asked_seeds) for name in maps[RIGHT, asked_seeds[0]]]
    details = [{"labels": one["labels"], "seed": one["seed"], "known": record["known"], "held out": record["held out"]}
               for one, record in zip(asked, records, strict=True)]  # fmt: skip
    return Retraining(
        "label_randomisation", "lower", tuple(sorted(rows, key=lambda row: row["similarity"])), tuple(details),
        {"learned from": len(data.pictures), "explained": explained, "seeds": len(asked_seeds),
         "recipe": facts_of(recipe)},
        notes=("Maps that ignore the model have a similarity of 1, but the random one, which is drawn anew.",
               "clearly: whether two honest nets are more alike, the whole interval of the difference above 0."),
        trainings=len(asked), seconds=sum(record.get("seconds", 0.0) for record in records),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Memorising:
    """Trains on classes that are right or permuted, and explains held-out pictures with the net.

    asked: labels (right; permuted; right, another start), seed
    """

    explain: Explain
    data: Split
    recipe: Learn
    explained: int

    def __call__(self, asked: Facts) -> Record:
        labels = self._labels(asked)
        seed = Seed(asked["seed"])
        net = self.recipe(
            self.data.pictures, labels, seed=int(seed.child("again") if asked["labels"] == AGAIN else seed)
        )
        shown, classes = as_input(self.data.held_out[: self.explained]), self.data.held_labels[: self.explained]
        maps = self.explain(net, shown, classes)
        check_maps("explain", maps, shown)
        return {
            "known": accuracy(net, self.data.pictures, labels),
            "held out": accuracy(net, self.data.held_out, self.data.held_labels),
            "maps": {name: map_to_plain(values) for name, values in maps.items()},
        }

    def facts(self, asked: Facts) -> list[Any]:
        return [self.data.name, facts_of(self.recipe), facts_of(self.explain), self.explained]

    def _labels(self, asked: Facts) -> Int64[Tensor, "picture"]:
        """The classes as they are, or dealt out anew: as many of each as there were."""
        if asked["labels"] != PERMUTED:
            return self.data.labels
        dealt = torch.randperm(len(self.data.labels), generator=Seed(asked["seed"]).child("labels").generator())
        return self.data.labels[dealt]


def _row(name: str, maps: dict[tuple[str, int], dict[str, Tensor]], seeds: Sequence[int]) -> dict[str, Any]:
    def alike(measure: Any, other: str) -> Float[Tensor, "picture"]:
        """Mean over the seeds, per picture."""
        return torch.stack([measure(maps[RIGHT, seed][name], maps[other, seed][name]) for seed in seeds]).mean(dim=0)

    def magnitudes(one: Tensor, other: Tensor) -> Tensor:
        return rank_correlation(one.abs(), other.abs())

    found, honest = alike(rank_correlation, PERMUTED), alike(rank_correlation, AGAIN)
    held, apart = interval(found.numpy()), difference(honest.numpy(), found.numpy())
    return {
        "map": name, "similarity": held.mean, "low": held.low, "high": held.high,
        "of magnitudes": float(alike(magnitudes, PERMUTED).mean()),
        "structure": float(alike(structure, PERMUTED).mean()),
        "two honest nets": float(honest.mean()), "clearly": apart.above_zero,
    }  # fmt: skip
