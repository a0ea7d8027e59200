"""What came out of a translator, as values: words of pictures and classes, and whether they beat their controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pellucid.language.translation.counting import Ranked

LEVEL = 0.01
_SHOWN = 10


@dataclass(frozen=True)
class Trial:
    """How many of the words told of a picture are in its true sentence, beside the controls; shares, 0 to 1.

    Words that nearly every sentence of the corpus has do not count, for they are true of any picture.

    own:       the mean over pictures
    blind:     the same translator fed another picture's features
    random:    as many random words of the corpus
    p_blind, p_random: how often as large a mean difference comes about where signs are random (paired, one-sided)
    pictures: over how many; words: how many are told of one, on average
    greedy:    the same of the words of the likeliest sentence alone: own, blind
    """

    own: float
    blind: float
    random: float
    p_blind: float
    p_random: float
    pictures: int
    words: float
    greedy: tuple[float, float]

    @property
    def beats_controls(self) -> bool:
        return self.own > max(self.blind, self.random) and max(self.p_blind, self.p_random) < LEVEL

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"beats_controls": self.beats_controls}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Trial:
        kept: dict[str, Any] = {name: value for name, value in record.items() if name != "beats_controls"}
        kept["greedy"] = tuple(kept["greedy"])
        return cls(**kept)

    def __str__(self) -> str:
        verdict = (
            "The words come from the features."
            if self.beats_controls
            else "That is not beyond what the controls do: these words are no evidence of what the features hold."
        )
        return (
            f"Of the {self.words:.1f} words told of a picture {self.own:.0%} are true of it; with another picture's "
            f"features {self.blind:.0%} (p = {self.p_blind:.4f}), of as many random words {self.random:.0%} "
            f"(p = {self.p_random:.4f}), "
            f"over {self.pictures} pictures that nothing was learned from. {verdict}"
        )


@dataclass(frozen=True)
class Words:
    """The words that the features of a picture, or of a group of pictures, were put into.

    ranked:    the most telling first; see `Ranked`
    sentences: how many were drawn; examples are some of them
    entropy:   of the sentences, in bits; a decoder that says one thing over and over is `collapsed`
    settled:   whether both halves of the sentences rank the words alike
    merged:    words that are told as another
    controls:  of this translator
    """

    about: str
    ranked: tuple[Ranked, ...]
    sentences: int
    examples: tuple[str, ...]
    entropy: float
    collapsed: bool
    settled: bool
    port: str
    decoder: str
    merged: Mapping[str, str]
    controls: Trial | None

    @property
    def believed(self) -> tuple[Ranked, ...]:
        """Words said more often than anyway, beyond chance."""
        return tuple(one for one in self.ranked if one.believed)

    def first(self, count: int) -> tuple[str, ...]:
        return tuple(one.word for one in self.ranked[:count])

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {
            "ranked": [asdict(one) | {"believed": one.believed} for one in self.ranked],
            "controls": None if self.controls is None else self.controls.to_dict(),
            "beats_controls": self.controls is not None and self.controls.beats_controls,
        }

    def __str__(self) -> str:
        told = "; ".join(map(str, self.believed[:_SHOWN])) or "nothing beyond what is said of any picture"
        lines = [f"{self.about}: {told}.", *(f"  “{text}”" for text in self.examples[:3])]
        if self.collapsed:
            lines.append("The decoder says nearly the same whatever is drawn: do not read anything into it.")
        how = "" if self.settled else ", which had not settled"
        lines.append(f"{self.sentences} sentences of {self.decoder} about {self.port}{how}.")
        lines.append(
            str(self.controls) if self.controls else "Controls were not measured: nothing shows that they count."
        )
        return "\n".join(lines)
