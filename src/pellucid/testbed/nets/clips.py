"""A net that watches a short film and says which way the bird flies."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from pellucid.testbed.clips import DIRECTIONS, FRAMES
from pellucid.testbed.nets.blocks import Normalise

# Channels, length in frames and stride in space of each convolution; no frame is left out, so that time stays fine.
_PLAN = ((16, 1, 2), (24, 3, 2), (32, 3, 2), (32, 3, 1))


class ClipNet(nn.Module):
    """Convolutions over time and space with batch norm and ReLU, global average pooling, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = FRAMES
        self.normalise = Normalise()
        blocks, before = [], 3
        for channels, length, stride in _PLAN:
            blocks.append(_convolution(before, channels, length, stride))
            before = channels
        self.features = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(before, len(DIRECTIONS))

    def forward(self, films: Float[Tensor, "batch 3 frame h w"]) -> Float[Tensor, "batch classes"]:
        return self.head(self.flatten(self.pool(self.features(self.normalise(films)))))


def _convolution(before: int, after: int, length: int, stride: int) -> nn.Sequential:
    layer = nn.Conv3d(before, after, (length, 3, 3), (1, stride, stride), (length // 2, 1, 1), bias=False)
    return nn.Sequential(layer, nn.BatchNorm3d(after), nn.ReLU())
