"""Where the answer is known: masks and boxes on the model's input, for a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.errors import RequestError, ShapeError
from pellucid.values.target import Target

Box = tuple[int, int, int, int]
EMPTY = "its truth is empty"
_SMALL = 0.25  # of the picture, under the boxes of what is asked for (Zhang et al. 2018)


@dataclass(frozen=True, eq=False)
class Ground:
    """What decides the answer, at model input size.

    mask:        the deciding place, grown by the tolerance that is wanted
    exact:       the same, not grown
    background:  what belongs to no object
    distractors: places of things that look like a cause and are none
    boxes:       per picture, boxes (left, top, right, bottom) around the deciding places, half-open
    parts:       masks of named parts; all False where a picture has no such part
    effects:     how much the target falls when a part is taken away, per picture
    rival:       where something of another class shows; and per picture which class that is, None where there is none
    """

    mask: Bool[Tensor, "batch height width"]
    exact: Bool[Tensor, "batch height width"]
    background: Bool[Tensor, "batch height width"] | None = None
    distractors: Bool[Tensor, "batch height width"] | None = None
    boxes: tuple[tuple[Box, ...], ...] = ()
    parts: Mapping[str, Bool[Tensor, "batch height width"]] = field(default_factory=dict[str, Tensor])
    effects: Mapping[str, Float[Tensor, "batch"]] = field(default_factory=dict[str, Tensor])
    rival: Bool[Tensor, "batch height width"] | None = None
    rivals: tuple[Target | None, ...] = ()

    @staticmethod
    def of(masks: Tensor | np.ndarray | Sequence[np.ndarray], shape: tuple[int, int, int]) -> Ground:
        """The ground truth that a user's masks [batch height width] state.

        A picture whose mask is empty has no value on measures of place. Raises ShapeError and, where all masks are
        empty, RequestError.
        """
        mask = checked(masks, shape)
        return Ground(mask, mask)

    def says(self, what: str) -> bool:
        """Whether one of the above is known: a mask that is given, parts or effects that are named."""
        known: Tensor | Mapping[str, Tensor] | None = getattr(self, what)
        return known is not None and len(known) > 0

    @property
    def share(self) -> Float[Tensor, "batch"]:
        """Part of the picture that the exact mask covers, 0 to 1."""
        return self.exact.float().mean(dim=(-2, -1))

    @property
    def empty(self) -> Bool[Tensor, "batch"]:
        """Whether nothing of the deciding place shows."""
        return ~self.exact.flatten(1).any(dim=1)

    @property
    def boxed(self) -> Bool[Tensor, "batch height width"]:
        """True within the boxes, or within the box around the exact mask where there are none."""
        covered = torch.zeros_like(self.exact)
        for index in range(len(covered)):
            for left, top, right, bottom in self.boxes_of(index):
                covered[index, top:bottom, left:right] = True
        return covered

    @property
    def difficult(self) -> Bool[Tensor, "batch"]:
        """Whether boxes cover less than a quarter of the picture and a distractor shows (Zhang et al. 2018).

        Raises RequestError where no distractors are known.
        """
        others = known(self.distractors, "distractors").flatten(1).any(dim=1)
        return others & (self.boxed.float().mean(dim=(-2, -1)) < _SMALL)

    def boxes_of(self, index: int) -> tuple[Box, ...]:
        """The boxes of one picture, or the one around its exact mask."""
        stated = self.boxes[index] if self.boxes else ()
        return stated or (box_around(self.exact[index]),)


def box_around(mask: Bool[Tensor, "height width"]) -> Box:
    """The smallest box that holds the mask: left, top, right, bottom, the last two exclusive; all 0 for none."""
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def known(mask: Bool[Tensor, "batch height width"] | None, what: str) -> Bool[Tensor, "batch height width"]:
    """The mask. Raises RequestError where the truth does not say where `what` is."""
    if mask is None:
        raise RequestError(f"This measure needs to know the {what}, and the truth that was given does not say.")
    return mask


def checked(
    truth: Tensor | np.ndarray | Sequence[np.ndarray], shape: tuple[int, int, int]
) -> Bool[Tensor, "batch height width"]:
    """The truth as a boolean tensor [batch height width]. Raises ShapeError or, where all is empty, RequestError."""
    mask = torch.as_tensor(np.asarray(truth)) if not isinstance(truth, Tensor) else truth.cpu()
    mask = (mask[None] if mask.ndim == 2 else mask).bool()
    if tuple(mask.shape) != shape:
        raise ShapeError(
            "truth", got=tuple(mask.shape), expected=f"{list(shape)}: one mask per picture at model input size"
        )
    if not mask.any():
        raise RequestError("The truth of every picture is empty, so nothing can hit it. Mark where the answer lies.")
    return mask
