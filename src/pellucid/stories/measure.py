"""How far to trust maps: measures of them, with what the maps that know nothing reach beside."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence, look
from pellucid.engine.findings import Passes
from pellucid.engine.maps import compute, layer_for
from pellucid.errors import RequestError, ShapeError
from pellucid.registry import Metric, find_method, find_metric
from pellucid.results import Heatmaps, Score, Truth
from pellucid.stories.maps import needs_of
from pellucid.stories.request import Asked, Batch, Pictures, batches_of, method_names, subject
from pellucid.subject import VisionModel
from pellucid.trust.ground import Ground
from pellucid.trust.measured import CONTROLS, Measured, control, scores_of, with_controls
from pellucid.values.target import Target

_KEPT = 2**28  # bytes of remade maps that lie ready for the next measure
Known = Ground | Truth | Sequence[Truth] | Tensor | np.ndarray


def evaluate(
    model: Asked,
    images: Pictures,
    heat: Heatmaps | Sequence[Heatmaps] | Mapping[str, Heatmaps],
    metrics: str | Sequence[str] = ("deletion", "insertion"),
    *,
    truth: Known | None = None,
    memory: float | None = None,
    **parameters: Any,
) -> list[Score]:
    """Measures of maps, each with what a random map, the centre and the edges of the picture reach.

    model, images: those the maps were made from
    heat:          maps of one method or of several, for the same targets; several share passes, and the controls'
    metrics:       names out of `pl.metrics()`
    truth:         for measures that need to know the answer: a Truth per picture, or masks [batch height width] on the
                   model's input
    parameters:    the metrics' own (`steps=`, `fills=`); each takes those it has

    One Score per metric and map, in that order. Raises UnknownMethod, RequestError where a metric needs a truth that
    was not given, ShapeError where the map belongs to other pictures.
    """
    names = method_names(metrics, "metric")
    if not names:
        raise RequestError("No metric was named. pl.metrics() lists them.")
    asked = [find_metric(name) for name in names]
    for metric in asked:
        refuse_training(metric)
    check_parameters(asked, parameters)
    heats = _by_name(heat)
    under_study = subject(model)
    batches = batches_of(under_study, images)
    if len(batches) != 1:
        raise RequestError("The pictures became inputs of several sizes; measure them one at a time.")
    (batch,) = batches
    for one in heats.values():
        if len(one) != len(batch):
            expected = f"{len(batch)} maps, one per picture"
            raise ShapeError("Heatmaps.values", got=tuple(one.values.shape), expected=expected)
    first = next(iter(heats.values()))
    evidence = look(under_study, batch.inputs, list(first.targets), seed=first.seed, memory=memory)
    known = None if truth is None else ground(truth, batch, evidence.size)
    measuring = Subject(under_study, batch, heats, evidence, known, memory)
    return [score for metric in asked for score in scores_of(metric, measuring.measure(metric, parameters))]


@dataclass(frozen=True, eq=False)
class Subject:
    """What is measured: the maps of one batch, the evidence they share, the truth where it is known.

    extra: maps that no method makes, such as the truth itself; measures that remake maps leave them out
    """

    model: VisionModel
    batch: Batch
    heats: Mapping[str, Heatmaps]
    evidence: Evidence
    truth: Ground | None = None
    memory: float | None = None
    extra: Mapping[str, Float[Tensor, "batch height width"]] = field(default_factory=dict[str, Tensor])

    @cached_property
    def maps(self) -> dict[str, Float[Tensor, "batch height width"]]:
        """The maps and the controls, by name, one channel each."""
        own = {name: heat.one_channel for name, heat in self.heats.items()}
        return with_controls(self.evidence, {**own, **self.extra})

    def measure(self, metric: Metric, parameters: Mapping[str, Any]) -> Measured:
        """The measure's table over all maps; of the parameters it takes those it has. Raises RequestError."""
        refuse_training(metric)
        takes = inspect.signature(metric.function).parameters
        given = {name: offer(self) for name, offer in _OFFERED.items() if name in takes}
        if metric.remakes and self.extra:
            given["maps"] = {name: values for name, values in self.maps.items() if name not in self.extra}
        own = {name: value for name, value in parameters.items() if name in takes}
        before = self._spent
        found: Measured = metric.function(**given, **own)
        seed = own.get("seed", takes["seed"].default) if "seed" in takes else None
        return replace(found, passes=self._spent - before, seed=None if seed is None else int(seed))

    def known(self) -> Ground:
        if self.truth is None:
            raise RequestError("This measure needs truth=, the place where the answer is known to lie.")
        return self.truth

    def remake(
        self, *, model: VisionModel | None = None, inputs: Tensor | None = None,
        targets: Sequence[Target] | None = None, seed: int | None = None, names: Collection[str] | None = None,
    ) -> dict[str, Float[Tensor, "batch height width"]]:  # fmt: skip
        """The maps under changed circumstances; see `pellucid.trust.measured.Remake`.

        Maps of another model are kept for the next measure that asks the same: several walk through the same weights.
        """
        otherwise = (inputs, targets, seed, names)
        if model is None or any(one is not None for one in otherwise):
            return self._remade(model or self.model, *otherwise)
        if (made := self._kept.get(model.fingerprint)) is None:
            made = self._kept[model.fingerprint] = self._remade(model, *otherwise)
            size = sum(values.nbytes for values in made.values())
            while len(self._kept) > 1 and len(self._kept) * size > _KEPT:
                self._kept.pop(next(iter(self._kept)))
        return made

    @property
    def _spent(self) -> float:
        """Passes per picture so far: of what measures asked, and of maps made anew."""
        return self.evidence.passes.cost + self._remakes.cost

    @cached_property
    def _remakes(self) -> Passes:
        return Passes()

    @cached_property
    def _kept(self) -> dict[str, dict[str, Tensor]]:
        return {}

    def _remade(
        self, model: VisionModel, inputs: Tensor | None, targets: Sequence[Target] | None, seed: int | None,
        names: Collection[str] | None,
    ) -> dict[str, Float[Tensor, "batch height width"]]:  # fmt: skip
        pictures = self.batch.inputs if inputs is None else inputs
        size = (int(pictures.shape[-2]), int(pictures.shape[-1]))
        heats = {name: heat for name, heat in self.heats.items() if names is None or name in names}
        methods = {name: find_method(heat.method) for name, heat in heats.items()}
        layers = {name: layer_for(model, methods[name], heat.layer, size) for name, heat in heats.items()}
        evidence = look(
            model, pictures, list(targets or self.evidence.targets), needs=needs_of(methods.values()),
            layers=dict.fromkeys(layer for layer in layers.values() if layer),
            seed=self.evidence.seed if seed is None else seed, memory=self.memory,
        )  # fmt: skip
        made: dict[str, Tensor] = {}
        for name, heat in heats.items():
            values = compute(evidence, methods[name], layers[name], **dict(heat.parameters)).cpu()
            made[name] = values.sum(dim=1) if values.ndim == 4 else values
        # A random map knows nothing, so it does not know itself again either.
        fresh = look(model, pictures, list(evidence.targets), seed=evidence.seed.child("remade"), memory=self.memory)
        beside = [name for name in CONTROLS if names is None or control(name) in names]
        made |= {control(name): compute(fresh, find_method(name)).cpu() for name in beside}
        for one in (evidence.passes, fresh.passes):
            self._remakes.add(one.forwards, one.backwards)
        return made


# What a measure may ask for by naming it as an argument.
_OFFERED: dict[str, Callable[[Subject], Any]] = {
    "evidence": lambda subject: subject.evidence,
    "maps": lambda subject: subject.maps,
    "model": lambda subject: subject.model,
    "heats": lambda subject: subject.heats,
    "truth": Subject.known,
    "remake": lambda subject: subject.remake,
}


def refuse_training(metric: Metric) -> None:
    """Raises RequestError for a measure that trains nets: maps and a model are not enough for it."""
    if metric.trains:
        raise RequestError(
            f"{metric.name} trains nets, so it needs pictures to learn from: `pellucid retrain --help`, or "
            f"pellucid.trust.retraining.{metric.name}."
        )


def check_parameters(asked: Sequence[Metric], parameters: Mapping[str, Any]) -> None:
    """Raises RequestError for a parameter that none of the measures has."""
    known = {name for metric in asked for name in inspect.signature(metric.function).parameters} - set(_OFFERED)
    for name in parameters:
        if name not in known:
            listing = ", ".join(sorted(known)) or "none"
            raise RequestError(f"There is no parameter {name!r}. These measures have: {listing}.")


def ground(truth: Known, batch: Batch, size: tuple[int, int]) -> Ground:
    """What is known, on the model's input. Raises ShapeError, RequestError."""
    if isinstance(truth, Ground):
        return truth
    truths = [truth] if isinstance(truth, Truth) else truth
    if isinstance(truths, (list, tuple)) and all(isinstance(one, Truth) for one in truths):
        if len(truths) != len(batch):
            raise RequestError(f"{len(truths)} truths for {len(batch)} pictures; expected one per picture.")
        shape = (len(batch), *size)
        grown = Ground.of(_on_input(batch, [one.mask for one in truths]), shape)
        exact = _on_input(batch, [one.mask if one.ungrown is None else one.ungrown for one in truths])
        return replace(grown, exact=exact)
    return Ground.of(cast("Tensor | np.ndarray | Sequence[np.ndarray]", truths), (len(batch), *size))


def _on_input(batch: Batch, masks: Sequence[np.ndarray]) -> Tensor:
    placed = [
        mask if frame.geometry is None else frame.geometry.mask_to_input(mask)
        for mask, frame in zip(masks, batch.frames, strict=True)
    ]
    return torch.from_numpy(np.stack(placed)).bool()


def _by_name(heat: Heatmaps | Sequence[Heatmaps] | Mapping[str, Heatmaps]) -> dict[str, Heatmaps]:
    if isinstance(heat, Heatmaps):
        return {heat.method: heat}
    entries = list(heat.values() if isinstance(heat, Mapping) else heat) if isinstance(heat, Iterable) else [heat]
    for one in entries:
        if not isinstance(one, Heatmaps):
            raise RequestError(f"A {type(one).__name__} is no map to measure; expected what pl.attribute gave.")
    heats = dict(heat) if isinstance(heat, Mapping) else {one.method: one for one in heat}
    if not heats:
        raise RequestError("There is no map to measure.")
    targets = {one.targets for one in heats.values()}
    if len(targets) > 1:
        raise RequestError("The maps were made for different targets; measure them apart.")
    return heats
