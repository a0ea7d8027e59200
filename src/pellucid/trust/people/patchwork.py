"""Which patches of a picture the model is to compare: shown, and open to change, its answer worked out anew.

The answer is a vote of known pictures in the order of a sum over patches. So the page that people see holds the
likeness of every patch and computes any change exactly; no model runs behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from pellucid.canvas.raster import Pixels, data_uri, enlarged
from pellucid.errors import RequestError, ShapeError
from pellucid.trust.people.neighbours import AMONG, BEST, Matches

_STEPS = 10_000  # likeness is counted in whole steps, so that a page adds up to what is added up here
_SIDE = 128  # pixels; small known pictures are enlarged to it


@dataclass(frozen=True)
class PatchAnswer:
    """What the model says, and the known pictures behind it, the nearest first, by number."""

    said: str
    share: float
    order: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Patchwork:
    """One picture, known pictures with their names, and how each patch corresponds.

    grid:        rows and columns of patches of the picture
    likeness:    of each patch and its counterpart in each known picture, -1 to 1; known pictures the nearest first
    counterpart: the number of that counterpart
    best:        how many patches count: each known picture's own best, or as many as a person chooses at most
    among:       how many known pictures vote
    shown:       how many are shown
    editable:    whether a person may choose the patches; otherwise they see those that counted

    Raises ShapeError where the parts do not fit together.
    """

    picture: Pixels
    known: tuple[Pixels, ...]
    names: tuple[str, ...]
    grid: tuple[int, int]
    likeness: Float[np.ndarray, "known patch"]
    counterpart: Int64[np.ndarray, "known patch"]
    best: int = BEST
    among: int = AMONG
    shown: int = 5
    editable: bool = False

    def __post_init__(self) -> None:
        expected = (len(self.known), self.grid[0] * self.grid[1])
        if self.likeness.shape != expected or self.counterpart.shape != expected or len(self.names) != expected[0]:
            raise ShapeError("Likeness of patches", got=self.likeness.shape, expected=f"{expected}: known, patch")

    @classmethod
    def of(
        cls, picture: Pixels, known: Sequence[Pixels], names: Sequence[str], grid: tuple[int, int], matches: Matches,
        **settings: Any,
    ) -> Patchwork:  # fmt: skip
        """From what `corresponding` found for the picture and its shortlist."""
        return cls(
            picture, tuple(known), tuple(names), grid, _plain(matches.likeness), _plain(matches.counterpart), **settings
        )

    def locked(self) -> Patchwork:
        """The same for people who only look: the static condition."""
        return replace(self, editable=False)

    def open(self) -> Patchwork:
        """The same for people who may choose the patches: the dynamic condition."""
        return replace(self, editable=True)

    def answer(self, chosen: Sequence[int] = ()) -> PatchAnswer:
        """What the model says when these patches count; with none chosen its own answer, by those that match best.

        Raises RequestError for more patches than count, or one that there is not.
        """
        if len(chosen) > self.best or not set(chosen) <= set(range(self.likeness.shape[1])):
            raise RequestError(
                f"patches {tuple(chosen)}; expected at most {self.best}, from 0 to {self.likeness.shape[1] - 1}."
            )
        steps = self._steps
        counted = steps[:, list(chosen)] if chosen else np.sort(steps, axis=1)[:, ::-1][:, : self.best]
        order = np.argsort(-counted.sum(axis=1), kind="stable")
        votes = [self.names[at] for at in order[: self.among]]
        said, count = Counter(votes).most_common(1)[0]  # of equal counts the one met first
        return PatchAnswer(said, count / len(votes), tuple(map(int, order)))

    def told(self) -> dict[str, Any]:
        """What the page needs to compute the same."""
        labels = list(dict.fromkeys(self.names))
        return {
            "picture": data_uri(enlarged(self.picture, 2 * _SIDE)),
            "known": [data_uri(enlarged(one, _SIDE)) for one in self.known],
            "names": [labels.index(name) for name in self.names], "labels": labels, "grid": list(self.grid),
            "likeness": self._steps.tolist(), "counterpart": self.counterpart.tolist(), "best": self.best,
            "among": self.among, "shown": self.shown, "editable": self.editable,
        }  # fmt: skip

    @property
    def _steps(self) -> Int64[np.ndarray, "known patch"]:
        return np.rint(self.likeness * _STEPS).astype(np.int64)


def _plain(values: Tensor) -> Any:
    return values.detach().cpu().numpy()
