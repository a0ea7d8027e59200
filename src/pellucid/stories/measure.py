"""How far to trust a map: trust measures of it, with the controls beside."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.engine import look
from pellucid.engine.maps import compute, layer_for
from pellucid.errors import RequestError, ShapeError
from pellucid.registry import Metric, find_method, find_metric
from pellucid.results import Heatmaps, Score, Truth
from pellucid.stories.request import Asked, Batch, Pictures, batches_of, subject
from pellucid.subject import VisionModel


def evaluate(
    model: Asked,
    images: Pictures,
    heat: Heatmaps,
    metrics: str | Sequence[str] = ("deletion", "insertion"),
    *,
    truth: Truth | Sequence[Truth] | Tensor | np.ndarray | None = None,
    memory: float | None = None,
    **parameters: Any,
) -> list[Score]:
    """Measures of a map, each with what a random map, the centre and the edges of the picture reach.

    model, images: those the map was made from
    metrics:       names out of `pl.metrics()`
    truth:         for `pointing_game` and `mask_iou`: a Truth per picture, or masks [batch height width] on the input
    parameters:    the metrics' own (`steps=`, `fills=`); each takes those it has

    Raises UnknownMethod, RequestError where a metric needs a truth that was not given, ShapeError where the map belongs
    to other pictures.
    """
    names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    asked = [find_metric(name) for name in names]
    _check_parameters(asked, parameters)
    under_study = subject(model)
    batches = batches_of(under_study, images)
    if len(batches) != 1:
        raise RequestError("The pictures became inputs of several sizes; measure them one at a time.")
    (batch,) = batches
    if len(heat) != len(batch):
        expected = f"{len(batch)} maps, one per picture"
        raise ShapeError("Heatmaps.values", got=tuple(heat.values.shape), expected=expected)
    offered = _Offered(under_study, batch, heat, truth, memory)
    return [_measured(metric, offered, parameters) for metric in asked]


@dataclass(frozen=True, eq=False)
class _Offered:
    """What a metric may ask for by naming it as an argument."""

    model: VisionModel
    batch: Batch
    heat: Heatmaps
    given_truth: Any
    memory: float | None

    @property
    def table(self) -> dict[str, Callable[[], Any]]:
        evidence = look(self.model, self.batch.inputs, list(self.heat.targets), seed=self.heat.seed, memory=self.memory)
        return {
            "evidence": lambda: evidence, "heat": lambda: self.heat, "model": lambda: self.model,
            "truth": self._truth, "remake": lambda: self._remake,
        }  # fmt: skip

    def _truth(self) -> Tensor:
        if self.given_truth is None:
            raise RequestError("This measure needs truth=, the place where the answer is known to lie.")
        if isinstance(self.given_truth, Truth):
            return self._on_input([self.given_truth])
        if isinstance(self.given_truth, (list, tuple)) and all(isinstance(one, Truth) for one in self.given_truth):
            return self._on_input(self.given_truth)
        return torch.as_tensor(np.asarray(self.given_truth))

    def _on_input(self, truths: Sequence[Truth]) -> Tensor:
        if len(truths) != len(self.batch):
            raise RequestError(f"{len(truths)} truths for {len(self.batch)} pictures; expected one per picture.")
        masks = [
            one.mask if frame.geometry is None else frame.geometry.mask_to_input(one.mask)
            for one, frame in zip(truths, self.batch.frames, strict=True)
        ]
        return torch.from_numpy(np.stack(masks))

    def _remake(self, model: VisionModel) -> Tensor:
        """The same map for another model."""
        method = find_method(self.heat.method)
        layer = layer_for(
            model, method, self.heat.layer, (int(self.batch.inputs.shape[-2]), int(self.batch.inputs.shape[-1]))
        )
        evidence = look(
            model, self.batch.inputs, list(self.heat.targets), needs=method.needs, layers=[layer] if layer else (),
            seed=self.heat.seed, memory=self.memory,
        )  # fmt: skip
        values = compute(evidence, method, layer, **dict(self.heat.parameters))
        return values.sum(dim=1) if values.ndim == 4 else values


def _measured(metric: Metric, offered: _Offered, parameters: dict[str, Any]) -> Score:
    table = offered.table
    takes = inspect.signature(metric.function).parameters
    given = {name: table[name]() for name in takes if name in table}
    own = {name: value for name, value in parameters.items() if name in takes}
    return metric.function(**given, **own)


def _check_parameters(asked: Sequence[Metric], parameters: dict[str, Any]) -> None:
    offered = ("evidence", "heat", "model", "truth", "remake")
    known = {name for metric in asked for name in inspect.signature(metric.function).parameters if name not in offered}
    for name in parameters:
        if name not in known:
            listing = ", ".join(sorted(known)) or "none"
            raise RequestError(f"There is no parameter {name!r}. These measures have: {listing}.")
