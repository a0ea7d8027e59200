"""What evidence hands out beside tensors: counted passes, where tokens lie, terms of biases, answers to changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from pellucid.engine.recording import Constant
from pellucid.subject.layers import to_grid
from pellucid.values import Layer


@dataclass
class Passes:
    """Passes made so far, per picture. A backward counts as two forwards in `cost`."""

    forwards: float = 0.0
    backwards: float = 0.0

    @property
    def cost(self) -> float:
        return self.forwards + 2 * self.backwards

    def add(self, forwards: float = 0.0, backwards: float = 0.0) -> None:
        self.forwards += forwards
        self.backwards += backwards


@dataclass(frozen=True)
class TokenGrid:
    """Where a transformer's tokens lie: `prefix` tokens, then `rows` x `columns` of the picture."""

    prefix: int
    rows: int
    columns: int

    @property
    def patches(self) -> int:
        """How many tokens are the picture's."""
        return self.rows * self.columns


@dataclass(frozen=True)
class BiasTerm:
    """The target's gradient on an operation's output, times the constant that the operation adds.

    on_grid:  where the output lies on a grid; None where it does not
    off_grid: summed over everything else (prefix tokens, windows, vectors)
    """

    on_grid: Float[Tensor, "batch channel h w"] | None
    off_grid: Float[Tensor, "batch channel"]

    @classmethod
    def of(cls, constant: Constant, gradient: Tensor, pictures: int, token_layers: Sequence[Layer]) -> BiasTerm:
        """From the gradient on the operation's output; token layers tell which tokens lie on a grid."""
        added = constant.added
        if added.ndim == 1 and not constant.channels_last:
            added = added.view(-1, *[1] * (gradient.ndim - 2))
        terms = gradient * added
        channels = terms.movedim(-1, 1) if constant.channels_last else terms
        if len(terms) != pictures:  # windows of several pictures, one after the other
            return cls(None, channels.movedim(1, -1).reshape(pictures, -1, channels.shape[1]).sum(dim=1))
        if terms.ndim == 4 and channels.shape[2:] != (1, 1):
            return cls(channels, channels.new_zeros(channels.shape[:2]))
        for layer in token_layers:
            if terms.ndim == 3 and layer.order == "btc" and layer.shape[0] == terms.shape[1]:
                return cls(to_grid(terms, layer), terms[:, : layer.prefix_tokens].sum(dim=1))
        return cls(None, channels.flatten(2).sum(dim=2) if channels.ndim > 2 else channels)


@dataclass(frozen=True)
class Answers:
    """What the model says to changed pictures.

    scores:        the target's value
    probabilities: the target's probability, 0 to 1; its value where it has none
    predicted:     index of the class ranked first, as float
    """

    scores: Float[Tensor, "batch"]
    probabilities: Float[Tensor, "batch"]
    predicted: Float[Tensor, "batch"]
