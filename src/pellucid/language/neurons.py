"""Names for units, heads, or any responses to pictures, each with what it is worth on pictures that did not help.

Candidates come from CLIP-Dissect's scores; the one that best foretells the response on the same pictures is the name
(BrainExplore's choice of a hypothesis); and held-out pictures say whether it stands. What does not is called unnamed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float

from pellucid.compute.ranking import auroc
from pellucid.errors import RequestError
from pellucid.language import check, wording
from pellucid.language.dissect import SCORES
from pellucid.language.hypotheses import (
    Reliability,
    aurocs,
    believed,
    benjamini_hochberg,
    permutation_p,
    present,
    reliability,
)
from pellucid.language.pools import Pool
from pellucid.language.probes import Probe, held_out, responses
from pellucid.registry import claim_test
from pellucid.results import Claim
from pellucid.subject import VisionModel

METHOD, CANDIDATES = "cos_cubed", 20
OWN_LABELS = "the model's own labels"  # a pool of names that says nothing of what is in the pictures
_GAIN = 0.05  # AUROC by which two names together must beat the better one
_SAME = 0.02  # AUROCs this close are the same on another machine
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class UnitName:
    """What one unit is called, if anything.

    names: the best names first; `also` joins the first where the unit answers to either
    q:     the rate of false discoveries among all units named at once (Benjamini-Hochberg)
    there: on which held-out pictures the name is, by the encoder
    """

    unit: int
    names: tuple[str, ...]
    also: str
    reliability: Reliability
    q: float
    dead: bool
    there: Bool[np.ndarray, "held_out"]
    exemplars: tuple[int, ...]

    @property
    def name(self) -> str | None:
        """The name, None where none stands."""
        return self.said if believed(self.reliability.auroc, self.q) else None

    @property
    def said(self) -> str:
        """The best name there is, whether it stands or not."""
        return f"{self.names[0]} or {self.also}" if self.also else self.names[0]


@dataclass(frozen=True, eq=False)
class Naming:
    """Names for many units, and what the same procedure names where there is nothing to name.

    controls: share of units named: `units` as they are, `shuffled responses` (each unit's over the pictures, by lot),
              `random words` (as many, each on as many pictures, by lot)
    """

    units: tuple[UnitName, ...]
    method: str
    pool: str
    pictures: int
    controls: dict[str, float]

    @property
    def text(self) -> str:
        """How many have a name, and the controls, in a sentence."""
        shares = ", ".join(f"{share:.0%} with {name}" for name, share in self.controls.items() if name != "units")
        named = sum(unit.name is not None for unit in self.units)
        said = f"{named} of {len(self.units)} units have a name that stands"
        if not shares:
            return f"{said}. Controls were not measured: nothing shows that the names count."
        verdict = "" if self.beats_controls else " That is no better than the controls: do not believe these names."
        return f"{said}; {shares}.{verdict}"

    @property
    def beats_controls(self) -> bool:
        """Whether a larger share is named than of shuffled responses, and with words dealt by lot."""
        others = [share for name, share in self.controls.items() if name != "units"]
        return bool(others) and self.controls["units"] > max(others)


def name_units(
    given: Float[np.ndarray, "picture unit"],
    likeness: Float[np.ndarray, "picture word"],
    pool: Pool,
    *,
    units: Sequence[int] | None = None,
    method: str = METHOD,
    candidates: int = CANDIDATES,
    controls: bool = True,
    seed: int = 0,
) -> Naming:
    """Names units by what is like the pictures that they answer to.

    given:      responses to the pictures; every second picture is held out
    units:      which; None is all. All of them say how common a text is
    method:     soft_wpmi, hard_wpmi, cos_cubed, rank_reorder
    candidates: how many of its best are tried as hypotheses; 1 takes its first as it is

    Oikarinen & Weng, CLIP-Dissect, 2023; Benjamini & Hochberg, 1995.
    """
    if method not in SCORES:
        raise RequestError(f"method={method!r}; expected {', '.join(SCORES)}.")
    asked = list(range(given.shape[1])) if units is None else [int(unit) for unit in units]
    found = _named(given, likeness, pool, asked, method, candidates, seed)
    shares = {"units": _share(found)}
    if controls:
        rng = np.random.default_rng(seed)
        shuffled, by_lot = dealt_out(given, rng), dealt_out(likeness, rng)
        shares["shuffled responses"] = _share(_named(shuffled, likeness, pool, asked, method, candidates, seed))
        shares["random words"] = _share(_named(given, by_lot, pool, asked, method, candidates, seed))
    return Naming(tuple(found), method, pool.source, len(given), shares)


def dealt_out(
    columns: Float[np.ndarray, "picture column"], rng: np.random.Generator
) -> Float[np.ndarray, "picture column"]:
    """Each column's values dealt to the pictures by lot, on its own."""
    return np.stack([rng.permutation(one) for one in columns.T], axis=1)


def _share(found: Sequence[UnitName]) -> float:
    return sum(unit.name is not None for unit in found) / max(1, len(found))


def _named(
    given: Float[np.ndarray, "picture unit"], likeness: Float[np.ndarray, "picture word"], pool: Pool,
    units: Sequence[int], method: str, candidates: int, seed: int,
) -> list[UnitName]:  # fmt: skip
    out = np.array(held_out(len(given)))
    finding = SCORES[method](given[~out], likeness[~out])
    # Names are found by levels, which let names overlap; they are judged by what an encoder would answer if asked.
    there = np.stack([present(column) for column in likeness[~out].T], axis=1)
    judged = _there(likeness[out], likeness[~out], pool)
    found = [
        _one(unit, given, likeness, pool, np.argsort(-finding[unit], kind="stable")[:candidates], there, judged, seed)
        for unit in units
    ]
    q = benjamini_hochberg([one.reliability.p for one in found])
    return [replace(one, q=value) for one, value in zip(found, q, strict=True)]


def _there(
    likeness: Float[np.ndarray, "picture word"], known: Float[np.ndarray, "other word"], pool: Pool
) -> Bool[np.ndarray, "picture word"]:
    """In which pictures each name is: the likest of its kind where names exclude each other, else where it is likest.

    known: the pictures by which a level is set, and what is usual for each name
    """
    usual, spread = known.mean(axis=0), known.std(axis=0).clip(1e-12)
    scaled = (likeness - usual) / spread
    found = np.zeros(likeness.shape, dtype=bool)
    for at, word in enumerate(pool.words):
        rivals = pool.siblings(at) if word.kind and not word.any else ()
        if rivals:
            found[:, at] = scaled[:, at] > scaled[:, list(rivals)].max(axis=1)
        elif (level := present(known[:, at])).any():
            found[:, at] = likeness[:, at] > known[~level, at].max()
    return found


def _one(
    unit: int, given: np.ndarray, likeness: np.ndarray, pool: Pool, tried: np.ndarray,
    there: Bool[np.ndarray, "picture word"], judged: Bool[np.ndarray, "held_out word"], seed: int,
) -> UnitName:  # fmt: skip
    out = np.array(held_out(len(given)))
    own, later = given[~out, unit], given[out, unit]
    ranked = _by_foretelling(own, likeness[~out], there, tried)
    best = int(ranked[0])
    other = _partner(best, ranked, own, later, there, judged)
    names = tuple(pool.names[at] for at in ranked[:_SHOWN])
    shown = judged[:, best] if other is None else judged[:, best] | judged[:, other]
    like = likeness[out, best] if other is None else np.maximum(likeness[out, best], likeness[out, other])
    siblings = [at for at in pool.siblings(best) if at != other]
    worth = reliability(later, shown, like, judged[:, siblings], seed=seed)
    strongest = tuple(int(at) for at in np.argsort(-given[:, unit], kind="stable")[:9])
    return UnitName(unit, names, "" if other is None else pool.names[other], worth, 1.0, bool(np.ptp(own) == 0),
                    shown, strongest)  # fmt: skip


def _by_foretelling(
    own: np.ndarray, likeness: np.ndarray, there: Bool[np.ndarray, "picture word"], tried: np.ndarray
) -> np.ndarray:
    """Candidates by how well they foretell the response: its order (AUROC) and its size (correlation) count alike."""
    if np.ptp(own) == 0 or len(tried) == 1:
        return tried
    like = likeness[:, tried]
    centred = (like - like.mean(axis=0)) / like.std(axis=0).clip(1e-12)
    size = centred.T @ (own - own.mean()) / (len(own) * own.std())
    order = np.nan_to_num(aurocs(there[:, tried], own))
    return tried[np.argsort(-(size + order), kind="stable")]


def _partner(
    best: int, ranked: np.ndarray, own: np.ndarray, later: np.ndarray, there: np.ndarray, judged: np.ndarray
) -> int | None:
    """A second name, where the unit answers to either: found on one half of the pictures, and so on the other too."""
    others = [int(at) for at in ranked[1:] if not (there[:, at] & there[:, best]).sum() > 0.5 * there[:, at].sum()]
    if not others or np.ptp(own) == 0:
        return None
    joined = np.nan_to_num(aurocs(there[:, others] | there[:, [best]], own))
    other = others[int(joined.argmax())]
    gains = (joined.max() - auroc(there[:, best], own), auroc(judged[:, best] | judged[:, other], later)
             - auroc(judged[:, best], later))  # fmt: skip
    return other if min(gains) >= _GAIN else None


# -- a name as a claim ------------------------------------------------------------------------------------------------


def claims(model: VisionModel, layer: str, naming: Naming, probe: Probe, *, pool: str = "mean") -> tuple[Claim, ...]:
    """One sentence for each unit, with the pictures and the labels it was judged by."""
    return tuple(_claim(model, layer, unit, naming, probe, pool) for unit in naming.units)


def _claim(model: VisionModel, layer: str, unit: UnitName, naming: Naming, probe: Probe, pool: str) -> Claim:
    worth, stands = unit.reliability, unit.name is not None
    measured = {
        "unit": unit.unit, "layer": layer, "name": unit.said, "auroc": worth.auroc, "pictures": worth.pictures[0],
        "having": worth.pictures[1], "p": worth.p, "q": unit.q, "specificity": worth.specificity,
        "correlation": worth.correlation,
    }  # fmt: skip
    told = np.isfinite(worth.auroc)
    arguments = {
        "layer": layer, "unit": unit.unit, "name": unit.said, "there": unit.there, "probe": probe.to_dict(),
        "pool": pool, "stands": stands, "by_labels": naming.pool == OWN_LABELS,
    }  # fmt: skip
    if not told:
        words = wording.silent_unit(unit.dead)
        return Claim(words, "unit_unnamed", "unit_name", measured, arguments, check.UNVERIFIABLE)
    kind = "unit_fires" if stands else "unit_unnamed"
    words = wording.unit_name(stands, by_labels=naming.pool == OWN_LABELS)
    return Claim(words, kind, "unit_name", measured, arguments, check.VERIFIED)


@claim_test("unit_name")
def unit_name(model: VisionModel, claim: Claim) -> Claim:
    """Does the unit answer more strongly to pictures that show what it is called than to others?

    The pictures are made again and the unit is run on them; which of them show it was read by an encoder when the name
    was given, and is kept. Verified where the AUROC is within .02 of what was claimed, or better.
    """
    asked, probe = claim.arguments, Probe.from_dict(claim.arguments["probe"])
    there = np.asarray(asked["there"], dtype=bool)
    inputs = probe.inputs(model)
    kept = torch.from_numpy(np.flatnonzero(held_out(len(inputs))))
    answers = responses(model, inputs[kept], str(asked["layer"]), pool=str(asked["pool"]))
    if int(asked["unit"]) >= answers.shape[1]:
        raise RequestError(f"{asked['layer']} has {answers.shape[1]} units, and the claim is about {asked['unit']}.")
    own = answers[:, int(asked["unit"])]
    value = auroc(there, own)
    measured = {**claim.measured, "auroc": value, "pictures": len(there), "having": int(there.sum()),
                "p": permutation_p(there, own)}  # fmt: skip
    if not np.isfinite(value):
        return replace(claim, template=wording.silent_unit(bool(np.ptp(own) == 0)), measured=measured,
                       verdict=check.UNVERIFIABLE)  # fmt: skip
    before, stands = float(claim.first.measured["auroc"]), bool(asked["stands"])
    holds = value >= before - _SAME if stands else value <= before + _SAME
    words = wording.unit_name(believed(value, measured["p"]), by_labels=bool(asked["by_labels"]))
    return replace(claim, template=words, measured=measured, verdict=check.VERIFIED if holds else check.REFUTED)
