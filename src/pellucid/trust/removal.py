"""What the model says as pictures lose their pixels step by step, the way every measure of removal reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.engine import Answers, Evidence
from pellucid.engine.perturb import Cut, removal_answers, whole_answers
from pellucid.errors import RequestError
from pellucid.trust.measured import Maps
from pellucid.values.seed import Seed
from pellucid.values.target import Class, Predicted, Probability, Target, Text

USUAL_SIZE = (224, 224)
"""Rows and columns of the input for which a cost is stated that depends on them."""


@dataclass(frozen=True, eq=False)
class Followed:
    """What is followed while pictures change: the probability of a class, the value of any other target."""

    read: Callable[[Answers], Float[Tensor, "batch"]]
    unit: str


@dataclass(frozen=True, eq=False)
class Along:
    """What the model says as pictures change step by step.

    values: per map, what is followed, float [fill batch point]
    firm:   per map, whether the class ranked first on the whole picture still is, 1 or 0, float [fill batch point]
    whole:  what is followed on the whole pictures [batch], and `unit` what that is
    """

    values: Mapping[str, Float[Tensor, "fill batch point"]]
    firm: Mapping[str, Float[Tensor, "fill batch point"]]
    whole: Float[Tensor, "batch"]
    unit: str


def along(
    evidence: Evidence,
    maps: Maps,
    cuts: Mapping[str, Sequence[Cut]],
    seed: int | None = None,
    region: int | None = None,
) -> Along:
    """The answers to `cuts`, by fill as many each, of every map; all of them and the whole pictures in one stream."""
    if not cuts:
        raise RequestError("fills is empty; name at least one of blur, mean, noise.")
    flat = [Cut("", 0, "removed"), *(cut for row in cuts.values() for cut in row)]
    found = removal_answers(evidence, maps, flat, None if seed is None else Seed(seed), region=region)
    whole, what = whole_answers(evidence), followed(evidence)

    def table(read: Callable[[Answers], Tensor]) -> dict[str, Tensor]:
        rows = {
            name: torch.stack([torch.stack([read(found[name][cut]) for cut in row], dim=-1) for row in cuts.values()])
            for name in maps
        }
        return blanked(rows, maps, axis=-2)

    return Along(
        table(what.read), table(lambda answers: (answers.predicted == whole.predicted).float()), what.read(whole),
        what.unit,
    )  # fmt: skip


def followed(evidence: Evidence) -> Followed:
    """The probability of the target where it is a class, else its value."""
    if not has_probability(evidence.targets):
        return Followed(lambda answers: answers.scores, "score")
    return Followed(
        lambda answers: answers.probabilities, "probability" if evidence.model.activation != "none" else "score"
    )


def has_probability(targets: Sequence[Target]) -> bool:
    """Whether the targets are classes, so that their probability can be followed."""
    return all(isinstance(target, (Class, Predicted, Probability, Text)) for target in targets)


def even(steps: int) -> tuple[float, ...]:
    """Fractions from 0 to 1 in equal steps, both ends included."""
    if steps < 2:
        raise RequestError(f"steps={steps}; a curve has at least 2 points.")
    return tuple(index / (steps - 1) for index in range(steps))


def stepped(step: int, places: int) -> tuple[float, ...]:
    """Fractions from 0 to 1 in steps of so many places; the last step is what is left."""
    if step < 1:
        raise RequestError(f"step={step}; expected at least 1 pixel.")
    return (*(done / places for done in range(0, places, step)), 1.0)


def counted(fractions: Sequence[float], places: int) -> list[int]:
    """So many parts of all places, in whole places. Raises RequestError for parts outside 0 to 1."""
    if not fractions or not all(0 <= part <= 1 for part in fractions):
        raise RequestError(f"parts={tuple(fractions)}; expected parts of the picture, 0 to 1.")
    return [round(part * places) for part in fractions]


def not_finite(values: Float[Tensor, "batch height width"]) -> Bool[Tensor, "batch"]:
    """Which maps hold values that are not numbers, so that they can be neither ranked nor summed."""
    return ~values.isfinite().flatten(1).all(dim=1).cpu()


def blanked(rows: Mapping[str, Tensor], maps: Maps, *, axis: int = -1) -> dict[str, Tensor]:
    """The rows with NaN for every map that is not finite; `axis` is that of the pictures, counted from the end."""
    return {
        name: torch.where(not_finite(maps[name]).view(-1, *[1] * (-1 - axis)), torch.full_like(row, torch.nan), row)
        for name, row in rows.items()
    }
