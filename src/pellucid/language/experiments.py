"""Experiments on a model with pictures that are made for them, and the tests by which anyone can make them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from pellucid.compute.bootstrap import wilson
from pellucid.compute.ranking import auroc
from pellucid.engine import look
from pellucid.language import check
from pellucid.language.hypotheses import believed, permutation_p
from pellucid.language.recipes import Recipe, inputs_of
from pellucid.registry import claim_test
from pellucid.results import Claim
from pellucid.subject import VisionModel
from pellucid.values import Activation

MOST_P = 0.05
_BATCH = 64
_SIGNS = 4095  # draws of signs, where there are too many pictures for all of them
_NEAR = 0.02  # shares and AUROCs this close are the same on another machine


@dataclass(frozen=True)
class UnitAsked:
    """One unit, and how its answer to a picture is read.

    pool:  `max` or `mean` over the grid
    paint: how it sees scenes: `lit`, `flat` or `coded`
    files: what `file:` counts in recipes
    """

    layer: str
    unit: int
    pool: str = "max"
    paint: str = "lit"
    files: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"layer": self.layer, "unit": self.unit, "pool": self.pool, "paint": self.paint,
                "files": list(self.files)}  # fmt: skip

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> UnitAsked:
        files = tuple(str(one) for one in record.get("files", ()))
        return cls(str(record["layer"]), int(record["unit"]), str(record["pool"]), str(record["paint"]), files)


@dataclass(frozen=True, eq=False)
class Answers:
    """What a unit answers to pictures.

    values: its largest value in each picture, or its mean
    grids:  its values over the grid
    """

    values: Float[np.ndarray, "picture"]
    grids: Float[np.ndarray, "picture h w"]


def answers_of(model: VisionModel, asked: UnitAsked, recipes: Sequence[Recipe]) -> Answers:
    """One unit's answers to pictures; each is one forward pass. Raises RequestError for a unit that is not there."""
    grids: list[torch.Tensor] = []
    for first in range(0, len(recipes), _BATCH):
        inputs = inputs_of(model, recipes[first : first + _BATCH], paint=asked.paint, files=asked.files)
        found = look(model, inputs, 0, needs=[Activation], layers=[asked.layer]).activation(asked.layer)
        grids.append(found[:, asked.unit].detach().double().cpu())
    grid = torch.cat(grids).numpy()
    flat = grid.reshape(len(grid), -1)
    return Answers(flat.max(axis=1) if asked.pool == "max" else flat.mean(axis=1), grid)


def probabilities_of(
    model: VisionModel, recipes: Sequence[Recipe], *, files: Sequence[str] = ()
) -> Float[np.ndarray, "picture class"]:
    """What the model makes of the pictures; each is one forward pass."""
    found = [
        model.probabilities(model.predict(inputs_of(model, recipes[at : at + _BATCH], files=files)))
        for at in range(0, len(recipes), _BATCH)
    ]
    return torch.cat(found).double().cpu().numpy()


def sign_flip_p(differences: Float[np.ndarray, "picture"], *, seed: int = 0) -> float:
    """How often random signs give as large a mean difference, either way: all signs up to 12 pictures, else by lot."""
    own = abs(float(differences.sum()))
    count = len(differences)
    if not count:
        return 1.0
    if count <= 12:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        return float((np.abs(signs @ differences) >= own - 1e-9).mean())
    signs = np.random.default_rng(seed).choice((-1, 1), (_SIGNS, count))
    return float((1 + (np.abs(signs @ differences) >= own - 1e-9).sum()) / (1 + _SIGNS))


def recipes_in(texts: Sequence[str]) -> tuple[Recipe, ...]:
    """The recipes of many texts."""
    return tuple(Recipe.read(text) for text in texts)


# -- a unit before and after ------------------------------------------------------------------------------------------


def response_claim(model: VisionModel, asked: UnitAsked, before: Sequence[Recipe], after: Sequence[Recipe],
                   change: str) -> Claim:  # fmt: skip
    """What a change of pictures does to a unit, as a claim whose test has been run."""
    blank = Claim(
        "Not measured yet.", "unit_changes", "response",
        arguments={**asked.to_dict(), "before": [one.text for one in before], "after": [one.text for one in after],
                   "change": change},
    )  # fmt: skip
    return response(model, blank)


@claim_test("response")
def response(model: VisionModel, claim: Claim) -> Claim:
    """Does the unit answer otherwise to the same pictures with one thing changed?

    Both sets are made again from their recipes. A claim that it rises, or falls, is verified where it does so now with
    p of at most .05 (signs of the differences by lot); one that it stays is verified where it does not.
    """
    asked, words = UnitAsked.from_dict(claim.arguments), claim.arguments
    pairs = recipes_in([str(one) for one in (*words["before"], *words["after"])])
    values = answers_of(model, asked, pairs).values
    before, after = values[: len(pairs) // 2], values[len(pairs) // 2 :]
    gain, p = after - before, sign_flip_p(after - before)
    does = "stays much the same" if p > MOST_P else "rises" if gain.mean() > 0 else "falls"
    measured = {
        "unit": asked.unit, "layer": asked.layer, "change": words["change"], "before": float(before.mean()),
        "after": float(after.mean()), "pictures": len(gain), "risen": int((gain > 1e-9).sum()),
        "fallen": int((gain < -1e-9).sum()), "p": p, "does": does,
    }  # fmt: skip
    template = (
        "With {change}, unit {unit} of {layer} {does}: its answer goes from {before:.3g} to {after:.3g} in the mean of "
        "{pictures} pictures ({risen} rise, {fallen} fall; p = {p:.2g})."
    )
    same = does == claim.first.measured.get("does", does)
    return replace(claim, template=template, measured=measured, verdict=check.VERIFIED if same else check.REFUTED)


# -- a model's answer before and after --------------------------------------------------------------------------------


def turning_claim(model: VisionModel, before: Sequence[Recipe], after: Sequence[Recipe], change: str) -> Claim:
    """How often a change of pictures turns the model's answer, as a claim whose test has been run."""
    blank = Claim(
        "Not measured yet.", "answer_turns", "turning",
        arguments={"before": [one.text for one in before], "after": [one.text for one in after], "change": change},
    )  # fmt: skip
    return turning(model, blank)


@claim_test("turning")
def turning(model: VisionModel, claim: Claim) -> Claim:
    """How often does the model's answer become another when one thing in the picture does?

    Both sets are made again. Verified where the share is within 2 percentage points of what was claimed.
    """
    words = claim.arguments
    pairs = recipes_in([str(one) for one in (*words["before"], *words["after"])])
    shares = probabilities_of(model, pairs)
    first, second = (rows.argmax(axis=1) for rows in (shares[: len(pairs) // 2], shares[len(pairs) // 2 :]))
    turned, count = int((first != second).sum()), len(first)
    low, high = interval(turned, count)
    measured = {"change": words["change"], "turned": turned, "pictures": count, "share": turned / count, "low": low,
                "high": high}  # fmt: skip
    template = (
        "With {change}, the answer turns in {turned} of {pictures} pictures ({share:.0%}; between {low:.0%} and "
        "{high:.0%} with 95% confidence)."
    )
    same = abs(measured["share"] - float(claim.first.measured.get("share", measured["share"]))) <= _NEAR
    return replace(claim, template=template, measured=measured, verdict=check.VERIFIED if same else check.REFUTED)


def interval(hits: int, count: int) -> tuple[float, float]:
    """Of a share, with 95 % confidence (Wilson 1927)."""
    found = wilson(hits, count)
    return found.low, found.high


# -- a label on pictures that did not help to find it -----------------------------------------------------------------


def label_claim(
    model: VisionModel, asked: UnitAsked, label: str, having: Sequence[Recipe], lacking: Sequence[Recipe], **notes: Any
) -> Claim:
    """Whether a label foretells a unit's answers, as a claim whose test has been run."""
    blank = Claim(
        "Not measured yet.", "unit_fires", "foretelling",
        arguments={**asked.to_dict(), "having": [one.text for one in having],
                   "lacking": [one.text for one in lacking], "label": label, **notes},
    )  # fmt: skip
    return foretelling(model, blank)


@claim_test("foretelling")
def foretelling(model: VisionModel, claim: Claim) -> Claim:
    """Does the unit answer more strongly to pictures made to show what the label says than to pictures made not to?

    Verified where the AUROC is within .02 of what was claimed, or better, or as low for a label that does not stand.
    """
    asked, words = UnitAsked.from_dict(claim.arguments), claim.arguments
    having, lacking = (recipes_in([str(one) for one in words[name]]) for name in ("having", "lacking"))
    values = answers_of(model, asked, [*having, *lacking]).values
    there: Bool[np.ndarray, "picture"] = np.arange(len(values)) < len(having)
    value, p = auroc(there, values), permutation_p(there, values)
    stands = believed(value, p)
    measured = {
        "unit": asked.unit, "layer": asked.layer, "label": words["label"], "auroc": value, "p": p,
        "with": float(values[there].mean()), "without": float(values[~there].mean()), "pictures": len(values),
    }  # fmt: skip
    template = (
        "Unit {unit} of {layer} answers to “{label}”: of two fresh pictures, one made to have it and one made not to, "
        "it answers more strongly to the first in {auroc:.0%} of cases ({pictures} pictures; p = {p:.2g})."
        if stands
        else "Unit {unit} of {layer} has no label that stands. The best, “{label}”, foretells its stronger answer in "
        "{auroc:.0%} of cases, where 50% is chance ({pictures} pictures; p = {p:.2g})."
    )
    before = claim.first.measured
    claimed = float(before.get("auroc", value))
    stood = believed(claimed, float(before.get("p", p)))
    holds = value >= claimed - _NEAR if stood else not stands
    return replace(claim, template=template, measured=measured, predicate="unit_fires" if stands else "unit_unnamed",
                   verdict=check.VERIFIED if holds else check.REFUTED)  # fmt: skip
