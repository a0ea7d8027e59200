"""How far can a net be trained towards or away from the truth in its maps, while its answers stay as good?"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn import functional

from pellucid.compute import train as training
from pellucid.compute.bootstrap import interval
from pellucid.compute.train import Recipe
from pellucid.engine.perturb import digest
from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.results.retraining import Retraining
from pellucid.trust.detection import average_precision
from pellucid.trust.ground import checked
from pellucid.trust.localisation import hits, shared_overlap
from pellucid.trust.mass import mass
from pellucid.trust.retraining.explainers import Differentiable, mass_inside
from pellucid.trust.retraining.learning import (
    Facts,
    Record,
    Split,
    Work,
    accuracy,
    as_input,
    drawn,
    facts_of,
    here,
)

ORIGINAL, PLAIN, ALIGNED, MISALIGNED = "original", "plain", "aligned", "misaligned"
_SIGN: Mapping[str, float] = {ORIGINAL: 0.0, PLAIN: 0.0, ALIGNED: 1.0, MISALIGNED: -1.0}
_BATCH = 50  # pictures whose maps are made at once
MEASURES = ("mass", "rank", "precision", "pointing")


@metric("alignment", better="lower", paper="Baniecki et al. 2023", range=(-1.0, 1.0), trains=True)
def alignment(
    network: nn.Module,
    data: Split,
    masks: Bool[Tensor, "picture height width"],
    held_masks: Bool[Tensor, "held height width"],
    explainers: Mapping[str, Differentiable],
    recipe: Recipe,
    *,
    weights: Sequence[float] = (4.0, 1.0, 0.25),
    drop: float = 0.02,
    seed: int = 0,
    work: Work = here,
) -> Retraining:
    """How far short training moves a map towards or away from the truth while the net answers as well as before.

    network:    the net under study in its trained state; copies of it are trained, never it
    masks, held_masks: where the truth lies in the pictures of both parts of `data`
    explainers: maps with a gradient, by name: `input_gradient`, `gradient_times_input`, `IntegratedGradients()`,
                `SmoothGrad()`, `GradCamAt(layer)`
    recipe:     of the short training: cross entropy less (aligned) or plus (misaligned) a weight times the share of
                the map that lies in the mask. Batch norm keeps its statistics, dropout is off
    weights:    tried one after the other, until the accuracy on held-out pictures falls by no more than `drop`

    One row for each explainer trained for, explainer measured and measure (mass in the mask, rank, average
    precision of pixels, pointing): the
    value of the net as it was, after as much training without any map, misaligned and aligned; `gap`, aligned less
    misaligned, with a 95 % interval over pictures. Near 0 the map cannot be talked into anything; near 1 a score
    against the truth says nothing of it. NaN where no weight kept the accuracy, and a note says so. Raises ShapeError,
    RequestError.
    """
    if not explainers:
        raise RequestError("explainers is empty; name at least one map that has a gradient.")
    if not weights or any(weight < 0 for weight in weights):
        raise RequestError(f"weights={list(weights)}; expected at least one, 0 or more.")
    truth = tuple(
        checked(given, (len(pictures), *data.size))
        for given, pictures in ((masks, data.pictures), (held_masks, data.held_out))
    )
    asked: list[dict[str, Any]] = [{"towards": way, "explainer": "", "seed": seed} for way in (ORIGINAL, PLAIN)] + [
        {"towards": way, "explainer": name, "seed": seed} for name in explainers for way in (ALIGNED, MISALIGNED)
    ]
    job = Tuning(network, data, truth[0], truth[1], explainers, recipe, tuple(weights), drop)
    records = work(job, asked)
    found = {(one["towards"], one["explainer"]): record for one, record in zip(asked, records, strict=True)}
    rows = [
        _row(trained, measured, measure, found)
        for trained in explainers for measured in explainers for measure in MEASURES
    ]  # fmt: skip
    details = [
        {"towards": way, "explainer": name, "weight": record["weight"], "accuracy": record["accuracy"],
         "held": record["holds"]}
        for (way, name), record in found.items()
    ]  # fmt: skip
    lost = [f"{way} for {name}: no weight kept the accuracy within {drop:.1%}, so there is no gap."
            for (way, name), record in found.items() if not record["holds"]]  # fmt: skip
    return Retraining(
        "alignment", "lower", tuple(rows), tuple(details),
        {"learned from": len(data.pictures), "held out": len(data.held_out), "drop": drop, "seed": seed,
         "weights": list(weights), "recipe": recipe.to_dict()},
        notes=("A table of maps against a truth measures the net as much as the map: this is by how much.", *lost),
        trainings=sum(record["trained"] for record in records),
        seconds=sum(record.get("seconds", 0.0) for record in records),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Tuning:
    """Trains a copy of the net a little, and measures the maps of the copy.

    asked: towards (original, plain, aligned, misaligned), explainer, seed
    """

    network: nn.Module
    data: Split
    masks: Tensor
    held_masks: Tensor
    explainers: Mapping[str, Differentiable]
    recipe: Recipe
    weights: tuple[float, ...]
    drop: float

    def __call__(self, asked: Facts) -> Record:
        way, before = asked["towards"], accuracy(_copied(self.network), self.data.held_out, self.data.held_labels)
        net, reached, weight, trained = _copied(self.network), before, 0.0, 0
        for weight in () if way == ORIGINAL else self.weights if _SIGN[way] else (0.0,):
            net, trained = self._tuned(asked, weight), trained + 1
            reached = accuracy(net, self.data.held_out, self.data.held_labels)
            if before - reached <= self.drop:
                break
        return {
            "accuracy": reached, "weight": weight, "trained": trained,
            "holds": not _SIGN[way] or before - reached <= self.drop,
            "measured": {name: self._measured(net, explainer) for name, explainer in self.explainers.items()},
        }  # fmt: skip

    def facts(self, asked: Facts) -> list[Any]:
        told = [
            self.data.name, self._net, [digest(masks.float()) for masks in (self.masks, self.held_masks)],
            self.recipe.to_dict(),
            {name: facts_of(one) for name, one in self.explainers.items()},
        ]  # fmt: skip
        return [*told, list(self.weights), self.drop] if _SIGN[asked["towards"]] else told

    @cached_property
    def _net(self) -> str:
        state = self.network.state_dict()
        told = "".join(f"{key} {digest(value.float())}" for key, value in state.items())
        return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()

    def _tuned(self, asked: Facts, weight: float) -> nn.Module:
        net, pull = _copied(self.network), weight * _SIGN[asked["towards"]]
        explainer = self.explainers.get(asked["explainer"])

        def objective(step: int) -> Tensor:
            chosen = drawn(len(self.data.pictures), self.recipe.batch, step, asked["seed"])
            pictures, labels = as_input(self.data.pictures[chosen]), self.data.labels[chosen]
            loss = functional.cross_entropy(net(pictures), labels, label_smoothing=self.recipe.smoothing)
            if explainer is None or not pull:
                return loss
            return loss - pull * mass_inside(explainer(net, pictures, labels), self.masks[chosen]).mean()

        training.descend(_Still(net), objective, self.recipe, label=f"Training {asked['towards']}")
        return net

    def _measured(self, net: nn.Module, explainer: Differentiable) -> dict[str, list[float]]:
        parts = zip(
            *(whole.split(_BATCH) for whole in (self.data.held_out, self.data.held_labels, self.held_masks)),
            strict=True,
        )
        found: dict[str, list[float]] = {measure: [] for measure in MEASURES}
        for pictures, labels, masks in parts:
            with training.one_thread():
                maps = explainer(net, as_input(pictures), labels).detach()
            found["mass"] += mass(maps, masks).tolist()
            found["pointing"] += list(hits(maps, masks))
            found["precision"] += [
                average_precision(one, mask) for one, mask in zip(maps.flatten(1), masks.flatten(1), strict=True)
            ]
            found["rank"] += [
                shared_overlap(one, mask) / int(mask.sum())
                for one, mask in zip(maps.flatten(1), masks.flatten(1), strict=True)
            ]
        return {measure: [round(one, 7) for one in values] for measure, values in found.items()}


class _Still(nn.Module):
    """A net that stays in evaluation mode while it is trained: its statistics are not what is to change."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def train(self, mode: bool = True) -> _Still:
        return super().train(False)


def _copied(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose weights all learn."""
    return copy.deepcopy(network).eval().requires_grad_(True)


def _row(trained: str, measured: str, measure: str, found: Mapping[tuple[str, str], Record]) -> dict[str, Any]:
    def values(way: str) -> np.ndarray:
        record = found[way, trained if _SIGN[way] else ""]
        return np.asarray(record["measured"][measured][measure]) * (1.0 if record["holds"] else np.nan)

    gap = interval(values(ALIGNED) - values(MISALIGNED))
    named = {way: float(np.mean(values(way))) for way in (ORIGINAL, PLAIN, MISALIGNED, ALIGNED)}
    return {
        "trained for": trained, "map": measured, "measure": measure, **named, "gap": gap.mean, "low": gap.low,
        "high": gap.high,
    }  # fmt: skip
