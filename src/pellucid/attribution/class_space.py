"""Tokens read as the head reads the last one: where in the picture, and from which block on, the class can be told."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.attribution.attention import on_grid, place_of
from pellucid.engine import Evidence
from pellucid.errors import MethodUnavailable, TargetError
from pellucid.registry import method
from pellucid.values import Blocks, Target


@method("class_embedding", needs=[Blocks], paper="Vilas et al. 2023", signed=True, cost=1)
def class_embedding(
    evidence: Evidence, *, block: int = -1, measure: Literal["logit", "rank"] = "logit"
) -> Float[Tensor, "batch h w"]:
    """What the model's own head says of each patch after a block, when it reads that patch alone.

    The rest of the blocks is skipped; norm and head are the model's own, with the patch in the place of every token.

    block:   after which, counted from 0, or from the end as -1
    measure: `logit`, the target's value; `rank`, the part of the classes that the class beats there: 1 where it comes
             first, about a half where nothing is known of it
    returns: target units, signed, or 0 to 1

    Raises MethodUnavailable for models without a sequence of token blocks, ParameterError for a block that is not
    there, TargetError for a target that reads a layer, or is no class where ranks are asked for.
    """
    blocks = evidence.layers.blocks
    if not blocks:
        reason = "it has no sequence of token blocks."
        raise MethodUnavailable("class_embedding", reason, ("layer_cam", "grad_cam", "occlusion"))
    name = blocks[place_of(block, len(blocks), "class_embedding")]
    said = evidence.token_outputs(name)
    read = {"logit": _value, "rank": _identifiability}[measure]
    return on_grid(evidence, torch.stack([read(one, of) for one, of in zip(said, evidence.targets, strict=True)]))


def _value(said: Float[Tensor, "token classes"], target: Target) -> Float[Tensor, "token"]:
    if target.reads != "output":
        raise TargetError(f"class_embedding reads tokens with the model's head; the target {target} reads a layer.")
    return target(said).float()


def _identifiability(said: Float[Tensor, "token classes"], target: Target) -> Float[Tensor, "token"]:
    """1 - rank / classes, where the first has rank 0; of classes with the same logit half count as better."""
    index = getattr(target, "index", None)
    if target.reads != "output" or not isinstance(index, int):
        raise TargetError(f"class_embedding ranks classes; the target {target} is no class.")
    own = said[:, index : index + 1]
    better = (said > own).sum(dim=1) + ((said == own).sum(dim=1) - 1) / 2
    return 1 - better / said.shape[1]
