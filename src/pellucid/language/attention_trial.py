"""Is a captioner's attention an explanation? Measured on fresh scenes, where the part each word tells of is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional

from pellucid.compute.bootstrap import Interval, difference, interval
from pellucid.errors import RequestError
from pellucid.language.attend import AREA, Caption, Telling, captions, glances, likelihood_without, most_looked_at
from pellucid.testbed.scene import Scenes
from pellucid.testbed.truth import grown
from pellucid.testbed.word_parts import PartWord, part_words

TELLING = ("hue", "shape")  # kinds of words that must be seen; a noun mostly follows from the words before it
_MOSTLY = 0.5  # share of words that a map shown as a reason must point right for
_CELLS = 8  # a side, of the grid on which attention is compared with occlusion
_FEWEST_PIXELS = 6  # of a part, below which nothing can be pointed at


@dataclass(frozen=True)
class Pointing:
    """How often the place looked at most lies in the part that the word tells of (grown by a pixel), and controls.

    hits:     of the captioner's own maps
    centre:   of the picture's middle
    anywhere: of a pixel drawn at random
    stranger: of the maps of the same words told of another picture
    """

    kind: str
    hits: Interval
    centre: float
    anywhere: float
    stranger: float
    by_part: dict[str, float]

    @property
    def better(self) -> bool:
        """Whether the maps point better than all three controls."""
        return self.hits.low > max(self.centre, self.anywhere, self.stranger)

    def __str__(self) -> str:
        return (
            f"{self.kind} words: {self.hits.mean:.0%} of {self.hits.count} were looked up in their part "
            f"({self.hits.low:.0%} to {self.hits.high:.0%}); the picture's centre lies there in "
            f"{self.centre:.0%}, a random pixel in {self.anywhere:.0%}, the look for the same word in another one in "
            f"{self.stranger:.0%}."
        )


@dataclass(frozen=True)
class Needed:
    """What painting over the place looked at does to the word's log probability, and controls of the same area.

    fall:      without the place looked at
    elsewhere: without random places of the same shape; mean of four
    neighbour: without the place that a word of another part looked at
    margin:    by how much more it falls than with `elsewhere`
    over:      by how much more than with `neighbour`
    agreement: Spearman's correlation, per word, of the map with the fall that each of 64 cells causes
    """

    fall: Interval
    elsewhere: Interval
    neighbour: Interval
    margin: Interval
    over: Interval
    agreement: Interval

    def __str__(self) -> str:
        return (
            f"Without the place looked at a word's log probability falls by {self.fall.mean:.2f}; without random "
            f"places of the same shape by {self.elsewhere.mean:.2f} (difference {_ranged(self.margin)}), without the "
            f"place that a word of another part looked at by {self.neighbour.mean:.2f} (difference "
            f"{_ranged(self.over)}). Over a word's 64 cells, attention and fall correlate by {_ranged(self.agreement)}."
        )


@dataclass(frozen=True)
class Trial:
    """Whether a captioner's maps may be shown as its reasons."""

    captioner: str
    scenes: int
    seed: int
    pointing: tuple[Pointing, ...]
    needed: Needed

    @property
    def explains(self) -> bool:
        """Most words that tell are looked up in their part, and need what was there more than either control."""
        points = all(one.better and one.hits.low > _MOSTLY for one in self.pointing if one.kind in TELLING)
        return points and self.needed.margin.low > 0 and self.needed.over.low > 0

    @property
    def verdict(self) -> str:
        if self.explains:
            return "Where it looked is where its words came from: the maps may be shown as reasons."
        if self.needed.margin.low > 0 and self.needed.over.low > 0:
            return "Its words need what it looked at, but too few were looked up in their part for maps to be reasons."
        if self.needed.margin.low > 0:
            return (
                "Its words need what it looked at more than random places, but not more than other parts of the bird."
            )
        return "Its words do not need what it looked at: the maps show attention and explain nothing."

    def __str__(self) -> str:
        return "\n".join(
            [f"{self.captioner}, {self.scenes} scenes of seed {self.seed}", *map(str, self.pointing), str(self.needed),
             self.verdict]
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "explains": self.explains, "beats_controls": self.explains, "verdict": self.verdict}


def trial(net: Telling, drawn: Scenes, *, name: str = "captioner", area: float = AREA, causal: int = 60) -> Trial:
    """Points and paints over: both tests on scenes that the captioner has not learned from, told by itself.

    causal: how many of the scenes are painted over as well, which takes about seventy passes each
    Raises RequestError for fewer than two scenes.
    """
    if len(drawn) < 2:
        raise RequestError("The trial compares pictures with one another; give at least two scenes.")
    told = captions(net, drawn.tensor())
    return Trial(
        name, len(drawn), int(drawn.seed), _pointing(net, drawn, told), _needed(net, drawn, told, area, causal)
    )


def _pointing(net: Telling, drawn: Scenes, told: Sequence[Caption]) -> tuple[Pointing, ...]:
    strangers = captions(net, drawn.tensor().roll(1, 0), [one.text for one in told])
    size = drawn.world.size
    rows: dict[str, list[tuple[str, bool, bool, float, bool]]] = {}
    for caption, stranger, (word, mask) in _spoken(drawn, told, strangers):
        row = (
            word.part, _points_into(caption.map_of(word.at, (size, size)), mask), bool(mask[size // 2, size // 2]),
            float(mask.mean()), _points_into(stranger.map_of(word.at, (size, size)), mask),
        )  # fmt: skip
        rows.setdefault(word.kind, []).append(row)
    found: list[Pointing] = []
    for kind in ("hue", "shape", "noun"):
        parts, hits, centre, anywhere, other = zip(*rows[kind], strict=True)
        by_part = {
            part: float(np.mean([hit for name, hit in zip(parts, hits, strict=True) if name == part]))
            for part in dict.fromkeys(parts)
        }
        means = [float(np.mean(column)) for column in (centre, anywhere, other)]
        found.append(Pointing(kind, interval(np.array(hits, dtype=float)), means[0], means[1], means[2], by_part))
    return tuple(found)


def _spoken(
    drawn: Scenes, told: Sequence[Caption], strangers: Sequence[Caption]
) -> Iterator[tuple[Caption, Caption, tuple[PartWord, Bool[np.ndarray, "height width"]]]]:
    """Each word of a part that can be seen, with the pixels of that part grown by one."""
    names = ("wing", "tail", "crest", "bib", "beak", "body")
    masks = {name: drawn.mask(name) for name in names}
    wide = {name: grown(mask) for name, mask in masks.items()}
    for at, (caption, stranger) in enumerate(zip(told, strangers, strict=True)):
        for word in part_words(caption.text):
            if masks[word.part][at].sum() >= _FEWEST_PIXELS:
                yield caption, stranger, (word, wide[word.part][at])


def _points_into(heat: Float[Tensor, "height width"], mask: Bool[np.ndarray, "height width"]) -> bool:
    return bool(mask.ravel()[int(heat.argmax())])


def _needed(net: Telling, drawn: Scenes, told: Sequence[Caption], area: float, causal: int) -> Needed:
    falls: list[float] = []
    elsewhere: list[float] = []
    neighbour: list[float] = []
    agreement: list[float] = []
    pictures = drawn.tensor()
    for at, caption in enumerate(told[:causal]):
        picture = pictures[[at]]
        words = [word for word in part_words(caption.text) if word.kind in TELLING]
        found = glances(net, picture, caption, [word.at for word in words], area=area, seed=at)
        swapped = _with_anothers_place(net, picture, caption, words, area)
        by_cell = caption.likelihood - likelihood_without(net, picture, caption, _cells(drawn.world.size))
        for place, (word, one) in enumerate(zip(words, found, strict=True)):
            falls.append(one.fall)
            elsewhere.append(one.elsewhere)
            neighbour.append(swapped[place])
            heat = functional.adaptive_avg_pool2d(caption.maps[word.at][None], _CELLS).flatten()
            agreement.append(_rank_correlation(heat, by_cell[:, word.at]))
    return Needed(
        interval(falls), interval(elsewhere), interval(neighbour), difference(falls, elsewhere),
        difference(falls, neighbour), interval(agreement),
    )  # fmt: skip


def _with_anothers_place(
    net: Telling, picture: Tensor, caption: Caption, words: Sequence[PartWord], area: float
) -> list[float]:
    """What each word loses when the place that the next word of another part looked at is painted over."""
    size = (picture.shape[2], picture.shape[3])
    masks = [most_looked_at(caption.map_of(word.at, size), area) for word in words]
    after = likelihood_without(net, picture, caption, masks)
    falls: list[float] = []
    for place, word in enumerate(words):
        others = [other for other, one in enumerate(words) if one.part != word.part]
        if not others:
            falls.append(float("nan"))
            continue
        chosen = others[place % len(others)]
        falls.append(float(caption.likelihood[word.at] - after[chosen, word.at]))
    return falls


def _cells(size: int) -> list[Bool[np.ndarray, "height width"]]:
    number = np.arange(size) * _CELLS // size
    grid = number[:, None] * _CELLS + number[None]
    return [grid == cell for cell in range(_CELLS**2)]


def _rank_correlation(one: Float[Tensor, "cell"], other: Float[Tensor, "cell"]) -> float:
    if float(torch.std(one)) == 0 or float(torch.std(other)) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(one.numpy()), rankdata(other.numpy()))[0, 1])


def _ranged(found: Interval) -> str:
    return f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f})"
