"""Where the answer to a question is seen: the parts that show what is asked, or the one bird that is meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from pellucid.testbed import questions
from pellucid.testbed.fields import HUES, PARTS_OF_FIELD, fields_of_bird
from pellucid.testbed.scene import Scenes

WHICH = "where is the {} bird ?"
_LEAST = 6  # pixels of an answer, below which it is not seen


@dataclass(frozen=True, eq=False)
class Asked:
    """A question about one scene, and where its answer is seen.

    scene: its place in the batch
    field: what it asks for; `which` where it asks for one of several birds
    """

    scene: int
    text: str
    field: str
    mask: Bool[np.ndarray, "height width"]


def about_parts(drawn: Scenes, count: int = 4) -> tuple[Asked, ...]:
    """Up to `count` questions about each single bird whose answer is seen in one of its parts."""
    found: list[Asked] = []
    for at, several in enumerate(questions.ask(drawn, count=20)):
        scene = drawn[at]
        kept: list[Asked] = []
        for one in several:
            parts = PARTS_OF_FIELD.get(one.field, ())
            if not parts or one.field in ("feet", "crest"):  # of what is not there nothing is seen
                continue
            mask = scene.mask(*parts)[0]
            if mask.sum() >= _LEAST:
                kept.append(Asked(at, one.text, one.field, mask))
        found += kept[:count]
    return tuple(found)


def about_birds(drawn: Scenes) -> tuple[Asked, ...]:
    """For each bird of a flock whose hue no other bird has, where it is."""
    found: list[Asked] = []
    for at in range(len(drawn)):
        scene = drawn[at]
        count = int(scene.counts[0])
        hues = [int(fields_of_bird(scene.fields, bird)["body_hue"][0]) for bird in range(count)]
        for bird, hue in enumerate(hues):
            mask = scene.instances[0, bird]
            if hues.count(hue) == 1 and mask.sum() >= _LEAST:
                found.append(Asked(at, WHICH.format(HUES[hue]), "which", mask))
    return tuple(found)


def swapped(asked: Sequence[Asked]) -> tuple[str, ...]:
    """For each question one about something else: that of the next question with another field or another wording."""
    texts: list[str] = []
    for at, one in enumerate(asked):
        others = [
            other for other in (*asked[at + 1 :], *asked[:at]) if (other.field, other.text) != (one.field, one.text)
        ]
        unlike = [other for other in others[:40] if PARTS_OF_FIELD.get(other.field) != PARTS_OF_FIELD.get(one.field)]
        texts.append((unlike or others)[0].text)
    return tuple(texts)
