"""What a model reads for each of its classes, as a few of its own filters; and a map of where they saw it.

First the model is interpreted: over many pictures, a few filters of all layers are found whose responses foretell each
predicted class. Then a picture is explained: the filters of its class that respond most are shown by what excites them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from pellucid.attribution.asked import classes_of
from pellucid.engine import Evidence, look
from pellucid.errors import FileError, RequestError
from pellucid.subject import VisionModel
from pellucid.values import Activation

_RECTIFIERS = ("ReLU", "ReLU6", "GELU", "SiLU", "Hardswish", "Mish", "ELU", "LeakyReLU", "SELU", "CELU", "Softplus")
_HELD_OUT, _STEPS, _CHUNK = 5, 3000, 64  # one picture of five; updates of the fit; pictures at a time


@dataclass(frozen=True)
class Filter:
    """One channel of a layer, and how much its response speaks for a class."""

    layer: str
    channel: int
    weight: float


@dataclass(frozen=True, eq=False)
class FilterSelection:
    """Which filters speak for each class of one model.

    layers, channels: where filters were looked for, and how many each has
    weights:          per class and filter, the layers' filters one after the other; most are 0
    budget:           the sum of magnitudes that each class had to spend
    agreement:        how often, on pictures that were not fitted, the class that the filters speak for is the predicted
    chance:           the same for always naming the most frequent class of those pictures
    pictures:         how many were fitted; model, fingerprint: of whom
    """

    layers: tuple[str, ...]
    channels: tuple[int, ...]
    weights: Float[Tensor, "class filter"]
    budget: float
    agreement: float
    chance: float
    pictures: int
    model: str
    fingerprint: str

    def of(self, index: int, count: int | None = None) -> tuple[Filter, ...]:
        """The filters of a class with a weight, the strongest first; `count` of them at most."""
        row = self.weights[index]
        found = [int(at) for at in row.abs().argsort(descending=True) if row[at] != 0]
        return tuple(Filter(*self.place(at), float(row[at])) for at in found[:count])

    def place(self, number: int) -> tuple[str, int]:
        """Layer and channel of a filter, whose number counts through all layers."""
        first = 0
        for layer, count in zip(self.layers, self.channels, strict=True):
            if first <= number < first + count:
                return layer, number - first
            first += count
        raise RequestError(f"There are {first} filters; number {number} is none.")

    def save(self, path: str | Path) -> Path:
        """Write it to a file of safetensors."""
        facts = {key: value for key, value in vars(self).items() if key != "weights"}
        save_file({"weights": self.weights.contiguous()}, path, metadata={"selection": json.dumps(facts)})
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> FilterSelection:
        """What `save` wrote. Raises FileError for any other file."""
        try:
            with safe_open(path, framework="pt") as file:
                facts: dict[str, Any] = json.loads(file.metadata()["selection"])
                facts["layers"], facts["channels"] = tuple(facts["layers"]), tuple(facts["channels"])
                return cls(weights=file.get_tensor("weights"), **facts)
        except Exception as error:  # safetensors names its errors in its own language
            raise FileError(
                path, f"it holds no selection of filters ({error}).", "`selection.save` writes one."
            ) from error


def fit(
    model: VisionModel, pictures: Float[Tensor, "picture channel height width"], *,
    layers: Sequence[str] | None = None, budget: float = 10.0,
) -> FilterSelection:  # fmt: skip
    """The few filters of a model that foretell each class it predicts.

    Solves min over W of sum over pictures |x W - l|^2 with the magnitudes of every class's weights summing to at most
    `budget` (the mu of the mu-lasso); x are the responses of all filters, l the predicted class as 1 among 0. A
    filter's response is the length of its map, in units of the length of its whole layer's response.

    pictures: model input; one in five is kept out, to say how often the filters foretell the prediction
    layers:   where filters are looked for; None is behind every activation (ReLU and its kin), or all grids if none is
              a module

    Raises RequestError without pictures of two predicted classes. Oramas et al., ICLR 2019.
    """
    if budget <= 0:
        raise RequestError(f"budget={budget}; expected a number above 0.")
    chosen = tuple(layers) if layers is not None else _usual_layers(model, pictures)
    gram, told, kept, known, channels = None, None, list[Tensor](), list[Tensor](), ()
    for start in range(0, len(pictures), _CHUNK):
        evidence = look(model, pictures[start : start + _CHUNK], needs=[Activation], layers=chosen)
        x, channels = responses(evidence, chosen)
        predicted = evidence.output().argmax(dim=1).cpu()
        held = (torch.arange(start, start + len(x)) % _HELD_OUT) == _HELD_OUT - 1
        kept.append(x[held].float())
        known.append(predicted[held])
        wanted = torch.nn.functional.one_hot(predicted[~held], evidence.output().shape[1]).double()
        gram = x[~held].T @ x[~held] + (0 if gram is None else gram)
        told = x[~held].T @ wanted + (0 if told is None else told)
    if gram is None or told is None or int((told.abs().sum(dim=0) > 0).sum()) < 2:
        raise RequestError("Filters are told apart by pictures of at least two predicted classes.")
    weights = lasso(gram, told, budget).T.float()
    weights[weights.abs() < 1e-6 * budget] = 0
    agreement, chance = _foretold(torch.cat(kept), torch.cat(known), weights)
    return FilterSelection(
        chosen, tuple(channels), weights, budget, agreement, chance, len(pictures) - sum(map(len, kept)),
        model.spec or model.name, model.fingerprint,
    )  # fmt: skip


def selected_filters(
    evidence: Evidence, selection: FilterSelection, *, count: int = 5, rule: str = "resampled"
) -> Float[Tensor, "batch height width"]:
    """Where the filters that speak most for the target's class saw what excites them.

    Of the class's filters with a positive weight, the `count` with the largest weight times response are taken. Each
    is shown by the guided gradient of its summed map (magnitudes, colours summed, its largest value made 1), and these
    are summed, weighted by weight times response.

    rule:    `resampled` leaves no lattice where convolutions skip places; `guided` is plain guided backpropagation
    returns: 0 upward; zeros for a picture in which no filter of its class responds

    Raises RequestError for a target that is no class, and for another model than the selection's. Oramas et al. 2019.
    """
    if evidence.model.fingerprint != selection.fingerprint:
        raise RequestError(f"The filters were selected in {selection.model}; this is another model, or it has changed.")
    x, _ = responses(evidence, selection.layers)
    spoken = (selection.weights[classes_of(evidence, "selected_filters")] * x.float()).clamp(min=0)
    strength, chosen = spoken.topk(min(count, spoken.shape[1]), dim=1)
    total = torch.zeros(len(evidence), *evidence.size)
    for rank in range(chosen.shape[1]):
        if not bool((strength[:, rank] > 0).any()):
            break
        shown = evidence.channel_gradient([selection.place(at) for at in chosen[:, rank].tolist()], rule)
        sizes = shown.abs().sum(dim=1).cpu()
        sizes = sizes / sizes.amax(dim=(-2, -1), keepdim=True).clamp(min=1e-30)
        total += strength[:, rank, None, None] * sizes
    return total


def responses(evidence: Evidence, layers: Sequence[str]) -> tuple[Float[Tensor, "batch filter"], tuple[int, ...]]:
    """The length of every filter's map in units of its layer's, layer after layer; and each layer's count."""
    rows: list[Tensor] = []
    for layer in layers:
        lengths = evidence.activation(layer).cpu().double().flatten(2).norm(dim=2)
        rows.append(lengths / lengths.norm(dim=1, keepdim=True).clamp(min=1e-12))
    return torch.cat(rows, dim=1), tuple(row.shape[1] for row in rows)


def lasso(
    gram: Float[Tensor, "filter filter"], told: Float[Tensor, "filter class"], budget: float
) -> Float[Tensor, "filter class"]:
    """argmin |x w - l|^2 for every class, the magnitudes of its weights summing to at most `budget`.

    gram, told: x^T x and x^T l. Accelerated projected gradient (Beck, Teboulle 2009).
    """
    step = 1 / float(torch.linalg.matrix_norm(gram, ord=2).clamp(min=1e-12))
    weights = torch.zeros_like(told)
    ahead, pace = weights, 1.0
    for _ in range(_STEPS):
        found = within(ahead - step * (gram @ ahead - told), budget)
        faster = (1 + (1 + 4 * pace * pace) ** 0.5) / 2
        ahead = found + (pace - 1) / faster * (found - weights)
        moved = float((found - weights).abs().max())
        weights, pace = found, faster
        if moved < 1e-9:
            break
    return weights


def within(weights: Float[Tensor, "filter class"], budget: float) -> Float[Tensor, "filter class"]:
    """The nearest weights of which the magnitudes of every class sum to at most `budget` (Duchi et al. 2008)."""
    sizes = weights.abs()
    ordered = sizes.sort(dim=0, descending=True).values
    beyond = (ordered.cumsum(dim=0) - budget) / torch.arange(1, len(weights) + 1)[:, None].to(weights)
    last = (ordered > beyond).sum(dim=0, keepdim=True) - 1
    less = beyond.gather(0, last.clamp(min=0)).clamp(min=0)
    return torch.where(sizes.sum(dim=0) <= budget, weights, weights.sign() * (sizes - less).clamp(min=0))


def _usual_layers(model: VisionModel, pictures: Float[Tensor, "picture channel height width"]) -> tuple[str, ...]:
    tree = model.layers_at((int(pictures.shape[-2]), int(pictures.shape[-1])))
    grids = [layer for layer in tree.grid_layers if layer.spatial]
    behind = [layer.name for layer in grids if layer.module in _RECTIFIERS]
    return tuple(behind or [layer.name for layer in grids])


def _foretold(x: Tensor, known: Int64[Tensor, "picture"], weights: Tensor) -> tuple[float, float]:
    if not len(known):
        return float("nan"), float("nan")
    named = (x @ weights.T).argmax(dim=1)
    return float((named == known).double().mean()), float(known.bincount().max() / len(known))
