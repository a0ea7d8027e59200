"""Does a map help somebody else to foretell the model? A student net learns with maps and is tried without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.compute.bootstrap import interval
from pellucid.engine.perturb import digest
from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.results.retraining import Retraining
from pellucid.trust.measured import Maps
from pellucid.trust.retraining.erasing import colours, erased, silhouettes, taken
from pellucid.trust.retraining.learning import (
    Facts,
    HeldMaps,
    Learn,
    Record,
    Split,
    Work,
    answers,
    check_maps,
    check_seeds,
    facts_of,
    here,
    packed,
    unpacked,
)
from pellucid.values.seed import Seed

PLAIN, TAUGHT, READER = "without maps", "with maps", "from the map alone"


@metric("simulatability", better="higher", paper="Pruthi et al. 2022; Hase et al. 2020", range=(-1.0, 1.0), trains=True)
def simulatability(
    maps_of_training: Maps,
    maps_of_held_out: HeldMaps,
    data: Split,
    recipe: Learn,
    *,
    share: float = 0.25,
    seeds: Sequence[int] = (0, 1, 2),
    work: Work = here,
) -> Retraining:
    """How much better a student foretells the model's answers when it learned with the maps, which it is tried without.

    data:   the classes of both parts are the model's answers, not the truth
    recipe: trains a student from nothing. Few pictures show most: a student that foretells everything needs no help
    share:  the part of the pixels that the map ranks first and that the student is shown by themselves, beside the
            whole picture; the control is shown the whole picture twice

    One row per map: `gain`, the agreement on held-out pictures less that of the student without maps, -1 to 1 with a
    95 % interval over pictures; `adjusted`, the mean of the gain on those held-out pictures whose map gives the answer
    away by its shape alone and of the gain on the others, so that a map cannot win by naming the class; `leaking`, the
    share of the former. The random map's gain is what showing a part of the picture is worth by itself. Raises
    ShapeError, RequestError.
    """
    check_maps("maps_of_training", maps_of_training, data.pictures)
    check_maps("maps_of_held_out", maps_of_held_out, data.held_out)
    if set(maps_of_training) != set(maps_of_held_out) or not maps_of_training:
        raise RequestError("maps_of_training and maps_of_held_out have to hold maps of the same names, at least one.")
    if not 0 < share < 1:
        raise RequestError(f"share={share}; expected a part of the picture, above 0 and below 1.")
    asked_seeds = check_seeds(seeds)
    asked = [{"student": PLAIN, "map": "", "seed": seed} for seed in asked_seeds] + [
        {"student": student, "map": one, "seed": seed}
        for seed in asked_seeds for one in maps_of_training for student in (TAUGHT, READER)
    ]  # fmt: skip
    records = work(Teaching(data, maps_of_training, maps_of_held_out, recipe, share), asked)
    right = {
        (student, one): torch.stack([
            unpacked(record["right"])
            for task, record in zip(asked, records, strict=True)
            if (task["student"], task["map"]) == (student, one)
        ])
        for student, one in {(task["student"], task["map"]) for task in asked}
    }  # fmt: skip
    plain = right[PLAIN, ""]
    rows = [_row(one, plain, right[TAUGHT, one], right[READER, one]) for one in maps_of_training]
    details = [
        {"student": student, "map": one, "agreement": float(values.mean()),
         "each seed": [round(mean, 6) for mean in values.mean(dim=1).tolist()]}
        for (student, one), values in sorted(right.items())
    ]  # fmt: skip
    return Retraining(
        "simulatability", "higher", tuple(sorted(rows, key=lambda row: -row["gain"])), tuple(details),
        {"learned from": len(data.pictures), "held out": len(data.held_out), "seeds": len(asked_seeds), "share": share,
         "without maps": round(float(plain.mean()), 4), "chance": round(data.chance, 4), "recipe": facts_of(recipe)},
        notes=(
            f"The student without maps foretells {float(plain.mean()):.1%} of the model's answers; always saying the "
            f"commonest one {data.chance:.1%}.",
            "A picture leaks where a student that sees the shape of the map's strongest part, and no picture, gives "
            "the model's answer.",
        ),
        trainings=len(asked), seconds=sum(record.get("seconds", 0.0) for record in records),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Teaching:
    """Trains a student on the model's answers, with or without maps, or on the shape of the maps alone.

    asked: student, map, seed
    """

    data: Split
    training: Maps
    held_out: HeldMaps
    recipe: Learn
    share: float

    def __call__(self, asked: Facts) -> Record:
        pictures, labels, tried = self.data.pictures, self.data.labels, self.data.held_out
        if asked["student"] == READER:
            learned = silhouettes(pictures, self._hidden(self.training[asked["map"]]))
            tried = silhouettes(tried, self._hidden(self.held_out[asked["map"]]))
        else:
            beside = pictures
            if asked["student"] == TAUGHT:
                beside = erased(pictures, self._hidden(self.training[asked["map"]]), colours(pictures)[0])
            learned, labels = torch.cat([pictures, beside]), torch.cat([labels, labels])
        net = self.recipe(learned, labels, seed=asked["seed"])
        return {"right": packed(answers(net, tried) == self.data.held_labels)}

    def facts(self, asked: Facts) -> list[Any]:
        return [self.data.name, facts_of(self.recipe), self.share, self._digests.get(asked["map"])]

    @cached_property
    def _digests(self) -> dict[str, list[str]]:
        return {name: [digest(self.training[name]), digest(self.held_out[name])] for name in self.training}

    def _hidden(self, values: Tensor) -> Tensor:
        """What is not among the first `share` of the map's order."""
        return taken(values, self.share, True, Seed(0).child("highlight"))


def _row(
    name: str,
    plain: Float[Tensor, "seed picture"],
    taught: Float[Tensor, "seed picture"],
    leaks: Float[Tensor, "seed picture"],
) -> dict[str, Any]:
    gains = taught - plain
    held = interval(gains.mean(dim=0).double().numpy())
    adjusted = interval(evened(gains, leaks).mean(dim=0).double().numpy())
    return {
        "map": name, "agreement": float(taught.mean()), "gain": held.mean, "low": held.low, "high": held.high,
        "adjusted": adjusted.mean, "adjusted low": adjusted.low, "adjusted high": adjusted.high,
        "leaking": float(leaks.mean()),
    }  # fmt: skip


def evened(gains: Float[Tensor, "seed picture"], leaks: Float[Tensor, "seed picture"]) -> Float[Tensor, "seed picture"]:
    """Gains weighed so that their mean is the mean of the two groups' means, of leaking pictures and of the others.

    Where one group is empty the other counts alone.
    """
    weights = torch.zeros_like(gains)
    for seed, row in enumerate(leaks):
        groups = [group for group in (row > 0.5, row <= 0.5) if bool(group.any())]
        for group in groups:
            weights[seed, group] = len(row) / (len(groups) * int(group.sum()))
    return gains * weights
