"""The testbed's own nets: plain modules that take pictures in 0..1 and normalise inside."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pellucid.errors import SceneError

WEIGHTS = Path(__file__).parent / "weights"


class Normalise(nn.Module):
    """Pictures in 0..1 become about -2..2."""

    def forward(self, pictures: Float[Tensor, "batch colour h w"]) -> Float[Tensor, "batch colour h w"]:
        return (pictures - 0.5) / 0.25

    def additive_bias(self) -> Float[Tensor, "colour"]:
        """The constant it adds per channel, so that decompositions into gradients and biases stay complete."""
        return torch.full((3,), -2.0)


class SmallCNN(nn.Module):
    """Convolutions with batch norm and ReLU, global average pooling, one linear layer.

    plan: (channels, stride) of each 3x3 convolution
    """

    def __init__(self, plan: tuple[tuple[int, int], ...], classes: int) -> None:
        super().__init__()
        self.normalise = Normalise()
        blocks, before = [], 3
        for channels, stride in plan:
            blocks.append(_convolution(before, channels, stride))
            before = channels
        self.features = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(before, classes)

    def forward(self, pictures: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch classes"]:
        return self.head(self.flatten(self.pool(self.features(self.normalise(pictures)))))


class Attention(nn.Module):
    """Multi-head self-attention, written out so that its probabilities can be read."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = heads, width // heads
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.softmax = nn.Softmax(dim=-1)
        self.attn_drop = nn.Identity()  # sees the probabilities [batch head token token]
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
        batch, count, width = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, count, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
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

    def __init__(self, width: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, ratio * width)

    def forward(self, tokens: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class SmallViT(nn.Module):
    """A vision transformer on an 8x8 grid of tokens from a small convolutional stem, with one class token."""

    def __init__(self, classes: int, *, size: int = 64, width: int = 96, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.prefix_tokens = 1
        self.patch = 8
        self.grid = (size // self.patch, size // self.patch)
        self.normalise = Normalise()
        self.stem = nn.Sequential(
            _convolution(3, width // 3, 2),
            _convolution(width // 3, 2 * width // 3, 2),
            _convolution(2 * width // 3, width, 2),
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid[0] * self.grid[1], width))
        self.blocks = nn.Sequential(*(Block(width, heads, ratio=3) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, pictures: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch classes"]:
        patches = self.stem(self.normalise(pictures)).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(tokens))[:, 0])


BIRD_CNN = ((24, 2), (24, 1), (48, 2), (48, 1), (72, 1), (72, 1))
DIGIT_CNN = ((16, 2), (32, 2), (32, 1), (32, 1))

ARCHITECTURES: Mapping[str, Callable[[], nn.Module]] = {
    "cnn": lambda: SmallCNN(BIRD_CNN, classes=12),
    "vit": lambda: SmallViT(classes=12),
    "cnn_background": lambda: SmallCNN(BIRD_CNN, classes=12),
    "digits": lambda: SmallCNN(DIGIT_CNN, classes=10),
}


@dataclass(frozen=True)
class Card:
    """What is known of a shipped net: every figure was measured when it was trained.

    accuracy:      name of a set of pictures -> share recognised, 0 to 1
    default_layer: where maps are read unless said otherwise, chosen by measurement; `why` gives the figures
    recipe:        how it was trained
    """

    name: str
    labels: tuple[str, ...]
    size: int
    default_layer: str
    why: str
    accuracy: dict[str, float]
    seed: int
    recipe: dict[str, Any]
    version: int = 1

    def to_metadata(self) -> dict[str, str]:
        """As safetensors keeps it: one entry, for the order of several, and so the file's bytes, is left to chance."""
        return {"card": json.dumps(asdict(self))}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Card:
        values: dict[str, Any] = json.loads(metadata["card"])
        values["labels"] = tuple(values["labels"])
        return cls(**values)


def build(name: str) -> nn.Module:
    """The untrained net, its first weights drawn from torch's global generator; `testbed.train` seeds it.

    Raises SceneError for a name that is not shipped.
    """
    return ARCHITECTURES[known(name)]()


def load(name: str, folder: Path = WEIGHTS) -> tuple[nn.Module, Card]:
    """A trained net in evaluation mode, and what is known of it. Raises SceneError for a name that is not shipped."""
    path = folder / f"{known(name)}.safetensors"
    if not path.exists():
        raise SceneError(f"The weights of {name!r} are not at {path}. Rebuild them: pellucid testbed train {name}")
    with safe_open(path, framework="pt") as file:
        card = Card.from_metadata(file.metadata())
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (no mapping)
    with torch.random.fork_rng(devices=[]):  # the first weights are thrown away; the caller's generator stays put
        net = build(name)
    net.load_state_dict({key: value.float() if value.is_floating_point() else value for key, value in state.items()})
    return net.eval(), card


def save(net: nn.Module, card: Card, folder: Path = WEIGHTS) -> Path:
    """Write weights in half precision with the card as metadata; `load` reads them as float32."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{card.name}.safetensors"
    state = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in net.state_dict().items()
    }
    save_file(state, path, metadata=card.to_metadata())
    path.chmod(0o644)  # safetensors lets only its owner read what it wrote
    return path


def rounded(net: nn.Module) -> nn.Module:
    """The net as it will be read back: weights rounded to half precision, in place."""
    net.load_state_dict({key: _narrow(value).to(value.dtype) for key, value in net.state_dict().items()})
    return net


def known(name: str) -> str:
    """The name, if a net of that name is shipped; SceneError otherwise."""
    if name not in ARCHITECTURES:
        raise SceneError(f"There is no testbed net {name!r}. Known: {', '.join(ARCHITECTURES)}.")
    return name


def _narrow(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value


def _convolution(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
    )
