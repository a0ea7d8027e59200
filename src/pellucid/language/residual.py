"""A picture's embedding as an exact sum of what each layer, head and patch writes into it.

Gandelsman, Efros, Steinhardt, Interpreting CLIP's image representation via text-based decomposition, ICLR 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pellucid import hooks
from pellucid.errors import MethodUnavailable, ModelError, TowerUnsupported
from pellucid.language.towers import Attending, Readout, Tower, read_tower
from pellucid.subject import VisionModel
from pellucid.subject.loaders.dual import DualEncoder

_ADDS_UP: Mapping[torch.dtype, float] = {torch.float64: 1e-10, torch.float32: 1e-4}
_ADDS_UP_IN_HALVES = 2e-2


@dataclass(frozen=True, order=True)
class Head:
    """One attention head of a picture tower; layers and heads count from 0."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"layer {self.layer}, head {self.head}"


@dataclass(frozen=True, eq=False)
class Contributions:
    """What wrote how much of each picture's embedding. Heads, MLPs, start and constant add up to `embedding`.

    embedding: as the tower gives it, before it is brought to length 1
    heads:     by attention head, over all source patches; value and output biases are within
    mlps:      by MLP
    start:     by the tokens as they enter the first block: what is there before anything was mixed
    constant:  by the last norm's and the projection's biases, the same for every picture
    patches:   the heads' part by source token of the grid, over all layers and heads
    prefix:    the heads' part by source tokens that lie on no grid (class token, registers), together
    places:    the part of start and MLPs that is read at a token of the grid; 0 where only a class token is read
    grid:      rows and columns of the tokens
    error:     largest relative distance between the sum and the embedding
    """

    embedding: Float[Tensor, "picture dim"]
    heads: Float[Tensor, "picture layer head dim"]
    mlps: Float[Tensor, "picture layer dim"]
    start: Float[Tensor, "picture dim"]
    constant: Float[Tensor, "dim"]
    patches: Float[Tensor, "picture token dim"]
    prefix: Float[Tensor, "picture dim"]
    places: Float[Tensor, "picture token dim"]
    grid: tuple[int, int]
    error: float

    def __len__(self) -> int:
        return len(self.embedding)

    @property
    def total(self) -> Float[Tensor, "picture dim"]:
        """The sum of all parts."""
        return self.heads.sum(dim=(1, 2)) + self.mlps.sum(dim=1) + self.start + self.constant

    @property
    def all_heads(self) -> tuple[Head, ...]:
        layers, heads = self.heads.shape[1:3]
        return tuple(Head(layer, head) for layer in range(layers) for head in range(heads))

    def of(self, head: Head) -> Float[Tensor, "picture dim"]:
        """What one head wrote."""
        return self.heads[:, head.layer, head.head]

    def ablated(
        self,
        heads: Sequence[Head] = (),
        *,
        mlps: Sequence[int] = (),
        start: bool = False,
        mean_of: Contributions | None = None,
    ) -> Float[Tensor, "picture dim"]:
        """The embedding with some parts replaced by their mean over pictures: the direct effect alone is gone.

        heads, mlps: which; `start` for the tokens before the first block
        mean_of:     pictures over which the mean is taken; None is these
        """
        known = self if mean_of is None else mean_of
        total = self.total
        for head in set(heads):
            total = total + known.of(head).mean(dim=0) - self.of(head)
        for layer in set(mlps):
            total = total + known.mlps[:, layer].mean(dim=0) - self.mlps[:, layer]
        return total + known.start.mean(dim=0) - self.start if start else total

    def normalised(self) -> Contributions:
        """All parts divided by the embedding's length, so that they add up to the embedding of length 1.

        The constant is divided too and so differs between pictures: it is shared out over `start`.
        """
        length = self.embedding.norm(dim=1)
        start = (self.start + self.constant) / length[:, None]
        return replace(
            self, embedding=functional.normalize(self.embedding, dim=1), heads=self.heads / length[:, None, None, None],
            mlps=self.mlps / length[:, None, None], start=start, constant=torch.zeros_like(self.constant),
            patches=self.patches / length[:, None, None], prefix=self.prefix / length[:, None],
            places=self.places / length[:, None, None],
        )  # fmt: skip


def picture_tower(model: VisionModel) -> nn.Module:
    """The network from picture to embedding. Raises TowerUnsupported for black boxes."""
    if not model.differentiable or model.network is None:
        raise TowerUnsupported(model.name, "it is a black box: its parts cannot be seen.")
    return model.network.image if isinstance(model.network, DualEncoder) else model.network


def image_embeddings(
    model: VisionModel, inputs: Float[Tensor, "picture 3 height width"], *, batch: int = 64
) -> Float[Tensor, "picture dim"]:
    """Embeddings of length 1, as the encoder compares them with texts."""
    network = picture_tower(model)
    with hooks.guest(network), torch.no_grad():
        found = [network(some) for some in inputs.to(model.device, model.dtype).split(batch)]
    return functional.normalize(torch.cat(found), dim=1)


def text_embeddings(model: VisionModel, texts: Sequence[str]) -> Float[Tensor, "text dim"]:
    """Embeddings of length 1. Raises MethodUnavailable for a model that reads no texts."""
    if model.text_encoder is None:
        raise MethodUnavailable("Comparing with texts", f"{model.name} reads no texts.", ())
    return torch.stack([model.text_encoder(text) for text in texts]).to(model.device)


def decompose(model: VisionModel, inputs: Float[Tensor, "picture 3 height width"], *, batch: int = 32) -> Contributions:
    """The embedding of each picture, shared out over heads, MLPs and patches.

    Each summand is centred by its own mean, where the paper gives each an equal share of the total's mean: both add up,
    but only so does a head that writes nothing get nothing. These are direct effects: what a head changes in later
    layers is theirs. The sum is compared with what the tower itself gives.

    inputs: model input, as `model.prepare` gives it
    batch:  pictures at a time; one layer's attention at a time is held

    Raises TowerUnsupported where the tower is no sum of its parts, ModelError where the sum is not what it answers.
    """
    network = picture_tower(model)
    with hooks.guest(network), torch.no_grad():
        tower = read_tower(network)
        parts = [_decomposed(network, tower, some) for some in inputs.to(model.device, model.dtype).split(batch)]
    whole = _joined(parts)
    if whole.error > _ADDS_UP.get(whole.embedding.dtype, _ADDS_UP_IN_HALVES):
        raise ModelError(
            f"The parts of {model.name} add up to something else than its embedding (relative error "
            f"{whole.error:.1e}): its blocks do more than their attention, MLP and norms say."
        )
    return whole


def _decomposed(network: nn.Module, tower: Tower, pictures: Tensor) -> Contributions:
    embedding = network(pictures)
    begun = tower.begin(pictures)
    written = [*writing(tower, begun)]
    last = begun + sum((one.attention + one.mlp for one in written), torch.zeros_like(begun))
    read = _Reader.of(tower.readout, last)
    side = begun.shape[1] - tower.prefix
    heads, by_source = [], torch.zeros_like(read(begun)[:, None].expand(-1, begun.shape[1], -1))
    for one in written:
        per_head, per_source = one.shares(read)
        heads.append(per_head)
        by_source = by_source + per_source
    placed = read.at_tokens(begun + sum((one.mlp for one in written), torch.zeros_like(begun)))
    stacked, mlps, start = (
        torch.stack(heads, dim=1),
        torch.stack([read(one.mlp) for one in written], dim=1),
        read(begun),
    )
    total = stacked.sum(dim=(1, 2)) + mlps.sum(dim=1) + start + read.constant
    error = float(((total - embedding).norm(dim=1) / embedding.norm(dim=1).clamp(min=1e-30)).max())
    return Contributions(
        embedding, stacked, mlps, start, read.constant, by_source[:, tower.prefix :],
        by_source[:, : tower.prefix].sum(dim=1), placed[:, tower.prefix :], grid_of(pictures, side), error,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Written:
    """What one block added to every token, and what its heads' part is made of."""

    block: Attending
    links: Float[Tensor, "batch head token source"]
    values: Float[Tensor, "batch head source channel"]
    attention: Float[Tensor, "batch token width"]
    mlp: Float[Tensor, "batch token width"]

    @property
    def mixed(self) -> Float[Tensor, "batch token inner"]:
        """What the heads give together, before the map out."""
        return (self.links @ self.values).transpose(1, 2).flatten(2)

    def shares(self, read: _Reader) -> tuple[Tensor, Tensor]:
        """[batch head dim] and [batch source dim]; the output bias is shared out evenly."""
        count, sources = self.block.heads, self.links.shape[-1]
        per_head = self.block.out.unflatten(1, (count, -1))  # [width head channel]
        by_head: Tensor | int = 0
        by_source: Tensor | int = 0
        for weights, matrix in read.parts:  # weights [batch token] hold 1/sigma, matrix [dim width] the norm's gain
            seen = torch.einsum("bhts,bt->bhs", self.links, weights)
            carried = torch.einsum("dw,whc->dhc", matrix, per_head)
            by_head = by_head + torch.einsum("bhs,bhsc,dhc->bhd", seen, self.values, carried)
            by_source = by_source + torch.einsum("bhs,bhsc,dhc->bsd", seen, self.values, carried)
        bias = read(self.block.out_bias.expand_as(self.attention))
        return by_head + bias[:, None] / count, by_source + bias[:, None] / sources


def writing(tower: Tower, tokens: Tensor) -> Iterator[Written]:
    """Block by block what attention and MLP write into these tokens, as they enter the first block."""
    for block in tower.blocks:
        query, key, value = block.split(block.norm(tokens))
        links = (query @ key.transpose(-2, -1) * block.scale).softmax(dim=-1)
        mixed = (links @ value).transpose(1, 2).flatten(2)
        attention = functional.linear(mixed, block.out, block.out_bias)
        mlp = block.mlp(tokens + attention)
        yield Written(block, links, value, attention, mlp)
        tokens = tokens + attention + mlp


@dataclass(frozen=True, eq=False)
class _Reader:
    """The readout with each picture's norm held fixed: linear in what is written into the tokens."""

    parts: tuple[tuple[Float[Tensor, "batch token"], Float[Tensor, "dim width"]], ...]
    constant: Float[Tensor, "dim"]

    @classmethod
    def of(cls, readout: Readout, last: Float[Tensor, "batch token width"]) -> _Reader:
        norm, count = readout.norm, last.shape[1]
        parts: list[tuple[Tensor, Tensor]] = []
        constant = readout.bias
        for weigh, matrix in readout.parts:
            weights = weigh(count).to(last)
            if norm is None:
                parts.append((weights.expand(len(last), -1), matrix))
                continue
            pooled = torch.einsum("btw,t->bw", last, weights)[:, None] if readout.after else last
            sigma = (pooled.var(dim=-1, correction=0) + norm.eps).sqrt()
            gain, shift = _affine(norm)
            gained = matrix * gain
            parts.append((weights / sigma, gained - gained.mean(dim=1, keepdim=True)))  # M (s - mean(s))
            constant = constant + matrix @ shift * weights.sum()
        return cls(tuple(parts), constant)

    def __call__(self, written: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch dim"]:
        return sum(
            (torch.einsum("btw,bt->bw", written, weights) @ matrix.T for weights, matrix in self.parts),
            torch.zeros_like(self.constant),
        )

    def at_tokens(self, written: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token dim"]:
        """The same by the token at which it is read."""
        return sum(
            ((written * weights[..., None]) @ matrix.T for weights, matrix in self.parts),
            torch.zeros_like(self.constant),
        )


def _affine(norm: Any) -> tuple[Tensor | float, Tensor]:
    """Gain and shift of a LayerNorm, which may have neither."""
    gain = 1.0 if norm.weight is None else norm.weight
    return gain, torch.zeros(norm.normalized_shape).to(torch.as_tensor(gain)) if norm.bias is None else norm.bias


def grid_of(pictures: Tensor, tokens: int) -> tuple[int, int]:
    """Rows and columns of so many tokens over pictures of this shape."""
    rows, columns = pictures.shape[-2:]
    for height in range(1, tokens + 1):
        if tokens % height == 0 and height * columns == rows * (tokens // height):
            return height, tokens // height
    return 1, tokens


def _joined(parts: Sequence[Contributions]) -> Contributions:
    shared = {"constant", "grid", "error"}
    stacked = {
        field.name: torch.cat([getattr(part, field.name) for part in parts])
        for field in fields(Contributions) if field.name not in shared
    }  # fmt: skip
    return replace(parts[0], **stacked, error=max(part.error for part in parts))
