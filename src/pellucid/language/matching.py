"""The texts of a class that fit one picture of it: descriptions that never change the label.

Lewis et al., GIST: generating image-specific text for fine-grained object classification, 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pellucid.errors import RequestError
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
    """

    texts: tuple[tuple[Matched, ...], ...]
    cosine: float
    random_cosine: float

    def __str__(self) -> str:
        return (
            f"{len(self.texts)} pictures with {len(self.texts[0])} texts each; cosine with the best {self.cosine:.3f}, "
            f"with a random text of the class {self.random_cosine:.3f}."
        )


def match_texts(
    pictures: Float[Tensor, "picture dim"],
    labels: Int64[Tensor, "picture"],
    texts: Sequence[Sequence[str]],
    embeddings: Sequence[Float[Tensor, "text dim"]],
    *,
    count: int = 5,
    seed: int = 0,
) -> Matching:
    """The best texts of each picture among those of its own class.

    texts, embeddings: one list per class; embeddings of length 1

    Raises RequestError for a class that has pictures and no texts.
    """
    generator = Seed(seed).child("random text").generator()
    found: list[tuple[Matched, ...]] = []
    best, chance = 0.0, 0.0
    for picture, label in zip(pictures, labels.tolist(), strict=True):
        if not len(texts[label]):
            raise RequestError(f"Class {label} has pictures and no texts to choose from.")
        cosines = embeddings[label] @ picture
        shares = (cosines * _SHARPNESS).softmax(dim=0)
        order = shares.argsort(descending=True, stable=True)[:count].tolist()
        said = texts[int(label)]
        found.append(tuple(Matched(said[int(at)], float(shares[int(at)])) for at in order))
        best += float(cosines.max())
        chance += float(cosines[int(torch.randint(len(cosines), (1,), generator=generator))])
    return Matching(tuple(found), best / len(pictures), chance / len(pictures))
