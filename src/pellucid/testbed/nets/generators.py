"""Nets that paint: an autoencoder with a latent space, and a generator that was taught by a critic."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from pellucid.testbed.nets.blocks import Normalise, convolution

LATENT = 48
CLASS_WIDTH = 24
WIDTHS = (32, 64, 96, 128)
CORNER = 4  # side of the coarsest map, from 64 px halved four times


class Decoder(nn.Module):
    """From a vector to a picture of 64 px in 0..1: four times doubled and smoothed by a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.start = nn.Linear(width, WIDTHS[-1] * CORNER**2)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), convolution(before, after))
                for before, after in zip(WIDTHS[::-1], (*WIDTHS[-2::-1], WIDTHS[0]), strict=True)
            )
        )
        self.paint = nn.Conv2d(WIDTHS[0], 3, 3, padding=1)

    def forward(self, latent: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch 3 64 64"]:
        corner = self.start(latent).unflatten(1, (WIDTHS[-1], CORNER, CORNER))
        return self.paint(self.blocks(corner)).sigmoid()


class VAE(nn.Module):
    """A variational autoencoder (Kingma and Welling 2014): a picture becomes 48 numbers, and they a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.encoder = nn.Sequential(
            *(convolution(before, after, 2) for before, after in zip((3, *WIDTHS[:-1]), WIDTHS, strict=True))
        )
        self.middle = nn.Linear(WIDTHS[-1] * CORNER**2, 2 * LATENT)
        self.decoder = Decoder(LATENT)

    def encode(
        self, pictures: Float[Tensor, "batch 3 64 64"]
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch dim"]]:
        """Mean and log variance of the latent numbers of pictures in 0..1."""
        mean, log_variance = self.middle(self.encoder(self.normalise(pictures)).flatten(1)).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latent: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch 3 64 64"]:
        """Pictures in 0..1; latent numbers are about standard normal."""
        return self.decoder(latent)

    def forward(self, pictures: Float[Tensor, "batch 3 64 64"]) -> Float[Tensor, "batch 3 64 64"]:
        """Each picture as it comes back from the mean of its latent numbers."""
        return self.decode(self.encode(pictures)[0])


class Generator(nn.Module):
    """Paints a bird of an asked species from 48 numbers of chance: the half of a GAN that is kept."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = nn.Embedding(classes, CLASS_WIDTH)
        self.decoder = Decoder(LATENT + CLASS_WIDTH)

    def forward(
        self, latent: Float[Tensor, "batch dim"], labels: Int64[Tensor, "batch"]
    ) -> Float[Tensor, "batch 3 64 64"]:
        """Pictures in 0..1. latent: standard normal numbers; labels: the species asked for."""
        return self.decoder(torch.cat([latent, self.classes(labels)], dim=1))

    def generate(
        self, count: int, labels: Int64[Tensor, "batch"] | int, seed: int = 0
    ) -> Float[Tensor, "batch 3 64 64"]:
        """As many pictures from a seed, of one species or of one each."""
        drawn = torch.randn(count, LATENT, generator=torch.Generator().manual_seed(seed))
        place = self.classes.weight.device
        return self(drawn.to(place), torch.as_tensor(labels, device=place).expand(count))


class Critic(nn.Module):
    """Tells rendered pictures from generated ones, given the species (Miyato and Koyama 2018). Used in training."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.normalise = Normalise()
        plan = zip((3, *WIDTHS[:-1]), WIDTHS, strict=True)
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
