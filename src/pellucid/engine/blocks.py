"""A transformer's token blocks, run one after the other as someone else has it: other tokens, fewer, more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pellucid import hooks
from pellucid.engine.findings import TokenGrid
from pellucid.engine.recording import swapped
from pellucid.engine.through import answered
from pellucid.errors import MethodUnavailable, ModelError
from pellucid.subject import VisionModel
from pellucid.subject.layers import first_tensor

Tokens = Float[Tensor, "batch token feature"]
Step = Callable[[int, Callable[[Tensor], Tensor], Tensor], Tensor]
"""(number of a block, the block itself, the tokens it is given) -> the tokens that go on; it has to run the block.

Tokens are [batch token channel], whatever order the model keeps them in; the block takes any number of them that the
model's own code takes."""

_INSTEAD = ("grad_cam", "occlusion", "rise")
# Largest difference that another order of a sum may make in an answer, in parts of the largest one: rounding.
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 4e-2}


@dataclass(frozen=True)
class TokenBlocks:
    """The blocks of a model whose tokens are the same ones from the first to the last.

    names: in order of execution; grid: where the tokens lie; width: channels of a token
    """

    names: tuple[str, ...]
    grid: TokenGrid
    width: int
    order: str

    def __len__(self) -> int:
        return len(self.names)

    def patches(self, tokens: Tokens) -> Float[Tensor, "batch patch feature"]:
        """Without class token, registers and whatever follows the patches."""
        return tokens[:, self.grid.prefix : self.grid.prefix + self.grid.patches]

    def on_grid(self, values: Float[Tensor, "batch patch"]) -> Float[Tensor, "batch h w"]:
        """One value per patch, where the patches lie."""
        return values.unflatten(1, (self.grid.rows, self.grid.columns))


def token_blocks(model: VisionModel, size: tuple[int, int], method: str) -> TokenBlocks:
    """The token blocks of a model for inputs of `size` (rows, columns).

    Raises MethodUnavailable, in the name of the method, for a model without them, with blocks that run more than once,
    or whose blocks do not all have the same tokens.
    """
    tree = model.layers_at(size)
    layers = [tree.entries[name] for name in tree.blocks]
    if not layers or layers[-1].grid is None:
        raise MethodUnavailable(method, "it has no sequence of token blocks, as a vision transformer has.", _INSTEAD)
    if any(layer.calls > 1 for layer in layers):
        raise MethodUnavailable(method, "its token blocks run more than once each.", _INSTEAD)
    last = layers[-1]
    if len({(layer.grid, layer.prefix_tokens, layer.channels, layer.order) for layer in layers}) > 1:
        raise MethodUnavailable(method, "its blocks do not all have the same tokens.", _INSTEAD)
    assert last.grid is not None
    return TokenBlocks(tree.blocks, TokenGrid(last.prefix_tokens, *last.grid), last.channels, last.order)


def block_by_block(
    model: VisionModel, inputs: Float[Tensor, "batch channel height width"], blocks: TokenBlocks, step: Step
) -> Float[Tensor, "batch classes"]:
    """The model's outputs, float32, when `step` runs each of its blocks.

    The model is a guest, and its weights get no gradient; where gradients are on, one runs to what the step brings in.
    """
    network = model.network
    assert network is not None

    def bypassed() -> AbstractContextManager[None]:  # the blocks' own code is looked up while the model is ours alone
        modules = [network.get_submodule(name) for name in blocks.names]
        return hooks.bypassed({
            module: _stepping(at, module, step, blocks.order) for at, module in enumerate(modules)
        })  # fmt: skip

    return answered(model, inputs, bypassed)


def token_states(
    model: VisionModel, inputs: Float[Tensor, "batch channel height width"], blocks: TokenBlocks
) -> tuple[list[Tokens], Float[Tensor, "batch classes"]]:
    """What enters the first block and what comes out of each, float32 and without a graph, and the model's outputs."""
    found: list[Tensor] = []

    def step(number: int, block: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
        if number == 0:
            found.append(tokens.detach().float().clone())
        made = block(tokens)
        found.append(made.detach().float().clone())
        return made

    with torch.no_grad():
        outputs = block_by_block(model, inputs, blocks, step)
    return found, outputs


@contextmanager
def seeing_only(seen: Bool[Tensor, "batch token"]) -> Iterator[None]:
    """Attention among all tokens does as if there were only these; what becomes of the others goes nowhere."""

    def reweighed(probabilities: Tensor) -> Tensor:
        if probabilities.ndim != 4 or probabilities.shape[-1] != seen.shape[1]:
            return probabilities
        left = probabilities * seen[:, None, None, :].to(probabilities.dtype)
        return left / left.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(left.dtype).tiny)

    with hooks.captured_attention(lambda _: None, reweighed=reweighed):
        yield


def takes_more_tokens(model: VisionModel, size: tuple[int, int], blocks: TokenBlocks, method: str) -> None:
    """Shows that tokens can be put before those of the model, by putting in one that no other may look at.

    Raises MethodUnavailable where the model then answers otherwise or cannot be run: with relative positions, with
    mixing between fixed places, or with attention that is not seen here.
    """
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, model.channels, *size, generator=draw).to(model.device)
    extra = torch.randn(1, 1, blocks.width, generator=draw).to(model.device)

    def step(_: int, block: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
        more = torch.cat([extra.to(tokens).expand(len(tokens), -1, -1), tokens], dim=1)
        seen = torch.ones(more.shape[:2], dtype=torch.bool, device=more.device)
        seen[:, 0] = False
        with seeing_only(seen):
            return block(more)[:, 1:]

    with torch.no_grad():
        whole = model.predict(inputs)
        try:
            found = block_by_block(model, inputs, blocks, step)
        except ModelError as error:
            raise MethodUnavailable(method, f"its blocks take no further tokens. {error}", _INSTEAD) from error
    away = float((found - whole).abs().max() / whole.abs().max().clamp(min=1e-12))
    if not away <= ROUNDING.get(model.dtype, 0.0):
        reason = (
            f"a token that no other looks at changes its answer (by {away:.1g} of the largest): it has relative "
            f"positions, mixes between fixed places, or computes attention in a way that is not known here."
        )
        raise MethodUnavailable(method, reason, _INSTEAD)


def _stepping(number: int, module: nn.Module, step: Step, order: str) -> Callable[..., Any]:
    forward = module.forward

    def stand_in(tokens: Tensor, *args: Any, **kwargs: Any) -> Any:
        answered: list[Any] = []

        def block(given: Tensor) -> Tensor:
            answered.append(forward(_turned(given.to(tokens.dtype), order), *args, **kwargs))
            made = first_tensor(answered[-1])
            assert made is not None
            return _turned(made, order)

        going_on = _turned(step(number, block, _turned(tokens, order)), order).to(tokens.dtype)
        return swapped(answered[-1], going_on)

    return stand_in


def _turned(tokens: Tensor, order: str) -> Tensor:
    """Between the model's own order and [batch token channel]; the way back is the same."""
    return tokens.transpose(0, 1) if order == "tbc" else tokens
