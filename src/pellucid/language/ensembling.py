"""Whether descriptions help by what they mean, or only because many sentences are averaged.

Descriptions without class names are chosen per picture among the classes it may be, by what they measure on a few
labelled pictures; if chosen ones do no better than random ones, the meaning does not matter. After the study of the
Ommer group, Does VLM classification benefit from LLM description semantics?, AAAI 2025.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.language.descriptors import Encode
from pellucid.language.word_controls import drawn_words
from pellucid.values import Seed

WEIGHTS = tuple(step / 4 for step in range(161))  # of the class name: 0 to 40
_LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class Selection:
    """How well each description fits each class, on pictures kept for choosing.

    fit: mean cosine of a class's pictures with a description [description class]
    """

    fit: Float[Tensor, "description class"]

    @classmethod
    def measured(
        cls, descriptions: Float[Tensor, "description dim"], pictures: Float[Tensor, "picture dim"],
        labels: Int64[Tensor, "picture"], classes: int, *, most: int = 1000,
    ) -> Selection:  # fmt: skip
        """From embeddings of length 1, as many pictures of each class, at most `most`.

        Raises RequestError for a class without pictures.
        """
        counts = torch.bincount(labels, minlength=classes)
        if int(counts.min()) == 0:
            raise RequestError(f"Class {int(counts.argmin())} has no picture to choose descriptions by.")
        each = min(most, int(counts.min()))
        means = [pictures[labels == number][:each].mean(dim=0) for number in range(classes)]
        return cls(descriptions @ torch.stack(means).T)

    def chosen(self, candidate: int, near: Sequence[int], count: int) -> list[int]:
        """Descriptions that fit the candidate no worse than any neighbour, those with the largest lead first.

        Fewer than `count`, or none, where no more pass.
        """
        own, others = self.fit[:, candidate], self.fit[:, list(near)]
        passing = (own[:, None] >= others).all(dim=1)
        lead = (own[:, None] - others).mean(dim=1).masked_fill(~passing, -torch.inf)
        order = lead.argsort(descending=True, stable=True)[:count]
        return [int(number) for number in order if bool(passing[number])]


@dataclass(frozen=True)
class Verdict:
    """Whether the meaning of descriptions helps. Accuracies 0 to 1, each among the classes a picture may be.

    name_only:    by class names alone
    selected:     by chosen descriptions alone, without names
    random:       by as many random descriptions of the pool; mean over draws
    meaningless:  by descriptions chosen in the same way from a pool that means nothing; mean over draws
    meaningless_high: its 95th percentile
    assigned:     by the descriptions that a list gives each class, where there is such a list
    curve:        weight of the class name -> accuracy with chosen descriptions beside it
    random_curve: the same with random ones; mean over draws
    best_weight:  at which the curve is highest; inf where no finite weight beats names alone
    p_value:      of a pool, or a choice, that means nothing doing as well without the name
    """

    name_only: float
    selected: float
    random: float
    meaningless: float
    meaningless_high: float
    assigned: float | None
    curve: Mapping[float, float]
    random_curve: Mapping[float, float]
    best_weight: float
    p_value: float

    @property
    def meaning_helps(self) -> bool:
        """Chosen ones beat what means nothing, and the list where there is one."""
        return self.p_value < _LEVEL and (self.assigned is None or self.selected > self.assigned)

    @property
    def adds_to_names(self) -> bool:
        """Whether, beside the class name, they do better than the name alone."""
        return bool(np.isfinite(self.best_weight))

    @property
    def beats_controls(self) -> bool:
        return self.meaning_helps

    def to_dict(self) -> dict[str, Any]:
        return {
            **vars(self), "best_weight": self.best_weight if self.adds_to_names else None, "curve": dict(self.curve),
            "random_curve": dict(self.random_curve), "meaning_helps": self.meaning_helps,
            "adds_to_names": self.adds_to_names, "beats_controls": self.beats_controls,
        }  # fmt: skip

    def __str__(self) -> str:
        listed = "" if self.assigned is None else f", those of the list {self.assigned:.1%}"
        said = (
            "What they mean helps" if self.meaning_helps
            else "What they mean helps, but the list does no worse: choosing adds nothing" if self.p_value < _LEVEL
            else "Ensembling only: what they mean makes no difference"
        )  # fmt: skip
        beside = (
            f"beside the name (weight {self.best_weight:g}) {self.curve[self.best_weight]:.1%}"
            if self.adds_to_names else "beside the name they add nothing"
        )  # fmt: skip
        return (
            f"Chosen descriptions {self.selected:.1%}, random ones {self.random:.1%}, chosen from a pool that means "
            f"nothing {self.meaningless:.1%} (95th percentile {self.meaningless_high:.1%}){listed}, names alone "
            f"{self.name_only:.1%}; {beside}. {said} (p = {self.p_value:.3f})."
        )


def ensembling_control(
    names: Float[Tensor, "class dim"],
    descriptions: Float[Tensor, "description dim"],
    selection: tuple[Float[Tensor, "picture dim"], Int64[Tensor, "picture"]],
    held_out: tuple[Float[Tensor, "picture dim"], Int64[Tensor, "picture"]],
    *,
    near: int = 3,
    count: int = 5,
    assigned: Sequence[Sequence[int]] | None = None,
    meaningless: Sequence[Float[Tensor, "description dim"]] | None = None,
    draws: int = 40,
    weights: Sequence[float] = WEIGHTS,
    seed: int = 0,
) -> Verdict:
    """Descriptions chosen per picture among its `near` likeliest classes, beside choices without meaning.

    Choosing by measurement helps even where nothing is meant: of many arbitrary directions some tell classes apart. So
    the same choice is made from pools that mean nothing, which is what the chosen descriptions must beat.

    names, descriptions: embeddings of length 1; descriptions hold no class name
    selection:   pictures and labels to choose by; held_out: to measure on. No picture may be in both
    assigned:    numbers of the descriptions that a list gives each class
    meaningless: embeddings of as many random strings, one set per draw (`random_pools` makes them); None turns the pool
                 round at random, which keeps the angles within it
    draws:       of random choices, and of pools turned round

    Raises RequestError where a picture is in both sets.
    """
    _apart(selection[0], held_out[0])
    pictures, labels = held_out
    first = pictures @ names.T
    around = first.argsort(dim=1, descending=True, stable=True)[:, : min(near, len(names))]
    by_name, hit = first.gather(1, around), around == labels[:, None]
    own = Seed(seed)

    def picked(pool: Tensor) -> Tensor:
        fit = Selection.measured(pool, *selection, len(names))
        return _by(lambda candidate, members: fit.chosen(candidate, members, count), around, pictures @ pool.T, by_name)

    chosen = picked(descriptions)
    cosines = pictures @ descriptions.T
    noise = [
        _by(_drawn(len(descriptions), len(names), count, own.child("random", draw)), around, cosines, by_name)
        for draw in range(draws)
    ]
    pools = meaningless or [descriptions @ _turned(descriptions, own.child("turned", draw)) for draw in range(draws)]
    nothing = np.array([_accuracy(picked(pool), hit) for pool in pools])
    alone, at_random = _accuracy(chosen, hit), np.array([_accuracy(one, hit) for one in noise])
    listed = None if assigned is None else _accuracy(_by(lambda one, _: assigned[one], around, cosines, by_name), hit)
    curve = {weight: _accuracy(weight * by_name + chosen, hit) for weight in weights}
    mean_curve = {
        weight: float(np.mean([_accuracy(weight * by_name + one, hit) for one in noise])) for weight in weights
    }
    name_only, best = _accuracy(by_name, hit), max(weights, key=lambda weight: curve[weight])
    chance = [(1 + int((found >= alone).sum())) / (1 + len(found)) for found in (nothing, at_random)]
    return Verdict(
        name_only, alone, float(at_random.mean()), float(nothing.mean()), float(np.quantile(nothing, 0.95)), listed,
        curve, mean_curve, best if curve[best] > name_only else float("inf"), max(chance),
    )  # fmt: skip


def random_pools(
    descriptions: Sequence[str], words: Sequence[str], encode: Encode, *, draws: int = 40, seed: int = 0
) -> list[Float[Tensor, "description dim"]]:
    """Pools that mean nothing, for `ensembling_control(meaningless=...)`: as many random words as each description has.

    words: what is drawn from. Those that are one token to the encoder make strings of as many tokens

    Roth et al., Waffling around for Performance, ICCV 2023, draw such strings.
    """
    known, own = sorted(set(words)), Seed(seed)
    generators = [own.child("random pools", draw).generator() for draw in range(draws)]
    return [encode([drawn_words(text, known, one) for text in descriptions]) for one in generators]


def _by(
    choose: Callable[[int, tuple[int, ...]], Sequence[int]],
    around: Int64[Tensor, "picture near"],
    cosines: Float[Tensor, "picture description"],
    by_name: Float[Tensor, "picture near"],
) -> Float[Tensor, "picture near"]:
    """Mean cosine with what is chosen for each candidate; the name's, where nothing is."""
    scores = by_name.clone()
    sets, which = around.sort(dim=1).values.unique(dim=0, return_inverse=True)
    for number, row in enumerate(sets):
        members = tuple(map(int, row))
        here = which == number
        lists = {candidate: list(choose(candidate, members)) for candidate in members}
        for place in range(around.shape[1]):
            for candidate, listed in lists.items():
                mine = here & (around[:, place] == candidate)
                if listed and bool(mine.any()):
                    scores[mine, place] = cosines[mine][:, listed].mean(dim=1)
    return scores


def _drawn(pool: int, classes: int, count: int, seed: Seed) -> Callable[[int, tuple[int, ...]], Sequence[int]]:
    """As many descriptions per class, whichever."""
    generator = seed.generator()
    listed = [torch.randperm(pool, generator=generator)[:count].tolist() for _ in range(classes)]
    return lambda candidate, _: listed[candidate]


def _turned(like: Tensor, seed: Seed) -> Float[Tensor, "dim dim"]:
    """A rotation at random."""
    dim = like.shape[1]
    q, r = torch.linalg.qr(torch.randn(dim, dim, generator=seed.generator(), dtype=torch.float64))
    return (q * r.diagonal().sign()).to(like)


def _accuracy(scores: Float[Tensor, "picture near"], hit: Tensor) -> float:
    return float(hit.gather(1, scores.argmax(dim=1, keepdim=True)).float().mean())


def _apart(chosen_by: Tensor, measured_on: Tensor) -> None:
    seen = {row.numpy().tobytes() for row in chosen_by.cpu().contiguous()}
    twice = sum(row.numpy().tobytes() in seen for row in measured_on.cpu().contiguous())
    if twice:
        raise RequestError(f"{twice} pictures are used both to choose descriptions and to measure them; take others.")
