"""What every recipe gives: claims, a narrator's account of them, and what shows whether either means anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pellucid.canvas.words import percent
from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.language.narrators import Narrator, narrate
from pellucid.results import Claim, Narration
from pellucid.stories.recipes.liar import Audit, audit
from pellucid.subject import VisionModel


@dataclass(frozen=True)
class Beside:
    """One figure of a recipe beside those of its controls.

    what:     what was measured
    own:      of the recipe
    controls: name -> the same figure without what the recipe rests on
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
        """Whether the recipe does better than every control. Equal is not better."""
        others = list(self.controls.values())
        return all(self.own > one if self.higher else self.own < one for one in others)

    def __str__(self) -> str:
        show = percent if self.unit == "share" else lambda value: f"{value:.2f}"
        others = ", ".join(f"{name} {show(value)}" for name, value in self.controls.items())
        unit = "" if self.unit == "share" else f" {self.unit}"
        verdict = "" if self.beats else " It does not beat its controls: nothing shows that the text means anything."
        return f"{self.what}: {show(self.own)}{unit}; beside it {others}.{verdict}"


@dataclass(frozen=True, eq=False)
class Told:
    """A picture, or two, told by a recipe.

    claims:    the sentences with their tests; refuted ones are kept to be seen, and never told
    narration: the verified ones in a narrator's words, read back; None where nothing could be verified
    beside:    figures beside their controls
    audit:     what became of a narrator that lied about the same claims
    trail:     what the recipe did, step by step, as a reader would like to know it
    """

    recipe: str
    claims: tuple[Claim, ...]
    narration: Narration | None
    beside: tuple[Beside, ...] = ()
    audit: Audit | None = None
    trail: tuple[str, ...] = ()
    parts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def text(self) -> str:
        """What may be shown: sentences that stand, nothing that was refuted."""
        return self.narration.text if self.narration is not None else "Nothing could be verified."

    def __str__(self) -> str:
        lines = [self.text, ""]
        lines += [f"- {line}" for line in self.trail]
        if self.narration is not None:
            lines.append(self.narration.judgement)
        lines += [*map(str, self.beside)]
        if self.audit is not None:
            lines.append(str(self.audit))
        refuted = [one.text for one in self.claims if one.verdict == "refuted"]
        lines += [f"Refuted, and not told: {text}" for text in refuted]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe, "text": self.text, "claims": [one.to_dict() for one in self.claims],
            "narration": None if self.narration is None else self.narration.to_dict(),
            "beside": [{**vars(one), "controls": dict(one.controls), "beats": one.beats} for one in self.beside],
            "audit": None if self.audit is None else self.audit.to_dict(), "trail": list(self.trail),
            "parts": dict(self.parts),
        }  # fmt: skip


def told(
    recipe: str, model: VisionModel, claims: Sequence[Claim], *, narrator: Narrator | str = "templates",
    frame: Frame | None = None, candidates: int = 1, beside: Sequence[Beside] = (), trail: Sequence[str] = (),
    parts: Mapping[str, Any] | None = None, seed: int = 0,
) -> Told:  # fmt: skip
    """The claims of a recipe in a narrator's words, with the lying narrator's fate beside them."""
    verified = [one for one in claims if one.verdict == "verified"]
    account = None
    if verified:
        account = narrate(model, verified, narrator, frame=frame, candidates=candidates)
    elif not claims:
        raise RequestError(f"The recipe {recipe} found nothing to say.")
    lied = audit(model, verified, seed=seed) if verified else None
    return Told(recipe, tuple(claims), account, tuple(beside), lied, tuple(trail), dict(parts or {}))
