"""Deletion and insertion: does the prediction follow what the map calls important?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.maps import compute
from pellucid.errors import RequestError, ShapeError
from pellucid.registry import find_method, metric
from pellucid.results import Heatmaps, Score
from pellucid.values.seed import Seed
from pellucid.values.target import Class, Predicted, Probability, Target, Text

Better = Literal["higher", "lower"]
CONTROLS = ("random", "centre", "edge")
FILLS = ("blur", "mean", "noise")


@dataclass(frozen=True, eq=False)
class Curves:
    """The score as the picture goes, most important pixels first, and as it comes back in the same order.

    fractions: part of the picture changed at each point, 0 to 1
    over:      what areas are taken over: the `fraction` of the picture changed, as Petsiuk et al. do, or the `side` of
               a square of that size (its square root), so that the few pixels that matter most weigh more
    deletion, insertion: per map, float [fill batch point]
    unit:      what the score is: `probability`, or `score` for targets that have none
    """

    fractions: tuple[float, ...]
    fills: tuple[str, ...]
    deletion: Mapping[str, Tensor]
    insertion: Mapping[str, Tensor]
    unit: str
    over: str = "fraction"

    def area(self, order: str, name: str) -> Float[Tensor, "fill batch"]:
        """Area under a curve, by the trapezoid rule."""
        curve = getattr(self, order)[name]
        fractions = torch.tensor(self.fractions, dtype=curve.dtype)
        return torch.trapezoid(curve, fractions.sqrt() if self.over == "side" else fractions, dim=-1)

    def gain(self, name: str) -> Float[Tensor, "fill batch"]:
        """Insertion minus deletion: -1 (the map has it backwards) to 1, about 0 for a map that knows nothing."""
        return self.area("insertion", name) - self.area("deletion", name)


@metric(
    "deletion",
    better="lower",
    paper="Petsiuk et al. 2018",
    cost=lambda steps=50, fills=("blur", "mean"): 4 * steps * len(fills),
)
def deletion(
    evidence: Evidence,
    heat: Heatmaps,
    *,
    steps: int = 50,
    fills: Sequence[str] = ("blur", "mean"),
    seed: int | None = None,
) -> Score:
    """How fast the prediction dies when the most important pixels go first.

    heat:    any map of the same pictures; only its ranking counts, ties are broken by the seed, not by position
    steps:   points on the curve, both ends included; each is one forward pass per fill and map
    fills:   what deleted pixels become; every fill is a picture the model has opinions about, hence more than one
    returns: area under the curve of the class probability, 0 (best) to 1, with the controls' beside it; the spread is
             the standard deviation over fills

    Raises ShapeError if `heat` belongs to other pictures. Petsiuk et al., RISE, BMVC 2018.
    """
    return _measured(evidence, heat, "deletion", "lower", even(steps), fills, seed)


@metric(
    "insertion",
    better="higher",
    paper="Petsiuk et al. 2018",
    cost=lambda steps=50, fills=("blur", "mean"): 4 * steps * len(fills),
)
def insertion(
    evidence: Evidence,
    heat: Heatmaps,
    *,
    steps: int = 50,
    fills: Sequence[str] = ("blur", "mean"),
    seed: int | None = None,
) -> Score:
    """How fast the prediction comes back when the most important pixels return first.

    Parameters as for `deletion`; here the picture starts as nothing but fill. Area under the curve, 1 is best.
    """
    return _measured(evidence, heat, "insertion", "higher", even(steps), fills, seed)


@metric(
    "insertion_minus_deletion", better="higher", paper="Petsiuk et al. 2018", range=(-1.0, 1.0),
    cost=lambda steps=8, fills=FILLS: 8 * steps * len(fills),
)  # fmt: skip
def insertion_minus_deletion(
    evidence: Evidence, heat: Heatmaps, *, steps: int = 8, fills: Sequence[str] = FILLS, seed: int | None = None
) -> Score:
    """How much more of the prediction the important pixels carry than the unimportant ones.

    Area of insertion less area of deletion, mean over fills: about 0 for a map that knows nothing, below 0 for a map
    that has it backwards. One figure, because either curve alone can be won by a trick: deletion by scattered pixels
    that make the picture unreal, insertion by large smooth areas.
    """
    return _measured(evidence, heat, "gain", "higher", even(steps), fills, seed)


def even(steps: int) -> tuple[float, ...]:
    """Fractions from 0 to 1 in equal steps, both ends included."""
    if steps < 2:
        raise RequestError(f"steps={steps}; a curve has at least 2 points.")
    return tuple(index / (steps - 1) for index in range(steps))


def perturbation_curves(
    evidence: Evidence,
    maps: Mapping[str, Float[Tensor, "batch height width"]],
    *,
    fractions: Sequence[float],
    fills: Sequence[str] = FILLS,
    over: str = "fraction",
    seed: Seed | None = None,
) -> Curves:
    """Deletion and insertion curves of several maps at once.

    The whole picture and the pure fill are the ends of every curve: each is scored once, whatever the number of maps.
    All changed pictures go through the model as one stream.
    """
    if not fills:
        raise RequestError("fills is empty; name at least one of blur, mean, noise.")
    fractions = _checked(fractions)
    seed = seed or Seed(int(evidence.seed))
    ranks = {name: ranking(values, seed.child("ties")) for name, values in maps.items()}
    filled = {fill: evidence.fill(fill) for fill in fills}
    inner = fractions[1:-1]
    plan = [(name, fill, order) for name in maps for fill in fills for order in ("deletion", "insertion")]

    def points() -> Iterator[Tensor]:
        yield evidence.inputs
        yield from filled.values()
        for name, fill, order in plan:
            for fraction in inner:
                first = most_important(ranks[name], fraction)[:, None]
                away, kept = (filled[fill], evidence.inputs) if order == "deletion" else (evidence.inputs, filled[fill])
                yield torch.where(first, away, kept)

    probability = has_probability(evidence.targets)
    stream = evidence.scores_at(points(), probability=probability)
    whole = next(stream).cpu()
    empty = {fill: next(stream).cpu() for fill in fills}
    curves: dict[str, dict[str, list[Tensor]]] = {"deletion": {}, "insertion": {}}
    for name, fill, order in plan:
        ends = (whole, empty[fill]) if order == "deletion" else (empty[fill], whole)
        between = [next(stream).cpu() for _ in inner]
        curves[order].setdefault(name, []).append(torch.stack([ends[0], *between, ends[1]], dim=-1))
    next(stream, None)  # lets the stream close itself
    stacked = {
        order: {name: torch.stack(parts).float() for name, parts in table.items()} for order, table in curves.items()
    }
    unit = "probability" if probability and evidence.model.activation != "none" else "score"
    return Curves(fractions, tuple(fills), stacked["deletion"], stacked["insertion"], unit, over)


def curve_passes(maps: int, points: int, fills: int) -> int:
    """Forward passes per picture that `perturbation_curves` takes."""
    return 1 + fills + maps * fills * 2 * (points - 2)


def ranking(values: Float[Tensor, "batch height width"], seed: Seed) -> Int[Tensor, "batch height width"]:
    """Place of every pixel in the order of importance, 0 first. Equal values are ordered by the seed.

    Ties in reading order would make smooth deletion curves out of flat maps.
    """
    flat = values.detach().flatten(1).cpu()
    shuffle = torch.randperm(flat.shape[1], generator=seed.generator())
    order = shuffle[flat[:, shuffle].argsort(dim=1, descending=True, stable=True)]
    places = torch.arange(flat.shape[1]).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).view(values.shape)


def most_important(ranks: Int[Tensor, "batch height width"], fraction: float) -> Bool[Tensor, "batch height width"]:
    """The first `fraction` of the pixels in the order of importance."""
    return ranks < round(fraction * ranks[0].numel())


def controls(evidence: Evidence) -> dict[str, Float[Tensor, "batch height width"]]:
    """The maps every map has to beat: random, the picture's centre, its edges."""
    return {name: compute(evidence, find_method(name)) for name in CONTROLS}


def has_probability(targets: Sequence[Target]) -> bool:
    """Whether the targets are classes, so that their probability can be followed."""
    return all(isinstance(target, (Class, Predicted, Probability, Text)) for target in targets)


def check_belongs(evidence: Evidence, heat: Heatmaps) -> None:
    """Raises ShapeError unless the map is of these pictures."""
    expected = (len(evidence.inputs), *evidence.size)
    got = tuple(heat.one_channel.shape)
    if got != expected:
        raise ShapeError(
            "Heatmaps.values", got=got, expected=f"{list(expected)}: one map per picture at model input size"
        )


def _measured(
    evidence: Evidence, heat: Heatmaps, order: str, better: Better, fractions: Sequence[float], fills: Sequence[str],
    seed: int | None,
) -> Score:  # fmt: skip
    check_belongs(evidence, heat)
    maps = {heat.method: heat.one_channel, **{f"control {name}": values for name, values in controls(evidence).items()}}
    curves = perturbation_curves(
        evidence, maps, fractions=fractions, fills=fills, seed=Seed(seed) if seed is not None else None
    )
    return score_of(curves, heat.method, order, better, {name: f"control {name}" for name in CONTROLS})


def score_of(
    curves: Curves, name: str, order: str, better: Better, control_names: Mapping[str, str], notes: tuple[str, ...] = ()
) -> Score:
    """The Score of one map of `curves`: order is `deletion`, `insertion` or `gain` (insertion less deletion)."""

    def areas(entry: str) -> Tensor:
        return curves.gain(entry) if order == "gain" else curves.area(order, entry)

    def mean(entry: str) -> tuple[float, ...]:
        return tuple(areas(entry).mean(dim=0).tolist())

    drawn = ("deletion", "insertion") if order == "gain" else (order,)
    return Score(
        metric="insertion_minus_deletion" if order == "gain" else order,
        method=name,
        values=mean(name),
        random=mean(control_names["random"]),
        centre=mean(control_names["centre"]),
        edge=mean(control_names["edge"]),
        spread=tuple(areas(name).std(dim=0, correction=0).tolist()),
        better=better,
        fills=curves.fills,
        order="signed, largest first",
        unit=f"area under the {curves.unit} over the {curves.over} changed",
        curves={
            "fractions": list(curves.fractions),
            **{one: getattr(curves, one)[name].tolist() for one in drawn},
            **{f"{one}_random": getattr(curves, one)[control_names["random"]].tolist() for one in drawn},
        },
        notes=notes,
    )


def _checked(fractions: Sequence[float]) -> tuple[float, ...]:
    points = tuple(float(fraction) for fraction in fractions)
    if len(points) < 2 or points[0] != 0 or points[-1] != 1 or any(a >= b for a, b in pairwise(points)):
        raise RequestError(f"fractions={points}; expected rising numbers from 0 to 1, both included.")
    return points
