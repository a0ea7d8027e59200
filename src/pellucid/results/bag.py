"""Which instances of a bag a model attended to, and what each of them added to its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int64
from markupsafe import Markup
from rich.console import RenderableType

from pellucid.canvas import charts, fragments, painting, terminal
from pellucid.canvas.words import number, percent
from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.results.encoding import from_plain, to_plain
from pellucid.results.result import Result


@dataclass(frozen=True, eq=False)
class Bag(Result):
    """The answer for one bag and the part of each instance in it.

    attention: how much each branch attends to each instance; each row sums to 1
    added:     what each instance adds to each logit, with sign; they sum to the logits less the head's bias
    names:     of the instances; `frames` their pictures, empty where there are none
    places:    row and column of each instance on its slide; empty where it has none
    """

    noun: ClassVar[str] = "bag"

    labels: tuple[str, ...]
    logits: Float[np.ndarray, "classes"]
    attention: Float[np.ndarray, "branch instance"]
    added: Float[np.ndarray, "instance classes"]
    names: tuple[str, ...]
    frames: tuple[Frame, ...] = ()
    places: Int64[np.ndarray, "instance 2"] | None = None

    def __len__(self) -> int:
        return self.attention.shape[1]

    @property
    def answer(self) -> int:
        """The class of the bag."""
        return int(self.logits.argmax())

    @property
    def probabilities(self) -> Float[np.ndarray, "classes"]:
        odds = np.exp(self.logits - self.logits.max())
        return odds / odds.sum()

    @property
    def mean_attention(self) -> Float[np.ndarray, "instance"]:
        """What the bag is pooled by: the mean of the branches. It sums to 1."""
        return self.attention.mean(axis=0)

    def contributions(self, label: int | None = None) -> Float[np.ndarray, "instance"]:
        """What each instance adds to one logit over the mean of the others; negative speaks against that class.

        Attention has no sign: an instance that is looked at most may be what speaks most against the answer.
        """
        chosen = self._label(label)
        others = np.delete(self.added, chosen, axis=1)
        return self.added[:, chosen] - (others.mean(axis=1) if others.size else 0)

    def top(self, count: int, by: str = "attention") -> tuple[int, ...]:
        """The instances that come first by `attention`, by what they add `for` the answer, or `against` it."""
        ranked = {
            "attention": lambda: -self.mean_attention,
            "for": lambda: -self.contributions(),
            "against": self.contributions,
        }
        if by not in ranked:
            raise RequestError(f"by={by!r}; expected one of {', '.join(ranked)}.")
        return tuple(np.argsort(ranked[by](), kind="stable")[:count].tolist())

    @property
    def concentration(self) -> Float[np.ndarray, "instance"]:
        """How much of the attention the first 1, 2, 3, ... instances hold; the last is 1."""
        return np.cumsum(np.sort(self.mean_attention)[::-1])

    def holding(self, share: float) -> int:
        """How many instances hold that share of the attention."""
        return int(np.searchsorted(self.concentration, share - 1e-9) + 1)

    @property
    def overlap(self) -> float:
        """Mean cosine of the attentions of each two branches: 1 where all look at the same; 0 for a single one."""
        unit = self.attention / np.linalg.norm(self.attention, axis=1, keepdims=True)
        pairs = np.triu_indices(len(unit), 1)
        return float((unit @ unit.T)[pairs].mean()) if len(pairs[0]) else 0.0

    def painted(self) -> Float[np.ndarray, "rows columns"]:
        """The attention's percentiles, 0 to 1, at the instances' places on their slide; NaN where there is none.

        Raises RequestError for a bag without places.
        """
        if self.places is None:
            raise RequestError("The instances of this bag have no places; give them with places= (row, column).")
        ranks = self.mean_attention.argsort(kind="stable").argsort(kind="stable")
        cells = self.places - self.places.min(axis=0)
        slide = np.full(tuple(cells.max(axis=0) + 1), np.nan)
        slide[cells[:, 0], cells[:, 1]] = ranks / max(1, len(self) - 1)
        return slide

    @property
    def sentence(self) -> str:
        """The answer, and how the attention lies."""
        sure = percent(float(self.probabilities[self.answer]))
        branches = len(self.attention)
        several = f" Its {branches} attentions have a mean cosine of {number(self.overlap)}." if branches > 1 else ""
        return (
            f"{self.labels[self.answer]} ({sure}), from a bag of {len(self)}: 80% of the attention lies on "
            f"{self.holding(0.8)}.{several}"
        )

    def to_dict(self) -> dict[str, Any]:
        held = {name: to_plain(getattr(self, name)) for name in ("logits", "attention", "added", "places")}
        return {"labels": list(self.labels), "names": list(self.names), **held,
                "frames": [frame.to_dict() for frame in self.frames]}  # fmt: skip

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Bag:
        """The bag that `to_dict` wrote."""
        held = {name: from_plain(record[name]) for name in ("logits", "attention", "added", "places")}
        frames = tuple(Frame.from_dict(frame) for frame in record["frames"])
        return cls(labels=tuple(record["labels"]), names=tuple(record["names"]), frames=frames, **held)

    def fragment(self) -> Markup:
        shown = self.top(_TILES)
        tiles = [
            fragments.tile(self.frames[at].pixels, self.names[at], self._caption(at), side=200)
            for at in (shown if self.frames else ())
        ]
        rows = [[self.names[at], percent(float(self.mean_attention[at])), number(float(self.contributions()[at]))]
                for at in shown]  # fmt: skip
        table = fragments.table("Most attended", ("instance", "attention", "adds to the answer"), rows)
        curve = charts.curves(
            (np.arange(1, len(self) + 1) / len(self)).tolist(), {"attention": self.concentration.tolist()},
            alt=f"{self.holding(0.8)} of {len(self)} instances hold 80% of the attention",
            axis="share of the instances", accent="attention",
        )  # fmt: skip
        return Markup("{}{}{}").format(fragments.gallery("The bag", self.sentence, tiles, _CAUTION), table, curve)

    def __rich__(self) -> RenderableType:
        added = self.contributions()
        rows = [[self.names[at], percent(float(self.mean_attention[at])), number(float(added[at]))]
                for at in self.top(_TILES)]  # fmt: skip
        return terminal.table(self.sentence, ["instance", "attention", "adds to the answer"], rows)

    def _writers(self) -> Mapping[str, Callable[[], bytes]]:
        return {**super()._writers(), ".png": self._png}

    def _png(self) -> bytes:
        """The most attended, and those that speak most for and most against the answer."""
        if not self.frames:
            raise RequestError("This bag has no pictures to draw; save it as .html or .json, or give it frames.")
        width = _EACH * _ACROSS + _GAP * (_ACROSS - 1)
        blocks = [painting.text(self.sentence, 26, width)]
        for by, said in (("attention", "Most attended"), ("for", "Adds most to the answer"), ("against", "Least")):
            tiles = [
                painting.column([
                    painting.plate(self.frames[at].pixels, _EACH, _EACH),
                    painting.text(self._caption(at), 20, _EACH, painting.MUTED, lines=3),
                ], 8)
                for at in self.top(_ACROSS, by)
            ]  # fmt: skip
            blocks += [painting.text(said, 24, width), painting.row(tiles, _GAP)]
        blocks.append(painting.text(_CAUTION, 20, width, painting.MUTED))
        return painting.png(painting.framed(painting.column(blocks, 24), 48))

    def _caption(self, at: int) -> str:
        share, added = float(self.mean_attention[at]), float(self.contributions()[at])
        return f"{self.names[at]}: attention {percent(share)}, adds {number(added)}"

    def _label(self, label: int | None) -> int:
        chosen = self.answer if label is None else label
        if not 0 <= chosen < len(self.labels):
            raise RequestError(f"label={label}; the bag's classes are 0 to {len(self.labels) - 1}.")
        return chosen


_TILES, _ACROSS, _EACH, _GAP = 12, 6, 220, 24
_CAUTION = "Attention is not contribution: what is looked at may speak for the answer, against it, or for nothing."
