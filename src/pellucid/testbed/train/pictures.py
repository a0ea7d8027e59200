"""What the nets learn from: rendered scenes and handwritten digits, in an order that the seed alone decides."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional

from pellucid.testbed.scene import Scenes
from pellucid.values import Seed


def planes(drawn: Scenes) -> UInt8[Tensor, "picture 3 h w"]:
    """The pictures of scenes as whole numbers, a quarter of the memory of floats."""
    return torch.from_numpy(np.ascontiguousarray(drawn.pixels.transpose(0, 3, 1, 2)))


def digits(held_out: bool) -> tuple[UInt8[Tensor, "picture 3 32 32"], Int64[Tensor, "picture"]]:
    """scikit-learn's handwritten digits, enlarged to 32 px: the 70 % that are learned from, or the 30 % held out."""
    flat, classes = load_digits(return_X_y=True)
    small = torch.from_numpy(np.asarray(flat)).float().view(-1, 1, 8, 8) * (255 / 16)
    large = functional.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False)
    pictures = (large + 0.5).clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
    order = torch.randperm(len(pictures), generator=Seed(0).child("digits", "split").generator())
    cut = round(0.7 * len(order))
    chosen = order[cut:] if held_out else order[:cut]
    return pictures[chosen], torch.from_numpy(np.asarray(classes)).long()[chosen]


class Order:
    """Batches of indices in an order that step and seed alone decide: each once before any comes twice."""

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self.count, self.batch, self.seed = count, min(batch, count), seed
        self.per_round = count // self.batch
        self._turn, self._shuffled = -1, torch.empty(0, dtype=torch.long)

    def __call__(self, step: int) -> Int64[Tensor, "sample"]:
        turn, at = divmod(step, self.per_round)
        if turn != self._turn:
            generator = Seed(self.seed).child("order", turn).generator()
            self._turn, self._shuffled = turn, torch.randperm(self.count, generator=generator)
        return self._shuffled[at * self.batch : (at + 1) * self.batch]


def coins(count: int, seed: int, step: int) -> Bool[Tensor, "sample"]:
    """Which samples of a batch are mirrored: half of them."""
    return torch.rand(count, generator=Seed(seed).child("mirror", step).generator()) < 0.5


def mirrored(
    pictures: Float[Tensor, "sample channel h w"], where: Bool[Tensor, "sample"]
) -> Float[Tensor, "sample channel h w"]:
    """Some of the pictures with left and right exchanged."""
    return torch.where(where[:, None, None, None], pictures.flip(-1), pictures)
