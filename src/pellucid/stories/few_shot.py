"""A query, a few pictures with masks, and a model: which marked and unmarked support pixels the query is matched to."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import ArrayLike
from torch import Tensor

from pellucid.attribution.affinity import EXPLAINED, Matcher, affinity
from pellucid.attribution.few_shot import FewShot
from pellucid.engine import look
from pellucid.errors import MethodUnavailable, RequestError, ShapeError
from pellucid.images import Frame, Geometry, Source, read_many
from pellucid.results.model_card import ModelCard
from pellucid.results.support_maps import SupportMaps
from pellucid.stories.request import Asked, Batch, Pictures, batches_of, subject
from pellucid.subject import VisionModel
from pellucid.trust.support import Support
from pellucid.values import Activation, Layer

_MOST_PLACES, _LEVELS = 32 * 32, 3  # per picture of a default level, and how many there are by default


def few_shot(
    model: Asked, query: Pictures, support: Pictures, masks: Sequence[ArrayLike], *,
    classes: Sequence[str] | None = None, layers: Sequence[Layer | str] | None = None, deciding: str = "matching",
    temperature: float = 0.02, explained: str = "predicted", truth: ArrayLike | None = None, softmax: bool = True,
    weighting: str = "ablation",
) -> SupportMaps:  # fmt: skip
    """The support pixels that a query is segmented by, where places of a model's layers take the class they match.

    masks:     per support picture, over its own pixels: 0 the background, then the number of the class
    classes:   their names; None counts them
    layers:    the levels; None is the last whole stage on each of the last three grids of at most 32 x 32 places
    deciding, temperature: see `Episode`; explained pixels are those that are `predicted` as the class, those of the
               `truth` (over the query's pixels), or `all`; softmax, weighting: see `affinity`

    One forward for the query and one for the support. Raises RequestError for a query of more than one picture, masks
    without a class, and where no pixel is explained; MethodUnavailable for a black box.
    """
    under_study = _with_layers(model)
    asked, shown = _read(under_study, query, support)
    segmenter = _segmenter(under_study, shown, layers, deciding, temperature)
    marked = _numbers(masks, shown.frames, _size(shown.inputs))
    levels = tuple(layer.name for layer in segmenter.layers)
    return _maps(
        segmenter.episode(asked.inputs, shown.inputs, marked), asked.frames[0], shown.frames, marked, levels,
        classes=classes, explained=explained, truth=truth, softmax=softmax, weighting=weighting, card=under_study.card,
    )  # fmt: skip


def matched(
    matcher: Matcher, query: Source, support: Sequence[Source], masks: Sequence[ArrayLike], *,
    model: str = "unknown", classes: Sequence[str] | None = None, explained: str = "predicted",
    truth: ArrayLike | None = None, softmax: bool = True, weighting: str = "ablation",
) -> SupportMaps:  # fmt: skip
    """The same of a few-shot segmenter of one's own, that has matched this query with this support.

    Pictures are taken as they are, so those of the support are of one size, and the query of the logits' size.
    """
    asked, shown = read_many([query])[0], read_many(support)
    sizes = {(frame.height, frame.width) for frame in shown}
    if len(sizes) != 1:
        raise RequestError(f"The support pictures have sizes {sorted(sizes)}; bring them to one size, their masks too.")
    marked = _numbers(masks, shown, next(iter(sizes)))
    levels = tuple(f"level {number}" for number in range(1, len(matcher.levels()) + 1))
    return _maps(
        matcher, asked, tuple(shown), marked, levels, classes=classes, explained=explained, truth=truth,
        softmax=softmax, weighting=weighting, card=ModelCard(model),
    )  # fmt: skip


def support_of(
    model: Asked, query: Pictures, support: Pictures, masks: Sequence[ArrayLike], *, of: int = 1,
    layers: Sequence[Layer | str] | None = None, deciding: str = "matching", temperature: float = 0.02,
    **settings: Any,
) -> Support:  # fmt: skip
    """One class's support as the measures of `pellucid.trust.support` take it; settings as of `Support`.

    of: the number of the class; pixels of other classes become background
    """
    under_study = _with_layers(model)
    asked, shown = _read(under_study, query, support)
    segmenter = _segmenter(under_study, shown, layers, deciding, temperature)
    marked = _numbers(masks, shown.frames, _size(shown.inputs))
    return Support(shown.inputs, (marked == of).float(), segmenter.segmenting(asked.inputs), **settings)


def _maps(
    matcher: Matcher, query: Frame, frames: Sequence[Frame], marked: Int[Tensor, "shot rows columns"],
    levels: tuple[str, ...], *, classes: Sequence[str] | None, explained: str, truth: ArrayLike | None, softmax: bool,
    weighting: str, card: ModelCard,
) -> SupportMaps:  # fmt: skip
    names = _names(classes, int(marked.max()))
    logits = matcher.logits()
    if len(logits) != len(names) + 1:
        expected = f"{len(names) + 1} planes: the background and {', '.join(names)}"
        raise ShapeError("The matcher's logits", got=tuple(logits.shape), expected=expected)
    said = logits.argmax(dim=0).cpu()
    size = (int(marked.shape[1]), int(marked.shape[2]))
    values, weights = torch.zeros(len(names), *marked.shape), torch.zeros(len(names), len(levels))
    notes: list[str] = []
    for at, name in enumerate(names):
        pixels = _explained(explained, said, at + 1, truth, query)
        if not bool(pixels.any()):
            notes.append(f"No pixel of the query is explained as {name}, so its map is empty.")
            continue
        found = affinity(matcher, at + 1, pixels, size, softmax=softmax, weighting=weighting)
        values[at], weights[at] = found.values, found.weights
        if found.blind:
            notes.append(f"Without any one level {name} is no less likely, so all levels count alike.")
    if not bool(values.any()):
        raise RequestError(f"Nothing of the query is {' or '.join(names)}, so nothing is explained: explained='all'.")
    return SupportMaps(
        values, names, said.numpy().astype(np.uint8), marked.numpy().astype(np.uint8), query, tuple(frames), levels,
        weights, explained, card, tuple(notes),
    )  # fmt: skip


def _explained(
    explained: str, said: Int[Tensor, "height width"], number: int, truth: ArrayLike | None, query: Frame
) -> Bool[Tensor, "height width"]:
    if explained not in EXPLAINED:
        raise RequestError(f"explained={explained!r}; expected {', '.join(EXPLAINED)}.")
    if explained == "all":
        return torch.ones_like(said, dtype=torch.bool)
    if explained == "predicted":
        return said == number
    if truth is None:
        raise RequestError("explained='truth' needs truth=, the class of each pixel of the query.")
    return _numbers([truth], [query], (int(said.shape[0]), int(said.shape[1])))[0] == number


def _numbers(
    masks: Sequence[ArrayLike], frames: Sequence[Frame], size: tuple[int, int]
) -> Int[Tensor, "shot rows columns"]:
    """Masks over pictures as classes of the model's pixels; each at least half covered by the class it gets."""
    if len(masks) != len(frames):
        raise RequestError(f"{len(frames)} pictures and {len(masks)} masks; expected one mask per picture.")
    numbers = torch.zeros(len(frames), *size, dtype=torch.long)
    for row, frame, mask in zip(numbers, frames, masks, strict=True):
        array = np.asarray(mask)
        if array.shape != (frame.height, frame.width) or array.dtype.kind not in "bui" or (array < 0).any():
            expected = f"[{frame.height} {frame.width}] of whole numbers from 0, as the picture"
            raise ShapeError(f"The mask of {frame.name}", got=f"{array.shape} of {array.dtype}", expected=expected)
        geometry = frame.geometry or Geometry.identity(*size)
        for number in np.unique(array[array > 0]):
            row[torch.from_numpy(geometry.mask_to_input(array == number))] = int(number)
    return numbers


def _names(classes: Sequence[str] | None, most: int) -> tuple[str, ...]:
    if most == 0:
        raise RequestError("No support pixel is marked, so there is no class to segment.")
    names = tuple(classes or (("the class",) if most == 1 else [f"class {number + 1}" for number in range(most)]))
    if len(names) != most or len(set(names)) != most or most > 255:
        raise RequestError(
            f"classes={list(names)}; expected {most} different names: the masks number classes to {most}."
        )
    return names


def _with_layers(model: Asked) -> VisionModel:
    under_study = subject(model)
    if not under_study.differentiable:
        raise MethodUnavailable("few_shot", "it is a black box, which has no layers.")
    return under_study


def _read(model: VisionModel, query: Pictures, support: Pictures) -> tuple[Batch, Batch]:
    asked, shown = batches_of(model, query), batches_of(model, support)
    count = sum(len(batch) for batch in asked)
    if count != 1:
        raise RequestError(f"A query is one picture; got {count}.")
    if len(shown) != 1:
        raise RequestError("The support pictures become model input of several sizes; bring them to one size.")
    return asked[0], shown[0]


def _size(inputs: Tensor) -> tuple[int, int]:
    return int(inputs.shape[-2]), int(inputs.shape[-1])


def _segmenter(
    model: VisionModel, shown: Batch, layers: Sequence[Layer | str] | None, deciding: str, temperature: float
) -> FewShot:
    tree = look(model, shown.inputs[:1], needs=[Activation]).layers
    if layers is None:
        return FewShot(model, _default_levels(tree.grid_layers), deciding, temperature)
    chosen = tuple(tree[layer.name if isinstance(layer, Layer) else layer] for layer in layers)
    for layer in chosen:
        if layer.grid is None:
            raise MethodUnavailable("few_shot", f"{layer.name!r} does not lie on a grid over the picture.")
    if not chosen:
        raise RequestError("layers is empty; name at least one, or leave it out for the default.")
    return FewShot(model, chosen, deciding, temperature)


def _default_levels(known: Sequence[Layer]) -> tuple[Layer, ...]:
    """The last whole stage of each run of layers on one grid, of those that are coarse enough.

    A stage has the fewest dots in its name; what lies within the next one may still be on the same grid.
    """
    coarse = [layer for layer in known if layer.grid and layer.grid[0] * layer.grid[1] <= _MOST_PLACES]
    if not coarse:
        raise MethodUnavailable("few_shot", "no layer lies on a grid of at most 32 x 32 places. Name layers=.")
    runs = [list(run) for _, run in groupby(coarse, key=lambda layer: layer.grid)]
    ends = [min(reversed(run), key=lambda layer: layer.name.count(".")) for run in runs]
    return tuple(ends[-_LEVELS:])
