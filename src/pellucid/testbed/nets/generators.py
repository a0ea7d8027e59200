"""Nets that paint: an autoencoder with a latent space, and a generator that was taught by a critic."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from pellucid.testbed.nets.blocks import Normalise, convolution

CHANCE = 48  # numbers that a generated picture comes from
CLASS_WIDTH = 24
WIDTHS = (32, 64, 96, 128)
CORNER = 4  # side of the coarsest map, from 64 px halved four times
CHANNELS, PLACES = 16, 8  # of the latent numbers: so many at each place of a square grid with this side
LATENT = CHANNELS * PLACES**2


class Painter(nn.Module):
    """From a map on an 8 x 8 grid to a picture of 64 px in 0..1: three times doubled and smoothed by a convolution."""

    def __init__(self) -> None:
        super().__init__()
        widths = (WIDTHS[2], WIDTHS[1], WIDTHS[0], WIDTHS[0])
        self.blocks = nn.Sequential(*(_doubled(before, after) for before, after in pairwise(widths)))
        self.paint = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, grid: Float[Tensor, "batch width 8 8"]) -> Float[Tensor, "batch 3 64 64"]:
        return self.paint(self.blocks(grid)).sigmoid()


def _doubled(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), convolution(before, after))


class VAE(nn.Module):
    """A variational autoencoder (Kingma and Welling 2014): a picture becomes 16 numbers at each of 8 x 8 places."""

    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.encoder = nn.Sequential(
            *(convolution(before, after, 2) for before, after in pairwise((3, *WIDTHS[:3]))),
            convolution(WIDTHS[2], WIDTHS[3]),
        )
        self.middle = nn.Conv2d(WIDTHS[3], 2 * CHANNELS, 1)
        self.begin = convolution(CHANNELS, WIDTHS[2])
        self.painter = Painter()

    def encode(
        self, pictures: Float[Tensor, "batch 3 64 64"]
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch dim"]]:
        """Mean and log variance of the latent numbers of pictures in 0..1: 16 channels, each row by row."""
        mean, log_variance = self.middle(self.encoder(self.normalise(pictures))).chunk(2, dim=1)
        return mean.flatten(1), log_variance.flatten(1)

    def decode(self, latent: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch 3 64 64"]:
        """Pictures in 0..1; latent numbers are about standard normal."""
        return self.painter(self.begin(latent.unflatten(1, (CHANNELS, PLACES, PLACES))))

    def forward(self, pictures: Float[Tensor, "batch 3 64 64"]) -> Float[Tensor, "batch 3 64 64"]:
        """Each picture as it comes back from the mean of its latent numbers."""
        return self.decode(self.encode(pictures)[0])


class Generator(nn.Module):
    """Paints a bird of an asked species from 48 numbers of chance: the half of a GAN that is kept."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = nn.Embedding(classes, CLASS_WIDTH)
        self.start = nn.Linear(CHANCE + CLASS_WIDTH, WIDTHS[3] * CORNER**2)
        self.begin = _doubled(WIDTHS[3], WIDTHS[2])
        self.painter = Painter()

    def forward(
        self, latent: Float[Tensor, "batch dim"], labels: Int64[Tensor, "batch"]
    ) -> Float[Tensor, "batch 3 64 64"]:
        """Pictures in 0..1. latent: standard normal numbers; labels: the species asked for."""
        corner = self.start(torch.cat([latent, self.classes(labels)], dim=1))
        return self.painter(self.begin(corner.unflatten(1, (WIDTHS[3], CORNER, CORNER))))

    def generate(
        self, count: int, labels: Int64[Tensor, "batch"] | int, seed: int = 0
    ) -> Float[Tensor, "batch 3 64 64"]:
        """As many pictures from a seed, of one species or of one each."""
        drawn = torch.randn(count, CHANCE, generator=torch.Generator().manual_seed(seed))
        place = self.classes.weight.device
        return self(drawn.to(place), torch.as_tensor(labels, device=place).expand(count))


class Critic(nn.Module):
    """Tells rendered pictures from generated ones, given the species (Miyato and Koyama 2018). Used in training."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.normalise = Normalise()
        plan = pairwise((3, *WIDTHS))
        self.features = nn.Sequential(
            *(
                nn.Sequential(spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1)), nn.LeakyReLU(0.2))
                for before, after in plan
            ),
            nn.Sequential(spectral_norm(nn.Conv2d(WIDTHS[-1], WIDTHS[-1], 3, padding=1)), nn.LeakyReLU(0.2)),
        )
        self.real = spectral_norm(nn.Linear(WIDTHS[-1], 1))
        self.classes = spectral_norm(nn.Embedding(classes, WIDTHS[-1]))

    def forward(
        self, pictures: Float[Tensor, "batch 3 64 64"], labels: Int64[Tensor, "batch"]
    ) -> Float[Tensor, "batch"]:
        """Above 0 for what looks rendered."""
        seen = self.features(self.normalise(pictures)).sum(dim=(2, 3))
        return self.real(seen)[:, 0] + (self.classes(labels) * seen).sum(dim=1)
