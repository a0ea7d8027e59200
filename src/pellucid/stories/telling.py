"""Are the sentences that pass the check true, and are lies caught? Measured on fresh scenes, where both are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.compute.bootstrap import Interval, wilson
from pellucid.errors import RequestError, SceneError
from pellucid.language.scenes import stated_all
from pellucid.results import Claim
from pellucid.testbed import captions, nets
from pellucid.testbed.chance import choose, uniform_numbers
from pellucid.testbed.fields import WORDS
from pellucid.testbed.scene import Scenes, scenes
from pellucid.testbed.twins import another, twin

STYLES = ("short", "full", "name")
_BATCH = 50


@dataclass(frozen=True)
class Telling:
    """How sentences about fresh scenes fared: those of an honest writer, and those of one that lies.

    verified_true:  share of verified sentences of the captioner that are true of the scene
    verified_share: share of its sentences that could be verified
    errors_caught:  share of its false sentences that were refuted; not a number where it made none
    lies_caught:    share of the liar's false sentences that were refuted
    lies_passed:    share of them that were verified all the same
    true_rejected:  share of the liar's true sentences that were refuted
    true_unsure:    share of them that could not be verified
    """

    scenes: int
    seed: int
    lies: float
    lied: int
    verified_true: Interval
    verified_share: Interval
    errors_caught: Interval
    lies_caught: Interval
    lies_passed: Interval
    true_rejected: Interval
    true_unsure: Interval

    def to_dict(self) -> dict[str, Any]:
        return {name: vars(value) if isinstance(value, Interval) else value for name, value in vars(self).items()}


@dataclass(frozen=True, eq=False)
class Tried:
    """One sentence, whether it is true of its scene, and what became of it."""

    claim: Claim
    true: bool


def telling(*, count: int = 300, seed: int = 3000, lies: float = 0.3) -> Telling:
    """What becomes of sentences about `count` fresh scenes: the captioner's, and those of a narrator that lies.

    seed: which scenes; the witness and all nets are trained on seed 0
    lies: the share of the liar's sentences that are the caption of a twin, in which one field is otherwise

    Raises RequestError for less than one scene, or a share outside 0 to 1.
    """
    if count < 1 or not 0 <= lies <= 1:
        raise RequestError(f"--scenes {count}, --lies {lies}; expected 1 or more, and a share from 0 to 1.")
    honest: list[Tried] = []
    liar: list[Tried] = []
    for drawn in _batches(seed, count):
        honest += tried(_captioned(drawn), drawn, writer="testbed:captioner")
        liar += tried(lying(drawn, lies), drawn, writer="liar")
    verified = [one.true for one in honest if one.claim.verdict == "verified"]
    false = [one for one in honest if not one.true]
    lied, true = [one for one in liar if not one.true], [one for one in liar if one.true]
    return Telling(
        count, seed, lies, len(lied),
        verified_true=_share(verified), verified_share=_of(honest, "verified"), errors_caught=_of(false, "refuted"),
        lies_caught=_of(lied, "refuted"), lies_passed=_of(lied, "verified"), true_rejected=_of(true, "refuted"),
        true_unsure=_of(true, "unverifiable"),
    )  # fmt: skip


def tried(sentences: Sequence[str], drawn: Scenes, *, writer: str) -> list[Tried]:
    """One sentence about each scene, checked by the witness, and whether it is true by the renderer's own record."""
    claims = stated_all(sentences, drawn, writers=[writer] * len(sentences))
    facts = captions.facts(drawn.fields)
    return [Tried(claim, _is_true(said, known)) for claim, said, known in zip(claims, sentences, facts, strict=True)]


def lying(drawn: Scenes, share: float) -> tuple[str, ...]:
    """A sentence about each scene, in all styles; a share of them is the caption of a twin, with one field otherwise.

    Which field is drawn among those that the sentence states.
    """
    styles = choose(uniform_numbers(drawn.seed, drawn.index, "liar_style"), len(STYLES))
    told = {style: drawn.told(style) for style in STYLES}
    lies = uniform_numbers(drawn.seed, drawn.index, "liar_lies") < share
    which = uniform_numbers(drawn.seed, drawn.index, "liar_field")
    said: list[str] = []
    for at, style in enumerate(STYLES[place] for place in styles.tolist()):
        sentence = told[style][at]
        said.append(_twisted(drawn[[at]], style, sentence, float(which[at])) if lies[at] else sentence)
    return tuple(said)


def _twisted(scene: Scenes, style: str, sentence: str, chance: float) -> str:
    """The caption of a twin that differs in one field that the sentence states."""
    stated = captions.parse(sentence)
    names = [name for name in WORDS if name in stated]
    order = np.roll(names, -int(chance * len(names))).tolist()
    for name in order:
        other = twin(scene, **{name: another(scene, name)}).told(style)[0]
        if any(captions.parse(other).get(key) != word for key, word in stated.items()):
            return other
    raise AssertionError(f"nothing could be otherwise in {sentence!r}")


def _captioned(drawn: Scenes) -> tuple[str, ...]:
    return nets.loaded("captioner", nets.Captioner).generate(drawn.tensor())


def _is_true(said: str, known: dict[str, str]) -> bool:
    try:
        return all(known.get(name) == word for name, word in captions.parse(said).items())
    except SceneError:  # outside the grammar it states nothing that is so
        return False


def _batches(seed: int, count: int) -> Iterator[Scenes]:
    for first in range(0, count, _BATCH):
        yield scenes(seed, range(first, min(first + _BATCH, count)))


def _of(tried: Sequence[Tried], verdict: str) -> Interval:
    return _share([one.claim.verdict == verdict for one in tried])


def _share(hits: Sequence[bool]) -> Interval:
    return wilson(sum(hits), len(hits))
