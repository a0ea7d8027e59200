"""A failure mode as a claim: anyone can run the model on the same pictures again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pellucid.compute.bootstrap import wilson
from pellucid.language import check
from pellucid.language.failures.chance import as_few_right
from pellucid.language.failures.pictures import Pictures
from pellucid.language.failures.prime import Mode
from pellucid.language.failures.tags import Tags
from pellucid.registry import claim_test
from pellucid.results import Claim
from pellucid.subject import VisionModel

_SAME = 0.02  # accuracies this close are the same on another machine
_LEVEL = 0.05

FAILS = (
    "{where} “{name}” is recognised in {accuracy:.0%} of {count} pictures ({low:.0%} to {high:.0%}), in all its "
    "pictures in {usual:.0%}"
)
INSTEAD = "; there it is taken for “{instead}” in {share:.0%}."
HARDLY = (
    "{where} “{name}” is recognised about as often as usual: {accuracy:.0%} of {count} pictures, {usual:.0%} of all."
)


def in_place(tags: Sequence[str]) -> str:
    """Tags as the beginning of a sentence: "In the snow, with a plume,"."""
    plain = ("at ", "in ", "on ", "facing ", "hovering", "standing", "under ", "without ", "with ", "no ")
    said = [tag if tag.startswith(plain) else f"with {tag}" for tag in tags]
    said = [f"with {tag}" if tag.startswith("no ") else tag for tag in said]
    together = ", ".join(said)
    return f"{together[:1].upper()}{together[1:]},"


def claims(
    modes: Sequence[Mode], pictures: Pictures, tags: Tags, labels: np.ndarray, held: np.ndarray
) -> tuple[Claim, ...]:
    """One sentence for each mode, with the pictures it was confirmed on.

    tags, labels: of all pictures; held: the places of those that helped to find nothing
    """
    return tuple(_claim(mode, pictures, tags, labels, held) for mode in modes)


def _claim(mode: Mode, pictures: Pictures, tags: Tags, labels: np.ndarray, held: np.ndarray) -> Claim:
    own = held[labels[held] == mode.number]
    there = tags[own].having(mode.tags)
    every = np.arange(len(labels)) if pictures.places is None else np.asarray(pictures.places)
    measured = {
        "where": in_place(mode.tags), "name": mode.name, "accuracy": mode.shown.accuracy.mean,
        "low": mode.shown.accuracy.low, "high": mode.shown.accuracy.high, "count": mode.shown.count,
        "usual": mode.shown.usual, "p": mode.p_held, "q": mode.q, "instead": mode.instead[0], "share": mode.instead[1],
    }  # fmt: skip
    arguments = {
        "class": mode.number, "tags": list(mode.tags), "tagger": tags.source,
        "pictures": pictures.at(every[own]).to_dict(),
        "there": [bool(one) for one in there],
    }  # fmt: skip
    return Claim(FAILS + INSTEAD, "fails_with", "failure_mode", measured, arguments, check.VERIFIED)


@claim_test("failure_mode")
def failure_mode(model: VisionModel, claim: Claim) -> Claim:
    """Is the class recognised less often in the pictures with these words than in all its pictures?

    The model is run on the same pictures again; which of them have the words was read by the tagger when the claim was
    made, and is kept. Verified where the accuracy is as low as claimed, within .02, and Fisher's exact test (p at most
    .05) says that it is no chance.
    """
    asked = claim.arguments
    pictures, there = Pictures.from_dict(asked["pictures"]), np.asarray(asked["there"], dtype=bool)
    answers = pictures.answers(model)
    right = answers.said == int(asked["class"])
    accuracy, usual = wilson(int(right[there].sum()), int(there.sum())), float(right.mean())
    p = float(as_few_right(int(right[there].sum()), int(there.sum()), int(right.sum()), len(right))[0])
    wrong = np.bincount(answers.said[there & ~right], minlength=len(answers.classes))
    measured = {
        **claim.measured, "accuracy": accuracy.mean, "low": accuracy.low, "high": accuracy.high, "usual": usual, "p": p,
        "instead": answers.classes[int(wrong.argmax())], "share": float(wrong.max() / max(1, there.sum())),
    }  # fmt: skip
    before = float(claim.first.measured["accuracy"])
    fails = p <= _LEVEL and accuracy.mean < usual
    holds = fails and accuracy.mean <= before + _SAME
    return replace(
        claim, template=FAILS + INSTEAD if fails else HARDLY, measured=measured,
        verdict=check.VERIFIED if holds else check.REFUTED,
    )  # fmt: skip
