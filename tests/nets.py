"""Small nets for tests, each with one trait that trips explainers up."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "module": lambda relu, value: relu(value),
    "in-place module": lambda relu, value: relu(value),
    "functional": lambda relu, value: functional.relu(value),
    "in-place functional": lambda relu, value: functional.relu(value, inplace=True),
    "torch": lambda relu, value: torch.relu(value),
    "in-place torch": lambda relu, value: torch.relu_(value),
    "method": lambda relu, value: value.relu(),
    "clamp": lambda relu, value: value.clamp(min=0),
}


class Twin(nn.Module):
    """Two convolutions with batch norm; every kind of ReLU has the same weights for the same seed."""

    def __init__(self, kind: str = "module", seed: int = 0, classes: int = 5) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first, self.second = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(6), nn.Linear(8, classes)
        self.relu = nn.ReLU(inplace=kind == "in-place module")
        self.kind = kind
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
            self.norm.running_mean.copy_(torch.randn(6, generator=generator) * 0.2)  # type: ignore[union-attr]
            self.norm.running_var.copy_(torch.rand(6, generator=generator) + 0.5)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        act = ACTIVATIONS[self.kind]
        x = act(self.relu, self.norm(self.first(x)))
        x = act(self.relu, self.second(x))
        return self.head(x.mean((2, 3)))


class Shared(nn.Module):
    """One convolution that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem, self.conv = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = self.conv(x).relu()
        x = self.conv(x).relu()
        return self.head(x.mean((2, 3)))


class Unshared(Shared):
    """The same computation with two convolutions of equal weights."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.again.load_state_dict(self.conv.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = self.conv(x).relu()
        x = self.again(x).relu()
        return self.head(x.mean((2, 3)))


class TinyViT(nn.Module):
    """Patches of 4, a class token, pre-norm blocks; attention fused or written out."""

    def __init__(
        self, blocks: int = 2, width: int = 12, heads: int = 3, grid: tuple[int, int] = (3, 4), fused: bool = True
    ):
        super().__init__()
        torch.manual_seed(5)
        self.patch = nn.Conv2d(3, width, 4, stride=4)
        self.cls = nn.Parameter(torch.randn(1, 1, width))
        self.pos = nn.Parameter(torch.randn(1, 1 + grid[0] * grid[1], width) * 0.3)
        self.blocks = nn.ModuleList(Block(width, heads, fused) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.pos
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class Block(nn.Module):
    def __init__(self, width: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.heads, self.fused = heads, fused

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if self.fused:
            mixed = functional.scaled_dot_product_attention(q, k, v)
        else:
            mixed = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1) @ v
        x = x + self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.mlp(self.norm2(x))
