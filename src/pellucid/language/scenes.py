"""Sentences about the testbed's scenes, in the grammar of its captions, checked by eyes that did not write them.

A sentence states fields ("a coral bird with barred plum wings"); a witness that shares no weight with the writer reads
the same picture. What it sees otherwise refutes the sentence; what it is not sure of cannot be verified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from jaxtyping import Float
from torch import Tensor

from pellucid.errors import SceneError
from pellucid.language.check import REFUTED, UNVERIFIABLE, VERIFIED, answered, claim_input
from pellucid.registry import claim_test
from pellucid.results import Claim
from pellucid.results.claim import Verdict
from pellucid.subject import VisionModel
from pellucid.testbed import captions
from pellucid.testbed.scene import Scenes, scenes
from pellucid.testbed.twins import twin
from pellucid.testbed.witness import NAME, witness

# The witness's probability from which a stated word counts as seen, and below which as seen otherwise. On 400 scenes of
# seed 4000 no false sentence passed with SURE from 0.1 to 0.8, and 3 % of the true ones were left open with 0.8.
SURE, ELSE = 0.8, 0.2


def stated(sentence: str, scene: Scenes, *, writer: str, at: Float[Tensor, "1 3 height width"] | None = None) -> Claim:
    """A sentence about one scene as a claim whose test has been run.

    writer: who said it; a witness does not judge its own sentences
    at:     the picture, where it has been painted already
    """
    (claim,) = stated_all([sentence], scene, writers=[writer], pictures=at)
    return claim


def stated_all(
    sentences: Sequence[str], drawn: Scenes, *, writers: Sequence[str],
    pictures: Float[Tensor, "scene 3 height width"] | None = None,
) -> tuple[Claim, ...]:  # fmt: skip
    """One sentence about each scene, as claims whose tests have been run: the witness reads all pictures in one go."""
    read = witness().read(drawn.tensor() if pictures is None else pictures)
    blanks = [
        Claim(
            template=_spelled(sentence), predicate="concept_present", test="statement", frame=frame,
            arguments={"said": sentence, "writer": writer, "encoder": NAME},
        )
        for sentence, writer, frame in zip(sentences, writers, drawn.frames(), strict=True)
    ]  # fmt: skip
    return tuple(_judged(blank, seen) for blank, seen in zip(blanks, read, strict=True))


@claim_test("statement")
def statement(model: VisionModel, claim: Claim) -> Claim:
    """Does a witness that did not write the sentence see in the picture what it states?

    Verified where every word is at least 80 % probable to the witness, refuted where one is at most 20 %.
    """
    return _judged(claim, witness().read(_picture(model, claim))[0])


def _picture(model: VisionModel, claim: Claim) -> Float[Tensor, "1 3 height width"]:
    """The picture in 0..1, whatever the model under study makes of it."""
    if claim.frame is None:
        return claim_input(model, claim)
    return claim.frame.tensor()


def _judged(claim: Claim, seen: dict[str, dict[str, float]]) -> Claim:
    told = str(claim.arguments["said"])
    if claim.arguments["writer"] == claim.arguments["encoder"]:
        return _as(claim, UNVERIFIABLE, {"why": "its writer is the only witness"})
    try:
        says = captions.parse(told)
    except SceneError as error:
        return _as(claim, UNVERIFIABLE, {"why": str(error)})
    unknown = [name for name in says if name not in seen]
    if unknown:
        return _as(claim, UNVERIFIABLE, {"why": "the witness reads single birds only"})
    shares = {name: seen[name].get(word, 0.0) for name, word in says.items()}
    doubtful = min(shares, key=lambda name: shares[name])
    least = shares[doubtful]
    verdict = VERIFIED if least >= SURE else REFUTED if least <= ELSE else UNVERIFIABLE
    instead = max(seen[doubtful], key=lambda word: seen[doubtful][word])
    measured = {"witness": claim.arguments["encoder"], "least_sure_of": doubtful.replace("_", " "),
                "stated": says[doubtful], "probability": least, "seen": instead}  # fmt: skip
    return _as(claim, verdict, measured)


def _as(claim: Claim, verdict: str, measured: Mapping[str, object]) -> Claim:
    return replace(claim, measured=measured, verdict=cast("Verdict", verdict))


def _spelled(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


@claim_test("swap")
def swap(model: VisionModel, claim: Claim) -> Claim:
    """Does the model's answer become another when one field of the scene is, with everything else as it was?

    The scene is painted again with that field changed: `scene` (seed, index), `field` and `word` among the arguments.
    """
    seed, index = (int(number) for number in claim.arguments["scene"])
    name, word = str(claim.arguments["field"]), str(claim.arguments["word"])
    scene = scenes(seed, [index])
    pictures = [*scene.frames(), *twin(scene, **{name: word}).frames()]
    shares = model.probabilities(model.predict(model.prepare(pictures)))
    first, after = (int(row.argmax()) for row in shares)
    flips = first != after
    measured = {
        "field": name.replace("_", " "), "word": word, "label": model.labels.name(first),
        "before": float(shares[0, first]), "label_after": model.labels.name(after), "after": float(shares[1, after]),
    }  # fmt: skip
    words = (
        "With the {field} {word} instead, “{label}” ({before:.0%}) turns into “{label_after}” ({after:.0%})."
        if flips
        else "With the {field} {word} instead, the answer stays “{label}”: {before:.0%} before, {after:.0%} after."
    )
    return answered(claim, flips, words, measured, denies=not flips)


def swapped(model: VisionModel, scene: Scenes, field: str, word: str) -> Claim:
    """Whether the answer turns when one field of a scene is another, as a claim whose test has been run."""
    (frame,) = scene.frames()
    place = {"scene": [int(scene.seed), int(scene.index[0])], "field": field, "word": word}
    blank = Claim("Not measured yet.", "flips_if_swapped", "swap", arguments=place, frame=frame)
    found = swap(model, blank)
    expected = found.predicate == blank.predicate
    return replace(found, verdict=VERIFIED, arguments={**place, "expected": expected})
