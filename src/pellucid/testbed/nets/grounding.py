"""A net that shows where the answer to a question is seen: the sentence decides which channels are let through.

Khoshsirat and Kambhamettu, Sentence attention blocks for answer grounding, ICCV 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from pellucid.testbed.nets.blocks import Normalise, convolution
from pellucid.testbed.nets.words import Words, spoken


@dataclass(frozen=True, eq=False)
class Grounded:
    """Where the answers to some questions are seen.

    logits: at every pixel, above 0 where the answer is seen
    gates:  of each stage how much of every channel was let through, 0 to 1
    """

    logits: Float[Tensor, "batch h w"]
    gates: tuple[Float[Tensor, "batch _"], ...]


class SentenceGate(nn.Module):
    """One sentence attention block: the mean of every channel and the sentence together decide what passes."""

    def __init__(self, channels: int, sentence: int, hidden: int = 32) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels + sentence, hidden)
        self.excite = nn.Linear(hidden, channels)

    def forward(
        self, maps: Float[Tensor, "batch channel h w"], sentence: Float[Tensor, "batch dim"]
    ) -> Float[Tensor, "batch channel"]:
        told = torch.cat([maps.mean(dim=(2, 3)), sentence], dim=1)
        return torch.sigmoid(self.excite(functional.relu(self.squeeze(told))))


class Answerer(nn.Module):
    """The segmenter's U with a sentence gate behind each stage on the way down; it paints where the answer is seen.

    words: the closed list it reads
    """

    def __init__(self, words: Sequence[str], widths: tuple[int, int, int] = (16, 32, 64), sentence: int = 32) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.words = Words(words)
        self.embed = nn.Embedding(len(self.words), sentence)
        self.normalise = Normalise()
        self.down1 = nn.Sequential(convolution(3, fine), convolution(fine, fine))
        self.down2 = nn.Sequential(convolution(fine, middle, 2), convolution(middle, middle))
        self.down3 = nn.Sequential(convolution(middle, coarse, 2), convolution(coarse, coarse))
        self.gates = nn.ModuleList(SentenceGate(channels, sentence) for channels in widths)
        self.up2 = nn.Sequential(convolution(coarse + middle, middle), convolution(middle, middle))
        self.up1 = nn.Sequential(convolution(middle + fine, fine), convolution(fine, fine))
        self.head = nn.Conv2d(fine, 1, 1)

    def ground(
        self, pictures: Float[Tensor, "batch 3 h w"], numbers: Int64[Tensor, "batch word"], *,
        opened: Sequence[int] = (),
    ) -> Grounded:  # fmt: skip
        """Where the answers are seen, and the gates that led there.

        opened: stages, from 0, whose gates let everything pass, whatever is asked
        """
        sentence = self._sentence(numbers)
        gates: list[Tensor] = []
        maps: list[Tensor] = []
        before = self.normalise(pictures)
        for stage, (down, gate) in enumerate(zip((self.down1, self.down2, self.down3), self.gates, strict=True)):
            found = down(before)
            passed = gate(found, sentence)
            gates.append(torch.ones_like(passed) if stage in opened else passed)
            before = found * gates[-1][:, :, None, None]
            maps.append(before)
        fine, middle, coarse = maps
        middle = self.up2(torch.cat([_doubled(coarse), middle], dim=1))
        fine = self.up1(torch.cat([_doubled(middle), fine], dim=1))
        return Grounded(self.head(fine)[:, 0], tuple(gates))

    def forward(
        self, pictures: Float[Tensor, "batch 3 h w"], numbers: Int64[Tensor, "batch word"]
    ) -> Float[Tensor, "batch h w"]:
        """The logits alone, from pictures in 0..1 and questions as `words.encode` gives them."""
        return self.ground(pictures, numbers).logits

    def _sentence(self, numbers: Int64[Tensor, "batch word"]) -> Float[Tensor, "batch dim"]:
        there = spoken(numbers)[..., None]
        return (self.embed(numbers) * there).sum(dim=1) / there.sum(dim=1)


def _doubled(maps: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h2 w2"]:
    return functional.interpolate(maps, scale_factor=2, mode="nearest")
