"""Two pictures and a model of likeness: which places of one answer which of the other."""

from __future__ import annotations

from pellucid.attribution.likeness import likeness, shared_out
from pellucid.engine import Evidence, look
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.results.pair import Pair
from pellucid.stories.request import Asked, Batch, Pictures, batches_of, subject
from pellucid.subject import VisionModel
from pellucid.subject.loaders.dual import DualEncoder
from pellucid.values import Layer, Similar

_DOUBTFUL = 0.2  # of the likeness: a greater part from what bends means that the maps tell another story


def pair(
    model: Asked, first: Pictures, second: Pictures, *, layer: Layer | str | None = None, embedding: str | None = None,
    normalised: bool = True, seed: int = 0, memory: float | None = None,
) -> Pair:  # fmt: skip
    """The likeness of two pictures to a model, shared out among pairs of places of one layer.

    layer:      whose places; None is the last layer on a grid, after which least bends
    embedding:  the layer that holds the embedding; None is the model's output, of a dual encoder what its picture tower
                gives before it is brought to length 1
    normalised: cosine likeness; else the plain product

    One forward per picture and one backward for each number of the embedding. Raises RequestError for more or fewer
    than one picture on a side, MethodUnavailable for a black box.
    """
    under_study = subject(model)
    if not under_study.differentiable:
        raise MethodUnavailable("pair", "it is a black box, which has no layers.")
    sides = [_single(under_study, images) for images in (first, second)]
    held = embedding or ("image" if isinstance(under_study.network, DualEncoder) else None)
    records = [
        look(under_study, mine.inputs, Similar(other.inputs, held), seed=seed, memory=memory)
        for mine, other in zip(sides, reversed(sides), strict=True)
    ]
    address = _address(records[0], layer)
    one, other = (shared_out(evidence, _address(evidence, layer), held) for evidence in records)
    found = likeness(one, other, normalised=normalised)
    notes: list[str] = []
    if abs(found.gap) > _DOUBTFUL * abs(found.value):
        notes.append(
            f"{abs(found.gap / (found.value or 1)):.0%} of the likeness comes from what bends between {address.name} "
            f"and the embedding, so the maps do not tell it whole. Choose a later layer"
            + ("." if held else ", and as embedding a layer before it is brought to length 1.")
        )
    return Pair(
        found.pairs, (sides[0].frames[0], sides[1].frames[0]), (records[0].size, records[1].size), found.constant,
        found.gap, address.name, held, normalised, model=under_study.card, notes=tuple(notes),
    )  # fmt: skip


def _single(model: VisionModel, images: Pictures) -> Batch:
    batches = batches_of(model, images)
    count = sum(len(batch) for batch in batches)
    if count != 1:
        raise RequestError(f"A side of a pair is one picture; got {count}.")
    return batches[0]


def _address(evidence: Evidence, layer: Layer | str | None) -> Layer:
    tree = evidence.layers
    if layer is None:
        reached = [known for known in tree.grid_layers if known.name not in tree.silent]
        if not reached:
            raise MethodUnavailable("pair", "no layer that its answer depends on lies on a grid over the picture.")
        return reached[-1]
    address = tree[layer.name if isinstance(layer, Layer) else layer]
    if address.grid is None:
        raise MethodUnavailable("pair", f"{address.name!r} does not lie on a grid over the picture.")
    return address
