"""Nets that answer for every place: which part is painted there, and where birds stand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from pellucid.testbed.nets.blocks import Normalise, convolution
from pellucid.testbed.nets.classifiers import BIRD_CNN

PART_COUNT = 12  # ids of `testbed.PART_IDS`, background first
STRIDE = 4  # pixels between two cells of the detector


@dataclass(frozen=True, eq=False)
class Detections:
    """The birds that were found in one picture, the surest first.

    boxes:  left, top, right, bottom in pixels, the last two exclusive
    scores: 0 to 1
    labels: species
    """

    boxes: Float[Tensor, "bird 4"]
    scores: Float[Tensor, "bird"]
    labels: Int64[Tensor, "bird"]


class Detector(nn.Module):
    """Finds birds and names their species, without anchors: each cell says which bird has its middle there, and how
    far its four sides are (Zhou et al., Objects as points, 2019). Made for pictures of 128 px with several birds.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.normalise = Normalise()
        blocks, before = [], 3
        for channels, stride in (*BIRD_CNN, (72, 1), (72, 1)):
            blocks.append(convolution(before, channels, stride))
            before = channels
        self.features = nn.Sequential(*blocks)
        self.heat = nn.Conv2d(before, classes, 1)
        self.sides = nn.Conv2d(before, 4, 1)
        assert self.heat.bias is not None
        nn.init.constant_(self.heat.bias, -4.0)  # birds are rare among cells: begin by expecting none

    def forward(
        self, pictures: Float[Tensor, "batch 3 h w"]
    ) -> tuple[Float[Tensor, "batch species rows columns"], Float[Tensor, "batch 4 rows columns"]]:
        """For every cell of 4 x 4 pixels: one logit per species (is a bird of it centred here?), and the box of that
        bird in pixels: left, top, right, bottom.
        """
        features = self.features(self.normalise(pictures))
        reach = functional.softplus(self.sides(features)) * STRIDE
        x, y = (middle.to(reach) for middle in _middles(*reach.shape[-2:]))
        left, top, right, bottom = reach.unbind(dim=1)
        return self.heat(features), torch.stack([x - left, y - top, x + right, y + bottom], dim=1)

    @torch.no_grad()
    def detect(
        self, pictures: Float[Tensor, "batch 3 h w"], *, least: float = 0.3, most: int = 20
    ) -> tuple[Detections, ...]:
        """The birds of each picture: cells that are surer than their eight neighbours, and surer than `least`."""
        heat, boxes = self(pictures)
        sure, species = heat.sigmoid().max(dim=1)
        peaks = torch.where(functional.max_pool2d(sure[:, None], 3, stride=1, padding=1)[:, 0] == sure, sure, 0)
        scores, cells = peaks.flatten(1).topk(min(most, peaks[0].numel()), dim=1)
        found: list[Detections] = []
        for at, (score, cell) in enumerate(zip(scores, cells, strict=True)):
            chosen = cell[score >= least]
            found.append(
                Detections(boxes[at].flatten(1)[:, chosen].T, score[score >= least], species[at].flatten()[chosen])
            )
        return tuple(found)


def _middles(rows: int, columns: int) -> tuple[Float[Tensor, "1 columns"], Float[Tensor, "rows 1"]]:
    """x and y of the middle of every cell, in pixels."""
    return (torch.arange(columns)[None] + 0.5) * STRIDE, (torch.arange(rows)[:, None] + 0.5) * STRIDE


class Segmenter(nn.Module):
    """A small U: down to a quarter of the side and up again, with the finer maps laid beside the coarser ones."""

    def __init__(self, widths: tuple[int, int, int] = (16, 32, 64)) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.normalise = Normalise()
        self.down1 = nn.Sequential(convolution(3, fine), convolution(fine, fine))
        self.down2 = nn.Sequential(convolution(fine, middle, 2), convolution(middle, middle))
        self.down3 = nn.Sequential(convolution(middle, coarse, 2), convolution(coarse, coarse))
        self.up2 = nn.Sequential(convolution(coarse + middle, middle), convolution(middle, middle))
        self.up1 = nn.Sequential(convolution(middle + fine, fine), convolution(fine, fine))
        self.head = nn.Conv2d(fine, PART_COUNT, 1)

    def forward(self, pictures: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch part h w"]:
        """One logit per pixel and part id (`testbed.PART_IDS`), 0 the background. Sides are multiples of 4."""
        return self.head(self.features(pictures))

    def features(self, pictures: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch channel h w"]:
        """What the last layer reads, at every pixel."""
        fine = self.down1(self.normalise(pictures))
        middle = self.down2(fine)
        coarse = self.down3(middle)
        middle = self.up2(torch.cat([_doubled(coarse), middle], dim=1))
        return self.up1(torch.cat([_doubled(middle), fine], dim=1))


def _doubled(maps: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h2 w2"]:
    return functional.interpolate(maps, scale_factor=2, mode="nearest")
