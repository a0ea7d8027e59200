"""What a model answered on labelled pictures: all that the search for failures may see of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from pellucid.errors import RequestError, ShapeError
from pellucid.values import Seed


@dataclass(frozen=True, eq=False)
class Answers:
    """True classes beside the model's probabilities, for the same pictures in one order.

    shares:  probability of each class, 0 to 1
    classes: the names of the classes
    """

    labels: Int64[np.ndarray, "picture"]
    shares: Float[np.ndarray, "picture class"]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.shares.shape != (len(self.labels), len(self.classes)):
            expected = f"[{len(self.labels)}, {len(self.classes)}], one row per label and one column per class"
            raise ShapeError("Answers.shares", got=self.shares.shape, expected=expected)
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise RequestError(f"A label lies outside the {len(self.classes)} classes, which count from 0.")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: Sequence[int] | np.ndarray) -> Answers:
        return Answers(self.labels[chosen], self.shares[chosen], self.classes)

    @property
    def said(self) -> Int64[np.ndarray, "picture"]:
        """The class ranked first."""
        return self.shares.argmax(axis=1).astype(np.int64)

    @property
    def right(self) -> Bool[np.ndarray, "picture"]:
        """Whether it is the true one."""
        return self.said == self.labels

    @property
    def accuracy(self) -> float:
        return float(self.right.mean()) if len(self) else float("nan")

    def of_class(self, number: int) -> Int64[np.ndarray, "picture"]:
        """The places of the pictures of one class."""
        return np.flatnonzero(self.labels == number)

    def dealt(self, seed: Seed) -> Answers:
        """The same answers dealt anew over the pictures of each class: as many errors, and no reason for any."""
        rng = np.random.default_rng(int(seed.child("dealt answers")))
        shares = self.shares.copy()
        for number in np.unique(self.labels):
            places = self.of_class(int(number))
            shares[places] = shares[rng.permutation(places)]
        return Answers(self.labels, shares, self.classes)
