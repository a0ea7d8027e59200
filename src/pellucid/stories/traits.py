"""What tells a class from another in a picture, from pictures as the user has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pellucid.attribution.asked import classes_of
from pellucid.attribution.fitted import Explainer
from pellucid.attribution.prompt_cam import Ranking, asked_prompts, ranked_heads
from pellucid.engine import look
from pellucid.engine.maps import upsampled
from pellucid.errors import RequestError
from pellucid.results.traits import ClassTraits, Traits
from pellucid.stories.request import Asked, Pictures, batches_of, subject


def traits(
    model: Asked, image: Pictures, *, target: Any = None, rival: int | str | None = None,
    explainer: Explainer | str | Path | None = None, share: float = 0.5, seed: int = 0, memory: float | None = None,
) -> Traits:  # fmt: skip
    """The heads by which Prompt-CAM recognises a class in one picture, and what a rival's prompt attends to there.

    target: the class, by name or number; None is the model's own answer
    rival:  another class; None is the one that the prompts hold next likely
    share:  a head counts as needed while, without it, less than this share of the probability is left

    Raises RequestError for several pictures, or a rival that is the class itself; the rest as of `prompt_cam`.
    """
    under_study = subject(model)
    batches = batches_of(under_study, image)
    if len(batches) != 1 or len(batches[0]) != 1:
        raise RequestError(f"Traits are those of one picture; got {sum(len(batch) for batch in batches)}.")
    if not 0 < share < 1:
        raise RequestError(f"share={share!r}; expected a part between 0 and 1.")
    evidence = look(under_study, batches[0].inputs, target, seed=seed, memory=memory)
    (label,) = classes_of(evidence, "prompt_cam")
    found, _ = asked_prompts(evidence, explainer)
    order = [int(one) for one in found.scores[0].argsort(descending=True) if int(one) != label]
    other = order[0] if rival is None else under_study.labels.index(rival)
    if other == label:
        raise RequestError(f"rival={rival!r} is the class itself; name another.")
    chances = found.probabilities[0]
    sides = [
        _side(under_study.labels[index], index, float(chances[index]), ranked_heads(evidence, index, explainer),
              share, evidence.size)
        for index in (label, other)
    ]  # fmt: skip
    agrees = bool(torch.equal(found.scores.argmax(dim=1), evidence.output().argmax(dim=1)))
    return Traits(sides[0], sides[1], batches[0].frames[0], share, agrees, under_study.card, tuple(evidence.notes))


def _side(
    label: str, index: int, chance: float, ranking: Ranking, share: float, size: tuple[int, int]
) -> ClassTraits:  # fmt: skip
    maps = upsampled(ranking.maps, size).cpu()
    order, left = ranking.blurred[::-1], ranking.left[::-1]
    return ClassTraits(label, index, chance, order, left, len(ranking.needed(share)), maps)
