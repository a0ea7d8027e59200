"""A net that compares pictures with sentences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from pellucid.testbed.nets.blocks import Block
from pellucid.testbed.nets.classifiers import SmallViT
from pellucid.testbed.nets.words import LONGEST, Words, spoken

EMBEDDING = 64
LARGEST_SCALE = 50.0


class PictureTower(SmallViT):
    """The transformer of `vit` with another head: class token and mean of the patches become one embedding."""

    def __init__(self, width: int = 96) -> None:
        super().__init__(classes=1, width=width)
        self.head = nn.Linear(2 * width, EMBEDDING)

    def forward(self, pictures: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch dim"]:
        tokens = self.tokens(pictures)
        return self.head(torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1))


class TextTower(nn.Module):
    """A small transformer over words; the mean over the words becomes one embedding."""

    def __init__(self, words: int, *, width: int = 96, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, LONGEST, width))
        self.blocks = nn.ModuleList(Block(width, heads, ratio=3) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, EMBEDDING)
        nn.init.normal_(self.embed.weight, std=0.1)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, numbers: Int64[Tensor, "text word"]) -> Float[Tensor, "text dim"]:
        there = spoken(numbers)
        tokens = self.embed(numbers) + self.pos_embed[:, : numbers.shape[1]]
        for block in self.blocks:
            tokens = block(tokens, there)
        tokens = self.norm(tokens) * there[..., None]
        return self.head(tokens.sum(dim=1) / there.sum(dim=1, keepdim=True))


class Dual(nn.Module):
    """Two towers that meet in one space, where a picture lies near the sentences that are true of it.

    words: the closed list it reads
    """

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__()
        self.words = Words(words)
        self.image = PictureTower()
        self.text = TextTower(len(self.words))
        self.log_scale = nn.Parameter(torch.tensor(20.0).log())

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by before the softmax over texts, at most 50."""
        return self.log_scale.exp().clamp(max=LARGEST_SCALE)

    def encode_images(self, pictures: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch dim"]:
        """Embeddings of length 1 of pictures in 0..1."""
        return functional.normalize(self.image(pictures), dim=-1)

    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "text dim"]:
        """Embeddings of length 1. Raises SceneError for words that it was never told."""
        return self.encode_numbers(self.words.encode(texts).to(self.log_scale.device))

    def encode_numbers(self, numbers: Int64[Tensor, "text word"]) -> Float[Tensor, "text dim"]:
        return functional.normalize(self.text(numbers), dim=-1)

    def forward(
        self, pictures: Float[Tensor, "batch 3 h w"], numbers: Int64[Tensor, "text word"]
    ) -> Float[Tensor, "batch text"]:
        """One logit for each pair: the scaled cosine. Texts as `words.encode` gives them."""
        return self.encode_images(pictures) @ self.encode_numbers(numbers).T * self.scale
