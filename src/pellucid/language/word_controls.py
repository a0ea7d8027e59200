"""What stands beside every result in words: the same with words that mean nothing, or mean something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.language.descriptors import (
    PLAIN,
    Descriptors,
    Encode,
    Wording,
    by_description,
    from_sentences,
    visibility,
)
from pellucid.values import Seed


@dataclass(frozen=True)
class Controls:
    """Accuracy of a classifier by description beside that of its controls, 0 to 1.

    described:    with the descriptions
    name:         with the class names alone
    nameless:     with the descriptions alone, the class names removed
    random_words: names with as many random words as each description has; mean over draws
    shuffled:     names with the descriptions of other classes; mean over draws
    highest:      the best of all draws of both
    blind:        the descriptions, with the pictures dealt to other labels: what is right where nothing is seen
    """

    described: float
    name: float
    nameless: float
    random_words: float
    shuffled: float
    highest: float
    blind: float
    visibility: Mapping[str, tuple[tuple[str, float], ...]]

    @property
    def meaning_helps(self) -> bool:
        """Whether the descriptions do better than every draw of words that mean nothing here."""
        return self.described > max(self.highest, self.blind)

    @property
    def adds_to_names(self) -> bool:
        """Whether they do better than the class names alone."""
        return self.described > self.name

    @property
    def verdict(self) -> str:
        if not self.meaning_helps:
            return "Words without meaning do as well: this is no evidence that the descriptions matter"
        if not self.adds_to_names:
            return "They do better than words without meaning, but no better than the names alone"
        return "What they mean helps"

    def __str__(self) -> str:
        return (
            f"Accuracy {self.described:.1%}; names alone {self.name:.1%}, descriptions without names "
            f"{self.nameless:.1%}, random words {self.random_words:.1%}, shuffled descriptions {self.shuffled:.1%} "
            f"(best draw {self.highest:.1%}), other pictures' features {self.blind:.1%}. {self.verdict}."
        )

    def to_dict(self) -> dict[str, Any]:
        figures = {name: value for name, value in vars(self).items() if name != "visibility"}
        verdict = {"verdict": self.verdict, "meaning_helps": self.meaning_helps, "beats_controls": self.meaning_helps}
        return {**figures, "adds_to_names": self.adds_to_names, **verdict}


def controls(
    descriptors: Descriptors, encode: Encode, pictures: Float[Tensor, "picture dim"], labels: Int64[Tensor, "picture"],
    *, words: Sequence[str], wording: Wording = PLAIN, draws: int = 5, seed: int = 0,
) -> Controls:  # fmt: skip
    """The classifier by description beside classifiers of as many sentences that say nothing, or something else.

    words: what random words are drawn from; the encoder must read them
    """
    accuracy = lambda one: float((one.predict(pictures) == labels).float().mean())
    real = by_description(descriptors, encode, wording=wording)
    names = tuple(descriptors)
    bare = from_sentences(names, [() for _ in names], [(wording.of_name(name),) for name in names], encode, real)
    nameless = by_description(descriptors, encode, wording=wording, named=False)
    noise: list[float] = []
    moved: list[float] = []
    for draw in range(draws):
        own = Seed(seed).child("word controls", draw)
        noise.append(accuracy(by_description(random_words(descriptors, words, own), encode, wording=wording)))
        moved.append(accuracy(by_description(shuffled(descriptors, own), encode, wording=wording, known=real)))
    mean = lambda values: sum(values) / len(values)
    return Controls(
        accuracy(real), accuracy(bare), accuracy(nameless), mean(noise), mean(moved), max(*noise, *moved),
        by_chance(real.predict(pictures), labels), visibility(nameless, pictures, labels),
    )  # fmt: skip


def by_chance(predicted: Int64[Tensor, "picture"], labels: Int64[Tensor, "picture"]) -> float:
    """The accuracy of the same predictions where they are dealt to the pictures by lot: its mean over all deals."""
    count = int(max(predicted.max(), labels.max())) + 1
    shares = [torch.bincount(one, minlength=count).double() / len(labels) for one in (predicted, labels)]
    return float(shares[0] @ shares[1])


def random_words(descriptors: Descriptors, words: Sequence[str], seed: Seed) -> Descriptors:
    """Each description replaced by as many random words."""
    generator = seed.child("random words").generator()
    pool = sorted(set(words))
    return Descriptors(
        {name: tuple(drawn_words(text, pool, generator) for text in descriptors[name]) for name in descriptors}
    )


def shuffled_cells(
    pictures: Float[Tensor, "picture channel height width"], *, cells: int = 8, seed: Seed
) -> Float[Tensor, "picture channel height width"]:
    """Pictures cut into `cells` by `cells` pieces that are laid anew: the same colours and textures, nothing whole.

    Raises RequestError where the sides cannot be cut into so many.
    """
    height, width = pictures.shape[2:]
    if height % cells or width % cells:
        raise RequestError(f"A picture of {height} x {width} cannot be cut into {cells} by {cells} pieces.")
    order = torch.randperm(cells * cells, generator=seed.child("cells").generator())
    tall, wide = height // cells, width // cells
    grid = pictures.unflatten(3, (cells, wide)).unflatten(2, (cells, tall)).permute(0, 2, 4, 1, 3, 5)
    laid = grid.flatten(1, 2)[:, order].unflatten(1, (cells, cells))
    return laid.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def drawn_words(text: str, pool: Sequence[str], generator: torch.Generator) -> str:
    """As many words as the text has, drawn from the pool."""
    numbers = torch.randint(len(pool), (len(text.split()),), generator=generator)
    return " ".join(pool[int(number)] for number in numbers)


def shuffled(descriptors: Descriptors, seed: Seed) -> Descriptors:
    """All descriptions dealt anew over the classes; each class keeps its number of them."""
    everything = [text for name in descriptors for text in descriptors[name]]
    order = torch.randperm(len(everything), generator=seed.child("shuffled").generator()).tolist()
    dealt = iter(everything[at] for at in order)
    return Descriptors({name: tuple(next(dealt) for _ in descriptors[name]) for name in descriptors})
