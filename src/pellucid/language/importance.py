"""Which named units speak for an answer and which against it, each tried by taking it away.

Selvaraju et al., Grad-CAM, ICCV 2017 (importance of a channel: its mean gradient), with names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Ablate, Add, Evidence
from pellucid.errors import RequestError
from pellucid.language import check, wording
from pellucid.language.templates import Topic
from pellucid.registry import claim_test
from pellucid.results import Beside, Claim
from pellucid.subject import VisionModel
from pellucid.values import Layer

_SILENT = 1e-6  # of the layer's largest activation: a unit below it takes no part in this picture


@dataclass(frozen=True, eq=False)
class Importance:
    """What the units of a layer do for a target, in one picture.

    tendency:     mean gradient of each unit: what raising it everywhere would do
    contribution: the same times its mean activation: what it does here
    claims:       the units listed, supporting ones first, each tried by ablation
    unnamed:      how many were passed over because they have no name
    beside:       how far the target moves, as told, without the units listed, beside as many units drawn by lot
    """

    tendency: Float[np.ndarray, "unit"]
    contribution: Float[np.ndarray, "unit"]
    claims: tuple[Claim, ...]
    unnamed: int
    beside: Beside

    @property
    def beats_controls(self) -> bool:
        """Whether the units listed move the target more than units drawn by lot, under whatever names."""
        return self.beside.beats

    def __str__(self) -> str:
        return f"{self.text}\n{self.beside}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "claims": [claim.to_dict() for claim in self.claims], "unnamed": self.unnamed,
            "tendency": self.tendency.tolist(), "contribution": self.contribution.tolist(),
            "beside": self.beside.to_dict(), "beats_controls": self.beats_controls,
        }  # fmt: skip

    @property
    def text(self) -> str:
        """The sentences that stood the test, those that did not, and what was passed over."""
        said = [claim.text if claim.verdict != check.REFUTED else f"[{claim.text}]" for claim in self.claims]
        passed = f" {self.unnamed} units that count as much have no name." if self.unnamed else ""
        return " ".join(said) + passed


def important_units(
    topic: Topic,
    layer: str,
    *,
    names: Mapping[int, str] | None = None,
    count: int = 5,
    usual: Float[np.ndarray, "unit"] | None = None,
) -> Importance:
    """The units whose mean gradient is largest and smallest, with names, each ablated.

    names: unit -> name; units without one are passed over and counted. None lists all by number
    usual: mean activation of each unit over many pictures; None tries no more than zero
    """
    if count < 1:
        raise RequestError(f"count={count}; expected 1 or more.")
    blank = topic.blank("unit_supports", "unit_supports", {}, {"layer": layer})
    evidence = check.evidence_of(topic.model, blank)
    gradient, activation = evidence.gradient(layer)[0], evidence.activation(layer)[0]
    tendency = _mean(gradient)
    contribution = tendency * _mean(activation)
    order = np.argsort(-tendency, kind="stable")
    support, passed = _listed([int(at) for at in order if tendency[at] > 0], names, count)
    oppose, more = _listed([int(at) for at in order[::-1] if tendency[at] < 0], names, count)
    claims = [
        _tried(evidence, replace(blank, arguments={**blank.arguments, **_about(unit, sign, names, usual)}))
        for sign, units in ((1, support), (-1, oppose))
        for unit in units
    ]
    beside = _beside(evidence, evidence.layers[layer], tendency, contribution, [*support, *oppose])
    return Importance(tendency, contribution, tuple(claims), passed + more, beside)


def _beside(
    evidence: Evidence, layer: Layer, tendency: Float[np.ndarray, "unit"], contribution: Float[np.ndarray, "unit"],
    listed: Sequence[int],
) -> Beside:  # fmt: skip
    """What ablating the units listed does, in the sense their gradients foretell, beside units drawn by lot.

    Of the same ablations of units by lot, those whose sense is drawn too are what shuffled gradients would have listed.
    A unit that is silent moves nothing, and counts as that.
    """
    rng, before = np.random.default_rng(evidence.seed.child("units by lot").value), float(evidence.score()[0])
    active = np.flatnonzero(contribution != 0)
    drawn = rng.permutation(active)[: len(listed)]

    def moved(unit: int) -> float:
        return before - _set_to(evidence, layer, unit, 0.0) if contribution[unit] != 0 else 0.0

    own = [float(np.sign(contribution[unit])) * moved(unit) for unit in listed]
    falls = [moved(int(unit)) for unit in drawn]
    signed = [float(np.sign(contribution[unit])) * fall for unit, fall in zip(drawn, falls, strict=True)]
    blind = [float(sign) * fall for sign, fall in zip(rng.choice([-1.0, 1.0], len(falls)), falls, strict=True)]
    mean = lambda values: float(np.mean(values)) if values else 0.0
    controls = {"as many units by lot": mean(signed), "chosen by shuffled gradients": mean(blind)}
    return Beside("Without one of the units named the target moves as told by", mean(own), controls,
                  unit="on average")  # fmt: skip


@claim_test("unit_supports")
def unit_supports(model: VisionModel, claim: Claim) -> Claim:
    """Does the target fall (or rise, for a unit that opposes it) when the unit is set to 0, and to what it usually is?

    A unit that is silent in the picture is made as active as it usually is instead: it would support or oppose.
    """
    return _tried(check.evidence_of(model, claim), claim)


def _tried(evidence: Evidence, claim: Claim) -> Claim:
    asked = claim.arguments
    layer, unit, sign = evidence.layers[str(asked["layer"])], int(asked["unit"]), int(asked["sign"])
    activation = evidence.activation(layer)[0]
    if unit >= len(activation):
        raise RequestError(f"{layer.name} has {len(activation)} units, and the claim is about {unit}.")
    usual = asked.get("usual")
    own, before = activation[unit], float(evidence.score()[0])
    silent = float(own.abs().max()) <= _SILENT * max(float(activation.abs().max()), 1e-30)
    measured: dict[str, Any] = {
        "unit": unit, "layer": layer.name, "called": asked["called"], "before": before, "active": float(own.mean()),
        "target": f"“{evidence.model.target_name(evidence.targets[0])}”",
    }  # fmt: skip
    if silent:
        amount = float(usual) if usual else float(activation.abs().max()) or 1.0
        measured |= {"amount": amount, "raised": _raised(evidence, layer, unit, amount, len(activation))}
        holds = sign * (measured["raised"] - before) > 0
    else:
        measured["without"] = _set_to(evidence, layer, unit, 0.0)
        holds = sign * (before - measured["without"]) * np.sign(measured["active"]) > 0
        if usual is not None:
            more = measured["active"] - float(usual)
            measured |= {"usual": float(usual), "as_usual": _set_to(evidence, layer, unit, float(usual))}
            holds = holds and sign * (before - measured["as_usual"]) * np.sign(more) >= 0
    told = {**claim.measured, **measured}
    if not np.isfinite([value for value in measured.values() if isinstance(value, float)]).all():
        return replace(claim, template=wording.NO_NUMBER, measured=told, verdict=check.UNVERIFIABLE)
    return replace(
        claim,
        template=wording.unit_supports(measured, supports=sign > 0, silent=silent, holds=bool(holds)),
        predicate="unit_supports" if sign > 0 else "unit_opposes",
        measured=told,
        verdict=check.VERIFIED if holds else check.REFUTED,
    )


def _about(
    unit: int, sign: int, names: Mapping[int, str] | None, usual: Float[np.ndarray, "unit"] | None
) -> dict[str, Any]:
    called = f"Unit {unit}" if names is None else f"Unit {unit} (“{names[unit]}”)"
    level = {} if usual is None else {"usual": float(usual[unit])}
    return {"unit": unit, "sign": sign, "called": called, **level}


def _listed(units: Sequence[int], names: Mapping[int, str] | None, count: int) -> tuple[list[int], int]:
    """The first so many units that have a name, and how many without one came before the last of them."""
    if names is None:
        return list(units[:count]), 0
    chosen = [unit for unit in units if unit in names][:count]
    upto = units.index(chosen[-1]) if chosen else len(units)
    return chosen, sum(unit not in names for unit in units[:upto])


def _set_to(evidence: Evidence, layer: Layer, unit: int, value: float) -> float:
    with evidence.edited(Ablate(layer, (unit,), value)) as changed:
        return float(changed.score()[0])


def _raised(evidence: Evidence, layer: Layer, unit: int, amount: float, units: int) -> float:
    direction = torch.zeros(units)
    direction[unit] = 1.0
    with evidence.edited(Add(layer, direction, amount)) as changed:
        return float(changed.score()[0])


def _mean(grid: Float[Tensor, "unit h w"]) -> Float[np.ndarray, "unit"]:
    return grid.double().mean(dim=(-2, -1)).cpu().numpy()
