"""Tiny networks about which everything can be worked out by hand. Weights come from a seed, never from training."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def pictures(count: int = 2, height: int = 12, width: int = 14, seed: int = 0) -> Tensor:
    """Random model input, different for every picture."""
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def seeded(network: nn.Module, seed: int = 0) -> nn.Module:
    """The same network with weights, biases and batch statistics drawn from a seed, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            for name, parameter in module.named_parameters(recurse=False):
                spread = 1.0 if parameter.ndim < 2 else parameter[0].numel() ** -0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
                if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.LayerNorm)) and name == "weight":
                    parameter.copy_(1 + 0.3 * torch.randn(parameter.shape, generator=generator))
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                assert module.running_mean is not None and module.running_var is not None
                module.running_mean.copy_(0.3 * torch.randn(module.running_mean.shape, generator=generator))
                module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
    return network.eval()


class LinearPicture(nn.Module):
    """O1: every class is a weighted sum of the pixels plus a constant."""

    def __init__(self, height: int = 12, width: int = 14, classes: int = 4, seed: int = 1) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(classes, 3, height, width, generator=generator))
        self.bias = nn.Parameter(torch.randn(classes, generator=generator))

    def forward(self, inputs: Tensor) -> Tensor:
        return functional.linear(inputs.flatten(1), self.weight.flatten(1), self.bias)


def relu_mlp(height: int = 5, width: int = 7, classes: int = 4, seed: int = 2) -> nn.Module:
    """O2: two layers with biases, linear piece by piece."""
    return seeded(
        nn.Sequential(
            OrderedDict(
                flat=nn.Flatten(), first=nn.Linear(3 * height * width, 16), relu=nn.ReLU(), head=nn.Linear(16, classes)
            )
        ),
        seed,
    )


class PooledConv(nn.Module):
    """O3: convolution, ReLU, mean over the grid, linear head; no bias."""

    def __init__(self, channels: int = 6, classes: int = 4, seed: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=False)
        self.relu = nn.ReLU()
        self.head = nn.Linear(channels, classes, bias=False)
        seeded(self, seed)

    def features(self, inputs: Tensor) -> Tensor:
        return self.relu(self.conv(inputs))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.features(inputs).mean(dim=(2, 3)))


class Pixels(nn.Module):
    """O4, O5: a function of pictures given by hand, with a second class that is always zero."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Tensor) -> Tensor:
        score = self.function(inputs)
        return torch.stack([score, self.nothing.expand(len(inputs)) * inputs.mean()], dim=1)


class PatchDetector(nn.Module):
    """O6: the logit is the mean of one window of one colour."""

    def __init__(self, top: int, left: int, side: int, channel: int = 1) -> None:
        super().__init__()
        self.rows, self.columns, self.channel = slice(top, top + side), slice(left, left + side), channel
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, inputs: Tensor) -> Tensor:
        mean = inputs[:, self.channel, self.rows, self.columns].mean(dim=(1, 2))
        return torch.stack([mean, -mean], dim=1) * self.scale


class _SelfAttention(nn.Module):
    """One head; probabilities multiply the values from the left."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(channels, channels, bias=False) for _ in range(4))

    def probabilities(self, tokens: Tensor) -> Tensor:
        likeness = self.query(tokens) @ self.key(tokens).transpose(1, 2) * tokens.shape[-1] ** -0.5
        return likeness.softmax(dim=-1)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = (part(tokens)[:, None] for part in (self.query, self.key, self.value))
        return self.out(functional.scaled_dot_product_attention(query, key, value)[:, 0])


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = _SelfAttention(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.attention(tokens)


class TinyAttention(nn.Module):
    """O7: patches, a class token or none, `depth` blocks of attention without norm or MLP, a linear read-out."""

    def __init__(
        self, channels: int = 8, classes: int = 4, depth: int = 1, class_token: bool = True, seed: int = 4
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, channels, 4, stride=4)
        self.cls = nn.Parameter(torch.zeros(1, 1, channels)) if class_token else None
        self.blocks = nn.Sequential(*(_Block(channels) for _ in range(depth)))
        self.head = nn.Linear(channels, classes, bias=False)
        seeded(self, seed)

    def tokens(self, inputs: Tensor) -> Tensor:
        tokens = self.embed(inputs).flatten(2).transpose(1, 2)
        return tokens if self.cls is None else torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], dim=1)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.blocks(self.tokens(inputs))
        return self.head(tokens.mean(dim=1) if self.cls is None else tokens[:, 0])


class Twin(nn.Module):
    """One convolutional net in three spellings of its ReLU; equal seeds give equal weights."""

    def __init__(self, spelling: str, classes: int = 4, seed: int = 5) -> None:
        super().__init__()
        self.spelling = spelling
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12)
        self.head = nn.Linear(12, classes)
        self.relu1, self.relu2 = (nn.ReLU(inplace=spelling == "in place") for _ in range(2))
        seeded(self, seed)

    def forward(self, inputs: Tensor) -> Tensor:
        middle = self._relu(self.relu1, self.norm1(self.conv1(inputs)))
        last = self._relu(self.relu2, self.norm2(self.conv2(middle)))
        return self.head(last.mean(dim=(2, 3)))

    def _relu(self, module: nn.Module, values: Tensor) -> Tensor:
        return functional.relu(values) if self.spelling == "function" else module(values)


def tiny_vit(height: int = 32, width: int = 32, pool: str = "token", registers: int = 0, seed: int = 6) -> Any:
    """A timm vision transformer of three blocks with random weights."""
    from timm.models.vision_transformer import VisionTransformer

    network = VisionTransformer(
        img_size=(height, width), patch_size=8, embed_dim=16, depth=3, num_heads=2, num_classes=5, global_pool=pool,
        reg_tokens=registers, class_token=pool == "token",
    )  # fmt: skip
    return seeded(network, seed)
