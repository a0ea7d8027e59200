"""A transformer set by hand that looks for a red patch, and pictures of which it is known where that lies."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from tests.oracles.nets import TinyAttention

SIZE, GRID = (12, 16), (3, 4)


class RedSeeker(TinyAttention):
    """Its class token looks at red patches and says how red they are: class 1 where there is one."""

    def __init__(self) -> None:
        super().__init__(channels=8, classes=2)
        attention = self.blocks[0].attention
        with torch.no_grad():
            for weight in self.parameters():
                weight.zero_()
            for colour in range(3):
                self.embed.weight[colour, colour] = 1 / 16
            self.cls[0, 0, 3] = 1
            attention.query.weight[0, 3] = 8**0.5
            attention.key.weight[0, 0] = 20
            attention.value.weight[4, 0] = 1
            attention.out.weight[4, 4] = 1
            self.head.weight[1, 4], self.head.weight[0, 3] = 8, 4


def coloured(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures of green and blue patches, in every other one a red patch; and which is red, [count 3 4]."""
    draw = torch.Generator().manual_seed(seed)
    colours = torch.randint(1, 3, (count, *GRID), generator=draw)
    places = torch.randint(12, (count,), generator=draw)
    red = torch.zeros(count, 12, dtype=torch.bool)
    red[torch.arange(0, count, 2), places[::2]] = True
    red = red.unflatten(1, GRID)
    colours[red] = 0
    patches = one_hot(colours, 3).permute(0, 3, 1, 2).float()
    return patches.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3), red
