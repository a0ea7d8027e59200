"""One place, one layer, one unit in words; and where in the picture the evidence for any phrase lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from pellucid.engine.maps import upsampled
from pellucid.errors import RequestError, ShapeError
from pellucid.images import baselines
from pellucid.language.translation import speaking
from pellucid.language.translation.corpus import inputs_of
from pellucid.language.translation.ports import grids_of
from pellucid.language.translation.said import Trial, Words
from pellucid.language.translation.translator import Translator

EXEMPLARS, QUANTILE = 15, 0.99  # as MILAN
AROUND = 3  # cells on a side about a place
_CELLS = 8  # patches on a side that are hidden one by one where there are no places to ask


@dataclass(frozen=True, eq=False)
class PhraseMap:
    """Where the evidence for a phrase lies.

    values: log likelihood of the phrase's words, the mean per token, less `blind`; natural logarithms
    blind:  the same for the mean feature, so that a frequent phrase does not light up everywhere. NaN for maps by
            hiding, which say by how much it falls when the cell is hidden
    after:  what the sentence has said before the phrase
    size:   rows and columns of the model input
    """

    phrase: str
    values: Float[Tensor, "h w"]
    blind: float
    after: str
    layer: str
    size: tuple[int, int]
    controls: Trial | None

    @property
    def raw(self) -> Float[Tensor, "h w"]:
        """Log likelihood itself."""
        return self.values + (0.0 if self.blind != self.blind else self.blind)

    @property
    def scaled(self) -> Float[Tensor, "h w"]:
        """From 0 at the least to 1 at the largest; 0 everywhere where all are equal."""
        low, high = self.values.min(), self.values.max()
        return (self.values - low) / (high - low) if high > low else torch.zeros_like(self.values)

    def large(self) -> Float[Tensor, "height width"]:
        """At the size of the model input, bilinearly."""
        return upsampled(self.values[None], self.size)[0]

    def strongest(self, share: float) -> Bool[Tensor, "height width"]:
        """The pixels with the largest values, this share of the picture."""
        flat = self.large().flatten()
        kept = torch.zeros_like(flat, dtype=torch.bool)
        kept[flat.topk(max(1, round(share * len(flat)))).indices] = True
        return kept.view(self.size)

    @property
    def peak(self) -> tuple[int, int]:
        """Row and column of the largest value, at the size of the model input."""
        return divmod(int(self.large().argmax()), self.size[1])

    def to_dict(self) -> dict[str, Any]:
        return {
            "phrase": self.phrase, "after": self.after, "layer": self.layer, "blind": self.blind,
            "values": self.values.tolist(), "peak": list(self.peak), "size": list(self.size),
            "controls": None if self.controls is None else self.controls.to_dict(),
            "beats_controls": self.controls is not None and self.controls.beats_controls,
        }  # fmt: skip


def phrase_map(
    translator: Translator, picture: Any, phrase: str, *, layer: int | str | None = None, after: str = "",
    around: int = 1,
) -> PhraseMap:  # fmt: skip
    """How likely the phrase is from each place alone.

    layer:  the slot; None is the last
    after:  words before the phrase, which are read and not scored; language models that learned whole sentences expect
            a phrase in its place
    around: cells on a side that are averaged about each place

    Raises MethodUnavailable where the translator reads no places; `hiding_map` works there.
    """
    translator.need_places("A map of a phrase")
    slot, inputs = _slot(translator, layer), _one(translator, picture)
    grid = next(iter(grids_of(translator.model, translator.port, inputs)))[slot]
    if around > 1:
        grid = functional.avg_pool2d(grid, around, stride=1, padding=around // 2, count_include_pad=False)
    cells = grid[0].flatten(1).T
    scores = speaking.likelihood(translator.decoder, alone(translator, slot, cells), phrase, after=after)
    mean = translator.bridge.get_buffer(f"mean{slot}")[None]
    blind = speaking.likelihood(translator.decoder, alone(translator, slot, mean), phrase, after=after)
    values = (scores - blind).view(*grid.shape[-2:]).cpu()
    return PhraseMap(
        phrase, values, float(blind), after, translator.port.layers[slot], _size(inputs), translator.controls
    )


def hiding_map(
    translator: Translator, picture: Any, phrase: str, *, after: str = "", cells: int = _CELLS, fill: str = "noise"
) -> PhraseMap:
    """By how much the phrase becomes less likely when a part of the picture is hidden; for ports without places."""
    inputs = _one(translator, picture)
    size = _size(inputs)
    numbers = torch.arange(cells * cells).view(cells, cells)
    which = numbers.repeat_interleave(-(-size[0] // cells), 0).repeat_interleave(-(-size[1] // cells), 1)
    which = which[: size[0], : size[1]].to(inputs.device)
    hidden = baselines.fill(inputs, fill, translator.model.preprocess)
    points = torch.cat([inputs, *(torch.where(which == at, hidden, inputs) for at in range(cells * cells))])
    prefix = translator.prefix(translator.features(points).whole)
    scores = speaking.likelihood(translator.decoder, prefix, phrase, after=after)
    fall = (scores[0] - scores[1:]).view(cells, cells).cpu()
    return PhraseMap(phrase, fall, float("nan"), after, translator.port.layers[-1], size, translator.controls)


def describe_place(
    translator: Translator, picture: Any, row: int, column: int, *, layer: int | str | None = None,
    around: int = AROUND, most: int = 200, seed: int = 0,
) -> Words:  # fmt: skip
    """The words of one place of one layer, averaged over the cells about it."""
    translator.need_places("The words of a place")
    slot = _slot(translator, layer)
    grid = next(iter(grids_of(translator.model, translator.port, _one(translator, picture))))[slot][0]
    rows, columns = grid.shape[-2:]
    if not (0 <= row < rows and 0 <= column < columns):
        raise RequestError(f"There is no place {row}, {column} in {translator.port.layers[slot]}: {rows} x {columns}.")
    half = around // 2
    near = grid[:, max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1].flatten(1)
    prefix = alone(translator, slot, near.mean(dim=1)[None])
    about = f"Row {row}, column {column} of {translator.port.layers[slot]}"
    return translator.words_of(prefix, about, most=most, seed=seed)


def describe_unit(
    translator: Translator, unit: int, pictures: Any, *, layer: int | str | None = None, exemplars: int = EXEMPLARS,
    most: int = 200, seed: int = 0,
) -> Words:  # fmt: skip
    """The words of the places that drive one unit: the pictures that it answers to most, where it answers most.

    Features are averaged over those places; a slot in whose grid none of them falls is hidden.
    """
    translator.need_places("The words of a unit")
    slot = _slot(translator, layer)
    grids = [torch.cat(parts) for parts in zip(*grids_of(
        translator.model, translator.port, inputs_of(translator.model, pictures)), strict=True)]  # fmt: skip
    own = grids[slot]
    if not 0 <= unit < own.shape[1]:
        raise RequestError(f"{translator.port.layers[slot]} has no unit {unit}: it has {own.shape[1]}.")
    fired = own[:, unit]
    level = min(float(torch.quantile(fired.flatten()[:1_000_000], QUANTILE)), float(fired.max()))
    chosen = fired.flatten(1).amax(dim=1).topk(min(exemplars, len(fired))).indices
    mask = (fired[chosen] >= level)[:, None].float()
    vectors, there = zip(*(_within(grid[chosen], mask) for grid in grids), strict=True)
    with torch.no_grad():
        prefix = translator.bridge(list(vectors), torch.tensor([there]))
    return translator.words_of(prefix, f"Unit {unit} of {translator.port.layers[slot]}", most=most, seed=seed)


@torch.no_grad()
def alone(
    translator: Translator, slot: int, vectors: Float[Tensor, "row channel"]
) -> Float[Tensor, "row prefix width"]:
    """Prefixes from one slot alone; what the others hold is nothing, and is not looked at."""
    rows = len(vectors)
    blank = [vectors.new_zeros(rows, count) for count in translator.bridge.shape.channels]
    blank[slot] = vectors
    return translator.prefix(blank, [slot] if translator.port.kind == "layers" else None)


def _within(
    grid: Float[Tensor, "picture channel h w"], mask: Float[Tensor, "picture 1 rows columns"]
) -> tuple[Tensor, bool]:
    """The mean feature within the mask, brought to this grid; nothing where the mask is empty there."""
    own = functional.interpolate(mask, grid.shape[-2:], mode="nearest") if mask.shape[-2:] != grid.shape[-2:] else mask
    total = own.sum()
    if total == 0:
        return grid.new_zeros(1, grid.shape[1]), False
    return ((grid * own).sum(dim=(0, 2, 3)) / total)[None], True


def _slot(translator: Translator, layer: int | str | None) -> int:
    slots = translator.port.layers
    if layer is None:
        return len(slots) - 1
    at = slots.index(layer) if isinstance(layer, str) and layer in slots else layer
    if not isinstance(at, int) or not 0 <= at < len(slots):
        raise RequestError(f"The translator has no slot {layer!r}. It has {', '.join(slots)}.")
    return at


def _one(translator: Translator, picture: Any) -> Float[Tensor, "1 channel height width"]:
    inputs = inputs_of(translator.model, picture)
    if len(inputs) != 1:
        raise ShapeError("The picture", got=tuple(inputs.shape), expected="[1 3 height width]: one at a time")
    return inputs


def _size(inputs: Tensor) -> tuple[int, int]:
    return int(inputs.shape[-2]), int(inputs.shape[-1])
