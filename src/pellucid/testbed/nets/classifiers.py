"""Nets that name what they see: one convolutional, one a vision transformer."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.testbed.nets.blocks import Block, Normalise, convolution

BIRD_CNN = ((24, 2), (24, 1), (48, 2), (48, 1), (72, 1), (72, 1))
DIGIT_CNN = ((16, 2), (32, 2), (32, 1), (32, 1))


class SmallCNN(nn.Module):
    """Convolutions with batch norm and ReLU, global average pooling, one linear layer.

    plan: (channels, stride) of each 3x3 convolution
    """

    def __init__(self, plan: tuple[tuple[int, int], ...], classes: int) -> None:
        super().__init__()
        self.normalise = Normalise()
        blocks, before = [], 3
        for channels, stride in plan:
            blocks.append(convolution(before, channels, stride))
            before = channels
        self.features = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(before, classes)

    def forward(self, pictures: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch classes"]:
        return self.head(self.flatten(self.pool(self.features(self.normalise(pictures)))))


class SmallViT(nn.Module):
    """A vision transformer on an 8x8 grid of tokens from a small convolutional stem, with one class token."""

    def __init__(self, classes: int, *, size: int = 64, width: int = 96, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.prefix_tokens = 1
        self.patch = 8
        self.grid = (size // self.patch, size // self.patch)
        self.normalise = Normalise()
        self.stem = nn.Sequential(
            convolution(3, width // 3, 2),
            convolution(width // 3, 2 * width // 3, 2),
            convolution(2 * width // 3, width, 2),
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid[0] * self.grid[1], width))
        self.blocks = nn.Sequential(*(Block(width, heads, ratio=3) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def tokens(self, pictures: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch token width"]:
        """The class token and one token per patch, row by row, after the last norm."""
        patches = self.stem(self.normalise(pictures)).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        return self.norm(self.blocks(tokens))

    def forward(self, pictures: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch classes"]:
        return self.head(self.tokens(pictures)[:, 0])
