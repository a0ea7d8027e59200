"""What an agent found: a label that was judged on fresh pictures, or none, with all it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pellucid.results import Claim
from pellucid.stories.agent.protocol import Task, Turn

CONCLUDED, OUT_OF_TURNS, CANCELLED, POLICY_FAILED = "concluded", "out of turns", "cancelled", "policy failed"
SHOULD_DECIDE = "what should turn it"  # stands beside a bias and is no control of it


@dataclass(frozen=True, eq=False)
class Finding:
    """The end of an investigation.

    status:      `concluded`, `out of turns`, `cancelled` or `policy failed` (with `trouble`)
    label:       what was concluded and stood on fresh pictures; empty where nothing did
    proposed:    what was concluded, whether it stood or not
    description: the policy's own words; only the claims are tested
    claims:      first of the label, then of the experiments it cites; each can be rechecked
    controls:    the label's figure beside that of the same without experiments, and without sense
    blind:       the label that stood where answers were dealt to pictures by lot; None where that was not asked
    hypotheses:  what the agent noted, and what became of it
    passes:      forward passes spent on experiments; those for judging come on top and are not the agent's
    """

    task: Task
    policy: str
    status: str
    label: str
    proposed: str
    description: str
    claims: tuple[Claim, ...]
    controls: Mapping[str, float]
    hypotheses: tuple[Mapping[str, str], ...]
    turns: tuple[Turn, ...]
    passes: int
    trouble: str = ""
    blind: str | None = None

    @property
    def errors(self) -> int:
        """How many calls gave nothing."""
        return sum(bool(turn.error) for turn in self.turns)

    @property
    def beaten(self) -> bool:
        """Whether the label does better than every control."""
        others = [value for name, value in self.controls.items()
                  if name != "the label" and not name.startswith(SHOULD_DECIDE) and value == value]  # fmt: skip
        return bool(others) and self.controls.get("the label", 0.0) > max(others)

    @property
    def beats_controls(self) -> bool:
        """Whether a label stands, does better than every control, and none stood where there was nothing to find."""
        return bool(self.label) and self.beaten and not self.blind

    def to_dict(self) -> dict[str, Any]:
        return {
            "job": self.task.job, "model": self.task.model, "layer": self.task.layer, "unit": self.task.unit,
            "policy": self.policy, "status": self.status, "label": self.label, "proposed": self.proposed,
            "description": self.description, "trouble": self.trouble, "controls": dict(self.controls),
            "blind": self.blind, "beats_controls": self.beats_controls,
            "hypotheses": [dict(one) for one in self.hypotheses],
            "claims": [claim.to_dict() for claim in self.claims],
            "spent": {"passes": self.passes, "of": self.task.passes, "turns": len(self.turns),
                      "of_turns": self.task.turns, "errors": self.errors},
        }  # fmt: skip

    def __str__(self) -> str:
        return "\n".join([self._headline(), *(f"  {claim.text}" for claim in self.claims), *self._small()])

    def _headline(self) -> str:
        if self.status != CONCLUDED:
            return f"The agent did not come to an end ({self.status}). {self.trouble}".strip()
        unit = f"Unit {self.task.unit} of {self.task.layer}"
        if self.task.job == "bias":
            return (
                f"{self.task.model} goes by {self.label}, which should not decide. {self.description}"
                if self.label
                else f"Nothing was found that {self.task.model} goes by and should not. {self.description}"
            )
        if self.label:
            return f"{unit} answers to “{self.label}”. {self.description}"
        best = f" The best, “{self.proposed}”, does not foretell it." if self.proposed else ""
        return f"{unit} has no label that stands.{best} {self.description}".rstrip()

    def _small(self) -> list[str]:
        words = [f"{name} {value:.2f}" for name, value in self.controls.items() if value == value]
        figure = "AUROC on fresh pictures" if self.task.job == "unit" else "share of answers turned, on fresh pictures"
        said = [f"{figure}: {'; '.join(words)}."] if words else []
        if "the label" in self.controls and not self.beaten:
            said.append("What was concluded does no better than the best control.")
        if self.blind is not None:
            outcome = f"“{self.blind}” stood, so do not believe the label" if self.blind else "no label stood"
            said.append(f"Blind control (the same agent, answers dealt by lot): {outcome}.")
        elif self.label:
            said.append("The blind control (the same agent, answers dealt by lot) was not asked for.")
        passes = f"{self.passes} of {self.task.passes} forward passes"
        turns = f"{len(self.turns)} of {self.task.turns} turns, {self.errors} of them errors"
        return [*said, f"Spent: {passes}, {turns}."]
