"""The texts of a class that fit one picture of it: descriptions that never change the label.

Lewis et al., GIST: generating image-specific text for fine-grained object classification, 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.language.pursuit import shuffled_numbers
from pellucid.values import Seed

_SHARPNESS = 100.0  # of the softmax over a class's texts


@dataclass(frozen=True)
class Matched:
    """One text of a picture, and its probability among the texts of the class, 0 to 1."""

    text: str
    share: float


@dataclass(frozen=True)
class Matching:
    """Each picture's texts, the best first.

    cosine:        mean cosine of pictures with their best text
    random_cosine: the same with a random text of the same class
    blind_cosine:  the same with the best text of another picture of the class
    meaningless:   the same with the best of as many texts that mean nothing
    """

    texts: tuple[tuple[Matched, ...], ...]
    cosine: float
    random_cosine: float
    blind_cosine: float
    meaningless: float

    @property
    def beats_controls(self) -> bool:
        """Whether pictures fit their own texts better than those of any other choice."""
        return self.cosine > max(self.random_cosine, self.blind_cosine, self.meaningless)

    def __str__(self) -> str:
        verdict = "" if self.beats_controls else " No better than its controls: the texts say nothing of the pictures."
        return (
            f"{len(self.texts)} pictures with {len(self.texts[0])} texts each; cosine with the best {self.cosine:.3f}, "
            f"with a random text of the class {self.random_cosine:.3f}, with the best of another picture of the class "
            f"{self.blind_cosine:.3f}, with the best of as many texts that mean nothing {self.meaningless:.3f}."
            f"{verdict}"
        )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "beats_controls": self.beats_controls}


def match_texts(
    pictures: Float[Tensor, "picture dim"],
    labels: Int64[Tensor, "picture"],
    texts: Sequence[Sequence[str]],
    embeddings: Sequence[Float[Tensor, "text dim"]],
    *,
    count: int = 5,
    meaningless: Sequence[Float[Tensor, "text dim"]] | None = None,
    seed: int = 0,
) -> Matching:
    """The best texts of each picture among those of its own class.

    texts, embeddings: one list per class; embeddings of length 1
    meaningless:       embeddings of as many random words, one list per class; None is the texts' own with their numbers
                       in another order

    Raises RequestError for a class that has pictures and no texts.
    """
    generator = Seed(seed).child("random text").generator()
    nothing = meaningless or [shuffled_numbers(own, generator) if len(own) else own for own in embeddings]
    found: list[tuple[Matched, ...]] = []
    chosen: list[int] = []
    best, chance, empty = 0.0, 0.0, 0.0
    for picture, label in zip(pictures, labels.tolist(), strict=True):
        if not len(texts[label]):
            raise RequestError(f"Class {label} has pictures and no texts to choose from.")
        cosines = embeddings[label] @ picture
        shares = (cosines * _SHARPNESS).softmax(dim=0)
        order = shares.argsort(descending=True, stable=True)[:count].tolist()
        said = texts[int(label)]
        found.append(tuple(Matched(said[int(at)], float(shares[int(at)])) for at in order))
        chosen.append(int(cosines.argmax()))
        best += float(cosines.max())
        chance += float(cosines[int(torch.randint(len(cosines), (1,), generator=generator))])
        empty += float((nothing[label] @ picture).max())
    blind = _of_others(pictures, labels, embeddings, chosen)
    all_of_them = len(pictures)
    return Matching(tuple(found), best / all_of_them, chance / all_of_them, blind, empty / all_of_them)


def _of_others(
    pictures: Float[Tensor, "picture dim"], labels: Int64[Tensor, "picture"],
    embeddings: Sequence[Float[Tensor, "text dim"]], chosen: Sequence[int],
) -> float:  # fmt: skip
    """The mean cosine of pictures with the text chosen for the next picture of their class; -1 where there is none."""
    cosines: list[float] = []
    for label in labels.unique().tolist():
        places = (labels == label).nonzero().flatten().tolist()
        pairs = zip(places, [*places[1:], places[0]], strict=True) if len(places) > 1 else ()
        cosines += [float(embeddings[label][chosen[other]] @ pictures[one]) for one, other in pairs]
    return sum(cosines) / len(cosines) if cosines else -1.0
