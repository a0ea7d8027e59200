"""What each player adds to a game, fairly shared (Shapley 1953): over all coalitions, or over drawn orders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import comb
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.values.seed import Seed

Estimator = Literal["orders", "kernel"]
EXACT_UP_TO = 8  # players: 256 coalitions
Game = Callable[[Bool[Tensor, "coalition player"]], Float[Tensor, "coalition"]]


@dataclass(frozen=True, eq=False)
class Shares:
    """values: per player; they sum to the value of all less that of nobody.

    error: standard error of each value over the drawn orders; 0 where all coalitions were played
    """

    values: Float[Tensor, "player"]
    error: Float[Tensor, "player"]
    exact: bool
    played: int


def shapley(
    game: Game, players: int, *, orders: int = 64, exact_up_to: int = EXACT_UP_TO, estimator: Estimator = "orders",
    seed: int = 0,
) -> Shares:  # fmt: skip
    """Exact for up to `exact_up_to` players, else estimated from at most `orders` times as many coalitions as players.

    estimator: `orders`, the mean over drawn orders (Castro et al. 2009); `kernel`, the line of least squares through
               coalitions drawn by Shapley's kernel, each with its opposite (KernelSHAP, Lundberg & Lee 2017)
    Raises RequestError for another estimator.
    """
    if estimator not in get_args(Estimator):
        raise RequestError(f"estimator={estimator!r}; expected {' or '.join(get_args(Estimator))}.")
    if players <= exact_up_to:
        return _all_coalitions(game, players)
    estimate = _drawn_orders if estimator == "orders" else _kernel
    return estimate(game, players, orders, seed)


def _all_coalitions(game: Game, players: int) -> Shares:
    codes = torch.arange(2**players)
    coalitions = (codes[:, None] >> torch.arange(players) & 1).bool()
    worth = game(coalitions).double()
    weights = torch.tensor([1 / (players * comb(players - 1, size)) for size in range(players)], dtype=torch.float64)
    sizes = coalitions.sum(dim=1)
    values = torch.zeros(players, dtype=torch.float64)
    for player in range(players):
        without = codes[~coalitions[:, player]]
        gains = worth[without | 1 << player] - worth[without]
        values[player] = (weights[sizes[without]] * gains).sum()
    return Shares(values.float(), torch.zeros(players), exact=True, played=len(codes))


def _drawn_orders(game: Game, players: int, orders: int, seed: int) -> Shares:
    generator = Seed(seed).child("orders").generator()
    drawn = torch.stack([torch.randperm(players, generator=generator) for _ in range(orders)])
    place = drawn.argsort(dim=1)
    sizes = torch.arange(players + 1)
    coalitions = place[:, None, :] < sizes[None, :, None]  # [order size player]: the first `size` of the order
    distinct, back = coalitions.reshape(-1, players).unique(dim=0, return_inverse=True)
    worth = game(distinct).double()[back].view(orders, players + 1)
    gains = worth.diff(dim=1).gather(1, place)
    error = gains.std(dim=0) / orders**0.5 if orders > 1 else torch.full((players,), torch.nan, dtype=torch.float64)
    return Shares(gains.mean(dim=0).float(), error.float(), exact=False, played=len(distinct))


def _kernel(game: Game, players: int, orders: int, seed: int) -> Shares:
    """The least-squares line that holds nobody and all exactly; its error is that of regression."""
    generator = Seed(seed).child("kernel").generator()
    sizes = torch.arange(1, players)
    pairs = max(orders * players // 2, players)
    drawn = sizes[torch.multinomial(1 / (sizes * (players - sizes)).double(), pairs, True, generator=generator)]
    half = torch.rand(pairs, players, generator=generator).argsort(dim=1).argsort(dim=1) < drawn[:, None]
    ends = torch.tensor([[False], [True]]).expand(2, players)
    distinct, back = torch.cat([ends, half, ~half]).unique(dim=0, return_inverse=True)
    worth = game(distinct).double()[back]
    nobody, total = worth[0], worth[1] - worth[0]
    choices = torch.cat([half, ~half]).double()
    # What is left of the last player is what the others leave of the total.
    design, wanted = choices[:, :-1] - choices[:, -1:], worth[2:] - nobody - choices[:, -1] * total
    first = torch.linalg.lstsq(design, wanted[:, None], driver="gelsd").solution[:, 0]
    left = (wanted - design @ first).square().sum() / max(len(wanted) - players + 1, 1)
    spread = left * torch.linalg.pinv(design.T @ design)
    error = torch.cat([spread.diagonal(), spread.sum()[None]]).clamp(min=0).sqrt()
    values = torch.cat([first, (total - first.sum())[None]])
    return Shares(values.float(), error.float(), exact=False, played=len(distinct))
