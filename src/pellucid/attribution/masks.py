"""Masks found by descent: the smallest part that destroys the answer when it goes, or keeps it when it stays."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from pellucid.attribution.players import segments_of
from pellucid.engine import Evidence
from pellucid.engine.optimise import descend
from pellucid.images.baselines import blur
from pellucid.registry import method
from pellucid.values import Call, Class, Gradients, InputGradient, Probability, Target, Text

_USUAL = 224  # pixels of the shorter side at which the papers give lengths
_DISCS = 10
_NEARLY_ALL = 2.0  # log odds of the chances with which patches begin: what does nothing is then let go
_CELLS = 28 * 28  # of the published mask, of which the penalties are sums


def as_probability(evidence: Evidence) -> Evidence:
    """The same question with classes and texts read as probabilities, 0 to 1; other targets as they are."""
    return _reading(evidence, Probability)


def _reading(evidence: Evidence, read: Callable[[int, str], Target]) -> Evidence:
    """The same question with classes and texts read another way; other targets, and bare outputs, as they are."""
    activation = evidence.model.activation

    def other(target: Target) -> Target:
        if activation == "none" or not isinstance(target, (Class, Text)) or not isinstance(target.index, int):
            return target
        return read(target.index, activation)

    return evidence.asking([other(target) for target in evidence.targets])


def _descent(*, updates: int = 300, **_: Any) -> float:
    return 3.0 * updates + _DISCS + 4


@method("meaningful_perturbation", needs=[InputGradient, Gradients], paper="Fong & Vedaldi 2017", cost=_descent)
def meaningful_perturbation(
    evidence: Evidence,
    *,
    goal: str = "delete",
    updates: int = 300,
    rate: float = 0.1,
    sparsity: float = 1e-4,
    roughness: float = 1e-2,
    grid: int = 28,
    smoothing: float | None = None,
    jitter: int = 4,
    baseline: str = "blur",
) -> Float[Tensor, "batch height width"]:
    """The smallest smooth part of the picture whose blurring destroys the prediction, found by descent on a mask.

    goal:      `delete`: the part that destroys it when it goes; `keep`: the part that keeps it when all else goes
    sparsity:  price of a deleted (or kept) cell of the mask, as if there were 28 x 28
    roughness: price of the cubed steps between neighbouring cells
    grid:      rows and columns of the mask, spread bilinearly over the picture
    smoothing: standard deviation of the mask's blur in pixels; None is 5 where the shorter side has 224
    jitter:    the masked picture is shifted by fewer than so many pixels, at 224, another way at each step
    baseline:  what is deleted becomes
    returns:   1 where the part lies, 0 where the picture is as good without. The target is read as a probability
    """
    asked = as_probability(evidence)
    side = min(evidence.size)
    sigma = 5 * side / _USUAL if smoothing is None else smoothing
    hidden, deletes = evidence.fill(baseline), goal == "delete"
    shape = min(grid, evidence.size[0]), min(grid, evidence.size[1])
    price = _CELLS / (shape[0] * shape[1])

    def seen_through(mask: Tensor) -> Tensor:
        spread = functional.interpolate(mask[:, None], evidence.size, mode="bilinear", align_corners=False)
        spread = blur(spread, sigma) if sigma else spread
        return torch.lerp(hidden, evidence.inputs, spread)

    def show(mask: Tensor, step: int) -> list[Tensor]:
        shift = _shift(evidence, step, max(1, round(jitter * side / _USUAL))) if jitter else (0, 0)
        return [torch.roll(seen_through(mask), shift, dims=(-2, -1))]

    def loss(mask: Tensor, scores: Tensor, step: int) -> Tensor:
        part = (1 - mask if deletes else mask).flatten(1).sum(dim=1)  # clamped: no magnitude needed
        rough = sum((mask.diff(dim=axis).abs() ** 3).flatten(1).sum(dim=1) for axis in (1, 2))
        return price * (sparsity * part + roughness * rough) + (scores[0] if deletes else -scores[0])

    start = _first_disc(asked, hidden, shape)
    found = descend(asked, start if deletes else 1 - start, show, loss, steps=updates, rate=rate).found
    spread = functional.interpolate(found[:, None], evidence.size, mode="bilinear", align_corners=False)[:, 0]
    part = 1 - spread if deletes else spread
    evidence.note(_what_a_cut_does(asked, part, hidden, deletes))
    return part


def _shift(evidence: Evidence, step: int, most: int) -> tuple[int, int]:
    generator = evidence.seed.child("jitter", step).generator()
    down, right = torch.randint(most, (2,), generator=generator).tolist()
    return down, right


def _first_disc(evidence: Evidence, hidden: Tensor, shape: tuple[int, int]) -> Float[Tensor, "batch rows columns"]:
    """0 within the smallest centred disc that does 99 % of what deleting the whole picture does, 1 around it."""
    rows, columns = ((torch.arange(side) + 0.5) / side - 0.5 for side in shape)
    away = torch.hypot(rows[:, None], columns[None, :]).to(hidden)
    discs = [(away > radius).float() for radius in torch.linspace(0, 0.71, _DISCS + 1).tolist()[1:]]
    spread = [functional.interpolate(disc[None, None], evidence.size, mode="nearest") for disc in discs]
    points = [evidence.inputs, *(torch.lerp(hidden, evidence.inputs, mask) for mask in spread), hidden]
    scores = torch.stack(list(evidence.scores_at(points)))
    fallen = scores[0] - scores[1:]
    enough = fallen * fallen[-1].sign() >= 0.99 * fallen[-1].abs()
    first = enough[:_DISCS].float().argmax(dim=0)
    first = torch.where(enough[:_DISCS].any(dim=0), first, _DISCS - 1)
    return torch.stack(discs)[first]


def _what_a_cut_does(evidence: Evidence, part: Tensor, hidden: Tensor, deletes: bool) -> str:
    """What a mask of 0 and 1 does: a soft one may be an adversarial pattern that does nothing once it is cut."""
    cut = (part > 0.5)[:, None]
    changed = torch.where(cut, hidden, evidence.inputs) if deletes else torch.where(cut, evidence.inputs, hidden)
    after, clean = next(iter(evidence.scores_at([changed]))), evidence.score()
    shares, before, left = (
        ", ".join(f"{one:.3g}" for one in values.tolist()[:8])
        for values in (cut.flatten(1).float().mean(dim=1), clean, after)
    )
    verb = "Without" if deletes else "With nothing but"
    return f"{verb} the part cut at a half ({shares} of the picture) the target goes from {before} to {left}."


def _of_area(*, updates: int = 300, **_: Any) -> float:
    return 3.0 * updates + 2


@method("extremal_perturbation", needs=[InputGradient, Gradients], paper="Fong et al. 2019", cost=_of_area)
def extremal_perturbation(
    evidence: Evidence,
    *,
    area: float = 0.1,
    goal: str = "keep",
    updates: int = 300,
    rate: float = 0.05,
    strength: float = 300.0,
    width: float = 21 / 224,
    baseline: str = "blur",
) -> Float[Tensor, "batch height width"]:
    """The smooth part of a given size that alone keeps the target highest, or without which it falls lowest.

    area:     part of the picture, 0 to 1
    goal:     `keep` or `delete`
    strength: of the demand for that area: the mean squared difference of the sorted mask and of one that is 1 on that
              part alone; it grows sixteenfold over the steps
    width:    standard deviation of the mask's smooth maximum, in parts of the shorter side
    baseline: what is deleted becomes
    returns:  the mask, 0 to 1: 1 in the part that counts
    """
    hidden, deletes = evidence.fill(baseline), goal == "delete"
    spacing = max(1.0, width * min(evidence.size) / 3)
    shape = tuple(max(2, round(side / spacing)) for side in evidence.size)
    weights = _kernel(width * min(evidence.size) / spacing).to(hidden)
    wanted = torch.zeros(shape[0] * shape[1]).to(hidden)
    wanted[len(wanted) - round(area * len(wanted)) :] = 1

    def show(mask: Tensor, step: int) -> list[Tensor]:
        seen = functional.interpolate(
            _smooth_maximum(mask, weights)[:, None], evidence.size, mode="bilinear", align_corners=False
        )
        return [torch.lerp(hidden, evidence.inputs, 1 - seen if deletes else seen)]

    def loss(mask: Tensor, scores: Tensor, step: int) -> Tensor:
        sorted_mask = _smooth_maximum(mask, weights).flatten(1).sort(dim=1).values
        # At the first step all cells are equal, and sorting would prefer places by their position.
        demand = strength * 16 ** (step / updates) if step else 0.0
        return demand * (sorted_mask - wanted).square().mean(dim=1) + (scores[0] if deletes else -scores[0])

    start = torch.full((len(evidence), *shape), 0.5).to(hidden)
    found = _smooth_maximum(descend(evidence, start, show, loss, steps=updates, rate=rate).found, weights)
    part = functional.interpolate(found[:, None], evidence.size, mode="bilinear", align_corners=False)[:, 0]
    evidence.note(_what_a_cut_does(evidence, part, hidden, deletes))
    return part


def _kernel(sigma: float) -> Float[Tensor, "offset"]:
    """What a cell gives to those around it: all of it near, a Gaussian tail beyond half of `sigma` cells."""
    radius = max(1, round(2 * sigma))
    offsets = torch.arange(-radius, radius + 1).float()
    distance = torch.hypot(offsets[:, None], offsets[None, :]) / sigma
    return torch.exp(-2 * (distance - 0.5).clamp(min=0).square()).flatten()


def _smooth_maximum(mask: Float[Tensor, "batch rows columns"], weights: Tensor) -> Float[Tensor, "batch rows columns"]:
    """Every cell becomes about the largest of those around it, weighted by their distance."""
    side = round(len(weights) ** 0.5)
    padded = functional.pad(mask[:, None], [side // 2] * 4, mode="replicate")
    around = functional.unfold(padded, side) * weights[None, :, None]
    return (around * (20 * around).softmax(dim=1)).sum(dim=1).view(mask.shape)


def _of_chances(*, updates: int = 150, draws: int = 2, **_: Any) -> float:
    return 3.0 * updates * draws + 2


@method("fido", needs=[InputGradient, Gradients], paper="Chang et al. 2019", cost=_of_chances)
def fido(
    evidence: Evidence,
    *,
    goal: str = "keep",
    segments: int | Int[Tensor, "height width"] = 100,
    updates: int = 150,
    draws: int = 2,
    rate: float = 0.2,
    sparsity: float = 3.0,
    temperature: float = 0.3,
    baseline: str = "blur",
) -> Float[Tensor, "batch height width"]:
    """With which chance each patch belongs to the smallest part that keeps, or destroys, the prediction.

    goal:        `keep`: the smallest supporting region; `delete`: the smallest destroying region
    segments:    about how many superpixels, or a map of segment numbers [height width]
    draws:       masks drawn per step, each patch by its own chance, softened so that gradients pass (Concrete)
    sparsity:    price of the whole picture, in nats of log odds
    temperature: of the softened draws; towards 0 they are 0 or 1
    baseline:    what hidden patches become
    returns:     the chance, 0 to 1. Classes are read as log odds, other targets as they are
    """
    asked, deletes = _as_log_odds(evidence), goal == "delete"
    hidden = evidence.fill(baseline)
    maps = torch.stack(segments_of(evidence, segments)).to(hidden.device)
    count = int(maps.max()) + 1
    sizes = torch.stack([numbers.flatten().bincount(minlength=count) for numbers in maps]).to(hidden)
    shares = sizes / sizes.sum(dim=1, keepdim=True)

    def show(mask: Tensor, step: int) -> list[Tensor]:
        pictures: list[Tensor] = []
        for sample in range(draws):
            generator = evidence.seed.child("fido", step, sample).generator()
            draw = torch.rand(count, generator=generator).clamp(1e-6, 1 - 1e-6).logit().to(hidden)
            chosen = ((mask + draw) / temperature).sigmoid()
            seen = chosen.gather(1, maps.flatten(1)).view(maps.shape)[:, None]
            pictures.append(torch.lerp(hidden, evidence.inputs, 1 - seen if deletes else seen))
        return pictures

    def loss(mask: Tensor, scores: Tensor, step: int) -> Tensor:
        told = scores.mean(dim=0)
        return sparsity * (shares * mask.sigmoid()).sum(dim=1) + (told if deletes else -told)

    start = torch.full((len(maps), count), _NEARLY_ALL).to(hidden)
    chances = descend(asked, start, show, loss, steps=updates, rate=rate, within=(-4.0, 4.0)).found.sigmoid()
    part = chances.gather(1, maps.flatten(1)).view(maps.shape)
    evidence.note(_what_a_cut_does(asked, part, hidden, deletes))
    return part


def _as_log_odds(evidence: Evidence) -> Evidence:
    return _reading(evidence, lambda index, activation: Call(_log_odds(index, activation), "log odds"))


@cache  # the same class gives the same function, so that pictures of one class are read together
def _log_odds(index: int, activation: str) -> Callable[[Tensor], Tensor]:
    def read(output: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch"]:
        if activation == "sigmoid":
            return output[:, index]
        others = [place for place in range(output.shape[1]) if place != index]
        if activation == "softmax":
            return output[:, index] - output[:, others].logsumexp(dim=1)
        return output[:, index].clamp(1e-6, 1 - 1e-6).logit()

    return read
