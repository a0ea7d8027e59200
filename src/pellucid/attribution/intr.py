"""INTR: every class looks for itself, with a query of its own, and where it looks is the map.

Paul et al. 2024. Encoder and decoder are those of a detection transformer (Carion et al. 2020) over a layer of the
explained model; the query of each class becomes a vector, and one vector that all classes share reads their scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from pellucid.attribution.asked import classes_of
from pellucid.attribution.attention import chosen_heads
from pellucid.attribution.fitted import Explainer, Lesson, explainer_of, features
from pellucid.engine import Evidence
from pellucid.errors import RequestError
from pellucid.registry import Fitting, Learning, method
from pellucid.subject import VisionModel
from pellucid.values import Activation, Fitted

_LONGEST = 10_000  # wavelength of the slowest sine of a position, in cells


class IntrNet(nn.Module):
    """Class queries over a layer; see `_shape`."""

    def __init__(
        self, layer: str, channels: int, classes: int, width: int, heads: int, encoders: int, decoders: int
    ) -> None:  # fmt: skip
        super().__init__()
        self.layer, self.heads = layer, heads
        self.narrow = nn.Conv2d(channels, width, 1)
        self.encoder = nn.ModuleList(_Encoder(width, heads) for _ in range(encoders))
        self.decoder = nn.ModuleList(_Decoder(width, heads) for _ in range(decoders))
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(torch.randn(classes, width))
        self.shared = nn.Linear(width, 1)

    def forward(
        self, seen: Float[Tensor, "batch channel h w"], hidden: Bool[Tensor, "batch h w"] | None = None
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch head classes h w"]]:
        """Every class's score, and where its query looks in the last decoder; each head's map sums to 1.

        hidden: cells that nothing may look at
        """
        grid = (int(seen.shape[-2]), int(seen.shape[-1]))
        cells = self.narrow(seen).flatten(2).transpose(1, 2)
        places = positions(grid, cells.shape[-1]).to(cells)
        closed = None if hidden is None else hidden.flatten(1)
        for step in self.encoder:
            cells = step(cells, places, closed)
        asked = self.queries.expand(len(cells), -1, -1)
        found, maps = torch.zeros_like(asked), cells
        for step in self.decoder:
            found, maps = step(found, asked, cells, closed)
        return self.shared(self.norm(found))[..., 0], maps.unflatten(-1, grid)


class _Encoder(nn.Module):
    """Cells look at cells; where they lie says only what is compared, not what is passed on."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention, self.mlp = nn.MultiheadAttention(width, heads, batch_first=True), _mlp(width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, cells: Tensor, places: Tensor, hidden: Tensor | None) -> Tensor:
        placed = cells + places
        passed, _ = self.attention(placed, placed, cells, key_padding_mask=hidden, need_weights=False)
        cells = self.norms[0](cells + passed)
        return self.norms[1](cells + self.mlp(cells))


class _Decoder(nn.Module):
    """Queries look at each other, then at the cells; gives what they found, and where."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.among, self.across = (nn.MultiheadAttention(width, heads, batch_first=True) for _ in range(2))
        self.mlp, self.norms = _mlp(width), nn.ModuleList(nn.LayerNorm(width) for _ in range(3))

    def forward(
        self, found: Tensor, asked: Tensor, cells: Tensor, hidden: Tensor | None
    ) -> tuple[Tensor, Float[Tensor, "batch head classes cell"]]:
        query = found + asked
        passed, _ = self.among(query, query, found, need_weights=False)
        found = self.norms[0](found + passed)
        passed, seen = self.across(found + asked, cells, cells, key_padding_mask=hidden, average_attn_weights=False)
        found = self.norms[1](found + passed)
        return self.norms[2](found + self.mlp(found)), seen


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))


def positions(grid: tuple[int, int], width: int) -> Float[Tensor, "cell width"]:
    """Where each cell of a grid lies, as sines and cosines: half of the numbers for its row, half for its column."""
    speeds = _LONGEST ** -(torch.arange(width // 4) / (width // 4))
    rows, columns = (2 * torch.pi * (torch.arange(side) + 0.5)[:, None] / side * speeds for side in grid)
    row, column = (torch.cat([angles.sin(), angles.cos()], dim=1) for angles in (rows, columns))
    both = torch.cat([row[:, None].expand(-1, grid[1], -1), column[None].expand(grid[0], -1, -1)], dim=-1)
    return both.flatten(0, 1)


def _shape(
    model: VisionModel, size: tuple[int, int], *, layer: str | None = None, width: int = 64, heads: int = 4,
    encoders: int = 1, decoders: int = 2,
) -> dict[str, Any]:  # fmt: skip
    """What the net is like.

    layer:              what the classes look at; None is the model's default one
    width:              numbers per cell and query, a multiple of 4 and of `heads`
    encoders, decoders: how many of each, one after the other
    """
    if min(width, heads, decoders) < 1 or encoders < 0 or width % 4 or width % heads:
        raise RequestError(f"width={width}, heads={heads}; expected a width that is a multiple of 4 and of the heads.")
    tree = model.layers_at(size)
    read = tree.chosen("intr", layer)
    if read.grid is None:
        raise RequestError(f"{read.name} lies on no grid; `pellucid layers` lists those that do.")
    return {"layer": read.name, "channels": read.channels, "classes": len(model.labels), "width": width,
            "heads": heads, "encoders": encoders, "decoders": decoders}  # fmt: skip


def _loss(net: IntrNet, lesson: Lesson) -> Tensor:
    """The model's class has to score highest."""
    scores, _ = net(lesson.features([net.layer])[0])
    return functional.cross_entropy(scores, lesson.outputs.argmax(dim=1))


@method(
    "intr", needs=[Fitted, Activation], paper="Paul et al. 2024",
    fitting=Fitting(_shape, IntrNet, _loss, Learning(updates=600, learning_rate=1e-3, batch=32)),
)  # fmt: skip
def intr(
    evidence: Evidence, *, explainer: Explainer | str | Path | None = None, heads: Sequence[int] | None = None
) -> Float[Tensor, "batch h w"]:
    """Where the query of the target's class looks in the last decoder, as the mean of its heads.

    explainer: what was fitted, or its file; None is the one that came with the model
    heads:     some of the heads, by number; None is all
    returns:   on the grid of the layer; 0 upward, and all places sum to 1
    """
    found = looks(evidence, explainer)
    first = found.scores.argmax(dim=1)
    agreed = int((first == evidence.output().argmax(dim=1)).sum())
    evidence.note(f"The queries, which are explained, name the model's class in {agreed} of {len(first)}.")
    maps = found.maps[torch.arange(len(first)), :, classes_of(evidence, "intr")]
    return (maps if heads is None else maps[:, chosen_heads(heads, maps.shape[1], "intr")]).mean(dim=1)


@dataclass(frozen=True, eq=False)
class Looks:
    """Where the queries of classes look, side by side.

    classes: which, by their place in the model's output; by default all
    scores:  of the queries, not the model's
    maps:    per head; each sums to 1
    """

    classes: tuple[int, ...]
    scores: Float[Tensor, "batch classes"]
    maps: Float[Tensor, "batch head classes h w"]


def looks(
    evidence: Evidence, explainer: Explainer | str | Path | None = None, *, classes: Sequence[int] | None = None,
    hidden: Bool[Tensor, "batch h w"] | None = None,
) -> Looks:  # fmt: skip
    """Where the queries of several classes look in each picture, and what they score it.

    explainer: one that was fitted for `intr`, or its file; None is the one that came with the model
    classes:   None is all; each looks as it does among all
    hidden:    cells of the layer's grid that no query may see, to test what the score hangs on
    """
    fitted = explainer_of(evidence, "intr", explainer)
    assert isinstance(fitted.net, IntrNet)  # the method's own, as its shape says
    with torch.no_grad():
        scores, maps = fitted.net(features(evidence, [fitted.net.layer])[0], hidden)
    chosen = list(range(scores.shape[1]) if classes is None else classes)
    return Looks(tuple(chosen), scores[:, chosen], maps[:, :, chosen])


def without(
    evidence: Evidence, explainer: Explainer | str | Path | None = None, *, share: float = 0.1
) -> tuple[Float[Tensor, "batch"], Float[Tensor, "batch"], Float[Tensor, "batch"]]:
    """The score of the target's class: as it is, without the cells its query looks at most, and without all others.

    share: of the cells, how many are those; one at least
    """
    index = torch.as_tensor(classes_of(evidence, "intr"))
    rows = torch.arange(len(index))
    seen = looks(evidence, explainer)
    heat = seen.maps.mean(dim=1)[rows, index].flatten(1)
    most = heat.topk(max(1, round(share * heat.shape[1])), dim=1).indices
    top = torch.zeros_like(heat, dtype=torch.bool).scatter(1, most, True).unflatten(1, seen.maps.shape[-2:])
    scores = (seen.scores, *(looks(evidence, explainer, hidden=hidden).scores for hidden in (top, ~top)))
    whole, removed, alone = (one[rows, index] for one in scores)
    return whole, removed, alone
