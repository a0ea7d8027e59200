"""The bricks that the testbed's nets are built of."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Normalise(nn.Module):
    """Pictures, or films, in 0..1 become about -2..2."""

    def forward(self, pictures: Float[Tensor, "batch colour *place"]) -> Float[Tensor, "batch colour *place"]:
        return (pictures - 0.5) / 0.25

    def additive_bias(self) -> Float[Tensor, "colour"]:
        """The constant it adds per channel, so that decompositions into gradients and biases stay complete."""
        return torch.full((3,), -2.0)


class Attention(nn.Module):
    """Multi-head self-attention, written out so that its probabilities can be read.

    causal: each token looks at itself and at those before it
    """

    def __init__(self, width: int, heads: int, *, causal: bool = False) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.causal = heads, width // heads, causal
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.softmax = nn.Softmax(dim=-1)
        self.attn_drop = nn.Identity()  # sees the probabilities [batch head token token]
        self.proj = nn.Linear(width, width)

    def forward(
        self, tokens: Float[Tensor, "batch token width"], spoken: Bool[Tensor, "batch token"] | None = None
    ) -> Float[Tensor, "batch token width"]:
        """spoken: which tokens may be looked at; None is all"""
        batch, count, width = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, count, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        links = (query * self.scale) @ key.transpose(-2, -1)
        if spoken is not None:
            links = links.masked_fill(~spoken[:, None, None, :], -torch.inf)
        if self.causal:
            links = links.masked_fill(
                torch.ones(count, count, dtype=torch.bool, device=links.device).triu(1), -torch.inf
            )
        attention = self.attn_drop(self.softmax(links))
        return self.proj((attention @ value).transpose(1, 2).reshape(batch, count, width))


class CrossAttention(nn.Module):
    """Words look at the tokens of a picture; probabilities can be read as in `Attention`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = heads, width // heads
        self.scale = self.head_dim**-0.5
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.softmax = nn.Softmax(dim=-1)
        self.attn_drop = nn.Identity()  # sees the probabilities [batch head word token]
        self.proj = nn.Linear(width, width)

    def forward(
        self, words: Float[Tensor, "batch word width"], seen: Float[Tensor, "batch token width"]
    ) -> Float[Tensor, "batch word width"]:
        batch, count, width = words.shape
        query = self.query(words).unflatten(2, (self.num_heads, self.head_dim)).transpose(1, 2)
        key, value = self.key_value(seen).unflatten(2, (2, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        attention = self.attn_drop(self.softmax((query * self.scale) @ key.transpose(-2, -1)))
        return self.proj((attention @ value).transpose(1, 2).reshape(batch, count, width))


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
        return self.fc2(self.act(self.fc1(tokens)))


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, width: int, heads: int, ratio: int, *, causal: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, causal=causal)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, ratio * width)

    def forward(
        self, tokens: Float[Tensor, "batch token width"], spoken: Bool[Tensor, "batch token"] | None = None
    ) -> Float[Tensor, "batch token width"]:
        tokens = tokens + self.attn(self.norm1(tokens), spoken)
        return tokens + self.mlp(self.norm2(tokens))


def convolution(before: int, after: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution with batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
    )
