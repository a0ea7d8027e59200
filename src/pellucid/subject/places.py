"""Models that answer for boxes or for pixels, seen as models that answer for pictures.

Whatever such a model gives for its places stays there, at a layer of its own, from which targets of one box or one
region read; the answer for the picture as a whole is made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pellucid.errors import MethodUnavailable, TargetError
from pellucid.values import Box, Pixels, Proposals, Target

if TYPE_CHECKING:
    from pellucid.subject.model import VisionModel

MOST_PROPOSALS = 1000  # as detectors keep before they suppress
DETECTOR, SEGMENTER = "detector.", "segmenter."  # before the names of the model's own layers


@dataclass(frozen=True)
class Places:
    """What a model answers for.

    kind:    `boxes` or `pixels`
    layer:   the layer that holds what it says of each: packed proposals, or a logit per class and pixel
    classes: how many
    """

    kind: Literal["boxes", "pixels"]
    layer: str
    classes: int


class Proposing(nn.Module):
    """A detector whose answer is, per class, the log odds of its surest proposal."""

    def __init__(self, detector: nn.Module, read: Callable[[Any, Tensor], Proposals], classes: int) -> None:
        super().__init__()
        self.detector, self.proposals, self._read = detector, nn.Identity(), read
        self.places = Places("boxes", "proposals", classes)

    def forward(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        found = self._read(self.detector, pictures).surest(MOST_PROPOSALS)
        return Proposals.unpacked(self.proposals(found.packed()), self.places.classes).picture_odds()


class Painting(nn.Module):
    """A segmenter whose answer is, per class, the log of the share of the picture that is expected to be of it."""

    def __init__(self, segmenter: nn.Module, read: Callable[[Any, Tensor], Tensor], classes: int) -> None:
        super().__init__()
        self.segmenter, self.pixels, self._read = segmenter, nn.Identity(), read
        self.places = Places("pixels", "pixels", classes)

    def forward(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        chances = self.pixels(self._read(self.segmenter, pictures)).log_softmax(dim=1).flatten(2)
        return chances.logsumexp(dim=2) - torch.tensor(float(chances.shape[2])).log().to(chances)


def places_of(model: VisionModel) -> Places | None:
    """What the model answers for beside the picture as a whole; None where it is nothing."""
    found = getattr(model.network, "places", None)
    return found if isinstance(found, Places) else None


def said_of_places(model: VisionModel, inputs: Float[Tensor, "batch 3 height width"]) -> Tensor:
    """What the model's layer of places holds for these inputs, without gradients. Raises MethodUnavailable."""
    places = places_of(model)
    if places is None:
        raise MethodUnavailable(
            "Reading boxes or pixels", "it answers for the picture as a whole.", ("a detector or a segmenter",)
        )
    return model.read_layer(inputs, places.layer)


def finds(
    model: VisionModel, inputs: Float[Tensor, "batch 3 height width"], *, least: float = 0.3, overlap: float = 0.5
) -> tuple[tuple[Target, ...], ...]:
    """What a detector or segmenter finds in each picture, as targets, the surest (the largest) first.

    least:   the least probability of a box
    overlap: of boxes of one class that overlap by more than this, only the surest stays
    returns: boxes of the model input's pixels; or of every class the pixels at which it ranks first
    Raises MethodUnavailable for a model that answers for the picture as a whole.
    """
    said, places = said_of_places(model, inputs), places_of(model)
    assert places is not None
    if places.kind == "boxes":
        proposals = Proposals.unpacked(said, places.classes)
        return tuple(tuple(_boxes(proposals, at, places, least, overlap)) for at in range(len(inputs)))
    first = torch.nn.functional.interpolate(said, inputs.shape[-2:], mode="bilinear", align_corners=False).argmax(dim=1)
    return tuple(tuple(_regions(one.cpu(), places)) for one in first)


def settled_box(model: VisionModel, target: Box, index: int) -> Target:
    """The same box, read at the model's layer of places. Raises TargetError for a box that none can be."""
    places = places_of(model)
    if places is None or places.kind != "boxes":
        raise TargetError(f"{model.name} finds no boxes; a Box is explained of a detector such as testbed:detector.")
    sides = tuple(float(side) for side in target.sides)
    if len(sides) != 4 or not (sides[0] < sides[2] and sides[1] < sides[3]):
        raise TargetError(f"Box has the sides {target.sides}; expected left < right and top < bottom in "
                          f"(left, top, right, bottom), pixels of the model input.")  # fmt: skip
    if target.chances and len(target.chances) != places.classes:
        raise TargetError(f"Box has {len(target.chances)} chances; {model.name} has {places.classes} classes.")
    return Box(sides, index, target.chances, places.layer, places.classes)


def settled_pixels(model: VisionModel, target: Pixels, index: int) -> Target:
    """The same region, read at the model's layer of places. Raises TargetError for a region that none can be."""
    places = places_of(model)
    if places is None or places.kind != "pixels":
        raise TargetError(f"{model.name} names no pixels; Pixels are explained of a segmenter such as "
                          f"testbed:segmenter.")  # fmt: skip
    mask: Any = target.mask
    if mask is None:
        return Pixels(None, index, places.layer)
    region = torch.as_tensor(mask).detach().cpu().bool()
    if region.ndim != 2 or not bool(region.any()):
        raise TargetError(f"The mask of Pixels has shape {list(region.shape)} and {int(region.sum())} pixels inside; "
                          f"expected [height width] of the model input with at least one.")  # fmt: skip
    return Pixels(region, index, places.layer)


def box_iou(first: Float[Tensor, "first 4"], second: Float[Tensor, "second 4"]) -> Float[Tensor, "first second"]:
    """Intersection over union of every box with every other, 0 to 1."""
    every = Proposals(first[None], first.new_ones(1, len(first)), first.new_zeros(1, len(first), 1))
    return torch.stack([every.overlaps(one)[0] for one in second], dim=1) if len(second) else first.new_zeros(
        len(first), 0
    )  # fmt: skip


def _boxes(proposals: Proposals, at: int, places: Places, least: float, overlap: float) -> Iterator[Box]:
    """The boxes of one picture that stay after suppression, the surest first."""
    chances = proposals.odds[at].sigmoid()
    sure, classes = (chances * proposals.objectness[at][:, None]).max(dim=1)
    order = sure.argsort(descending=True, stable=True)
    order = order[sure[order] >= least]
    kept: list[int] = []
    for row in order.tolist():
        same = [one for one in kept if classes[one] == classes[row]]
        if same and float(box_iou(proposals.boxes[at, same], proposals.boxes[at, row : row + 1]).max()) > overlap:
            continue
        sides = proposals.boxes[at, row]
        if bool((sides[2:] <= sides[:2]).any()):
            continue
        kept.append(row)
        left, top, right, bottom = sides.tolist()
        yield Box((left, top, right, bottom), int(classes[row]), tuple(chances[row].tolist()), places.layer,
                  places.classes)  # fmt: skip


def _regions(first: Int[Tensor, "height width"], places: Places) -> Iterator[Pixels]:
    """The classes that rank first somewhere, the largest region first."""
    counts = first.flatten().bincount(minlength=places.classes)
    for index in counts.argsort(descending=True, stable=True).tolist():
        if counts[index]:
            yield Pixels(first == index, index, places.layer)
