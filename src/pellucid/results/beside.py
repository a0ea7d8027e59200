"""A figure beside those of its controls, and what became of a narrator that lied: what every text stands beside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pellucid.canvas.words import percent

NOT_BEATEN = "It does not beat its controls: nothing shows that the text means anything."
_MOST_WRONG = 0.05  # share of lies that may pass as verified, and of true sentences that may be refuted


@dataclass(frozen=True)
class Beside:
    """One figure of a text beside those of its controls.

    what:     what was measured
    own:      of the text
    controls: name -> the same figure without what the text rests on
    higher:   whether more is better
    unit:     `nats`, `share` or another word for a reader
    """

    what: str
    own: float
    controls: Mapping[str, float]
    unit: str = "share"
    higher: bool = True

    @property
    def beats(self) -> bool:
        """Whether the text does better than every control. Equal is not better, and no number is not either."""
        others = list(self.controls.values())
        return all(self.own > one if self.higher else self.own < one for one in others)

    def __str__(self) -> str:
        show = percent if self.unit == "share" else lambda value: f"{value:.2f}"
        others = ", ".join(f"{name} {show(value)}" for name, value in self.controls.items())
        unit = "" if self.unit == "share" else f" {self.unit}"
        verdict = "" if self.beats else f" {NOT_BEATEN}"
        return f"{self.what}: {show(self.own)}{unit}; beside it {others}.{verdict}"

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "controls": dict(self.controls), "beats": self.beats}


def all_beaten(figures: Iterable[Beside]) -> bool:
    """Whether there is a figure, and each beats its controls."""
    kept = list(figures)
    return bool(kept) and all(one.beats for one in kept)


@dataclass(frozen=True)
class Audit:
    """What became of the sentences of a narrator that lied about the same claims.

    lies, truths: how many it said
    caught:       share of its lies that were refuted
    passed:       share of its lies that were shown as verified
    rejected:     share of its true sentences that were refuted
    """

    lies: int
    truths: int
    caught: float
    passed: float
    rejected: float

    @property
    def refuted(self) -> float:
        """Share of all its sentences that were refuted: what a narrator that keeps to the evidence must stay below."""
        said = self.lies + self.truths
        parts = ((self.lies, self.caught), (self.truths, self.rejected))
        return sum(count * share for count, share in parts if count) / said if said else float("nan")

    @property
    def tells(self) -> bool:
        """Whether the check tells lies from truths here: nearly all lies are refuted, and few true sentences are."""
        return self.lies > 0 and self.caught >= 1 - _MOST_WRONG and not self.rejected > _MOST_WRONG

    def __str__(self) -> str:
        verdict = "" if self.tells else " So the check does not tell lies from truths here: do not rely on it."
        return (
            f"A narrator that lied about the same claims in {self.lies} of {self.lies + self.truths} sentences: "
            f"{percent(self.caught)} of its lies were refuted, {percent(self.passed)} passed; of its true sentences "
            f"{percent(self.rejected)} were refuted.{verdict}"
        )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "tells": self.tells}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Audit:
        """The audit that `to_dict` wrote."""
        return cls(**{name: value for name, value in record.items() if name != "tells"})
