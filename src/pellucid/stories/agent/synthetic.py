"""Units that are a condition on the renderer's own record and nothing else, so that the right label is known.

MAIA's synthetic neurons (Rott Shaham et al., 2024) answer where a segmenter finds one thing, one of two, or two
together. In the rendered world no segmenter is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pellucid.errors import RequestError
from pellucid.language.conditions import Condition, Term, condition_of, terms
from pellucid.language.experiments import Answers
from pellucid.language.recipes import Recipe, facts_of
from pellucid.results import Claim
from pellucid.stories.agent.finding import Finding
from pellucid.stories.agent.investigation import worked
from pellucid.stories.agent.journal import Journal
from pellucid.stories.agent.protocol import Policy, Task
from pellucid.stories.agent.scripted import Scripted
from pellucid.stories.agent.units import UnitLaboratory
from pellucid.subject import VisionModel
from pellucid.values import Seed

KINDS = ("one", "or", "and")
_NOISE = 0.1  # of an answer; so that no two pictures are quite alike


class SyntheticLaboratory(UnitLaboratory):
    """A unit that is 1, give or take a little, in scenes where a condition holds, and little elsewhere."""

    def __init__(self, model: VisionModel, task: Task, condition: Condition) -> None:
        super().__init__(model, task)
        self.condition = condition

    def run(self, pictures: Sequence[Recipe]) -> Answers:
        holds = [self.condition.holds(one) for one in facts_of(pictures)]
        noise = [int(Seed(self.task.unit).child(one.text)) % 1000 / 1000 * _NOISE for one in pictures]
        values = np.array(holds, dtype=np.float64) + np.array(noise)
        return Answers(values, values[:, None, None])

    def judged(self, label: str, evidence: Sequence[str]) -> tuple[tuple[Claim, ...], dict[str, float]]:
        """No claims: there is no model that could be asked again."""
        self.cited(evidence)
        return (), {"the label": self._auroc(label)} if label else {}


@dataclass(frozen=True)
class Tried:
    """One synthetic unit, what it answers to, and what was proposed for it."""

    kind: str
    truth: str
    proposed: str
    passes: int

    @property
    def right(self) -> bool:
        """Whether both say the same, in whatever order."""
        try:
            return condition_of(self.truth).same(condition_of(self.proposed))
        except RequestError:
            return False


def drawn(kind: str, seed: int) -> Condition:
    """A condition by lot: one thing, either of two, or two together; of different fields."""
    rng = np.random.default_rng(int(Seed(seed).child("synthetic", kind)))
    known = sorted({term for term in terms().values() if not _half(term)}, key=lambda term: term.name)
    while True:
        chosen = [known[int(at)] for at in rng.choice(len(known), 1 if kind == "one" else 2, replace=False)]
        fields = [{name for name, _ in term.places} for term in chosen]
        if len(chosen) == 1 or not fields[0] & fields[1]:
            return Condition(kind, tuple(chosen))


def _half(term: Term) -> bool:
    """Hues of a plume, which are nowhere without one, and of a beak."""
    return term.places[0][0] in ("crest_hue", "beak_hue") and len(term.places) == 1


def trial(model: VisionModel, kind: str, seed: int, *, pictures: int = 200, policy: Policy | None = None) -> Tried:
    """What a policy concludes of one synthetic unit. `model` only lends its layers; it is never run."""
    layer = model.layers.chosen("agent").name
    lab = SyntheticLaboratory(model, Task("unit", model.name, layer, pictures=pictures, seed=seed), drawn(kind, seed))
    found: Finding = worked(lab, policy or Scripted(), journal=Journal())
    return Tried(kind, lab.condition.text, found.proposed, found.passes)
