"""Deletion and insertion: does the prediction follow what the map calls important?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.perturb import ORDERS, Cut, Side, ordered, pixels, removal_answers
from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.trust.measured import Maps, Measured, control, spread_of
from pellucid.trust.removal import USUAL_SIZE, blanked, even, followed, has_probability, stepped
from pellucid.trust.tokens import ANOTHER_QUESTION, DROPPED, drops_tokens, token_fractions, token_lines, tokens_of
from pellucid.values.seed import Seed

__all__ = [
    "FILLS", "Curves", "curve_passes", "deletion", "even", "has_probability", "insertion", "insertion_minus_deletion",
    "measured", "perturbation_curves",
]  # fmt: skip

FILLS = ("blur", "mean", "noise")
_SIDES: Mapping[str, Side] = {"deletion": "removed", "insertion": "kept"}


@dataclass(frozen=True, eq=False)
class Curves:
    """The score as the picture goes, most important pixels first, and as it comes back in the same order.

    fractions: part of the picture changed at each point, 0 to 1
    over:      what areas are taken over: the `fraction` of the picture changed, as Petsiuk et al. do, or the `side` of
               a square of that size (its square root), so that the few pixels that matter most weigh more
    deletion, insertion: per map, float [fill batch point]; empty where it was not asked for
    unit:      what the score is: `probability`, or `score` for targets that have none
    order:     how pixels were ranked: `signed` or `absolute`
    """

    fractions: tuple[float, ...]
    fills: tuple[str, ...]
    deletion: Mapping[str, Tensor]
    insertion: Mapping[str, Tensor]
    unit: str
    over: str = "fraction"
    order: str = "signed"

    def area(self, order: str, name: str) -> Float[Tensor, "fill batch"]:
        """Area under a curve, by the trapezoid rule."""
        curve = getattr(self, order)[name]
        fractions = torch.tensor(self.fractions, dtype=curve.dtype)
        return torch.trapezoid(curve, fractions.sqrt() if self.over == "side" else fractions, dim=-1)

    def joined(self, other: Curves) -> Curves:
        """These curves and those of other maps, over the same fractions and fills; of one name, the other's."""
        assert (self.fractions, self.fills, self.over) == (other.fractions, other.fills, other.over)
        return replace(
            self, deletion={**self.deletion, **other.deletion}, insertion={**self.insertion, **other.insertion}
        )

    def gain(self, name: str) -> Float[Tensor, "fill batch"]:
        """Insertion minus deletion: -1 (the map has it backwards) to 1, about 0 for a map that knows nothing."""
        return self.area("insertion", name) - self.area("deletion", name)


def _curve_cost(
    sides: int,
    *,
    steps: int,
    fills: Sequence[str],
    step: int | None = None,
    size: tuple[int, int] = USUAL_SIZE,
    mode: str = "pixels",
    **_: Any,
) -> int:
    """Of `token_drop` the most it takes: passes over fewer tokens count as the part of a pass that they are."""
    points = steps if step is None else -(-size[0] * size[1] // step) + 1
    return sides * (points - 2) * (len(fills) if mode == "pixels" else 1)


def _ends(*, fills: Sequence[str] = FILLS, mode: str = "pixels", **_: Any) -> int:
    return 1 + (len(fills) if mode == "pixels" else 2)  # without any token, and the trial whether it can be done


@metric(
    "deletion", better="lower", paper="Petsiuk et al. 2018",
    cost=lambda steps=50, fills=("blur", "mean"), **rest: _curve_cost(1, steps=steps, fills=fills, **rest),
    shared=lambda fills=("blur", "mean"), **rest: _ends(fills=fills, **rest),
)  # fmt: skip
def deletion(
    evidence: Evidence, maps: Maps, *, steps: int = 50, step: int | None = None,
    fills: Sequence[str] = ("blur", "mean"), order: str = "signed", mode: str = "pixels", seed: int | None = None,
) -> Measured:  # fmt: skip
    """How fast the prediction dies when the most important pixels go first.

    maps:    only their ranking counts, ties are broken by the seed, not by position
    steps:   points on the curve, both ends included; each is one forward pass per fill and map
    step:    pixels that go at each step, in place of `steps`; the paper takes the picture's width
    fills:   what deleted pixels become; every fill is a picture the model has opinions about, hence more than one
    order:   `signed`, the largest first, or `absolute`, the largest magnitude first
    mode:    `pixels` are painted with the fills; `token_drop` takes patch tokens out of the sequence of a plain vision
             transformer, whole patches by their sum, so that nothing is painted (and `step` counts tokens). That is
             another question: what the model says with less to read, not with something else to read
    returns: area under the curve of the class probability, 0 (best) to 1; the spread is the standard deviation over
             fills. For a target without a probability (a likeness, a unit, a contrast) it is the area under its value,
             in its own unit; `scaled` in the curves is the same with each curve between 0 and 1

    Petsiuk et al., RISE, BMVC 2018. Raises MethodUnavailable for `token_drop` where tokens cannot be left out.
    """
    return _areas(evidence, maps, "deletion", steps, step, fills, order, mode, seed)


@metric(
    "insertion", better="higher", paper="Petsiuk et al. 2018",
    cost=lambda steps=50, fills=("blur", "mean"), **rest: _curve_cost(1, steps=steps, fills=fills, **rest),
    shared=lambda fills=("blur", "mean"), **rest: _ends(fills=fills, **rest),
)  # fmt: skip
def insertion(
    evidence: Evidence, maps: Maps, *, steps: int = 50, step: int | None = None,
    fills: Sequence[str] = ("blur", "mean"), order: str = "signed", mode: str = "pixels", seed: int | None = None,
) -> Measured:  # fmt: skip
    """How fast the prediction comes back when the most important pixels return first.

    Parameters as for `deletion`; here the picture starts as nothing but fill. Area under the curve, 1 is best.
    """
    return _areas(evidence, maps, "insertion", steps, step, fills, order, mode, seed)


@metric(
    "insertion_minus_deletion", better="higher", paper="Petsiuk et al. 2018", range=(-1.0, 1.0),
    cost=lambda steps=8, fills=FILLS, **rest: _curve_cost(2, steps=steps, fills=fills, **rest), shared=_ends,
)  # fmt: skip
def insertion_minus_deletion(
    evidence: Evidence, maps: Maps, *, steps: int = 8, step: int | None = None, fills: Sequence[str] = FILLS,
    order: str = "signed", mode: str = "pixels", seed: int | None = None,
) -> Measured:  # fmt: skip
    """How much more of the prediction the important pixels carry than the unimportant ones.

    Area of insertion less area of deletion, mean over fills: about 0 for a map that knows nothing, below 0 for a map
    that has it backwards. One figure, because either curve alone can be won by a trick: deletion by scattered pixels
    that make the picture unreal, insertion by large smooth areas.
    """
    return _areas(evidence, maps, "gain", steps, step, fills, order, mode, seed)


def perturbation_curves(
    evidence: Evidence,
    maps: Mapping[str, Float[Tensor, "batch height width"]],
    *,
    fractions: Sequence[float],
    fills: Sequence[str] = FILLS,
    over: str = "fraction",
    order: str = "signed",
    curves: Sequence[str] = ("deletion", "insertion"),
    seed: Seed | None = None,
) -> Curves:
    """Deletion and insertion curves of several maps at once; `curves` names those that are wanted.

    The whole picture and the pure fill are the ends of every curve: each is scored once, whatever the number of maps.
    All changed pictures go through the model as one stream. A map that is not finite has no order and NaN for curves.
    """
    if not fills:
        raise RequestError("fills is empty; name at least one of blur, mean, noise.")
    fractions = _checked(fractions)
    counts = [round(fraction * pixels(evidence)) for fraction in fractions]
    plan = {(curve, fill): [Cut(fill, count, _SIDES[curve]) for count in counts] for curve in curves for fill in fills}
    answers = removal_answers(evidence, ordered(maps, order), [cut for cuts in plan.values() for cut in cuts], seed)
    what = followed(evidence)

    def line(name: str, cuts: Sequence[Cut]) -> Float[Tensor, "batch point"]:
        return torch.stack([what.read(answers[name][cut]) for cut in cuts], dim=-1)

    def lines(curve: str) -> dict[str, Tensor]:
        if curve not in curves:
            return {}
        found = {name: torch.stack([line(name, plan[curve, fill]) for fill in fills]) for name in maps}
        return blanked(found, maps, axis=-2)

    return Curves(fractions, tuple(fills), lines("deletion"), lines("insertion"), what.unit, over, order)


def curve_passes(maps: int, points: int, fills: int) -> int:
    """Forward passes per picture that `perturbation_curves` takes."""
    return 1 + fills + maps * fills * 2 * (points - 2)


def _areas(
    evidence: Evidence, maps: Maps, curve: str, steps: int, step: int | None, fills: Sequence[str], order: str,
    mode: str, seed: int | None,
) -> Measured:  # fmt: skip
    wanted = ("deletion", "insertion") if curve == "gain" else (curve,)
    drawn = Seed(seed) if seed is not None else None
    if drops_tokens(mode):
        fractions = even(steps) if step is None else stepped(step, tokens_of(evidence))
        found = measured(_token_curves(evidence, maps, fractions, order, wanted, drawn), curve)
        return replace(found, notes=(ANOTHER_QUESTION,))
    fractions = even(steps) if step is None else stepped(step, pixels(evidence))
    curves = perturbation_curves(
        evidence, maps, fractions=fractions, fills=fills, order=order, curves=wanted, seed=drawn
    )  # fmt: skip
    return measured(curves, curve)


def _token_curves(
    evidence: Evidence, maps: Maps, fractions: Sequence[float], order: str, wanted: Sequence[str], seed: Seed | None
) -> Curves:
    """The curves as patch tokens leave the sequence, or come into it."""
    points = token_fractions(evidence, _checked(fractions))
    lines = token_lines(evidence, ordered(maps, order), points, wanted, seed)
    return Curves(
        points, (DROPPED,), lines.get("deletion", {}), lines.get("insertion", {}), followed(evidence).unit, order=order
    )


def measured(curves: Curves, order: str) -> Measured:
    """One measure of every map of `curves`: order is `deletion`, `insertion` or `gain` (insertion less deletion)."""
    drawn = ("deletion", "insertion") if order == "gain" else (order,)
    names = list(getattr(curves, drawn[0]))
    areas = {name: curves.gain(name) if order == "gain" else curves.area(order, name) for name in names}
    beside = control("random")
    drawings: dict[str, dict[str, Any]] = {}
    for name in names:
        table: dict[str, Any] = {"fractions": list(curves.fractions)}
        table |= {one: getattr(curves, one)[name].tolist() for one in drawn}
        if beside in areas:
            table |= {f"{one}_random": getattr(curves, one)[beside].tolist() for one in drawn}
        if curves.unit == "score":
            table["scaled"] = _scaled_areas(curves, drawn, name).tolist()
        drawings[name] = table
    return Measured(
        values={name: area.mean(dim=0) for name, area in areas.items()},
        spread=spread_of(areas),
        by_fill=areas,
        curves=drawings,
        fills=curves.fills,
        order=ORDERS[curves.order],
        unit=f"area under the {curves.unit} over the {curves.over} changed",
    )


def _scaled_areas(curves: Curves, drawn: Sequence[str], name: str) -> Float[Tensor, "fill batch"]:
    """The areas with every curve stretched between 0 and 1, so that pictures of other heights can be compared."""

    def scaled(curve: Tensor) -> Tensor:
        least, most = curve.amin(dim=-1, keepdim=True), curve.amax(dim=-1, keepdim=True)
        return (curve - least) / (most - least).clamp(min=1e-30)

    stretched = replace(curves, **{one: {name: scaled(getattr(curves, one)[name])} for one in drawn})
    return stretched.gain(name) if len(drawn) == 2 else stretched.area(drawn[0], name)


def _checked(fractions: Sequence[float]) -> tuple[float, ...]:
    points = tuple(float(fraction) for fraction in fractions)
    if len(points) < 2 or points[0] != 0 or points[-1] != 1 or any(a >= b for a, b in pairwise(points)):
        raise RequestError(f"fractions={points}; expected rising numbers from 0 to 1, both included.")
    return points
