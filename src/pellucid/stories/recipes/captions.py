"""Captions that show where they looked, and descriptions that single out, from the names of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pellucid.errors import RequestError
from pellucid.language import attend
from pellucid.language.attend import Caption
from pellucid.language.reference_trial import Understood, alike_in_hue, trial
from pellucid.language.references import captioner_judge, dual_judge, witness_judge
from pellucid.results import Beside, Claim
from pellucid.stories.recipes.pictures import scene
from pellucid.testbed import nets
from pellucid.testbed.nets import Captioner, Dual
from pellucid.testbed.scene import scenes
from pellucid.testbed.word_parts import part_words


@dataclass(frozen=True, eq=False)
class Captioned:
    """A picture told by a captioner that shows where it looked.

    claims: for each word of hue or shape whether it needed the place that was looked at for it
    beside: how likely the caption is, beside its controls
    """

    caption: Caption
    claims: tuple[Claim, ...]
    beside: Beside

    @property
    def beats_controls(self) -> bool:
        return self.beside.beats

    def __str__(self) -> str:
        return "\n".join([self.caption.text, *(f"- {one.text}" for one in self.claims), str(self.beside)])

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.caption.to_dict(), "claims": [one.to_dict() for one in self.claims],
            "beside": self.beside.to_dict(), "beats_controls": self.beats_controls,
        }  # fmt: skip


def captioned(picture: str, captioner: str = "captioner", *, seed: int = 0) -> Captioned:
    """A scene told, and for each word of hue or shape whether it needed the place that was looked at for it."""
    frame, net = scene(picture).frames()[0], attend.opened(captioner)
    (told,) = attend.captions(net, frame.tensor())
    words = [one for one in part_words(told.text) if one.kind != "noun"]
    claims = tuple(attend.claim(frame, told.text, one.at, captioner=captioner, seed=seed) for one in words)
    return Captioned(told, claims, attend.beside(net, frame.tensor(), told, seed=seed))


def referred(
    count: int, scene_seed: int, *, speaker: str = "captioner", alike: bool = False, seed: int = 0
) -> Understood:
    """The trial of descriptions on fresh flocks; the witness listens. Raises RequestError for another speaker."""
    if speaker not in ("captioner", "dual"):
        raise RequestError(f"speaker={speaker!r}; expected captioner or dual.")
    net, _ = nets.load(speaker)
    assert isinstance(net, Captioner | Dual)
    judge = dual_judge(net) if isinstance(net, Dual) else captioner_judge(net)
    drawn = scenes(scene_seed, count, mode="flock", size=128)
    flocks = alike_in_hue(drawn) if alike else drawn
    return trial(flocks, judge, witness_judge(), names=(speaker, "witness"), seed=seed)
