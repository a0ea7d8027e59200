"""What a detector proposes before it suppresses anything, as one row of numbers per picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

NOTHING = -20.0  # log odds of a class where nothing is proposed: far below all that a net says, and still a number
_BESIDE_CLASSES = 5  # four sides and the objectness


@dataclass(frozen=True, eq=False)
class Proposals:
    """Boxes with what each holds, for a batch of pictures; all of them, before suppression.

    boxes:      left, top, right, bottom in pixels of the model input
    objectness: 0 to 1; 1 where the detector has no such number, 0 where a row is only there to fill up
    odds:       log odds of each class, so that their sigmoid is its probability, whatever else it competes with
    """

    boxes: Float[Tensor, "batch proposal 4"]
    objectness: Float[Tensor, "batch proposal"]
    odds: Float[Tensor, "batch proposal classes"]

    @classmethod
    def unpacked(cls, flat: Tensor, classes: int) -> Proposals:
        """From `packed`, whose further axes, if any, are of length 1."""
        rows = flat.flatten(1).unflatten(1, (-1, _BESIDE_CLASSES + classes))
        return cls(rows[..., :4], rows[..., 4], rows[..., _BESIDE_CLASSES:])

    def packed(self) -> Float[Tensor, "batch number"]:
        """As one row per picture, which a layer can put out."""
        return torch.cat([self.boxes, self.objectness[..., None], self.odds], dim=-1).flatten(1)

    def surest(self, most: int) -> Proposals:
        """The `most` rows of each picture that are surest of some class; filled up with nothing if there are fewer."""
        count = self.odds.shape[1]
        if count > most:
            sure = (self.odds.detach().amax(dim=2).sigmoid() * self.objectness.detach()).topk(most, dim=1).indices
            rows = torch.arange(len(sure), device=sure.device)[:, None]
            return Proposals(self.boxes[rows, sure], self.objectness[rows, sure], self.odds[rows, sure])
        short = most - count
        grown = torch.nn.functional.pad
        return Proposals(
            grown(self.boxes, (0, 0, 0, short)), grown(self.objectness, (0, short)),
            grown(self.odds, (0, 0, 0, short), value=NOTHING),
        )  # fmt: skip

    def picture_odds(self) -> Float[Tensor, "batch classes"]:
        """Log odds that the picture holds one of a class: those of the surest proposal."""
        return self.odds.amax(dim=1)

    def overlaps(self, box: Float[Tensor, "*batch 4"]) -> Float[Tensor, "batch proposal"]:
        """Intersection over union of every proposal with a box (or one box per picture), 0 to 1."""
        wanted = box.to(self.boxes).reshape(-1, 1, 4)
        corner = torch.minimum(self.boxes[..., 2:], wanted[..., 2:]) - torch.maximum(
            self.boxes[..., :2], wanted[..., :2]
        )
        shared = corner.clamp(min=0).prod(dim=-1)
        union = _area(self.boxes) + _area(wanted) - shared
        return torch.where(union > 0, shared / union.clamp(min=1e-12), torch.zeros_like(shared))


def log_odds(logits: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch classes"]:
    """Log odds of each class under a softmax over all of them, exact too where one is nearly sure."""
    best = logits.argmax(dim=-1, keepdim=True)
    rest = logits.scatter(-1, best, -torch.inf).logsumexp(dim=-1, keepdim=True)
    # Of all others the chance is at most a half, so their log odds lose no digits; the clamp leaves only the best out.
    log_chance = logits.log_softmax(dim=-1).clamp(max=-0.5)
    return (log_chance - torch.log1p(-log_chance.exp())).scatter(-1, best, logits.gather(-1, best) - rest)


def _area(boxes: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch"]:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)
