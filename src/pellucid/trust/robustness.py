"""Does a map stay the same where the picture hardly changes?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.trust.measured import Maps, Measured, Remake, spread_of
from pellucid.values.seed import Seed

STABLE = "a map that ignores the picture is perfectly stable: read this beside a measure of faithfulness"
_LEAST = 1e-6  # of a denominator, as in the authors' code of relative stability

_Batch = Float[Tensor, "batch ..."]
_SUMMARIES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "largest": lambda rows: rows.amax(dim=0),
    "mean": lambda rows: rows.mean(dim=0),
}


@metric(
    "max_sensitivity", better="lower", paper="Yeh et al. 2019", range=(0.0, float("inf")), remakes=True,
    cost=lambda samples=10, **_: samples,
)  # fmt: skip
def max_sensitivity(
    evidence: Evidence, maps: Maps, remake: Remake, *, samples: int = 10, radius: float = 0.02,
    summary: str = "largest", seed: int = 0,
) -> Measured:  # fmt: skip
    """How far the map can be moved by changing every pixel a little.

    samples: changed pictures; of the `largest` change among them more samples can only make more
    radius:  every colour moves by a uniform amount of at most this, in parts of the range from black to white
    summary: of the samples, the `largest` as published, or their `mean` (average sensitivity, Bhatt et al. 2020)
    returns: the norm of the map's change, in parts of the map's own norm; 0 is steady. The spread is that over the
             samples

    The target stays what it was. Yeh et al., On the (In)fidelity and Sensitivity of Explanations, NeurIPS 2019.
    """
    if summary not in _SUMMARIES:
        raise RequestError(f"summary={summary!r}; expected {' or '.join(_SUMMARIES)}.")
    changes = list(_changes(evidence, remake, _Ball(samples, radius, seed)))
    relative = {
        name: torch.stack([_apart(before, after[name], "norms") for _, after in changes])
        for name, before in maps.items()
    }
    return Measured(
        {name: _SUMMARIES[summary](values) for name, values in relative.items()},
        spread_of(relative),
        unit=f"parts of the map's norm, {summary} of the samples", notes=(STABLE,),
    )  # fmt: skip


@metric(
    "local_lipschitz", better="lower", paper="Alvarez-Melis & Jaakkola 2018", range=(0.0, float("inf")), remakes=True,
    cost=lambda samples=10, same_class=False, **_: samples * (2 if same_class else 1),
)  # fmt: skip
def local_lipschitz(
    evidence: Evidence, maps: Maps, remake: Remake, *, samples: int = 10, radius: float = 0.02,
    relative: str = "norms", same_class: bool = False, seed: int = 0,
) -> Measured:  # fmt: skip
    """How much faster the map changes than the picture, where it changes most.

    samples, radius: as for `max_sensitivity`
    relative:   in what both changes are measured: in parts of the whole's own norm (`norms`), as the norm of the parts
                by which every number changes (`elements`), or as they are (`none`, as published; it has the map's unit)
    same_class: count only changes that keep the predicted class. With `relative="elements"` this is the relative input
                stability of Agarwal et al. 2022
    returns:    the largest ratio of the map's change to that of the picture

    With `same_class`, pictures whose class no sample kept have no value.
    """
    ball = _Ball(samples, radius, seed)
    beside = _Beside(lambda seen: seen.inputs, relative, "picture")
    return _steepest(evidence, maps, remake, ball, relative, beside, same_class=same_class)


@metric(
    "output_stability", better="lower", paper="Agarwal et al. 2022", range=(0.0, float("inf")), remakes=True,
    cost=lambda samples=10, **_: 2 * samples,
)  # fmt: skip
def output_stability(
    evidence: Evidence, maps: Maps, remake: Remake, *, samples: int = 10, radius: float = 0.02,
    relative: str = "norms", seed: int = 0,
) -> Measured:  # fmt: skip
    """How much more the map changes than the model's outputs do.

    samples, radius: as for `max_sensitivity`; only changes that keep the predicted class
    relative: in what the changes are measured: `norms` of the whole, for both; as published (relative output
              stability) it is `elements` for the map and the plain norm of their change for the outputs
    returns:  the largest ratio of the map's change to that of the outputs. A map should move when the model does, so
              this forgives what `max_sensitivity` does not

    Pictures whose class no sample kept have no value.
    """
    ball = _Ball(samples, radius, seed)
    beside = _Beside(Evidence.output, "none" if relative == "elements" else relative, "outputs")
    return _steepest(evidence, maps, remake, ball, relative, beside)


@metric(
    "representation_stability", better="lower", paper="Agarwal et al. 2022", range=(0.0, float("inf")), remakes=True,
    cost=lambda samples=10, **_: 2 * samples, shared=1,
)  # fmt: skip
def representation_stability(
    evidence: Evidence, maps: Maps, remake: Remake, *, samples: int = 10, radius: float = 0.02,
    relative: str = "norms", representation: str | None = None, seed: int = 0,
) -> Measured:  # fmt: skip
    """How much more the map changes than what a layer inside the model holds.

    samples, radius: as for `max_sensitivity`; only changes that keep the predicted class
    relative:       in what both changes are measured: `norms` of the whole, or `elements`, as published (relative
                    representation stability)
    representation: the layer; None is the model's default one
    returns:        the largest ratio of the map's change to that of the layer

    Pictures whose class no sample kept have no value. Raises MethodUnavailable for a black box.
    """
    layer = evidence.layers.chosen("representation_stability", representation)
    ball, beside = _Ball(samples, radius, seed), _Beside(lambda seen: seen.activation(layer), relative, layer.name)
    return _steepest(evidence, maps, remake, ball, relative, beside)


@dataclass(frozen=True)
class _Ball:
    """Changes that are drawn: how many, how far each colour may move in parts of its range, and from what."""

    samples: int
    radius: float
    seed: int

    def __post_init__(self) -> None:
        if self.samples < 1 or not self.radius > 0:
            raise RequestError(
                f"samples={self.samples}, radius={self.radius}; expected at least 1 sample and a radius above 0."
            )


@dataclass(frozen=True, eq=False)
class _Beside:
    """What may move as the map does: how it is read, in what its change is measured, and what it is called."""

    read: Callable[[Evidence], _Batch]
    relative: str
    name: str


def _steepest(
    evidence: Evidence, maps: Maps, remake: Remake, ball: _Ball, relative: str, beside: _Beside, *,
    same_class: bool = True,
) -> Measured:  # fmt: skip
    """The largest ratio of the change of each map to that of something beside it, and their spread."""
    for asked in (relative, beside.relative):
        if asked not in _RELATIVE:
            raise RequestError(f"relative={asked!r}; expected {', '.join(_RELATIVE)}.")
    before = beside.read(evidence)
    ratios: dict[str, list[Tensor]] = {name: [] for name in maps}
    kept: list[Tensor] = []
    for changed, after in _changes(evidence, remake, ball):
        then = evidence.at(changed)
        moved = _apart(before, beside.read(then), beside.relative).clamp(min=_LEAST)
        kept.append(_class_kept(evidence, then) if same_class else torch.ones(len(evidence), dtype=torch.bool))
        for name, values in maps.items():
            ratios[name].append(_apart(values, after[name], relative) / moved)
    valid = torch.stack(kept)
    nothing = ~valid.any(dim=0)
    values, spread = dict[str, Tensor](), dict[str, Tensor]()
    for name, found in ratios.items():
        rows = torch.stack(found)
        values[name] = rows.masked_fill(~valid, -torch.inf).amax(dim=0).masked_fill(nothing, torch.nan)
        among = rows.masked_fill(~valid, torch.nan)
        if len(among) > 1:
            spread[name] = (among - among.nanmean(dim=0)).square().nanmean(dim=0).sqrt()
    skipped = {at: "no change kept its class" for at, lost in enumerate(nothing.tolist()) if lost}
    unit = f"change of the map over that of the {beside.name}, by {relative}"
    return Measured(values, spread, unit=unit, notes=(STABLE,), skipped=skipped)


def _class_kept(evidence: Evidence, then: Evidence) -> Bool[Tensor, "batch"]:
    return (then.output().argmax(dim=-1) == evidence.output().argmax(dim=-1)).cpu()


def _changes(evidence: Evidence, remake: Remake, ball: _Ball) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Small changes of all pictures: (the changed pictures, the maps of those)."""
    span = (evidence.fill("white") - evidence.fill("black")).cpu().float()
    for index in range(ball.samples):
        generator = Seed(ball.seed).child("change", index).generator()
        moved = (2 * torch.rand(evidence.inputs.shape, generator=generator) - 1) * ball.radius * span
        changed = evidence.inputs + moved.to(evidence.inputs)
        yield changed, remake(inputs=changed)


def _apart(before: _Batch, after: _Batch, relative: str) -> Float[Tensor, "batch"]:
    """How far these lie apart, by one of `_RELATIVE`."""
    first = before.cpu().double().flatten(1)
    return _RELATIVE[relative](after.cpu().double().flatten(1) - first, first)


_RELATIVE: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "norms": lambda change, own: change.norm(dim=1) / own.norm(dim=1).clamp(min=1e-30),
    "elements": lambda change, own: (change / torch.where(own == 0, _LEAST, own)).norm(dim=1),
    "none": lambda change, _: change.norm(dim=1),
}
