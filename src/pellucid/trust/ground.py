"""Where the answer is known: masks and boxes on the model's input, for a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.errors import RequestError, ShapeError

Box = tuple[int, int, int, int]


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
    """

    mask: Bool[Tensor, "batch height width"]
    exact: Bool[Tensor, "batch height width"]
    background: Bool[Tensor, "batch height width"] | None = None
    distractors: Bool[Tensor, "batch height width"] | None = None
    boxes: tuple[tuple[Box, ...], ...] = ()
    parts: Mapping[str, Bool[Tensor, "batch height width"]] = field(default_factory=dict[str, Tensor])
    effects: Mapping[str, Float[Tensor, "batch"]] = field(default_factory=dict[str, Tensor])

    @staticmethod
    def of(masks: Tensor | np.ndarray | Sequence[np.ndarray], shape: tuple[int, int, int]) -> Ground:
        """The ground truth that a user's masks [batch height width] state. Raises ShapeError, RequestError."""
        mask = checked(masks, shape)
        return Ground(mask, mask)

    @property
    def share(self) -> Float[Tensor, "batch"]:
        """Part of the picture that the exact mask covers, 0 to 1."""
        return self.exact.float().mean(dim=(-2, -1))


def checked(
    truth: Tensor | np.ndarray | Sequence[np.ndarray], shape: tuple[int, int, int]
) -> Bool[Tensor, "batch height width"]:
    """The truth as a boolean tensor [batch height width]. Raises ShapeError or, where a mask is empty, RequestError."""
    mask = torch.as_tensor(np.asarray(truth)) if not isinstance(truth, Tensor) else truth.cpu()
    mask = (mask[None] if mask.ndim == 2 else mask).bool()
    if tuple(mask.shape) != shape:
        raise ShapeError(
            "truth", got=tuple(mask.shape), expected=f"{list(shape)}: one mask per picture at model input size"
        )
    empty = [index for index, one in enumerate(mask) if not one.any()]
    if empty:
        raise RequestError(f"The truth of picture {empty[0]} is empty, so nothing can hit it. Leave that picture out.")
    return mask
