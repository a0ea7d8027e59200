"""Pictures explained by the filters that were selected for their classes."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from pellucid.attribution.filters import FilterSelection, selected_filters
from pellucid.engine import Evidence, look
from pellucid.registry import Method
from pellucid.results import Heatmaps
from pellucid.stories.maps import heatmaps, join, needs_of
from pellucid.stories.request import Asked, Pictures, batches_of, subject
from pellucid.values import Activation, Rule


def explained_by_filters(
    model: Asked, images: Pictures, selection: FilterSelection, *, target: Any = None, count: int = 5,
    rule: str = "resampled", seed: int = 0, memory: float | None = None,
) -> Heatmaps:  # fmt: skip
    """Where the filters that were selected for each picture's class saw what excites them, as maps like any other's.

    selection: what `attribution.filters.fit` found in this very model
    target:    a class, or one per picture; None is the predicted class. The rest as of `selected_filters`

    Raises RequestError for another model and for targets that are no classes.
    """
    under_study = subject(model)

    def of(evidence: Evidence) -> Float[Tensor, "batch height width"]:
        return selected_filters(evidence, selection, count=count, rule=rule)

    of.__doc__ = selected_filters.__doc__
    entry = Method("selected_filters", of, (Activation, Rule(rule)), ("pixels",), "Oramas et al. 2019", cost=2 * count)
    pieces: list[Heatmaps] = []
    for batch in batches_of(under_study, images):
        evidence = look(
            under_study, batch.inputs, target, needs=needs_of([entry]), layers=selection.layers, seed=seed,
            memory=memory,
        )  # fmt: skip
        pieces.append(heatmaps(evidence, batch, entry))
    return join(pieces)
