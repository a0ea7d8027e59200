"""Are names of units right? Measured on nets set by hand, where it is known what each unit answers to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.compute.bootstrap import Interval, wilson
from pellucid.errors import RequestError
from pellucid.language import milan
from pellucid.language.dissect import SCORES
from pellucid.language.neurons import CANDIDATES, dealt_out, name_units
from pellucid.language.pools import Pool, Word, bird_pool, encoder_for, likeness
from pellucid.language.probes import Probe, grids
from pellucid.subject import load
from pellucid.testbed import planted
from pellucid.testbed.nets import Captioner, loaded
from pellucid.testbed.planted import PlantedUnit

NETS = ("hues", "mixed", "logic", "path")
MILAN = "milan"
METHODS = (*SCORES, MILAN)
SCENE_SEEDS = (1041, 1042)
_USUAL = 200  # pictures that say how likely a text is whatever the unit
_FEWEST = 20  # pictures, of which every second one finds names


@dataclass(frozen=True, eq=False)
class PlantedLayer:
    """Units of one layer whose meaning was set by hand, and what the layer answers to the pictures.

    units: those that stand for one concept; combinations have no one word
    """

    net: str
    units: tuple[PlantedUnit, ...]
    grids: Float[Tensor, "picture channel h w"]


@dataclass(frozen=True)
class Way:
    """How often one way of naming puts the true concept first.

    first:    share of units
    shuffled: the same with each unit's responses dealt to other pictures
    by_lot:   the same with words dealt to other pictures; of MILAN a text drawn by lot
    stand:    share of units whose name stands on held-out pictures: as they are, and in both controls; of MILAN none
    missed:   which net's unit, what it is, and what it was called
    """

    name: str
    first: Interval
    shuffled: Interval
    by_lot: Interval
    stand: Mapping[str, float]
    missed: tuple[str, ...]

    @property
    def beats_controls(self) -> bool:
        """Whether it surely finds more than chance does."""
        return self.first.low > max(self.shuffled.high, self.by_lot.high)

    def __str__(self) -> str:
        standing = ", ".join(f"{share:.0%} {name}" for name, share in self.stand.items())
        return (
            f"{self.name}: {round(self.first.mean * self.first.count)} of {self.first.count}, {_ranged(self.first)}; "
            f"with shuffled responses {_ranged(self.shuffled)}, with words by lot {_ranged(self.by_lot)}."
            + (f" Names that stand: {standing}." if standing else "")
            + ("" if self.beats_controls else " That is not surely better than the controls.")
        )


@dataclass(frozen=True)
class NamingTrial:
    """Ways of naming, on the same units and pictures."""

    ways: tuple[Way, ...]
    units: int
    nets: tuple[str, ...]
    pictures: int
    scene_seeds: tuple[int, ...]
    words: int

    def __str__(self) -> str:
        seeds = " and ".join(map(str, self.scene_seeds))
        return "\n".join([
            f"True concept first, of {self.units} units of {', '.join(f'planted_{net}' for net in self.nets)}; "
            f"{self.words} words, {self.pictures} scenes of seed {seeds}; in brackets Wilson's interval.",
            *map(str, self.ways),
        ])  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        ways = [{**asdict(way), "beats_controls": way.beats_controls} for way in self.ways]
        return {**asdict(self), "ways": ways}


def trial(
    scene_seeds: Sequence[int] = SCENE_SEEDS, *, methods: Sequence[str] = METHODS, nets: Sequence[str] = NETS,
    count: int = 600, seed: int = 0,
) -> NamingTrial:  # fmt: skip
    """Names every planted unit in each way: CLIP-Dissect's scores with the best of 20 and alone, and MILAN.

    scene_seeds: each is a set of `count` scenes on which every unit is named anew
    methods:     scores of CLIP-Dissect by name, and `milan`
    nets:        whose units: hues, mixed, logic, path

    Raises RequestError for a method or net that does not exist, and for fewer than 20 scenes.
    """
    for asked, known in ((methods, METHODS), (nets, NETS)):
        if wrong := [name for name in asked if name not in known]:
            raise RequestError(f"{wrong[0]!r} cannot be tried; there are {', '.join(known)}.")
    if count < _FEWEST:
        raise RequestError(f"{count} scenes are too few to name units by; give {_FEWEST} or more.")
    pool = bird_pool()
    rows: dict[str, list[_Row]] = {}
    for scene_seed in scene_seeds:
        seen = Probe("scenes", scene_seed, count).scenes().tensor()
        like = likeness(encoder_for(pool), seen, pool)
        told = _Told.of(pool, seen) if MILAN in methods else None
        for layer in planted_layers(scene_seed, count, nets):
            for name, found in _named(layer, like, pool, told, methods, seed):
                rows.setdefault(name, []).extend(found)
    ways = tuple(_way(name, found) for name, found in rows.items())
    return NamingTrial(ways, ways[0].first.count, tuple(nets), count, tuple(scene_seeds), len(pool))


def planted_layers(scene_seed: int, count: int, nets: Sequence[str] = NETS) -> Iterator[PlantedLayer]:
    """Every layer of these planted nets that has units of one concept, with what it answers to these."""
    for short in nets:
        net, model = planted.BUILDERS[short](), load(f"testbed:planted_{short}")
        inputs = Probe.for_model(model, seed=scene_seed, count=count).inputs(model)
        single = [unit for unit in net.units if not unit.formula]
        for layer in dict.fromkeys(unit.layer for unit in single):
            units = tuple(unit for unit in single if unit.layer == layer)
            yield PlantedLayer(short, units, torch.cat(list(grids(model, inputs, layer))).cpu())


def is_right(unit: PlantedUnit, word: Word) -> bool:
    """Whether a word of a pool, or one that means the same, is what the unit answers to."""
    return any(map(unit.accepts, (word.name, *word.synonyms)))


# -- one way after the other ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """One unit named as it is, with its responses shuffled, and with words by lot."""

    truth: str
    said: str
    right: tuple[bool, bool, bool]
    stands: tuple[bool, bool, bool] | None


@dataclass(frozen=True, eq=False)
class _Told:
    """What a captioner can say of the pool's words, and how likely it says it whatever the unit."""

    captioner: Captioner
    seen: Float[Tensor, "picture 3 height width"]
    words: Mapping[str, Word]
    anyway: Float[Tensor, "text"]

    @classmethod
    def of(cls, pool: Pool, seen: Float[Tensor, "picture 3 height width"]) -> _Told:
        captioner = loaded("captioner", Captioner)
        known = set(captioner.words.listed)
        words = {
            text: word
            for word in pool.words
            for text in [next(text for text in (word.name, *word.synonyms) if set(text.split()) <= known)]
        }
        return cls(captioner, seen, words, milan.likelihood(captioner, seen[:_USUAL], tuple(words)))

    def first(self, maps: Float[Tensor, "picture h w"]) -> Word:
        """What it says first of the places that drive a unit."""
        best, *_ = milan.describe(self.captioner, self.seen, maps, tuple(self.words), anyway=self.anyway)
        return self.words[best.text]


def _named(
    layer: PlantedLayer, like: Float[np.ndarray, "picture word"], pool: Pool, told: _Told | None,
    methods: Sequence[str], seed: int,
) -> Iterator[tuple[str, list[_Row]]]:  # fmt: skip
    """Each way's name, and its row for every unit."""
    rng = np.random.default_rng(seed)
    given = layer.grids.mean(dim=(2, 3)).double().numpy()
    views = ((given, like), (dealt_out(given, rng), like), (given, dealt_out(like, rng)))
    for score in (name for name in methods if name in SCORES):
        for candidates, name in ((CANDIDATES, f"best of {CANDIDATES}"), (1, "its own first")):
            yield f"{score}, {name}", _by_score(layer, pool, views, score, candidates, seed)
    if told is not None:
        yield MILAN, [_by_captioner(layer, unit, told, rng) for unit in layer.units]


def _by_score(
    layer: PlantedLayer, pool: Pool, views: Sequence[tuple[np.ndarray, np.ndarray]], score: str, candidates: int,
    seed: int,
) -> list[_Row]:  # fmt: skip
    asked = [unit.index for unit in layer.units]
    words = dict(zip(pool.names, pool.words, strict=True))
    namings = [
        name_units(given, like, pool, units=asked, method=score, candidates=candidates, controls=False, seed=seed).units
        for given, like in views
    ]
    rows: list[_Row] = []
    for unit, own, shuffled, by_lot in zip(layer.units, *namings, strict=True):
        right = [is_right(unit, words[one.names[0]]) for one in (own, shuffled, by_lot)]
        stands = (own.name is not None, shuffled.name is not None, by_lot.name is not None)
        rows.append(_Row(f"{layer.net} {unit.name}", own.names[0], (right[0], right[1], right[2]), stands))
    return rows


def _by_captioner(layer: PlantedLayer, unit: PlantedUnit, told: _Told, rng: np.random.Generator) -> _Row:
    maps = layer.grids[:, unit.index]
    own, shuffled = told.first(maps), told.first(maps[torch.from_numpy(rng.permutation(len(maps)))])
    drawn = list(told.words.values())[int(rng.integers(len(told.words)))]
    right = (is_right(unit, own), is_right(unit, shuffled), is_right(unit, drawn))
    return _Row(f"{layer.net} {unit.name}", own.name, right, None)


def _way(name: str, rows: Sequence[_Row]) -> Way:
    own, shuffled, by_lot = (
        wilson(sum(column), len(rows)) for column in zip(*(row.right for row in rows), strict=True)
    )
    judged = [row.stands for row in rows if row.stands is not None]
    names = ("as they are", "with shuffled responses", "with words by lot")
    stand = {key: float(np.mean(column)) for key, column in zip(names, zip(*judged, strict=True), strict=False)}
    missed = tuple(f"{row.truth}: {row.said}" for row in rows if not row.right[0])
    return Way(name, own, shuffled, by_lot, stand, missed)


def _ranged(found: Interval) -> str:
    return f"{found.mean:.0%} ({found.low:.0%} to {found.high:.0%})"
