"""What every recipe gives: claims, a narrator's account of them, and what shows whether either means anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.language.narrators import Narrator, narrate
from pellucid.results import Audit, Beside, Claim, Narration
from pellucid.results.beside import all_beaten
from pellucid.subject import VisionModel


@dataclass(frozen=True, eq=False)
class Told:
    """A picture, or two, told by a recipe.

    claims:    the sentences with their tests; refuted ones are kept to be seen, and never told
    narration: the verified ones in a narrator's words, read back; None where nothing could be verified
    beside:    figures beside their controls
    trail:     what the recipe did, step by step, as a reader would like to know it
    """

    recipe: str
    claims: tuple[Claim, ...]
    narration: Narration | None
    beside: tuple[Beside, ...] = ()
    trail: tuple[str, ...] = ()
    parts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def audit(self) -> Audit | None:
        """What became of a narrator that lied about the same claims."""
        return None if self.narration is None else self.narration.audit

    @property
    def beats_controls(self) -> bool:
        """Whether every figure beats its controls, and the narrator the one that lies."""
        return all_beaten(self.beside) and self.narration is not None and self.narration.beats_controls

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
        if self.narration is not None:
            lines.append(self.narration.beside)
        refuted = [one.text for one in self.claims if one.verdict == "refuted"]
        lines += [f"Refuted, and not told: {text}" for text in refuted]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe, "text": self.text, "claims": [one.to_dict() for one in self.claims],
            "narration": None if self.narration is None else self.narration.to_dict(),
            "beside": [one.to_dict() for one in self.beside], "beats_controls": self.beats_controls,
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
        account = narrate(model, verified, narrator, frame=frame, candidates=candidates, seed=seed)
    elif not claims:
        raise RequestError(f"The recipe {recipe} found nothing to say.")
    return Told(recipe, tuple(claims), account, tuple(beside), tuple(trail), dict(parts or {}))
