"""Vision DiffMask: gates that read a transformer's hidden states and say which patches its answer can do without.

Nalmpantis et al. 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from pellucid.attribution.fitted import Explainer, Lesson, explainer_of, same_build
from pellucid.engine import Evidence
from pellucid.engine.blocks import TokenBlocks, block_by_block, token_blocks, token_states
from pellucid.errors import MethodUnavailable
from pellucid.registry import Fitting, Learning, method
from pellucid.subject import VisionModel
from pellucid.values import Fitted

_TEMPERATURE, _LEFT, _RIGHT = 0.2, -0.2, 1.0  # of the hard concrete
_SPAN, _OPEN = 15.0, 8.0  # of a gate's logit: tanh times the one, plus the other, which keeps all at the start
_ALLOWED = 0.1  # nats by which the answer may differ
_PRICE, _HIGHEST_PRICE = 20.0, 200.0  # of a nat more than that
# Adam steps alike whatever the size of a gradient, so what is held as a multiple learns that many times as fast.
_PLACEHOLDER_PACE, _PRICE_PACE = 5.0, 300.0


class Gate(nn.Module):
    """The logit that a patch is kept, from its embedding and its hidden state at one depth."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = weight_norm(nn.Linear(2 * width, max(1, width // 4)))
        self.vote = weight_norm(nn.Linear(max(1, width // 4), 1))

    def forward(
        self, embedded: Float[Tensor, "batch patch channel"], state: Float[Tensor, "batch patch channel"]
    ) -> Float[Tensor, "batch patch"]:
        both = torch.cat([embedded, state], dim=-1)
        return self.vote(self.hidden(both).tanh())[..., 0].tanh() * _SPAN + _OPEN


class DiffMaskNet(nn.Module):
    """A gate for each depth, what stands for a masked patch, and what a change of the answer costs at each depth.

    width: channels of a token; depth: token blocks of the model
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.gates = nn.ModuleList(Gate(width) for _ in range(depth + 1))
        self.stand_in = nn.Parameter(nn.init.xavier_normal_(torch.empty(1, width))[0] / _PLACEHOLDER_PACE)
        self.prices = nn.Parameter(torch.full((depth + 1,), _PRICE / _PRICE_PACE))

    def forward(self, states: Sequence[Float[Tensor, "batch patch channel"]]) -> Float[Tensor, "batch patch gate"]:
        """Logits of the gates of these depths, from the embedding on."""
        gates = list(self.gates)[: len(states)]
        return torch.stack([gate(states[0], state) for gate, state in zip(gates, states, strict=True)], dim=-1)

    def masked(self, tokens: Float[Tensor, "batch patch channel"], kept: Float[Tensor, "batch patch"]) -> Tensor:
        """Patches as they are where kept is 1, the placeholder where it is 0."""
        share = kept[..., None]
        return share * tokens + (1 - share) * self.stand_in * _PLACEHOLDER_PACE


def log_open(logits: Tensor) -> Tensor:
    """log P(z != 0) of a hard concrete gate, in closed form."""
    return functional.logsigmoid(logits - _TEMPERATURE * torch.log(torch.tensor(-_LEFT / _RIGHT)).to(logits))


def hard_concrete(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Gates drawn by their logits: between 0 and 1, often 0 itself, and with a gradient."""
    chance = torch.rand(logits.shape, generator=generator).to(logits).clamp(1e-6, 1 - 1e-6)
    soft = ((chance.log() - (-chance).log1p() + logits) / _TEMPERATURE).sigmoid()
    return (soft * (_RIGHT - _LEFT) + _LEFT).clamp(0, 1)


class _Ascending(Function):
    """A number times a pace; it climbs the loss that all others descend."""

    @staticmethod
    def forward(ctx: Any, held: Tensor) -> Tensor:
        return held * _PRICE_PACE

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return -gradients[0] / _PRICE_PACE  # small, so that it takes no part in how the whole gradient is clipped


def _shape(model: VisionModel, size: tuple[int, int]) -> dict[str, Any]:
    blocks = token_blocks(model, size, "diff_mask")
    if model.activation == "none":
        raise MethodUnavailable("diff_mask", "its outputs are no probabilities that could be kept.", ("rise",))
    return {"width": blocks.width, "depth": len(blocks)}


def _loss(net: DiffMaskNet, lesson: Lesson) -> Tensor:
    """As few patches as keep the answer, asked of the gates up to a depth that is drawn."""
    blocks = token_blocks(lesson.model, lesson.evidence.size, "diff_mask")
    states, outputs = token_states(lesson.model, lesson.inputs, blocks)
    with torch.no_grad():
        net.prices.clamp_(0, _HIGHEST_PRICE / _PRICE_PACE)
    depth = int(torch.randint(len(net.gates), (), generator=lesson.generator))
    logits = net([blocks.patches(state) for state in states[: depth + 1]])
    kept = hard_concrete(logits, lesson.generator).prod(dim=-1)
    changed = divergence(lesson.model, outputs, masked_outputs(lesson.model, lesson.inputs, blocks, net, kept))
    price: Tensor = _Ascending.apply(net.prices[depth])
    return price * (changed.mean() - _ALLOWED) + log_open(logits).sum(dim=-1).mean()


def masked_outputs(
    model: VisionModel, inputs: Float[Tensor, "batch channel height width"], blocks: TokenBlocks, net: DiffMaskNet,
    kept: Float[Tensor, "batch patch"],
) -> Float[Tensor, "batch classes"]:  # fmt: skip
    """The model's outputs when patches have become the placeholder before its first block, by 1 - kept."""
    first, count = blocks.grid.prefix, kept.shape[1]

    def step(number: int, block: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
        if number:
            return block(tokens)
        masked = net.masked(tokens[:, first : first + count].float(), kept).to(tokens)
        return block(torch.cat([tokens[:, :first], masked, tokens[:, first + count :]], dim=1))

    return block_by_block(model, inputs, blocks, step)


def divergence(
    model: VisionModel, outputs: Float[Tensor, "batch classes"], changed: Float[Tensor, "batch classes"]
) -> Float[Tensor, "batch"]:
    """Kullback-Leibler divergence of changed outputs from the outputs; summed over classes where each is on its own."""
    if model.activation == "softmax":
        before, after = outputs.log_softmax(dim=-1), changed.log_softmax(dim=-1)
        return (before.exp() * (before - after)).sum(dim=-1)
    least = torch.finfo(torch.float32).eps
    here, there = (model.probabilities(one).clamp(least, 1 - least) for one in (outputs, changed))
    both = here * (here / there).log() + (1 - here) * ((1 - here) / (1 - there)).log()
    return both.sum(dim=-1)


@method(
    "diff_mask", needs=[Fitted], paper="Nalmpantis et al. 2023", class_agnostic=True, cost=1,
    fitting=Fitting(
        _shape, DiffMaskNet, _loss, Learning(updates=800, learning_rate=1e-3, weight_decay=0.0, held_out=0.0)
    ),
)  # fmt: skip
def diff_mask(evidence: Evidence, *, explainer: Explainer | str | Path | None = None) -> Float[Tensor, "batch h w"]:
    """Which patches the whole answer needs, as gates say that have learned to mask all others.

    explainer: what was fitted, or its file; None is the one that came with the model
    returns:   the chance, 0 to 1, that a patch is kept, wholly or in part; the same for every class

    Raises MethodUnavailable for a model without token blocks.
    """
    blocks = token_blocks(evidence.model, evidence.size, "diff_mask")
    fitted = explainer_of(evidence, "diff_mask", explainer)
    same_build(fitted, width=blocks.width, depth=len(blocks))
    states, _ = token_states(evidence.model, evidence.inputs, blocks)
    evidence.passes.add(forwards=1)
    with torch.no_grad():
        logits = fitted.net([blocks.patches(state) for state in states])
        return blocks.on_grid(log_open(logits).sum(dim=-1).exp())
