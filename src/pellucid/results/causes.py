"""Which filters, through which others, cause a model to say a class: a graph whose every edge was cut to see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from PIL import Image
from rich.console import RenderableType
from torch import Tensor

from pellucid.canvas import fragments, layered, painting, terminal
from pellucid.canvas.words import number, percent
from pellucid.images import Frame
from pellucid.results.drawing import map_on
from pellucid.results.encoding import from_plain, map_from_plain, map_to_plain, to_plain
from pellucid.results.model_card import ModelCard
from pellucid.results.result import Result


@dataclass(frozen=True)
class Edge:
    """One filter as the next layer's filter reads it.

    source, reader: layer and channel of both; the last reader is the class itself
    effect:    by how much the measure falls, mean over the pictures, when this edge is cut; low, high: with 95 %
    estimate:  the same by weight and gradient, by which edges were chosen to be cut
    """

    source: tuple[str, int]
    reader: tuple[str, int]
    effect: float
    low: float
    high: float
    estimate: float


@dataclass(frozen=True)
class FilterEffect:
    """One filter, and by how much the measure falls (negative: rises) when nothing reads it any more."""

    layer: str
    channel: int
    effect: float
    low: float
    high: float


@dataclass(frozen=True)
class Surgery:
    """The model with some edges cut: how often it says the class of its own pictures, and of others' (NaN: none)."""

    name: str
    recognised: float
    others: float


@dataclass(frozen=True, eq=False)
class CausalGraph(Result):
    """The filters and edges that cause one class, found in one half of its pictures and tried on the other.

    label, index: the class; layers: those with filters in the graph, first to last, and the class's own
    measure:   what an effect is the fall of: `log_odds`, `loss` (of its negative), `probability` or `logit`
    edges:     of the graph, from the answer backwards; against: edges that were cut and found to hold the class back
    harmful:   filters without which the measure rises
    surgeries: the model whole, with the graph alone, without it, and so on
    pictures:  how many found it, and how many tried it; tried: how many edges were cut
    frames, maps: examples with the filters of each layer of the graph, weighted by their effect and summed
    """

    noun: ClassVar[str] = "causal graph"

    label: str
    index: int
    layers: tuple[str, ...]
    measure: str
    edges: tuple[Edge, ...]
    against: tuple[Edge, ...]
    harmful: tuple[FilterEffect, ...]
    surgeries: tuple[Surgery, ...]
    pictures: tuple[int, int]
    tried: int
    model: ModelCard = field(default_factory=lambda: ModelCard("unknown"))
    frames: tuple[Frame, ...] = ()
    maps: Float[Tensor, "layer frame height width"] | None = None
    notes: tuple[str, ...] = ()

    @property
    def filters(self) -> dict[tuple[str, int], float]:
        """Each filter of the graph by layer and channel, and the sum of the effects of its edges; last layer first."""
        found: dict[tuple[str, int], float] = {}
        for edge in self.edges:
            found[edge.source] = found.get(edge.source, 0.0) + edge.effect
        return found

    def surgery(self, name: str) -> Surgery:
        """The one of that name."""
        return next(one for one in self.surgeries if one.name == name)

    @property
    def sentence(self) -> str:
        """How many filters are in it, and what they are worth."""
        parts = {one.name: one for one in self.surgeries}
        alone, without = parts.get("the graph alone"), parts.get("without the graph")
        said = f"{len(self.filters)} filters and {len(self.edges)} edges cause {self.label} in {self.model.name}"
        if not self.edges or alone is None or without is None:
            return f"{said}." if self.edges else f"No edge was found to cause {self.label} in {self.model.name}."
        known = alone.others == alone.others
        taken = f" and takes {percent(alone.others)} of others for it" if known else ""
        return (
            f"{said}: with them alone it names {percent(alone.recognised)} of its pictures right{taken}, without them "
            f"{percent(without.recognised)}, whole {percent(parts['the whole model'].recognised)}."
        )

    def to_dict(self) -> dict[str, Any]:
        rows = {name: [asdict(one) for one in getattr(self, name)] for name in _ROWS}
        return {
            "label": self.label, "index": self.index, "layers": list(self.layers), "measure": self.measure,
            **to_plain(rows), "pictures": list(self.pictures), "tried": self.tried, "model": self.model.to_dict(),
            "frames": [frame.to_dict() for frame in self.frames],
            "maps": None if self.maps is None else map_to_plain(self.maps), "notes": list(self.notes),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> CausalGraph:
        """The graph that `to_dict` wrote."""
        edges = {name: tuple(_edge(one) for one in record[name]) for name in ("edges", "against")}
        found, tried = record["pictures"]
        return cls(
            record["label"], record["index"], tuple(record["layers"]), record["measure"], **edges,
            harmful=tuple(FilterEffect(**one) for one in record["harmful"]),
            surgeries=tuple(Surgery(**from_plain(one)) for one in record["surgeries"]),
            pictures=(found, tried), tried=record["tried"], model=ModelCard.from_dict(record["model"]),
            frames=tuple(Frame.from_dict(frame) for frame in record["frames"]),
            maps=None if record["maps"] is None else map_from_plain(record["maps"]), notes=tuple(record["notes"]),
        )  # fmt: skip

    # -- drawing ----------------------------------------------------------------------------------------------------

    def drawing(self, width: int = 1200) -> Image.Image:
        """The graph: a column of filters per layer, the class on the right; what counts more is larger."""
        most = {layer: max((e for (at, _), e in self.filters.items() if at == layer), default=1.0)
                for layer in self.layers}  # fmt: skip
        strongest = {layer: max((edge.effect for edge in self.edges if edge.reader[0] == layer), default=1.0)
                     for layer in self.layers}  # fmt: skip
        end = (self.layers[-1], self.index)
        knots = {key: effect / most[key[0]] for key, effect in self.filters.items()}
        knots = {**knots, end: 1.0}
        lines = [(edge.source, edge.reader, edge.effect / strongest[edge.reader[0]]) for edge in self.edges]
        return layered.graph(
            [[key for key in knots if key[0] == layer] for layer in self.layers], list(self.layers), knots, lines,
            lambda key: self.label if key == end else str(key[1]), width=width,
        )  # fmt: skip

    def fragment(self) -> Markup:
        picture = fragments.tile(np.asarray(self.drawing()), self.sentence, _MEASURES[self.measure], side=1)
        tiles = [
            fragments.tile(self._plate(layer, at), self.layers[layer], self.layers[layer], side=200)
            for at in range(len(self.frames)) for layer in range(self._mapped)
        ]  # fmt: skip
        shown = fragments.gallery("What causes it", self.sentence, [picture, *tiles], _CAUTION)
        trial = fragments.table("Surgeries", _SURGERY_HEAD, self._surgery_rows())
        table = fragments.table("Edges", _EDGE_HEAD, [self._row(edge) for edge in self.edges[:_ROWS_SHOWN]])
        return Markup("{}{}{}").format(shown, trial, table)

    def __rich__(self) -> RenderableType:
        return terminal.table(self.sentence, list(_SURGERY_HEAD), self._surgery_rows())

    def _writers(self) -> Mapping[str, Callable[[], bytes]]:
        return {**super()._writers(), ".png": self._png, ".txt": self._text}

    def _png(self) -> bytes:
        blocks = [painting.text(self.sentence, 26, _WIDE), self.drawing(_WIDE)]
        each = min(220, (_WIDE - 24 * (max(1, self._mapped) - 1)) // max(1, self._mapped))
        blocks += [painting.row([
            painting.column([painting.plate(self._plate(layer, at), each, each),
                             painting.text(self.layers[layer], 18, each, painting.MUTED)], 8)
            for layer in range(self._mapped)
        ], 24) for at in range(len(self.frames))]  # fmt: skip
        said = [f"{one}: {own} of its pictures named right"
                f"{'' if others == _UNKNOWN else f', {others} of others taken for it'}."
                for one, own, others in self._surgery_rows()]  # fmt: skip
        blocks += [painting.text(line, 20, _WIDE) for line in said]
        blocks.append(painting.text(_CAUTION, 20, _WIDE, painting.MUTED))
        return painting.png(painting.framed(painting.column(blocks, 20), 48))

    def _text(self) -> bytes:
        rows = [" | ".join(row) for row in [_EDGE_HEAD, *(self._row(edge) for edge in self.edges)]]
        trial = [" | ".join(row) for row in [_SURGERY_HEAD, *self._surgery_rows()]]
        return "\n".join([self.sentence, "", *trial, "", *rows, "", _CAUTION, ""]).encode()

    @property
    def _mapped(self) -> int:
        return 0 if self.maps is None else len(self.maps)

    def _plate(self, layer: int, at: int) -> np.ndarray:
        assert self.maps is not None
        return map_on(self.frames[at], self.maps[layer, at], signed=True)

    def _row(self, edge: Edge) -> list[str]:
        (layer, source), (_, reader) = edge.source, edge.reader
        to = self.label if edge.reader == (self.layers[-1], self.index) else f"{edge.reader[0]} {reader}"
        between = f"{number(edge.low)} to {number(edge.high)}"
        return [f"{layer} {source}", to, number(edge.effect), between, number(edge.estimate)]

    def _surgery_rows(self) -> list[list[str]]:
        return [[one.name, percent(one.recognised), percent(one.others)] for one in self.surgeries]


def _edge(record: Mapping[str, Any]) -> Edge:
    source, reader = ((str(record[name][0]), int(record[name][1])) for name in ("source", "reader"))
    return Edge(source, reader, **{name: record[name] for name in ("effect", "low", "high", "estimate")})


_ROWS = ("edges", "against", "harmful", "surgeries")
_WIDE, _ROWS_SHOWN = 1400, 40
_UNKNOWN = percent(float("nan"))
_EDGE_HEAD = ("filter", "read by", "effect", "with 95 %", "first-order estimate")
_SURGERY_HEAD = ("model", "its pictures named right", "others taken for it")
_MEASURES = {
    "log_odds": "An effect is by how much the log odds of the class fall when an edge is cut.",
    "loss": "An effect is by how much the cross-entropy rises when an edge is cut.",
    "probability": "An effect is by how much the probability of the class falls when an edge is cut.",
    "logit": "An effect is by how much the logit of the class falls when an edge is cut.",
}
_CAUTION = (
    "Edges are cut one at a time: two that can stand in for each other both look as if they caused nothing. Only edges "
    "that a first-order estimate ranked high were cut."
)
