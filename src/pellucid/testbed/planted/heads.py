"""Transformers whose attention is set by hand, so that it is known which token reads which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn
from torch.nn import functional

from pellucid.testbed.planted.separation import fill, linear
from pellucid.testbed.planted.unit import Planted, PlantedHead

GRID, PATCH, WIDTH, HEADS = 4, 16, 24, 4
TILES = GRID * GRID
# A token's 24 channels: what its tile shows, where it is, and what it was told.
MARK, GREEN, BLUE, IS_CLS = 0, 1, 2, 3
PLACE, RESULT = 4, 20
WORKING = 2  # the head that reads; the others put out 0
BETA = 40.0  # logit of the token that is read; the class token, which holds nothing, gets half of it
TARGETS = tuple((5 * tile + 3) % TILES for tile in range(TILES))  # which tile each tile reads; never itself


@dataclass(frozen=True, eq=False)
class Tiles:
    """Pictures of 4x4 coloured tiles of 16 pixels. Exactly one has its red on: the marked one.

    colours: of each tile, 0..1; marked: which tile bears the mark
    """

    colours: Float[np.ndarray, "picture tile 3"]
    marked: Int64[np.ndarray, "picture"]

    def __len__(self) -> int:
        return len(self.marked)

    def tensor(self) -> Float32[Tensor, "picture 3 height width"]:
        grid = self.colours.reshape(-1, GRID, GRID, 3).transpose(0, 3, 1, 2)
        return torch.from_numpy(grid.repeat(PATCH, axis=2).repeat(PATCH, axis=3)).float()

    def source(self, hops: int) -> Int64[np.ndarray, "picture"]:
        """The tile whose green and blue decide: the marked one, or after two hops the one that it reads."""
        return self.marked if hops == 1 else np.array(TARGETS)[self.marked]


def tiles(seed: int, count: int) -> Tiles:
    """Tiles with green and blue in eighths, and a mark on one of them."""
    draw = np.random.default_rng(seed)
    colours = draw.integers(0, 9, (count, TILES, 3)) / 8
    marked = draw.integers(0, TILES, count)
    colours[:, :, MARK] = marked[:, None] == np.arange(TILES)
    return Tiles(colours, marked)


def head() -> Planted:
    """One block; through its head 2 the class token reads the marked tile, through the others it reads nothing.

    Logits are 4 times that tile's green less 1, and 3 times its blue plus a half. Heads 0, 1 and 3 attend to the class
    token, which holds nothing, and their values are 0.
    """
    return _planted("head", (_Block(asks_for_mark=True, carries=(GREEN, BLUE)),), hops=1)


def head_decoy() -> Planted:
    """The same with heads 0, 1 and 3 of the class token staring at tile 0, from which they bring nothing.

    So three quarters of the attention lie on a tile that has no say: where attention is taken for explanation, tile 0
    wins; what asks for the gradient or cuts the edge finds the marked tile.
    """
    return _planted("head_decoy", (_Block(asks_for_mark=True, carries=(GREEN, BLUE), stare=0),), hops=1)


def head_two_hops() -> Planted:
    """Three blocks; every tile reads its target (its green in block 1, its blue in block 2), then the class token
    reads what the marked tile was told. The tile that decides is the marked tile's target.

    All heads look alike here, though only head 2 carries anything: the rollout of attention then weighs the deciding
    tile twice as much as any other, while the last block's attention lies on the marked tile alone.
    """
    blocks = (
        _Block(asks_for_mark=False, carries=(GREEN,), alike=True),
        _Block(asks_for_mark=False, carries=(BLUE,), alike=True),
        _Block(asks_for_mark=True, carries=(RESULT + GREEN, RESULT + BLUE), alike=True),
    )
    return _planted("head_two_hops", blocks, hops=2)


@dataclass(frozen=True)
class _Block:
    """What one block is to do.

    asks_for_mark: the class token reads the marked tile; else each tile reads its target
    carries:       the channels that the working head brings into the results
    alike:         idle heads look where the working one does; else at the class token
    stare:         the tile at which idle heads of the class token look instead
    """

    asks_for_mark: bool
    carries: tuple[int, ...]
    alike: bool = False
    stare: int | None = None


class HandSetAttention(nn.Module):
    """Multi-head self-attention. `allowed` [head query key] cuts edges: set an entry to False."""

    def __init__(self, block: _Block) -> None:
        super().__init__()
        query, query_bias, key, value = _projections(block)
        self.query, self.key, self.value = linear(query, query_bias), linear(key), linear(value)
        self.proj = linear(np.tile(np.eye(WIDTH), (1, HEADS)))
        self.register_buffer("allowed", torch.ones(HEADS, TILES + 1, TILES + 1, dtype=torch.bool))
        self.allowed: Tensor

    def forward(self, tokens: Float[Tensor, "batch token channel"]) -> Float[Tensor, "batch token channel"]:
        query, key, value = (
            project(tokens).unflatten(2, (HEADS, WIDTH)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=self.allowed, scale=1.0)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class HandSetBlock(nn.Module):
    """Tokens plus what attention tells them."""

    def __init__(self, block: _Block) -> None:
        super().__init__()
        self.attn = HandSetAttention(block)

    def forward(self, tokens: Float[Tensor, "batch token channel"]) -> Float[Tensor, "batch token channel"]:
        return tokens + self.attn(tokens)


class HandSetTransformer(nn.Module):
    """Tiles become tokens that know their colour and place; a class token; blocks; two logits from its results."""

    def __init__(self, blocks: tuple[_Block, ...]) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.patch = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH, bias=False)
        means = np.zeros((WIDTH, 3, PATCH, PATCH))
        means[[MARK, GREEN, BLUE], [0, 1, 2]] = 1 / PATCH**2
        fill(self.patch.weight, means)
        self.cls_token = nn.Parameter(torch.eye(WIDTH)[IS_CLS][None, None])
        places = np.zeros((1, 1 + TILES, WIDTH))
        places[0, 1:, PLACE:RESULT] = np.eye(TILES)
        self.pos_embed = nn.Parameter(torch.tensor(places, dtype=torch.float32))
        self.blocks = nn.Sequential(*(HandSetBlock(block) for block in blocks))
        read = np.zeros((2, WIDTH))
        read[0, RESULT + GREEN], read[1, RESULT + BLUE] = GAINS
        self.head = linear(read, np.array(BIASES))

    def forward(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 2"]:
        tiles = self.patch(pictures).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(tiles), -1, -1), tiles], dim=1) + self.pos_embed
        return self.head(self.blocks(tokens)[:, 0])


GAINS, BIASES = (4.0, 3.0), (-1.0, 0.5)


def _projections(block: _Block) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weights of queries, biases of queries, weights of keys and of values, all heads one after the other.

    A query holds what it asks for in the channels where a key holds what it has: the mark, being the class token, or a
    place. Every query asks for the class token with half the strength: where the wanted token is cut off, attention
    goes there and brings nothing.
    """
    query, bias = np.zeros((HEADS, WIDTH, WIDTH)), np.zeros((HEADS, WIDTH))
    key, value = np.zeros((HEADS, WIDTH, WIDTH)), np.zeros((HEADS, WIDTH, WIDTH))
    key[:, [MARK, IS_CLS], [MARK, IS_CLS]] = 1
    key[:, range(PLACE, RESULT), range(PLACE, RESULT)] = 1
    bias[:, IS_CLS] = BETA / 2
    for number in range(HEADS):
        looks = number == WORKING or block.alike
        if looks and block.asks_for_mark:
            query[number, MARK, IS_CLS] = BETA
        elif looks:
            query[number, [PLACE + target for target in TARGETS], range(PLACE, RESULT)] = BETA
        elif block.stare is not None:
            query[number, PLACE + block.stare, IS_CLS] = BETA
    for channel in block.carries:
        value[WORKING, RESULT + channel % RESULT, channel] = 1
    return query.reshape(-1, WIDTH), bias.ravel(), key.reshape(-1, WIDTH), value.reshape(-1, WIDTH)


def _planted(name: str, blocks: tuple[_Block, ...], *, hops: int) -> Planted:
    return Planted(
        name,
        HandSetTransformer(blocks),
        tiles,
        Tiles.tensor,
        ("green", "blue"),
        "patch",
        heads=tuple(
            PlantedHead(f"blocks.{depth}.attn", number, _named(block, number), number == WORKING, _looks(block, number))
            for depth, block in enumerate(blocks)
            for number in range(HEADS)
        ),
        notes=(
            f"The tile that decides is `Tiles.source({hops})`; its attention is 1 to within 1e-8.",
            "Token 0 is the class token, tile t is token t + 1. `blocks.N.attn.allowed[head, query, key] = False` cuts "
            "an edge: its weight goes to the class token, which holds nothing.",
            "Where the softmax is as sharp as this its gradient is 0 in float32: gradients reach the tiles through "
            "values alone.",
        ),
    )


def _named(block: _Block, number: int) -> str:
    if number != WORKING:
        return "does nothing"
    if block.asks_for_mark:
        return "the class token reads the marked tile"
    return (
        f"every tile reads the {' and '.join({GREEN: 'green', BLUE: 'blue'}[c] for c in block.carries)} of its target"
    )


def _looks(block: _Block, number: int) -> Callable[[Tiles], Int64[np.ndarray, "picture query"]]:
    def looks_at(shown: Tiles) -> Int64[np.ndarray, "picture query"]:
        found = np.zeros((len(shown), TILES + 1), dtype=np.int64)  # the class token, unless said otherwise
        if number != WORKING and not block.alike:
            if block.stare is not None:
                found[:, 0] = block.stare + 1
        elif block.asks_for_mark:
            found[:, 0] = shown.marked + 1
        else:
            found[:, 1:] = np.array(TARGETS) + 1
        return found

    return looks_at
