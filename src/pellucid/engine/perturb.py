"""Changed pictures that measures ask about: each goes through the model once, whichever measures ask for it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pellucid.engine.evidence import Answers, Evidence
from pellucid.errors import RequestError
from pellucid.images import baselines
from pellucid.values.seed import Seed

Side = Literal["removed", "kept"]
Write = Callable[[Tensor], object]
"""Puts one changed batch into the tensor [batch channel height width] that it is given."""

_HELD = 256 * 2**20  # bytes of ranks that wait for the next measure of the same maps


@dataclass(frozen=True)
class Cut:
    """Every picture with the `first` places of an order `removed`, or with nothing but them `kept`.

    fill:  what is not there becomes; one of `baselines.KINDS`
    first: a number of pixels, or of regions where the order is one of regions
    """

    fill: str
    first: int
    side: Side


@dataclass(frozen=True)
class Shade:
    """Every picture seen through a map: as it is where the map is largest, as the fill where it is least.

    area: the part of the picture, its most important pixels, that is seen at all, 0 to 1
    """

    fill: str
    area: float = 1.0


@dataclass(frozen=True)
class _Order:
    """An order of places, by name: equal maps have one, whoever made them."""

    name: str
    places: int
    rank: Callable[[], Int[Tensor, "batch height width"]]


@dataclass(frozen=True)
class _Known:
    """What was asked before, and the latest orders."""

    answers: dict[Hashable, Answers] = field(default_factory=dict[Hashable, Answers])
    ranks: OrderedDict[str, Tensor] = field(default_factory=OrderedDict[str, Tensor])

    def ranks_of(self, order: _Order, device: torch.device) -> Int[Tensor, "batch height width"]:
        if order.name not in self.ranks:
            self.ranks[order.name] = order.rank().to(device, torch.int32)
            while len(self.ranks) > 1 and sum(one.nbytes for one in self.ranks.values()) > _HELD:
                self.ranks.popitem(last=False)
        self.ranks.move_to_end(order.name)
        return self.ranks[order.name]


_WHOLE = ("whole",)


def answers_of(evidence: Evidence, asked: Mapping[Hashable, Write]) -> dict[Hashable, Answers]:
    """What the model says to changed pictures; those not known yet go through it as one stream, in this order.

    asked: what makes each picture, by a key that names its content: equal keys are the same pictures, whoever asks
    """
    known: _Known = evidence.remember(_Known, _Known)
    missing = {key: write for key, write in asked.items() if key not in known.answers}
    writes = list(missing.values())
    stream = evidence.answers_written(len(writes), lambda place, out: writes[place](out))
    for key, answers in zip(missing, stream, strict=True):
        known.answers[key] = answers
    return {key: known.answers[key] for key in asked}


def whole_answers(evidence: Evidence) -> Answers:
    """What the model says to the pictures as they are."""
    return answers_of(evidence, {_WHOLE: lambda out: out.copy_(evidence.inputs)})[_WHOLE]


def empty_answers(evidence: Evidence, fill: str) -> Answers:
    """What the model says to nothing but fill."""
    return answers_of(evidence, {("fill", fill): _emptied(evidence, fill)})["fill", fill]


def removal_answers(
    evidence: Evidence,
    maps: Mapping[str, Float[Tensor, "batch height width"]],
    cuts: Iterable[Cut],
    seed: Seed | None = None,
    *,
    region: int | None = None,
) -> dict[str, dict[Cut, Answers]]:
    """What the model says to each cut of each map; whatever is not known yet goes through it as one stream.

    seed:   breaks ties in the order; None is the evidence's
    region: None orders pixels; a number orders squares of that side, by the sum of the map in them

    The whole picture and the pure fill belong to no map, so each is asked once.
    """
    known: _Known = evidence.remember(_Known, _Known)
    wanted = list(dict.fromkeys(cuts))
    seed = seed or Seed(int(evidence.seed))
    orders = {name: _order(values, seed, region) for name, values in maps.items()}
    table: dict[str, dict[Cut, Hashable]] = {}
    asked: dict[Hashable, Write] = {}
    for name, order in orders.items():
        table[name] = {cut: _key(order, cut) for cut in wanted}
        for cut, key in table[name].items():
            asked.setdefault(key, _writer(evidence, known, order, cut, key))
    found = answers_of(evidence, asked)
    return {name: {cut: found[key] for cut, key in row.items()} for name, row in table.items()}


def shaded_answers(
    evidence: Evidence,
    maps: Mapping[str, Float[Tensor, "batch height width"]],
    shades: Iterable[Shade],
    seed: Seed | None = None,
) -> dict[str, dict[Shade, Answers]]:
    """What the model says to the pictures seen through each map; maps are scaled to 0..1 for each picture.

    seed: decides which of equal values count as the larger where a Shade shows a part only
    """
    wanted = list(dict.fromkeys(shades))
    seed = seed or Seed(int(evidence.seed))
    named = {name: digest(values) for name, values in maps.items()}

    def writer(values: Tensor, shade: Shade) -> Write:
        return lambda out: torch.lerp(
            evidence.fill(shade.fill), evidence.inputs, shown(values, shade.area, seed)[:, None].to(out), out=out
        )

    asked: dict[Hashable, Write] = {
        ("shade", named[name], int(seed), shade): writer(maps[name], shade) for name in maps for shade in wanted
    }
    found = answers_of(evidence, asked)
    return {name: {shade: found["shade", named[name], int(seed), shade] for shade in wanted} for name in maps}


def shown(values: Float[Tensor, "batch height width"], area: float, seed: Seed) -> Float[Tensor, "batch height width"]:
    """The map between 0 and 1 for each picture, 0 beyond the largest part of that area.

    A flat map cannot be scaled: it counts as it is, between 0 and 1, so that all ones show everything. What is not a
    number counts as 0, since no model need be asked about it.
    """
    values = values.nan_to_num(0.0, 0.0, 0.0)
    least = values.amin(dim=(-2, -1), keepdim=True)
    span = values.amax(dim=(-2, -1), keepdim=True) - least
    scaled = torch.where(span > 0, (values - least) / span.clamp(min=1e-30), values.clamp(0, 1))
    if area >= 1:
        return scaled
    first = round(area * values.shape[-2] * values.shape[-1])
    return torch.where(ranking(values, seed.child("ties")) < first, scaled, torch.zeros_like(scaled))


def pixels(evidence: Evidence) -> int:
    """Pixels of a picture."""
    height, width = evidence.size
    return height * width


def ordered(
    maps: Mapping[str, Float[Tensor, "batch height width"]], order: str
) -> dict[str, Float[Tensor, "batch height width"]]:
    """The maps as their ranking is meant: `signed` as they are, `absolute` by magnitude. Raises RequestError."""
    if order not in ORDERS:
        raise RequestError(f"order={order!r}; expected {' or '.join(ORDERS)}.")
    return {name: values.abs() if order == "absolute" else values for name, values in maps.items()}


ORDERS: Mapping[str, str] = {"signed": "signed, largest first", "absolute": "absolute, largest first"}
"""How pixels can be ranked, and in words."""


def digest(values: Float[Tensor, "..."]) -> str:
    """A name for the numbers of a tensor: equal tensors have one, whoever made them."""
    held = values.detach().float().cpu().contiguous()
    return hashlib.blake2b(held.numpy().tobytes(), digest_size=12).hexdigest()


def write_without(evidence: Evidence, gone: Bool[Tensor, "#batch height width"], fill: str, out: Tensor) -> None:
    """Puts the pictures with the pixels `gone` replaced by a fill into `out`."""
    if fill in baselines.BY_MASK:
        seed = evidence.seed.child("fill", fill)
        out.copy_(
            baselines.fill(evidence.inputs, fill, evidence.preprocess, seed, mask=gone.expand(len(evidence), -1, -1))
        )
    else:
        torch.where(gone[:, None].to(out.device), evidence.fill(fill), evidence.inputs, out=out)


def ranking(values: Float[Tensor, "batch *place"], seed: Seed) -> Int[Tensor, "batch *place"]:
    """Rank of every place by what is given to it, 0 for the most. Equal values are ordered by the seed.

    Ties in reading order would make smooth deletion curves out of flat maps.
    """
    flat = values.detach().flatten(1).cpu()
    shuffle = torch.randperm(flat.shape[1], generator=seed.generator())
    order = shuffle[flat[:, shuffle].argsort(dim=1, descending=True, stable=True)]
    places = torch.arange(flat.shape[1]).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).view(values.shape)


def squares(height: int, width: int, side: int) -> Int[Tensor, "height width"]:
    """Squares of that side, numbered row by row from 0; the last of a row or column are what is left."""
    if side < 1:
        raise RequestError(f"A region of {side} pixels; expected at least 1.")
    across = -(-width // side)
    return torch.arange(height)[:, None] // side * across + torch.arange(width)[None, :] // side


def cells(height: int, width: int, rows: int) -> Int[Tensor, "height width"]:
    """`rows` times `rows` rectangles as equal as whole pixels allow, numbered row by row from 0."""
    if rows < 1:
        raise RequestError(f"A grid of {rows} rows; expected at least 1.")
    down, across = min(rows, height), min(rows, width)
    row, column = torch.arange(height) * down // height, torch.arange(width) * across // width
    return row[:, None] * across + column[None, :]


def sums_over(
    values: Float[Tensor, "batch height width"], labels: Int[Tensor, "height width"]
) -> Float[Tensor, "batch place"]:
    """The sum of each map in every place, float64."""
    flat = values.detach().cpu().double().flatten(1)
    return flat.new_zeros(len(flat), int(labels.max()) + 1).index_add_(1, labels.flatten(), flat)


def _order(values: Tensor, seed: Seed, region: int | None) -> _Order:
    name = f"{digest(values)}:{int(seed)}:{region or 'pixels'}"
    if region is None:
        return _Order(name, values.shape[-2] * values.shape[-1], lambda: ranking(values, seed.child("ties")))
    labels = squares(int(values.shape[-2]), int(values.shape[-1]), region)

    def rank() -> Tensor:
        of_regions = ranking(sums_over(values, labels)[:, None], seed.child("ties"))[:, 0]
        return of_regions[:, labels]

    return _Order(name, int(labels.max()) + 1, rank)


def _key(order: _Order, cut: Cut) -> Hashable:
    if cut.first == (0 if cut.side == "removed" else order.places):
        return _WHOLE
    if cut.first == (order.places if cut.side == "removed" else 0):
        return "fill", cut.fill
    return order.name, cut


def _writer(evidence: Evidence, known: _Known, order: _Order, cut: Cut, key: Hashable) -> Write:
    if key == _WHOLE:
        return lambda out: out.copy_(evidence.inputs)
    if key == ("fill", cut.fill):
        return _emptied(evidence, cut.fill)

    def write(out: Tensor) -> None:
        ranks = known.ranks_of(order, evidence.inputs.device)
        gone = ranks < cut.first if cut.side == "removed" else ranks >= cut.first
        write_without(evidence, gone, cut.fill, out)

    return write


def _emptied(evidence: Evidence, fill: str) -> Write:
    everything = torch.ones(1, *evidence.size, dtype=torch.bool)
    return lambda out: write_without(evidence, everything, fill, out)
