"""Whether a unit, a class or a prototype goes by hue, saturation, contrast, texture or shape.

A picture is changed in one characteristic at a time; what the answer loses is that characteristic's importance. Beside
it stands what a random change of the same size takes. Nauta et al., This Looks Like That, Because..., 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import combinations, product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from pellucid.canvas.words import listed, percent
from pellucid.compute.bootstrap import holm
from pellucid.errors import RequestError
from pellucid.language.experiments import sign_flip_p
from pellucid.language.retouching import CHARACTERISTICS, SHIPPED, SIGNS, Levels, at_random, retouched, undefined
from pellucid.results.beside import Beside
from pellucid.values import Seed

MOST_P, SHARE, LEAST = 0.05, 0.5, 0.05
_BATCH = 32  # pictures that are changed at a time; the random changes follow from it
_PASS = 64  # changed pictures that go through the model at a time
COLOURS = ("hue", "saturation")  # what a grey picture has not
_ALIKE, _OTHERWISE, _NEAR = 0.9, 0.7, 0.12

Read = Callable[[Tensor], Float[Tensor, "picture reading row column"]]


@dataclass(frozen=True)
class Importance:
    """What one characteristic is worth to one reading, over all pictures.

    share:     of the answer, what is lost at the place where it was strongest; below 0 where the answer grows. What is
               bent moves, so of shape it is what is not found again within the reach of the bend
    in_place:  the same of shape at the very same place, as the paper has it; of the others equal to `share`
    anywhere:  the same where the strongest place of the changed picture counts: what moved is not lost
    by_chance: what a random change of the same size takes, at the same place
    fall:      the same as `share`, in the reading's own unit: the mean over pictures, weighted by their answers
    p:         of `share` against `by_chance` on the same pictures (signs by lot; Holm over all ten changes)
    sign:      the direction that costs more: -1 taken away, 1 added
    pictures:  how many could be changed; 0 where the characteristic is undefined, and then all else is NaN
    """

    share: float
    in_place: float
    anywhere: float
    by_chance: float
    fall: float
    p: float
    sign: int
    pictures: int


@dataclass(frozen=True, eq=False)
class Profile:
    """One reading, with what each change did to it in each picture; `nan` where a picture is grey.

    answer:    at its strongest place
    place:     that place (row, column); of several that are as strong, the one deepest inside
    local:     answer less that of the changed picture at the same place; of shape, within the reach of the bend
    in_place:  the same at the very same place, whatever is changed
    anywhere:  answer less the changed picture's strongest, wherever that is
    random:    as `local`, of a random change of the same size
    """

    name: str
    answer: Float[np.ndarray, "picture"]
    place: Int64[np.ndarray, "picture 2"]
    local: Float[np.ndarray, "picture characteristic sign"]
    in_place: Float[np.ndarray, "picture characteristic sign"]
    anywhere: Float[np.ndarray, "picture characteristic sign"]
    random: Float[np.ndarray, "picture characteristic sign"]

    @property
    def silent(self) -> bool:
        """Whether it answers to no picture at all."""
        return not bool((self.answer > 1e-9).any())

    @cached_property
    def importance(self) -> Mapping[str, Importance]:
        """Of each characteristic, the direction that costs more."""
        p = holm({cell: self._p(*cell) for cell in product(range(len(CHARACTERISTICS)), range(len(SIGNS)))})
        found: dict[str, Importance] = {}
        for at, name in enumerate(CHARACTERISTICS):
            both = [self._cell(at, sign, p[at, sign]) for sign in range(len(SIGNS))]
            found[name] = max(both, key=lambda one: -np.inf if np.isnan(one.share) else one.share)
        return found

    def important(self, share: float = SHARE) -> tuple[str, ...]:
        """Characteristics that cost at least `share` of what the dearest one does, a random change less, dearest first.

        A loss below a twentieth of the answer is none.
        """
        known = {name: one for name, one in self.importance.items() if one.share == one.share}
        if self.silent or not known:
            return ()
        level = max(LEAST, share * max(one.share for one in known.values()))
        kept = [name for name, one in known.items()
                if one.share >= level and one.share > one.by_chance and one.p <= MOST_P]  # fmt: skip
        return tuple(sorted(kept, key=lambda name: -known[name].share))

    @property
    def first(self) -> str:
        """The characteristic that costs most, whether or not it beats chance; empty where none costs anything."""
        shares = {name: one.share for name, one in self.importance.items() if one.share > 1e-9}
        return max(shares, key=lambda name: shares[name]) if shares and not self.silent else ""

    @property
    def vector(self) -> Float[np.ndarray, "characteristic"]:
        """What each characteristic costs, 0 where nothing: what profiles are compared by."""
        return np.array([max(0.0, np.nan_to_num(one.share)) for one in self.importance.values()])

    @property
    def text(self) -> str:
        """The sentence, with its figures."""
        return sentence(self.name, self.importance, self.important(), silent=self.silent, pictures=len(self.answer))

    def dealt(self, seed: Seed) -> Profile:
        """The same with each change and the random one of its size dealt by lot: there is nothing left to find."""
        swap = np.random.default_rng(int(seed)).random(self.local.shape) < 0.5
        local, random = np.where(swap, self.random, self.local), np.where(swap, self.local, self.random)
        return replace(self, local=local, random=random)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "text": self.text, "important": list(self.important()), "first": self.first,
            "pictures": len(self.answer), "silent": self.silent,
            "importance": {name: asdict(one) for name, one in self.importance.items()},
        }  # fmt: skip

    def _weights(self, at: int, sign: int) -> Float[np.ndarray, "picture"]:
        """Pictures count by their answer; those that speak against it, or cannot be changed, do not count."""
        return np.where(np.isnan(self.local[:, at, sign]), 0.0, self.answer.clip(min=0))

    def _cell(self, at: int, sign: int, p: float) -> Importance:
        weights = self._weights(at, sign)
        total, usual = weights.sum(), (weights * self.answer).sum()
        if total <= 0:
            nothing = float("nan")
            return Importance(nothing, nothing, nothing, nothing, nothing, 1.0, SIGNS[sign], 0)
        mean = lambda falls: float(np.nansum(weights * falls[:, at, sign]) / usual)
        return Importance(
            mean(self.local), mean(self.in_place), mean(self.anywhere), mean(self.random),
            float(np.nansum(weights * self.local[:, at, sign]) / total), p, SIGNS[sign], int((weights > 0).sum()),
        )  # fmt: skip

    def _p(self, at: int, sign: int) -> float:
        gain = self._weights(at, sign) * np.nan_to_num(self.local[:, at, sign] - self.random[:, at, sign])
        return sign_flip_p(gain)


def profiles(
    read: Read, pictures: Float[Tensor, "picture 3 height width"], names: Sequence[str], *, levels: Levels = SHIPPED,
    seed: int = 0,
) -> tuple[Profile, ...]:  # fmt: skip
    """What hue, saturation, contrast, texture and shape are worth to each reading.

    read:     pictures in 0..1 -> every reading at every place; 21 passes per picture, shared by all readings
    pictures: in 0..1; those that speak for a reading count by how much they do

    Raises RequestError where there are no pictures.
    """
    if not len(pictures):
        raise RequestError("Characteristics are measured on pictures, and there are none.")
    parts = [
        _measured(read, block, levels, Seed(seed).child("characteristics", at))
        for at, block in enumerate(pictures.split(_BATCH))
    ]
    fields = [np.concatenate(part) for part in zip(*parts, strict=True)]
    return tuple(Profile(name, *(one[:, at] for one in fields)) for at, name in enumerate(names))


def _measured(read: Read, pictures: Tensor, levels: Levels, seed: Seed) -> tuple[np.ndarray, ...]:
    """For one block: answers, places, and the four kinds of fall [picture reading characteristic sign]."""
    grid = _read(read, pictures)
    best = _deepest(grid)
    at_best = lambda values: values.flatten(2).gather(2, best[..., None])[..., 0]
    answer, grey = at_best(grid), undefined(pictures)
    reach = math.ceil(levels.amplitude * grid.shape[-1] / pictures.shape[-1])
    falls: list[list[np.ndarray]] = [[], [], [], []]
    for name, sign, changed in _changes(pictures, levels):
        there = _read(read, changed)
        chance = _read(read, at_random(pictures, changed, seed.child(name, sign)))
        near = functional.max_pool2d(there, 2 * reach + 1, 1, reach) if name == "shape" else there
        chance = functional.max_pool2d(chance, 2 * reach + 1, 1, reach) if name == "shape" else chance
        values = (at_best(near), at_best(there), there.flatten(2).amax(dim=2), at_best(chance))
        for kept, value in zip(falls, values, strict=True):
            fall = (answer - value).numpy()
            kept.append(np.where(grey[:, None], np.nan, fall) if name in COLOURS else fall)
    columns = grid.shape[-1]
    shape = (len(pictures), grid.shape[1], len(CHARACTERISTICS), len(SIGNS))
    return (answer.numpy(), torch.stack([best // columns, best % columns], dim=-1).numpy(),
            *(np.stack(kept, axis=-1).reshape(shape) for kept in falls))  # fmt: skip


def _changes(pictures: Tensor, levels: Levels) -> Iterator[tuple[str, int, Tensor]]:
    for name, sign in product(CHARACTERISTICS, SIGNS):
        yield name, sign, retouched(pictures, name, sign, levels)


def _read(read: Read, pictures: Tensor) -> Float[Tensor, "picture reading row column"]:
    return torch.cat([read(block).double().cpu() for block in pictures.split(_PASS)])


def _deepest(grid: Float[Tensor, "picture reading row column"]) -> Int64[Tensor, "picture reading"]:
    """The strongest place; of several as strong, the one whose surroundings are strongest, and not the first."""
    around = functional.avg_pool2d(grid, 3, stride=1, padding=1)
    wider = functional.avg_pool2d(around, 3, stride=1, padding=1)
    flat = grid.flatten(2)
    top = flat.amax(dim=2, keepdim=True)
    tied = flat >= top - 1e-9 * top.abs().clamp(min=1)
    return torch.where(tied, (around + wider).flatten(2), -torch.inf).argmax(dim=2)


# -- in words ---------------------------------------------------------------------------------------------------------

_VERBS = {
    ("hue", -1): "turned back", ("hue", 1): "turned on", ("saturation", -1): "lowered", ("saturation", 1): "raised",
    ("contrast", -1): "lowered", ("contrast", 1): "raised", ("texture", -1): "taken away", ("texture", 1): "doubled",
    ("shape", -1): "bent", ("shape", 1): "bent",
}  # fmt: skip


def sentence(
    name: str, importance: Mapping[str, Importance], important: Sequence[str], *, silent: bool, pictures: int
) -> str:
    """What is important to a reading and what is not, each with what it costs beside a random change of its size."""
    if silent:
        return f"{name} answers to none of {pictures} pictures, so nothing can be important to it."
    known = {what: one for what, one in importance.items() if one.share == one.share}
    said = [
        f"{what} is important ({_percent(one.share)} of the answer is lost with it {_VERBS[what, one.sign]}, "
        f"{_percent(one.by_chance)} with a random change of that size)"
        for what in important
        if (one := known[what])
    ]
    rest = sorted((what for what in known if what not in important), key=lambda what: -known[what].share)
    others = listed(
        [f"{what} ({_percent(known[what].share)}, random {_percent(known[what].by_chance)})" for what in rest]
    )
    text = f"{name}: {'; '.join(said)}." if said else f"{name}: none of the characteristics is important."
    if others:
        text += f" Not important: {others}."
    answered, coloured = importance["shape"].pictures, importance["hue"].pictures
    if not coloured:
        return f"{text} {listed(COLOURS).capitalize()} cannot be changed: all pictures that it answers to are grey."
    if coloured < answered:
        text += f" {answered - coloured} of {answered} pictures are grey, and were left out for {listed(COLOURS)}."
    return text


def _percent(share: float) -> str:
    """A loss; one so small that only its sign would be told is none."""
    return percent(0.0 if abs(share) < 0.005 else share)


# -- beside it ---------------------------------------------------------------------------------------------------------


def beside_chance(found: Sequence[Profile], *, draws: int = 3, seed: int = 0) -> tuple[Beside, Beside]:
    """How many characteristics are important where there are none, and whether others would cost as much.

    draws: of which change is the random one
    """
    own = Seed(seed)
    named = [[one.importance[name] for name in one.important()] for one in found]
    others = [[each.share for each in one.importance.values() if each.share == each.share] for one in found]
    dealt = [len(one.dealt(own.child("dealt", draw, one.name)).important()) for one in found for draw in range(draws)]
    mean = lambda values: float(np.mean(values)) if len(values) else 0.0
    lost = mean([mean([each.share for each in several]) for several in named])
    return (
        Beside("Characteristics important to a reading", mean([len(several) for several in named]),
               {"with changes and random ones dealt by lot": mean(dealt)}, unit="of 5"),
        Beside("Of its answer they cost", lost, {
            "random changes of their size": mean([mean([each.by_chance for each in several]) for several in named]),
            "as many characteristics by lot": mean([mean(shares) if several else 0.0
                                                    for several, shares in zip(named, others, strict=True)]),
        }),
    )  # fmt: skip


# -- two that look alike, or act alike --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """Two readings whose strongest patches look alike.

    verdict:  `misleading`: they go by different characteristics though they look alike; `redundant`: by the same
    distance: of the patches, root mean square over pixels, 0 to 1
    likeness: cosine of what the characteristics cost
    """

    one: str
    other: str
    verdict: str
    distance: float
    likeness: float

    def __str__(self) -> str:
        why = "go by different characteristics" if self.verdict == "misleading" else "go by the same"
        return (
            f"{self.one} and {self.other} are {self.verdict}: their strongest patches look alike (difference "
            f"{self.distance:.2f}), and they {why} (profiles agree {self.likeness:.2f})."
        )


def pairs(
    found: Sequence[Profile], pictures: Float[Tensor, "picture 3 height width"], grid: tuple[int, int]
) -> tuple[Pair, ...]:
    """Pairs that mislead and pairs of which one is enough, by the patches round their strongest places.

    grid: rows and columns that places are counted on. Patches are compared as 8 x 8 cells, a quarter of the picture a
    side; they look alike from a difference of .12 downward. Profiles agree from a cosine of .9 on, and differ below .7.
    Readings to which nothing is important make no pair.
    """
    spoken = [one for one in found if one.important()]
    patches = [_patch(one, pictures, grid) for one in spoken]
    told: list[Pair] = []
    for (one, first), (other, second) in combinations(zip(spoken, patches, strict=True), 2):
        distance = float(((first - second) ** 2).mean().sqrt())
        likeness = float(one.vector @ other.vector / np.linalg.norm(one.vector) / np.linalg.norm(other.vector))
        if distance <= _NEAR and (likeness >= _ALIKE or likeness < _OTHERWISE):
            verdict = "redundant" if likeness >= _ALIKE else "misleading"
            told.append(Pair(one.name, other.name, verdict, distance, likeness))
    return tuple(told)


def _patch(one: Profile, pictures: Tensor, grid: tuple[int, int]) -> Float[Tensor, "3 row column"]:
    """The surroundings of the strongest place in the strongest picture."""
    at = int(one.answer.argmax())
    sides = [max(1, length // 4) for length in pictures.shape[-2:]]
    cut: list[slice] = []
    for place, cells, side, length in zip(one.place[at], grid, sides, pictures.shape[-2:], strict=True):
        middle = (int(place) + 0.5) * length / cells
        start = int(np.clip(round(middle - side / 2), 0, length - side))
        cut.append(slice(start, start + side))
    patch = pictures[at : at + 1, :, cut[0], cut[1]].float().cpu()
    return functional.interpolate(patch, (8, 8), mode="area")[0]
