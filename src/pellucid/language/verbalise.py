"""What a map says, in sentences: the segments that carry most of its evidence, with their share.

No sentence says more than the map: each is a Claim whose test makes the map again and adds up its evidence anew. What
the model does without the region is another claim, `templates.removed`. Feldhus et al., 2023, search-based mode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from pellucid.canvas.words import listed
from pellucid.engine.maps import compute, layer_for, refuse_if_unavailable
from pellucid.errors import MapError
from pellucid.images import Frame
from pellucid.language import check, templates, wording
from pellucid.language.grade import Grade, grade
from pellucid.language.map_controls import beside_map, beside_removal
from pellucid.language.narrators import audit
from pellucid.language.places import in_reading_order, region_name, sums, touching
from pellucid.language.salience import DIFFUSE, Neighbours, Settings, checked, coverage, runs, told
from pellucid.language.templates import Topic
from pellucid.registry import claim_test, find_method
from pellucid.results import Audit, Beside, Claim
from pellucid.results.beside import all_beaten
from pellucid.subject import VisionModel

IN_PICTURES = Settings(length=5, floor=1.0)
_ALIKE = 0.02  # shares this close are the same when a map is made again on another machine


@dataclass(frozen=True, eq=False)
class Verbalised:
    """A map in words.

    claims:    the sentences about the map, the most important first; then what the model does without the first region
    things:    what the sentences call by name, and the segments meant
    values:    the attribution of every segment
    grade:     how far the words, read back, agree with the map
    beside:    how much of the map the words name, and what the model does without what is named first, beside the same
               of a shuffled map and of random regions
    audit:     what became of a narrator that lied about these sentences
    """

    claims: tuple[Claim, ...]
    things: Mapping[str, tuple[int, ...]]
    values: Float[np.ndarray, "segment"]
    grade: Grade
    beside: tuple[Beside, ...]
    audit: Audit

    @property
    def text(self) -> str:
        """The sentences in order, and how far they agree with the map."""
        return " ".join([*(claim.text for claim in self.claims), self.grade.text])

    @property
    def beats_controls(self) -> bool:
        """Whether the words name more than words that know no map, and the model needs what they name."""
        return all_beaten(self.beside) and self.audit.tells

    def __str__(self) -> str:
        return "\n".join([*(claim.text for claim in self.claims), *self.controls])

    @property
    def controls(self) -> tuple[str, ...]:
        """How far the words agree with the map, and what stands beside them, line by line."""
        return (self.grade.text, *map(str, self.beside), str(self.audit))

    def to_dict(self) -> dict[str, Any]:
        return {
            "claims": [claim.to_dict() for claim in self.claims], "agreement": self.grade.to_dict(),
            "beside": [one.to_dict() for one in self.beside], "audit": self.audit.to_dict(),
            "beats_controls": self.beats_controls,
        }  # fmt: skip


def features(
    values: ArrayLike,
    names: Sequence[str],
    *,
    label: str,
    neighbours: Neighbours | None = None,
    settings: Settings | None = None,
) -> Verbalised:
    """Sentences about named features: words in order, parts, cells, concepts. No model is asked.

    values:     one attribution per feature; positive speaks for `label`
    neighbours: which features touch; None is their order
    Raises MapError where a value is not finite, or names are missing or stand twice.
    """
    array = checked(values)
    if len(names) != len(array) or len(set(names)) != len(names):
        raise MapError(f"{len(array)} features have {len(set(names))} different names; expected one name for each.")

    def name(members: Sequence[int]) -> str:
        ranked = sorted(members, key=lambda at: (-abs(array[at]), at))
        return listed([f"“{names[at]}”" for at in ranked])

    return _said(array, neighbours, settings or Settings(), label, name, _plain)


def picture(
    topic: Topic,
    method: str,
    labels: Int[np.ndarray, "height width"],
    *,
    layer: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
    encoder: VisionModel | None = None,
) -> Verbalised:
    """Sentences about the map of one method over segments of a picture, and the model's answer without the first.

    labels:  segments of the model input, such as `images.superpixels.slic` gives
    encoder: a dual encoder loaded with the texts to choose names from; None names by place and colour
    """
    numbered = in_reading_order(labels)
    about = {"method": method, "parameters": dict(parameters or {}), "layer": layer, "segments": numbered}
    blank = topic.blank("evidence_for", "coverage", {}, about)
    values = _made_again(topic.model, blank)
    label = f"“{topic.model.target_name(topic.target)}”"

    def name(members: Sequence[int]) -> str:
        return _place(topic.frame, np.isin(numbered, members), encoder)

    def claim(kind: str, words: Mapping[str, Any], arguments: Mapping[str, Any]) -> Claim:
        found = coverage_of(values, {**blank.arguments, **arguments, "kind": kind}, words)
        return replace(blank, predicate=found.predicate, template=found.template, measured=found.measured,
                       arguments={**blank.arguments, **arguments, "kind": kind}, verdict=check.VERIFIED)  # fmt: skip

    said = _said(values, touching(numbered), settings or IN_PICTURES, label, name, claim, seed=topic.seed)
    first = next((one for one in said.claims if one.arguments["kind"] == "first"), None)
    if first is None:
        return replace(said, audit=audit(said.claims, topic.model.labels.names, seed=topic.seed))
    gone = templates.removed(topic, np.isin(numbered, first.arguments["members"]))
    needed = beside_removal(gone, unit="share" if topic.model.activation != "none" else "in its own unit")
    claims = (*said.claims, gone)
    return replace(
        said, claims=claims, beside=(*said.beside, *((needed,) if needed else ())),
        audit=audit(claims, topic.model.labels.names, seed=topic.seed),
    )  # fmt: skip


# -- one claim --------------------------------------------------------------------------------------------------------


@claim_test("coverage")
def coverage_again(model: VisionModel, claim: Claim) -> Claim:
    """Does the region carry the share of the map's evidence that was claimed?

    The map is made again by its method; a map that was given by hand is added up again. Verified where the share moved
    by at most 2 percentage points.
    """
    values = _made_again(model, claim)
    now = coverage_of(values, claim.arguments, claim.first.measured)
    claimed = claim.first.measured.get("share")
    share = float(now.measured["share"])
    holds = claimed is None or abs(share - float(claimed)) <= _ALIKE
    return replace(claim, template=now.template, measured={**claim.measured, **now.measured},
                   verdict=check.VERIFIED if holds else check.REFUTED)  # fmt: skip


def coverage_of(values: ArrayLike, arguments: Mapping[str, Any], words: Mapping[str, Any]) -> Claim:
    """The sentence of one kind about the segments `members` of a map, with its figures."""
    array, kind = checked(values), str(arguments["kind"])
    members = [int(at) for at in arguments["members"]]
    sign = -1 if kind == "against" else 1
    magnitude = float(np.abs(array).sum())
    signed = np.maximum(sign * array, 0)
    measured = {
        **words,
        "share": coverage(array, members, sign=sign),
        "largest": coverage(array, [int(signed.argmax())], sign=sign),
        "part": float(signed.sum()) / magnitude if magnitude > 0 else 0.0,
        "named": len(members),
        "count": len(array),
        "positive": int((array > 0).sum()),
    }
    predicate = {"against": "evidence_against", "diffuse": "evidence_diffuse", "none": "no_evidence"}
    return Claim(
        wording.evidence(kind, measured), predicate.get(kind, "evidence_for"), "coverage", measured,
        dict(arguments), check.VERIFIED,
    )  # fmt: skip


def _plain(kind: str, words: Mapping[str, Any], arguments: Mapping[str, Any]) -> Claim:
    return coverage_of(arguments["values"], {**arguments, "kind": kind}, words)


def _made_again(model: VisionModel, claim: Claim) -> Float[np.ndarray, "segment"]:
    """The attribution of every segment: of the map as the method makes it now, or as it was given."""
    asked = claim.arguments
    if "method" not in asked:
        return checked(asked["values"])
    evidence, method = check.evidence_of(model, claim), find_method(str(asked["method"]))
    refuse_if_unavailable(model, method)
    heat = compute(evidence, method, layer_for(model, method, asked["layer"], evidence.size), **asked["parameters"])
    flat = heat[0].sum(dim=0) if heat.ndim == 4 else heat[0]
    return checked(sums(flat, np.asarray(asked["segments"])))


# -- all sentences of a map -------------------------------------------------------------------------------------------


def _said(
    values: Float[np.ndarray, "segment"],
    neighbours: Neighbours | None,
    settings: Settings,
    label: str,
    name: Callable[[Sequence[int]], str],
    claim: Callable[[str, Mapping[str, Any], Mapping[str, Any]], Claim],
    *,
    seed: int = 0,
) -> Verbalised:
    kept = {"values": values, "settings": asdict(settings)}
    things: dict[str, tuple[int, ...]] = {}

    def say(kind: str, members: tuple[int, ...]) -> Claim:
        region = name(members) if members else "nothing"
        if members and kind != "diffuse":
            things.setdefault(region, members)
        return claim(kind, {"label": label, "region": region}, {**kept, "members": list(members)})

    best = told(runs(values, neighbours, settings))
    claims = [say("first" if at == 0 else "next", run.members) for at, run in enumerate(best)]
    if not best:
        claims.append(say("none", ()))
    everything = tuple(sorted({at for run in best for at in run.members}))
    if best and coverage(values, everything) < DIFFUSE:
        claims.append(say("diffuse", everything))
    opposed = told(runs(-values, neighbours, settings))[:1]
    claims += [say("against", run.members) for run in opposed]
    text = " ".join(one.text for one in claims)
    beside = beside_map(values, things, neighbours, settings, seed=seed)
    return Verbalised(
        tuple(claims), things, values, grade(text, values, things), (beside,), audit(claims, (), rounds=6, seed=seed)
    )


def _place(frame: Frame, mask: Any, encoder: VisionModel | None) -> str:
    geometry = frame.geometry
    if geometry is None or geometry.size != mask.shape:
        return region_name(frame, mask, encoder=encoder)
    return region_name(frame, geometry.mask_to_frame(mask), seen=geometry.seen, encoder=encoder)
