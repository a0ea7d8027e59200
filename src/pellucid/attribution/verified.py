"""Which part of the picture, held still, takes most of the room from an adversary: by bounds, not by samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.bounds import Verifier, verifier_of
from pellucid.engine.intervals import Interval
from pellucid.engine.perturb import cells
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.registry import method
from pellucid.values import Activation, Call, Check, Class, Contrast, Probability, Target, Text

_ROWS = 8  # of a forward that one box takes: two ends in twice the precision, and the lines for the way back
_STRIDES = 10  # of the attack, from the middle of the ball to its border
_ROUNDED = 1e-5  # of the largest logit: how far float32 may carry a lead beyond a bound that holds
_READING = 5  # pictures that run so that the operations are written down


def _passes(*, grid: int = 8, rivals: int = 2, samples: int = 8, **_: Any) -> float:
    """Where everything is bounded, or where samples take the place of the part that is not, whichever is more."""
    return (grid**2 + 1) * (2.0 + max(samples, 1 + 2 * rivals)) + _READING


@dataclass(frozen=True)
class _Overlap:
    """What is known of the whole ball: how far a rival may come to lead, and what had no bound."""

    highest: float
    obstacle: str


def _bounded(evidence: Evidence, values: Tensor, parameters: dict[str, Any]) -> list[list[Check]]:
    found: dict[int, _Overlap] = evidence.remember("verified", dict)
    return [list(_told(found[place])) for place in range(len(values))]


@method("eva", needs=[Activation], paper="Fel et al. 2023", cost=_passes, promise=_bounded)
def eva(
    evidence: Evidence,
    *,
    radius: float = 1e-5,
    grid: int = 8,
    mode: str = "hybrid",
    rivals: int = 2,
    samples: int = 8,
) -> Float[Tensor, "batch grid_rows grid_columns"]:
    """How much less a rival could lead after the worst of all small changes if this cell held still.

    radius:  of the ball, the most that any colour of any pixel may change, in parts of black to white
    grid:    rows and columns of cells
    mode:    `certified` refuses models with operations that have no bound here; `hybrid` takes boxes around sampled
             values after the last of these, so its bounds can be broken, and certifies models without them
    rivals:  of so many classes, the highest by intervals, the bound is lowered by CROWN; all others count by intervals
    samples: changes drawn per box, in hybrid mode
    returns: bound over the whole ball less that with the cell held still, in logits; 0 and more but for looseness of
             CROWN, which may lose a little where a box shrinks
    """
    verifier = verifier_of(evidence.model, evidence.inputs)
    if verifier.first and mode == "certified":
        reason = f"it runs {verifier.obstacle}, which has no bound here; mode='hybrid' samples what precedes it."
        raise MethodUnavailable("eva in certified mode", reason, ("occlusion", "sobol"))
    if verifier.first:
        words = f"boxes after {verifier.obstacle} are those around {samples} samples each, so bounds may be broken."
        evidence.note(f"Not certified: {words}")
    evidence.passes.add(forwards=_READING / len(evidence))
    reach = radius * (evidence.fill("white") - evidence.fill("black")).abs()
    labels = cells(*evidence.size, grid).to(evidence.inputs.device)
    held = labels != torch.arange(int(labels.max()) + 1).to(labels)[:, None, None]
    free = torch.cat([torch.ones_like(labels)[None].bool(), held])
    found: dict[int, _Overlap] = evidence.remember("verified", dict)
    maps: list[Tensor] = []
    for place, target in enumerate(evidence.targets):
        forms = _forms(target, evidence.output()).to(evidence.inputs.device)
        question = _Question(evidence, place, reach[place], forms, rivals, samples)
        overlaps = question.overlaps(verifier, free)
        found[place] = _Overlap(float(overlaps[0]), verifier.obstacle)
        maps.append((overlaps[0] - overlaps[1:]).float().view(min(grid, labels.shape[0]), -1))
    return torch.stack(maps).to(evidence.inputs)


@dataclass(frozen=True)
class Tightness:
    """How near the bound over the whole ball lies to what an attack reaches in it.

    start:     by how much the best rival leads at the picture itself, in logits; below 0 while the target leads
    bound:     what no change in the ball can raise that above
    reached:   the largest lead among all points tried
    broken:    share of the points tried at which a rival leads by more than the bound; 0, or the bound is none
    certified: whether every operation was bounded; where some were sampled, points may break the bound
    """

    start: float
    bound: float
    reached: float
    broken: float
    certified: bool

    @property
    def ratio(self) -> float:
        """How far the bound lets a rival rise over how far one was seen to rise: 1 is tight, more is loose."""
        return (self.bound - self.start) / max(self.reached - self.start, 1e-30)


def tightness(
    evidence: Evidence, *, radius: float = 1e-5, rivals: int = 2, samples: int = 8, steps: int = 20
) -> tuple[Tightness, ...]:
    """For each picture, the bound of `eva` over the whole ball beside an attack in the ball.

    radius, rivals, samples: as of `eva`
    steps:   of projected gradient descent (Madry et al. 2018) on the lead of the best rival, from the picture, each a
             tenth of the radius; every point on the way counts, and so do as many points drawn in the ball

    Raises MethodUnavailable for models that cannot be written down as operations, and targets that are no class.
    """
    if steps < 1:
        raise RequestError(f"steps={steps}; expected at least 1.")
    verifier = verifier_of(evidence.model, evidence.inputs)
    reach = radius * (evidence.fill("white") - evidence.fill("black")).abs()
    forms = [_forms(target, evidence.output()).to(evidence.inputs.device) for target in evidence.targets]
    free = torch.ones(1, *evidence.size, dtype=torch.bool, device=evidence.inputs.device)
    bounds = torch.stack([
        _Question(evidence, place, reach[place], rows, rivals, samples).overlaps(verifier, free)[0]
        for place, rows in enumerate(forms)
    ]).cpu()  # fmt: skip
    leads = torch.stack(list(_led(evidence, forms, reach, steps))).cpu()
    reached, outputs = leads.amax(dim=0), evidence.output().abs().amax(dim=1).cpu()
    broken = (leads > bounds + _ROUNDED * outputs).double().mean(dim=0)
    return tuple(
        Tightness(float(leads[0, at]), float(bounds[at]), float(reached[at]), float(broken[at]), not verifier.first)
        for at in range(len(evidence))
    )


def _led(
    evidence: Evidence, forms: list[Float[Tensor, "form classes"]], reach: Tensor, steps: int
) -> Iterator[Float[Tensor, "batch"]]:
    """By how much the best rival leads at the picture, on the way of the attack, and at points drawn in the ball."""
    question = evidence.asking([Call(_lead(rows), name="lead of the best rival") for rows in forms])
    change = torch.zeros_like(evidence.inputs)
    yield from question.scores_at([evidence.inputs])
    for _ in range(steps):
        (slope,) = question.gradients_at([evidence.inputs + change])
        change = torch.minimum(torch.maximum(change + slope.sign() * reach / _STRIDES, -reach), reach)
        yield from question.scores_at([evidence.inputs + change])
    drawn = (evidence.seed.child("ball", "tried", index).generator() for index in range(steps))
    uniform = (torch.rand(evidence.inputs.shape, generator=generator) * 2 - 1 for generator in drawn)
    yield from question.scores_at(evidence.inputs + reach * one.to(reach) for one in uniform)


def _lead(rows: Float[Tensor, "form classes"]) -> Callable[[Tensor], Tensor]:
    return lambda outputs: (outputs @ rows.to(outputs).T).amax(dim=1)


@dataclass(frozen=True, eq=False)
class _Question:
    """One picture, how far each number of it may change, and the leads of rivals that are to be bounded."""

    evidence: Evidence
    place: int
    reach: Float[Tensor, "channel height width"]
    forms: Float[Tensor, "form classes"]
    rivals: int
    samples: int

    def overlaps(self, verifier: Verifier, free: Bool[Tensor, "box height width"]) -> Float[Tensor, "box"]:
        """The adversarial overlap where these pixels may change, box by box."""
        found: list[Tensor] = []
        tightened = min(self.rivals, len(self.forms))
        made = 3.0 + 2 * tightened if not verifier.first else 2.0 + self.samples
        for rows in free.split(max(1, self.evidence.room // _ROWS)):
            reach = self.reach * rows[:, None].to(self.reach)
            middle = self.evidence.inputs[self.place].expand_as(reach)
            if verifier.first:
                entered = verifier.sampled(self._drawn(middle, reach))
            else:
                entered = verifier.enter(Interval(middle.double() - reach, middle.double() + reach))
            self.evidence.passes.add(forwards=made * len(rows) / len(self.evidence))
            found.append(verifier.bounds(entered, self.forms, tightened).amax(dim=1))
        return torch.cat(found)

    def _drawn(self, middle: Tensor, reach: Tensor) -> Iterator[Tensor]:
        """The picture itself and changes of it, the same in every box but where it is held still."""
        yield middle
        for sample in range(1, self.samples):
            generator = self.evidence.seed.child("ball", sample).generator()
            uniform = torch.rand(self.reach.shape, generator=generator) * 2 - 1
            # Half lie at corners of the ball, where far changes are.
            yield middle + reach * (uniform.sign() if sample % 2 else uniform).to(reach)


def _forms(target: Target, outputs: Tensor) -> Float[Tensor, "form classes"]:
    """What each rival leads by, as weights of the outputs. Raises MethodUnavailable for what is no class."""
    classes = torch.eye(outputs.shape[1])
    if isinstance(target, Contrast):
        return (classes[int(target.that)] - classes[int(target.this)])[None]
    if not isinstance(target, (Class, Probability, Text)) or target.index is None or len(classes) < 2:
        raise MethodUnavailable("eva", f"its target ({target.kind}) is no class, so no other can overtake it; take a "
                                "class or a contrast of two.", ("occlusion", "sobol"))  # fmt: skip
    rivals = classes - classes[int(target.index)]
    return torch.cat([rivals[: int(target.index)], rivals[int(target.index) + 1 :]])


def _told(overlap: _Overlap) -> Iterator[Check]:
    """What holds for the whole ball, and whether it is proved."""
    if overlap.obstacle:
        words = f"Not certified: what precedes the end of {overlap.obstacle} was sampled."
        yield Check("certified", None, overlap.highest, words)
        return
    lead = "no rival overtakes anywhere in it" if overlap.highest < 0 else "whether one overtakes is not decided"
    yield Check(
        "certified", True, overlap.highest, f"In the whole ball rivals lead by {overlap.highest:.3g} at most: {lead}."
    )
