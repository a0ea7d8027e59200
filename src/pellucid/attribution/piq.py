"""PIQ: what a few learned code words of one class, and no others, can say of the picture.

Paissan et al. 2023. What a layer puts out is written cell by cell in words of a book that has pages of its own for
every class; from the words alone a mask is read, and a picture of what it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from pellucid.attribution.asked import classes_of
from pellucid.attribution.fitted import Explainer, Lesson, explainer_of, features, under
from pellucid.attribution.nets import convolved
from pellucid.engine import Evidence
from pellucid.engine.maps import upsampled
from pellucid.errors import RequestError
from pellucid.registry import Fitting, Learning, method
from pellucid.subject import VisionModel
from pellucid.values import Activation, Fitted

_FINEST = 56  # cells a side that masks and pictures have at most before they are brought to the input's size
_FILL = "mean"
_OPEN = 2.0  # logit of the mask at first: shut from the start, no gradient says what would keep the answer


@dataclass(frozen=True)
class Reading:
    """What the net makes of a layer: before and after it is written in words, and what is read from those.

    latents, codes: [batch width h w], before and after
    words:          which word stands in each cell, numbered through all classes
    mask, picture:  read from the words, on the decoder's grid; the mask from 0 to 1
    """

    latents: Float[Tensor, "batch width h w"]
    codes: Float[Tensor, "batch width h w"]
    words: Int64[Tensor, "batch h w"]
    mask: Float[Tensor, "batch rows columns"]
    picture: Float[Tensor, "batch colour rows columns"]


class PiqNet(nn.Module):
    """Adapter, book and decoder, and how they are to be fitted; see `_shape`."""

    def __init__(
        self, layer: str, channels: int, colours: int, classes: int, codes: int, width: int, doublings: int,
        commitment: float, kept: float, rest: float, rebuilt: float, area: float, roughness: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.layer, self.codes = layer, codes
        self.commitment, self.kept, self.rest = commitment, kept, rest
        self.rebuilt, self.area, self.roughness = rebuilt, area, roughness
        self.narrow = nn.Conv2d(channels, width, 1)
        self.adapter = nn.Sequential(convolved(width, width), nn.Conv2d(width, width, 1))
        self.norm = nn.BatchNorm2d(width, affine=False)  # what all cells have in common tells no words apart
        self.book = nn.Parameter(torch.randn(classes, codes, width))
        self.decoder = nn.ModuleList(convolved(width, width) for _ in range(doublings + 1))
        self.read = nn.Conv2d(width, 1 + colours, 3, padding=1)
        with torch.no_grad():
            cast("Tensor", self.read.bias)[0] = _OPEN

    def forward(self, seen: Float[Tensor, "batch channel h w"], classes: Sequence[int] | Tensor) -> Reading:
        narrow = self.narrow(seen)
        latents = self.norm(narrow + self.adapter(narrow))
        words = self.nearest(latents, torch.as_tensor(classes, device=latents.device))
        codes = self.book.flatten(0, 1)[words].permute(0, 3, 1, 2)
        mask, picture = self.decoded(straight_through(latents, codes))
        return Reading(latents, codes, words, mask, picture)

    def nearest(
        self, latents: Float[Tensor, "batch width h w"], classes: Int64[Tensor, "batch"]
    ) -> Int64[Tensor, "batch h w"]:
        """The nearest of the class's own words for every cell, numbered through all classes."""
        cells = latents.detach().flatten(2).transpose(1, 2)
        own = torch.cdist(cells, self.book.detach()[classes]).argmin(dim=-1)
        return (classes[:, None] * self.codes + own).unflatten(1, latents.shape[-2:])

    def decoded(
        self, codes: Float[Tensor, "batch width h w"]
    ) -> tuple[Float[Tensor, "batch rows columns"], Float[Tensor, "batch colour rows columns"]]:
        """Mask and picture."""
        values = self.decoder[0](codes)
        for step in self.decoder[1:]:
            values = step(upsampled(values, (2 * values.shape[-2], 2 * values.shape[-1])))
        values = self.read(values)
        return values[:, 0].sigmoid(), values[:, 1:]


def straight_through(
    latents: Float[Tensor, "batch width h w"], codes: Float[Tensor, "batch width h w"]
) -> Float[Tensor, "batch width h w"]:
    """The codes, whose gradient goes to the latents as if nothing had been rounded."""
    return codes.detach() + (latents - latents.detach())  # in this order the codes' own numbers, to the last bit


def _shape(
    model: VisionModel, size: tuple[int, int], *, layer: str | None = None, codes: int = 16, width: int = 32,
    commitment: float = 0.25, kept: float = 1.5, rest: float = 0.0, rebuilt: float = 0.5, area: float = 1.0,
    roughness: float = 0.5,
) -> dict[str, Any]:  # fmt: skip
    """What the net is like and what is asked of it.

    layer:      which is written in words; None is the model's default one
    codes:      words per class
    width:      numbers per word, a multiple of 4
    commitment: weight of keeping to the words, beside that of moving the words
    kept, rest: weights of the answer: that it stays under the mask, and that it does not stay without what it shows
    rebuilt:    weight of rebuilding what the mask shows, in parts of the pictures' variance
    area, roughness: weights of the mask's mean, and of its squared steps between neighbours
    """
    if width < 4 or width % 4 or codes < 1:
        raise RequestError(f"width={width}, codes={codes}; expected a multiple of 4, from 4 up, and at least one word.")
    tree = model.layers_at(size)
    read = tree.chosen("piq", layer)
    if read.grid is None:
        raise RequestError(f"{read.name} lies on no grid; `pellucid layers` lists those that do.")
    finest = min(_FINEST, *(side // 2 for side in size))
    doublings = next(count for count in range(8) if max(read.grid) * 2 ** (count + 1) > finest)
    return {
        "layer": read.name, "channels": read.channels, "colours": model.channels, "classes": len(model.labels),
        "codes": codes, "width": width, "doublings": doublings, "commitment": commitment, "kept": kept, "rest": rest,
        "rebuilt": rebuilt, "area": area, "roughness": roughness,
    }  # fmt: skip


def _loss(net: PiqNet, lesson: Lesson) -> Tensor:
    """The answer stays under the mask; what is shown can be rebuilt from the words; little is shown; words fit."""
    answer = lesson.outputs.argmax(dim=1)
    said = net(lesson.features([net.layer])[0], answer)
    mask, picture = (upsampled(one, lesson.evidence.size) for one in (said.mask, said.picture))
    total = net.kept * functional.cross_entropy(lesson.answers(lesson.under(mask, _FILL)), answer)
    if net.rest:
        left = lesson.answers(lesson.under(1 - mask, _FILL)).softmax(dim=1)
        total = total + net.rest * left.gather(1, answer[:, None]).mean()
    wrong = (picture - lesson.inputs.float()).square().mean(dim=1) / lesson.inputs.float().var()
    steps = said.mask.diff(dim=-2).square().mean() + said.mask.diff(dim=-1).square().mean()
    total = total + net.rebuilt * (mask * wrong).mean() + net.area * mask.mean() + net.roughness * steps
    book = functional.mse_loss(said.codes, said.latents.detach())
    return total + book + net.commitment * functional.mse_loss(said.latents, said.codes.detach())


@method(
    "piq", needs=[Fitted, Activation], paper="Paissan et al. 2023",
    fitting=Fitting(_shape, PiqNet, _loss, Learning(updates=500, learning_rate=3e-3, batch=32)),
)  # fmt: skip
def piq(evidence: Evidence, *, explainer: Explainer | str | Path | None = None) -> Float[Tensor, "batch height width"]:
    """What of the picture can be said in a few learned code words of the target's class and keeps the answer.

    explainer: what was fitted, or its file; None is the one that came with the model
    returns:   0 to 1, the share of a place that is shown
    """
    said = interpret(evidence, explainer)
    used = [len(words.unique()) for words in said.words]
    mean, codes = sum(used) / len(used), said.codes
    evidence.note(f"A picture is written in {mean:.0f} of the {codes} words of its class, in the mean.")
    return said.mask


@dataclass(frozen=True, eq=False)
class Interpretation:
    """What is said of pictures in words of their classes.

    mask:    0 to 1, which part of each place is shown
    picture: model input: where the mask is 1 what the words say, where it is 0 the picture's mean colour
    words:   the visual word of every cell of the layer, numbered through all classes; `codes` to a class
    classes: whose words they are
    """

    mask: Float[Tensor, "batch height width"]
    picture: Float[Tensor, "batch colour height width"]
    words: Int64[Tensor, "batch h w"]
    classes: tuple[int, ...]
    codes: int

    def used(self, at: int) -> dict[int, float]:
        """Which words stand in one picture, each with its share of the cells; the most frequent first."""
        found, counts = self.words[at].unique(return_counts=True)
        shares = (counts / counts.sum()).tolist()
        return dict(sorted(zip(found.tolist(), shares, strict=True), key=lambda pair: -pair[1]))


def interpret(evidence: Evidence, explainer: Explainer | str | Path | None = None) -> Interpretation:
    """Mask, picture and visual words of the target's class.

    explainer: one that was fitted for `piq`, or its file; None is the one that came with the model
    """
    fitted = explainer_of(evidence, "piq", explainer)
    assert isinstance(fitted.net, PiqNet)  # the method's own, as its shape says
    classes = classes_of(evidence, "piq")
    with torch.no_grad():
        said = fitted.net(features(evidence, [fitted.net.layer])[0], classes)
        mask, picture = (upsampled(one, evidence.size) for one in (said.mask, said.picture))
        shown = under(evidence, picture, mask, _FILL).float()
    return Interpretation(mask, shown, said.words, tuple(classes), fitted.net.codes)
