"""Tests behind sentences about things in a picture: what a part is like, that it is there, that it has changed.

The witness judges what a part is like; it shares no weight with the nets that speak, and does not judge what it said
itself. Where a part is, the segmenter says. Both read the testbed's single birds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import log
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool
from skimage.color import rgb2lab

from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.images.position import in_words
from pellucid.language.check import RANDOM_REGIONS, REFUTED, UNVERIFIABLE, VERIFIED, answered, removal, seed_of, shifted
from pellucid.language.places import dominant_colour
from pellucid.language.scenes import ELSE, SURE
from pellucid.registry import claim_test, claim_tests
from pellucid.results import Claim
from pellucid.results.claim import Verdict
from pellucid.subject import VisionModel
from pellucid.testbed.palette import PART_IDS
from pellucid.testbed.witness import NAME, segmenter, witness

LEAST_PIXELS = 6  # of a part, below which it is not found
# Mean probability that the segmenter gives these pixels. It has never seen a bird without wings or bib, and imagines
# them: on 200 scenes of seed 950 with parts removed, .88 left out most of what was imagined, and of what was there 2 %.
LEAST_SURE = 0.88
CALLED = {"crest": "plume", "wing": "wings", "land": "landscape", "flip": "direction", "feet": "stance"}
_LEAST = 1e-4  # probability of what the witness holds impossible, when two pictures are compared
_UNREAD = "Whether this is so could not be tested: {why}."


def tested(test: str, predicate: str, frame: Frame, arguments: Mapping[str, Any]) -> Claim:
    """A claim whose test has been run; its verdict is what was found."""
    blank = Claim("Not measured yet.", predicate, test, arguments=dict(arguments), frame=frame)
    return claim_tests()[test](None, blank)


def like(frame: Frame, field: str, word: str, *, writer: str) -> Claim:
    """What a part of the bird is like: `like(frame, "tail_hue", "amber", writer="captioner")`."""
    return tested("attribute", "has_attribute", frame, {"field": field, "word": word, "writer": writer})


def there(frame: Frame, part: str) -> Claim:
    """That a part of the bird can be seen."""
    return tested("part", "part_present", frame, {"part": part})


def changed(before: Frame, after: Frame, field: str, was: str, becomes: str, *, writer: str) -> Claim:
    """That a field was one word in the one picture and is another in the other."""
    arguments = {"before": before.pixels, "field": field, "was": was, "is": becomes, "writer": writer}
    return tested("change", "changed", after, arguments)


def name_of(field: str) -> str:
    """A field as a sentence calls it: `tail_hue` is the tail's colour."""
    part, _, what = field.partition("_")
    called = CALLED.get(part, part)
    return f"colour of the {called}" if what else called if called != part and part in ("land", "flip", "feet") else (
        "plume" if part == "crest" else f"shape of the {called}"
    )  # fmt: skip


@claim_test("attribute")
def attribute(_: VisionModel | None, claim: Claim) -> Claim:
    """Does the witness read the word that is stated of a part? Verified from 80 %, refuted up to 20 %."""
    field, word = str(claim.arguments["field"]), str(claim.arguments["word"])
    read, why = _read(claim)
    if why:
        return _open(claim, why)
    shares = read[field]
    own, instead = shares.get(word, 0.0), max(shares, key=lambda one: shares[one])
    measured = {
        "thing": name_of(field), "word": word, "probability": own, "instead": instead, "other": shares[instead],
    }  # fmt: skip
    verdict = VERIFIED if own >= SURE else REFUTED if own <= ELSE else UNVERIFIABLE
    words = (
        "The {thing} is “{word}”: the witness, another reader, gives that {probability:.0%}."
        if instead == word
        else "The {thing} is “{word}”: the witness, another reader, gives that {probability:.0%} and “{instead}” "
        "{other:.0%}."
    )
    return _as(claim, words, verdict, measured)


@claim_test("part")
def part(_: VisionModel | None, claim: Claim) -> Claim:
    """Does the segmenter find pixels of the part?"""
    asked = str(claim.arguments["part"])
    if claim.frame is None:
        raise RequestError("This claim is about no picture, so nothing can be found in it.")
    mask = parts_of(claim.frame)[asked]
    pixels = int(mask.sum())
    measured = {"thing": CALLED.get(asked, asked), "pixels": pixels, "place": in_words(mask) if pixels else "nowhere"}
    if pixels >= LEAST_PIXELS:
        words = "There is “{thing}”, at {place}: the segmenter finds {pixels} pixels of it."
        return _as(claim, words, VERIFIED, measured)
    return _as(claim, "There is “{thing}”: the segmenter finds {pixels} pixels of it.", REFUTED, measured)


@claim_test("change")
def change(_: VisionModel | None, claim: Claim) -> Claim:
    """Does the witness prefer the one word in the first picture and the other in the second?

    The margin of a picture is the log of how much likelier its own word is there than the other picture's.
    """
    field, was, becomes = (str(claim.arguments[name]) for name in ("field", "was", "is"))
    after, why = _read(claim)
    before, _why = _read(replace(claim, frame=Frame(np.asarray(claim.arguments["before"], dtype=np.uint8), "before")))
    if why:
        return _open(claim, why)
    first, second = _margin(before[field], was, becomes), _margin(after[field], becomes, was)
    measured = {"thing": name_of(field), "was": was, "is": becomes, "first": first, "second": second}
    words = (
        "The {thing} changed from “{was}” to “{is}”: the witness, another reader, holds the first "
        "{first:.1f} nats likelier in the one picture and the second {second:.1f} in the other."
    )
    return _as(claim, words, VERIFIED if min(first, second) > 0 else REFUTED, measured)


def parts_of(frame: Frame) -> dict[str, Bool[np.ndarray, "height width"]]:
    """Where the segmenter sees each part, nowhere for one of which it is not sure.

    Raises RequestError for a picture whose sides are no multiples of 4.
    """
    if frame.pixels.shape[0] % 4 or frame.pixels.shape[1] % 4:
        raise RequestError("The segmenter takes pictures whose sides are multiples of 4.")
    with torch.no_grad():
        shares = segmenter()(frame.tensor())[0].softmax(dim=0).numpy()
    ids = shares.argmax(axis=0)
    found: dict[str, Bool[np.ndarray, "height width"]] = {}
    for name, number in PART_IDS.items():
        mask = ids == number
        sure = number == 0 or (mask.any() and float(shares[number % len(shares)][mask].mean()) >= LEAST_SURE)
        found[name] = mask if sure else np.zeros_like(mask)
    return found


def _read(claim: Claim) -> tuple[dict[str, dict[str, float]], str]:
    """What the witness sees, and why it is not asked."""
    if claim.frame is None:
        raise RequestError("This claim is about no picture, so its test has nothing to run on.")
    if claim.arguments["writer"] == NAME:
        return {}, "its writer is the only witness"
    if claim.frame.pixels.shape[:2] != (64, 64):
        return {}, "the witness reads pictures of 64 x 64 pixels"
    return witness().read(claim.frame.tensor())[0], ""


def _margin(shares: Mapping[str, float], own: str, other: str) -> float:
    return log(max(shares.get(own, 0.0), _LEAST)) - log(max(shares.get(other, 0.0), _LEAST))


def _open(claim: Claim, why: str) -> Claim:
    return _as(claim, _UNREAD, UNVERIFIABLE, {"why": why})


def _as(claim: Claim, words: str, verdict: str, measured: Mapping[str, Any]) -> Claim:
    return replace(claim, template=words, measured=dict(measured), verdict=cast("Verdict", verdict))


@claim_test("named_part")
def named_part(model: VisionModel, claim: Claim) -> Claim:
    """Does the answer rest on a part that was named? That it can be seen is no evidence that it counts.

    It counts where the target falls further than with random regions of its shape, and by a twentieth at least.
    """
    found = removal(model, claim)
    before, after = float(found.measured["before"]), float(found.measured["after"])
    counts = before - after > max(0.05 * abs(before), before - float(found.measured["random_worst"]))
    figure = ".0%" if model.activation != "none" else ".2f"
    words = (
        f"{{target}} rests on {{region}}: with that {{gone}}, it falls from {{before:{figure}}} to "
        f"{{after:{figure}}}; with random regions of the same shape {{gone}} instead, it is {{random:{figure}}}."
        if counts
        else f"{{target}} hardly rests on {{region}}: with that {{gone}}, it goes from "
        f"{{before:{figure}}} to {{after:{figure}}}."
    )
    return answered(found, counts, words, {}, denies=not counts)


# -- regions of any two pictures --------------------------------------------------------------------------------------


def recoloured(before: Frame, after: Frame, mask: Bool[np.ndarray, "height width"], was: str, becomes: str) -> Claim:
    """That a region of one picture has another colour in another picture of the same size."""
    arguments = {"before": before.pixels, "mask": mask, "was": was, "is": becomes, "seed": 0}
    return tested("recolouring", "region_changed", after, arguments)


@claim_test("recolouring")
def recolouring(_: VisionModel | None, claim: Claim) -> Claim:
    """Did the pixels of a region change colour, further than those of random regions of its shape?"""
    if claim.frame is None:
        raise RequestError("This claim is about no picture, so its test has nothing to run on.")
    mask = np.asarray(claim.arguments["mask"], dtype=bool)
    first, second = np.asarray(claim.arguments["before"], dtype=np.uint8), claim.frame.pixels
    moved = np.linalg.norm(rgb2lab(first / 255.0) - rgb2lab(second / 255.0), axis=-1)
    others = shifted(torch.from_numpy(mask), RANDOM_REGIONS, seed_of(claim))
    own, by_chance = float(moved[mask].mean()), [float(moved[other.numpy()].mean()) for other in others]
    measured = {
        "place": in_words(mask), "was": str(claim.arguments["was"]), "is": str(claim.arguments["is"]), "own": own,
        "random": sum(by_chance) / len(by_chance),
    }  # fmt: skip
    colours = (dominant_colour(first[mask]), dominant_colour(second[mask]))
    same = colours == (measured["was"], measured["is"])
    words = (
        "At {place}, “{was}” changed to “{is}”: its colours moved by {own:.0f} in Lab, those of random regions of the "
        "same shape by {random:.0f}."
    )
    return _as(claim, words, VERIFIED if same and own > max(by_chance) else REFUTED, measured)
