"""Does a map stay the same where the picture hardly changes?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.trust.measured import Maps, Measured, Remake
from pellucid.values.seed import Seed

_STABLE = "a map that ignores the picture is perfectly stable: read this beside a measure of faithfulness"


@metric(
    "max_sensitivity", better="lower", paper="Yeh et al. 2019", range=(0.0, float("inf")), remakes=True,
    cost=lambda samples=10, radius=0.02: samples,
)  # fmt: skip
def max_sensitivity(
    evidence: Evidence, maps: Maps, remake: Remake, *, samples: int = 10, radius: float = 0.02, seed: int = 0
) -> Measured:
    """How far the map can be moved by changing every pixel a little.

    samples: changed pictures; the largest change among them counts, so more samples can only raise it
    radius:  every colour moves by a uniform amount of at most this, in parts of the range from black to white
    returns: the largest norm of the map's change, in parts of the map's own norm; 0 is steady. The spread is that over
             the samples

    The target stays what it was. Yeh et al., On the (In)fidelity and Sensitivity of Explanations, NeurIPS 2019.
    """
    changes = list(_changes(evidence, maps, remake, samples, radius, seed))
    relative = {
        name: torch.stack([_norm(after[name] - before) for _, _, after in changes]) / _norm(before).clamp(min=1e-30)
        for name, before in maps.items()
    }
    return _largest(relative, "parts of the map's norm")


@metric(
    "local_lipschitz", better="lower", paper="Alvarez-Melis & Jaakkola 2018", range=(0.0, float("inf")), remakes=True,
    cost=lambda samples=10, radius=0.02: samples,
)  # fmt: skip
def local_lipschitz(
    evidence: Evidence, maps: Maps, remake: Remake, *, samples: int = 10, radius: float = 0.02, seed: int = 0
) -> Measured:
    """How much faster the map changes than the picture, where it changes most.

    samples, radius: as for `max_sensitivity`
    returns: the largest ratio of the norm of the map's change, in parts of the map's own norm, to that of the
             picture's change in parts of the picture's. Dividing by the norms makes maps of different unit comparable,
             which the published ratio is not
    """
    changes = list(_changes(evidence, maps, remake, samples, radius, seed))
    whole = _norm(evidence.inputs.cpu()).clamp(min=1e-30)
    ratios = {
        name: torch.stack([
            _norm(after[name] - before) / _norm(before).clamp(min=1e-30) * whole / _norm(moved).clamp(min=1e-30)
            for moved, _, after in changes
        ])
        for name, before in maps.items()
    }  # fmt: skip
    return _largest(ratios, "relative change of the map over that of the picture")


@metric(
    "output_stability", better="lower", paper="Agarwal et al. 2022", range=(0.0, float("inf")), remakes=True,
    cost=lambda samples=10, radius=0.02: 2 * samples,
)  # fmt: skip
def output_stability(
    evidence: Evidence, maps: Maps, remake: Remake, *, samples: int = 10, radius: float = 0.02, seed: int = 0
) -> Measured:
    """How much more the map changes than the model's outputs do.

    samples, radius: as for `max_sensitivity`; only changes that keep the predicted class count
    returns: the largest ratio of the relative change of the map to that of the outputs (relative output stability). A
             map should move when the model does, so this forgives what `max_sensitivity` does not

    Pictures whose class no sample kept have no value.
    """
    outputs = evidence.output().cpu().float()
    ratios: dict[str, list[Tensor]] = {name: [] for name in maps}
    kept: list[Tensor] = []
    for _, changed, after in _changes(evidence, maps, remake, samples, radius, seed):
        then = evidence.at(changed).output().cpu().float()
        kept.append(then.argmax(dim=-1) == outputs.argmax(dim=-1))
        moved = (_norm(then - outputs) / _norm(outputs).clamp(min=1e-30)).clamp(min=1e-6)
        for name, before in maps.items():
            ratios[name].append(_norm(after[name] - before) / _norm(before).clamp(min=1e-30) / moved)
    valid = torch.stack(kept)
    nothing = ~valid.any(dim=0)
    values: dict[str, Tensor] = {}
    for name, rows in ratios.items():
        largest = torch.stack(rows).masked_fill(~valid, -torch.inf).amax(dim=0)
        values[name] = largest.masked_fill(nothing, torch.nan)
    skipped = {at: "no change kept its class" for at, lost in enumerate(nothing.tolist()) if lost}
    return Measured(
        values, unit="relative change of the map over that of the outputs", notes=(_STABLE,), skipped=skipped
    )


def _largest(rows: Mapping[str, Tensor], unit: str) -> Measured:
    """The largest of the samples, the first axis, with their spread."""
    return Measured(
        {name: values.amax(dim=0) for name, values in rows.items()},
        {name: values.std(dim=0, correction=0) for name, values in rows.items()},
        unit=unit, notes=(_STABLE,),
    )  # fmt: skip


def _changes(
    evidence: Evidence, maps: Maps, remake: Remake, samples: int, radius: float, seed: int
) -> Iterator[tuple[Tensor, Tensor, dict[str, Tensor]]]:
    """Small changes of all pictures: (what was added, the changed pictures, the maps of those)."""
    if samples < 1 or not radius > 0:
        raise RequestError(f"samples={samples}, radius={radius}; expected at least 1 sample and a radius above 0.")
    std = evidence.preprocess.std if evidence.preprocess is not None else (1.0, 1.0, 1.0)
    scale = torch.tensor(std)[:, None, None]
    for index in range(samples):
        generator = Seed(seed).child("change", index).generator()
        moved = (2 * torch.rand(evidence.inputs.shape, generator=generator) - 1) * radius / scale
        changed = evidence.inputs + moved.to(evidence.inputs)
        yield moved, changed, remake(inputs=changed)


def _norm(values: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch"]:
    return values.double().flatten(1).norm(dim=1)
