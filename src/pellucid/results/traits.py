"""What a class is recognised by in one picture: the heads its prompt needs, beside those of another class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from markupsafe import Markup
from rich.console import RenderableType
from torch import Tensor

from pellucid.canvas import fragments, terminal
from pellucid.canvas.raster import Pixels
from pellucid.canvas.words import number, percent
from pellucid.images import Frame
from pellucid.results.drawing import map_on, sheet_of
from pellucid.results.encoding import map_from_plain, map_to_plain
from pellucid.results.model_card import ModelCard
from pellucid.results.result import Result


@dataclass(frozen=True, eq=False)
class ClassTraits:
    """The heads of one class's prompt.

    label, index: the class; probability: that the prompts give it
    order:  heads, most needed first
    left:   the probability once this head and all behind it attend to everything alike, in the same order
    needed: how many come first without which too little probability is left
    maps:   what each head attends to, by its number, at the size of the model input
    """

    label: str
    index: int
    probability: float
    order: tuple[int, ...]
    left: tuple[float, ...]
    needed: int
    maps: Float[Tensor, "head height width"]

    def to_dict(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in ("label", "index", "probability", "needed")}
        return {**plain, "order": list(self.order), "left": list(self.left), "maps": map_to_plain(self.maps)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ClassTraits:
        """The heads that `to_dict` wrote."""
        return cls(
            record["label"], record["index"], record["probability"], tuple(record["order"]), tuple(record["left"]),
            record["needed"], map_from_plain(record["maps"]),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Traits(Result):
    """The traits of the class that was asked about, and of a rival, in one picture.

    share:  of the probability, below which too little is left
    agrees: whether the prompts name the class that the model itself names
    """

    noun: ClassVar[str] = "traits"

    asked: ClassTraits
    rival: ClassTraits
    frame: Frame
    share: float
    agrees: bool
    model: ModelCard = field(default_factory=lambda: ModelCard("unknown"))
    notes: tuple[str, ...] = ()

    def likeness(self, head: int) -> float:
        """The cosine between what both classes' prompts attend to by one head: 1 for a trait that both have there."""
        one, other = (side.maps[head].flatten() for side in (self.asked, self.rival))
        return float(torch.nn.functional.cosine_similarity(one, other, dim=0))

    @property
    def sentence(self) -> str:
        """How many heads the class needs, and how those of the rival attend."""
        asked, heads = self.asked, self.asked.order[: self.asked.needed]
        if not heads:
            return (
                f"{asked.label} ({percent(asked.probability)}) needs no head: {percent(asked.left[0])} are left when "
                f"all of them attend to everything alike."
            )
        alike = sum(self.likeness(head) for head in heads) / len(heads)
        named = ", ".join(str(head) for head in heads)
        return (
            f"{asked.label} ({percent(asked.probability)}) is told by {len(heads)} of {len(asked.order)} heads: "
            f"{named}. There the prompt of {self.rival.label} attends with a mean cosine of {number(alike)}."
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "asked": self.asked.to_dict(), "rival": self.rival.to_dict(), "frame": self.frame.to_dict(),
            "share": self.share, "agrees": self.agrees, "model": self.model.to_dict(), "notes": list(self.notes),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Traits:
        """The traits that `to_dict` wrote."""
        return cls(
            ClassTraits.from_dict(record["asked"]), ClassTraits.from_dict(record["rival"]),
            Frame.from_dict(record["frame"]), record["share"], record["agrees"],
            ModelCard.from_dict(record["model"]), tuple(record["notes"]),
        )  # fmt: skip

    # -- drawing ----------------------------------------------------------------------------------------------------

    def fragment(self) -> Markup:
        tiles = [
            fragments.tile(pixels, said, said, side=220) for row in self._plates() for pixels, said in row
        ]  # fmt: skip
        shown = fragments.gallery("What it is recognised by", self.sentence, tiles, self._caution)
        return Markup("{}{}").format(shown, fragments.table("Heads", _HEAD, self._rows()))

    def __rich__(self) -> RenderableType:
        return terminal.table(self.sentence, list(_HEAD), self._rows())

    def _writers(self) -> Mapping[str, Callable[[], bytes]]:
        return {**super()._writers(), ".png": self._png, ".txt": self._text}

    def _png(self) -> bytes:
        return sheet_of(self.sentence, self._plates(), width=_WIDE, plate=(_PLATE, _PLATE), size=18, gap=24)

    def _text(self) -> bytes:
        rows = [" | ".join(row) for row in [_HEAD, *self._rows()]]
        return "\n".join([self.sentence, "", *rows, "", self._caution, ""]).encode()

    @property
    def _caution(self) -> str:
        same = "the same class as" if self.agrees else "another class than"
        return f"The prompts answer with a head of their own; here they name {same} {self.model.name}. {_MEANING}"

    def _plates(self) -> list[list[tuple[Pixels, str]]]:
        """A row for each class: the heads that the asked class can spare least."""
        return [
            [(self._plate(side, head), f"{side.label}, head {head}") for head in self.asked.order[:_SHOWN]]
            for side in (self.asked, self.rival)
        ]

    def _plate(self, side: ClassTraits, head: int) -> Pixels:
        return map_on(self.frame, side.maps[head], signed=False)

    def _rows(self) -> list[list[str]]:
        return [
            [str(head), percent(left), percent(self.rival.left[self.rival.order.index(head)]),
             number(self.likeness(head))]
            for head, left in zip(self.asked.order, self.asked.left, strict=True)
        ]  # fmt: skip


_WIDE, _PLATE, _SHOWN = 1400, 300, 4
_HEAD = ("head", "left without it and those below", "left of the rival", "cosine of both maps")
_MEANING = (
    "Heads were blurred one after the other, each time the one that the class could spare best; a head that does what "
    "another does too looks as if it could be spared."
)
