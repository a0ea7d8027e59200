"""What a transformer says when patch tokens are taken out of its sequence: fewer tokens, not painted ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid import hooks
from pellucid.compute.memory import halving
from pellucid.engine.blocks import ROUNDING
from pellucid.engine.evidence import Evidence
from pellucid.engine.findings import Answers, TokenGrid
from pellucid.engine.recording import answers, score
from pellucid.errors import MethodUnavailable, ModelError
from pellucid.subject import VisionModel
from pellucid.values import Target

_WHAT, _INSTEAD = "Dropping tokens", ("mode='pixels'",)


def token_answers(evidence: Evidence, kept: Sequence[Int[Tensor, "batch _"]]) -> list[Answers]:
    """What the model says when only these patch tokens of every picture enter its first block.

    kept: per question, the tokens that stay, numbered row by row from 0. Positions were added before, so each keeps its
          own; class, distillation and register tokens always stay

    Raises MethodUnavailable where tokens cannot be left out; see `droppable_grid`.
    """
    grid = droppable_grid(evidence)
    found: dict[int, Answers] = {}
    sizes: dict[int, list[int]] = {}
    for place, tokens in enumerate(kept):
        sizes.setdefault(tokens.shape[1], []).append(place)
    for size, places in sizes.items():  # as many tokens: one batch
        waiting = list(places)
        while waiting:
            room = min(len(waiting), max(1, evidence.room // len(evidence)))
            rows, used = halving(
                lambda fit, at=waiting: _answered(evidence, grid, [kept[one] for one in at[:fit]]), room
            )
            evidence.passes.add(used * (grid.prefix + size) / (grid.prefix + grid.patches))
            for place, three in zip(waiting[:used], rows.cpu().split(len(evidence)), strict=True):
                found[place] = Answers(*three.unbind(dim=-1))
            waiting = waiting[used:]
    return [found[place] for place in range(len(kept))]


def fewest_tokens(evidence: Evidence) -> int:
    """How many patch tokens have to stay: none where a class token is read, one where the mean over the grid is."""
    pooled: Literal["class", "mean"] = evidence.token_pooling
    return 0 if pooled == "class" and evidence.token_grid.prefix else 1


def droppable_grid(evidence: Evidence) -> TokenGrid:
    """Where the tokens lie, in models that take them as a set: positions added before the blocks, attention among all.

    Found out by trying, once: the model is asked with its tokens in another order, and with some of them missing.
    Raises MethodUnavailable with the reason where the answer changes with the order (relative positions, windows,
    convolutions and mixing between tokens), or where the model cannot be run on fewer tokens.
    """
    return evidence.remember((_WHAT,), lambda: _found_out(evidence))


# -- inside ---------------------------------------------------------------------------------------------------------


def _found_out(evidence: Evidence) -> TokenGrid:
    if evidence.model.network is None:
        raise MethodUnavailable(_WHAT, "it is a black box.", _INSTEAD)
    if any(target.reads != "output" for target in evidence.targets):
        raise MethodUnavailable(_WHAT, "the target reads a layer inside, whose tokens would be gone.", _INSTEAD)
    try:
        grid = evidence.token_grid
    except MethodUnavailable:
        raise MethodUnavailable(_WHAT, "it has no sequence of token blocks.", _INSTEAD) from None
    first = evidence.layers[evidence.layers.blocks[0]]
    if first.prefix_tokens != grid.prefix or first.grid != (grid.rows, grid.columns):
        raise MethodUnavailable(_WHAT, "its blocks do not all have the same tokens.", _INSTEAD)
    count = grid.patches
    backwards = torch.arange(count).flip(0).expand(1, -1)
    whole = evidence.output()[:1].float()
    try:
        turned = _outputs(evidence.model, grid, evidence.inputs[:1], backwards).float()
        _outputs(evidence.model, grid, evidence.inputs[:1], backwards[:, : max(1, count // 2)])
    except ModelError as error:
        raise MethodUnavailable(_WHAT, f"it does not run on fewer tokens. {error}", _INSTEAD) from error
    away = float((turned - whole).abs().max() / whole.abs().max().clamp(min=1e-12))
    if not away <= ROUNDING.get(evidence.model.dtype, 0.0):
        reason = (
            f"with its tokens in another order it gives another answer (by {away:.1g} of the largest), so they are no "
            f"set from which some could be missing: relative positions, windows, or mixing between places."
        )
        raise MethodUnavailable(_WHAT, reason, _INSTEAD)
    evidence.passes.add(1.5 / len(evidence))
    return grid


def _answered(evidence: Evidence, grid: TokenGrid, kept: Sequence[Tensor]) -> Float[Tensor, "sample 3"]:
    """Score, probability and first class of the pictures with each of these tokens, one question after the other."""
    inputs = evidence.inputs.repeat(len(kept), 1, 1, 1)
    targets: Sequence[Target] = evidence.targets * len(kept)
    outputs = _outputs(evidence.model, grid, inputs, torch.cat(list(kept)))
    return answers(evidence.model, targets, outputs, score(targets, outputs, lambda _: outputs))


def _outputs(model: VisionModel, grid: TokenGrid, inputs: Tensor, kept: Int[Tensor, "sample token"]) -> Tensor:
    network = model.network
    assert network is not None
    size = (int(inputs.shape[-2]), int(inputs.shape[-1]))
    tree = model.layers_at(size)
    first = tree[tree.blocks[0]]
    block = network.get_submodule(first.name.split("#")[0])
    axis = 0 if first.order == "tbc" else 1
    chosen = torch.cat([torch.arange(grid.prefix).expand(len(kept), -1), grid.prefix + kept], dim=1).to(inputs.device)

    with hooks.guest(network):
        forward = block.forward

        def on_fewer(tokens: Tensor, *args: Any, **kwargs: Any) -> Any:
            index = (chosen.T if axis == 0 else chosen)[..., None].expand(-1, -1, tokens.shape[-1])
            return forward(tokens.gather(axis, index), *args, **kwargs)

        with hooks.bypassed({block: on_fewer}):
            return model.outputs_of(inputs)
