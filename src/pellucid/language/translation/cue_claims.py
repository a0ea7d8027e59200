"""Cues as claims: the pictures are made again, the model answers again, and what follows the word is counted anew.

Which pictures the words tell of is kept: that was said by the translator, once. What the model does with these pictures
is measured, so anyone with the model alone can put the sentence to the test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from pellucid.errors import RequestError
from pellucid.images.reading import read_many
from pellucid.language.check import answered
from pellucid.language.hypotheses import present
from pellucid.language.translation.corpus import inputs_of
from pellucid.language.translation.cues import LEVEL, Cue, Heard, compared
from pellucid.registry import claim_test
from pellucid.results import Claim
from pellucid.subject import VisionModel
from pellucid.testbed.scene import scenes

_SAME = 0.02  # shares this close are the same on another machine
DRAWN = (
    "Where the words tell of “{word}”, pictures of other classes are called “{name}” in {drawn:.1%}, elsewhere in "
    "{others:.1%} (p = {p_drawn:.2g}); its own are recognised in {present:.1%} with it and {absent:.1%} without."
)
NOT_DRAWN = (
    "Where the words tell of “{word}”, pictures of other classes are called “{name}” no more often than elsewhere: "
    "{drawn:.1%} and {others:.1%} (p = {p_drawn:.2g})."
)


def cue_claims(
    cues: Sequence[Cue], listened: Heard, labels: Sequence[int], pictures: Mapping[str, Any], model: VisionModel
) -> tuple[Claim, ...]:
    """One sentence for each cue, which can be tested again.

    labels:   the true class of each picture
    pictures: how they are made again: `seed` and `count` of the testbed's scenes, or `paths`

    Raises RequestError where pictures and labels differ in number.
    """
    if len(labels) != len(listened.answers):
        raise RequestError(f"{len(labels)} labels for {len(listened.answers)} pictures.")
    return tuple(_claim(cue, listened, labels, pictures, model) for cue in cues)


@claim_test("cue")
def cue(model: VisionModel, claim: Claim) -> Claim:
    """Are pictures of other classes called so more often where the word was told of them than elsewhere?

    The pictures are made again and the model answers again; which of them the word was told of is kept. Verified where
    Fisher's exact test (p below .05) says so, and the share is as high as claimed, within .02.
    """
    asked = claim.arguments["pictures"]
    given = read_many(asked["paths"]) if "paths" in asked else scenes(int(asked["seed"]), int(asked["count"]))
    answers = model.predict(inputs_of(model, given)).argmax(dim=1).cpu().numpy()
    return _measured(claim, answers, list(model.labels.names))


def _claim(cue: Cue, listened: Heard, labels: Sequence[int], pictures: Mapping[str, Any], model: VisionModel) -> Claim:
    names = list(model.labels.names)
    arguments = {
        "pictures": dict(pictures), "there": present(listened.shares(cue.word.word)), "name": cue.label,
        "classes": [names[label] for label in labels],
    }  # fmt: skip
    blank = Claim("Not measured yet.", "cue_draws", "cue", {"word": cue.word.word, "name": cue.label}, arguments)
    found = _measured(blank, listened.answers, names)
    if found.verdict != "refuted":
        return found
    return _measured(Claim(blank.template, blank.predicate, blank.test, blank.measured,
                           {**arguments, "expected": False}), listened.answers, names)  # fmt: skip


def _measured(claim: Claim, answers: Int[np.ndarray, "picture"], names: Sequence[str]) -> Claim:
    there = np.asarray(claim.arguments["there"], dtype=bool)
    mine = np.array([name == claim.arguments["name"] for name in claim.arguments["classes"]], dtype=bool)
    if len(answers) != len(there) or claim.arguments["name"] not in names:
        raise RequestError(
            f"The claim is about {len(there)} pictures and “{claim.arguments['name']}”; this model answered "
            f"{len(answers)} pictures and has {len(names)} classes."
        )
    called = answers == names.index(str(claim.arguments["name"]))
    with_it, without, _ = compared(called, mine & there, mine & ~there)
    drawn, others, p = compared(called, ~mine & there, ~mine & ~there)
    draws = bool(p < LEVEL and drawn > others)
    claimed = float(claim.first.measured.get("drawn", drawn))
    same = drawn >= claimed - _SAME if claim.arguments.get("expected", True) else True
    shares = {"present": with_it, "absent": without} if draws else {}
    measured = {"drawn": drawn, "others": others, "p_drawn": p, **shares}
    return answered(claim, draws, DRAWN if draws else NOT_DRAWN, measured, denies=not draws, besides=same)
