"""A net that answers for a bag of pictures, of which some decide."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.compute.bags import AttentionBags, Bagged
from pellucid.testbed.bags import BAG_LABELS
from pellucid.testbed.nets.classifiers import BIRD_CNN, SmallCNN


class BagNet(nn.Module):
    """Every picture through the frozen convolutions of `cnn`; five attentions over what it saw (ACMIL)."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = SmallCNN(BIRD_CNN, classes=12).requires_grad_(False).eval()
        self.bag = AttentionBags(BIRD_CNN[-1][0], len(BAG_LABELS))

    def train(self, mode: bool = True) -> BagNet:
        """The tower stays in evaluation mode: its statistics are those it was trained with."""
        super().train(mode)
        self.tower.eval()
        return self

    def features(self, pictures: Float[Tensor, "instance 3 h w"]) -> Float[Tensor, "instance 72"]:
        """What the convolutions saw in each picture, the mean over its places."""
        tower = self.tower
        return tower.flatten(tower.pool(tower.features(tower.normalise(pictures))))

    def look(self, pictures: Float[Tensor, "instance 3 h w"]) -> Bagged:
        """The answer for one bag of pictures, and how it came about."""
        return self.bag.look(self.features(pictures))

    def forward(self, pictures: Float[Tensor, "instance 3 h w"]) -> Float[Tensor, "classes"]:
        return self.look(pictures).logits


@torch.no_grad()
def features_of(net: BagNet, pictures: Float[Tensor, "instance 3 h w"]) -> Float[Tensor, "instance 72"]:
    """What the tower saw in many pictures, a few hundred at a time."""
    return torch.cat([net.features(some) for some in pictures.split(250)])
