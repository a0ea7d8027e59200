"""The laboratory of one unit: its strongest pictures, its answers to others, and what changes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from pellucid.compute.ranking import auroc
from pellucid.errors import RequestError
from pellucid.language.conditions import Condition, condition_of, terms
from pellucid.language.experiments import Answers, UnitAsked, answers_of, label_claim, response_claim, sign_flip_p
from pellucid.language.hypotheses import believed, permutation_p
from pellucid.language.recipes import Recipe, frames_of
from pellucid.results import Claim
from pellucid.stories.agent.laboratory import (
    COUNT,
    EDITS,
    EVIDENCE,
    LIST,
    TEXT,
    Experiment,
    Laboratory,
)
from pellucid.stories.agent.protocol import CONCLUDE, Task, Tool
from pellucid.subject import VisionModel
from pellucid.values import Seed

TRIAL = 24  # fresh pictures with, and as many without, by which a label is judged
RANDOM_LABELS = 4


class UnitLaboratory(Laboratory):
    """Tools for the question what a unit answers to.

    blind: the unit's answers are dealt to the pictures by lot, so that there is nothing to find
    """

    def __init__(self, model: VisionModel, task: Task, *, blind: bool = False) -> None:
        super().__init__(model, task)
        layer = model.layers[task.layer]  # raises UnknownLayer
        if not 0 <= task.unit < layer.channels:
            raise RequestError(f"{layer.name} has {layer.channels} units, 0 to {layer.channels - 1}; "
                               f"there is no {task.unit}.")  # fmt: skip
        self.asked = UnitAsked(layer.name, task.unit, task.pool, task.paint, task.files)
        self.blind = blind
        self._known: dict[str, float] = {}

    jobs_tools = (
        Tool("exemplars", "The pictures that the unit answers to most, how strongly, and in which box (left, top, "
             "right, bottom from 0 to 1); with its answers to all pictures of the task.", {"count": COUNT}, ("count",)),
        Tool("sample", "Other pictures of the task: the `lowest`, or by lot.",
             {"which": {"type": "string", "enum": ["lowest", "random"]}, "count": COUNT}, ("which", "count")),
        Tool("names", "What the unit would be called by the pictures it answers to, without any experiment.",
             {"count": COUNT}, ("count",)),
        Tool("measure", "The unit's answers to pictures.", {"pictures": LIST}, ("pictures",)),
        Tool("experiment", "Changes pictures and measures the unit before and after. Each change has a row with a name "
             "such as 7.2, by which a conclusion cites it.", {"pictures": LIST, "edits": EDITS}, ("pictures", "edits")),
        Tool("foretell", "How well a label foretells the unit on pictures made to show it, and made not to.",
             {"label": TEXT}, ("label",)),
        Tool(CONCLUDE, "Ends the work: the label (empty where there is none), a description, and the experiments it "
             "rests on. The label is judged on fresh pictures.",
             {"label": TEXT, "description": {"type": "string", "maxLength": 1000}, "evidence": EVIDENCE},
             ("label", "description", "evidence")),
    )  # fmt: skip

    # -- tools --------------------------------------------------------------------------------------------------------

    def do_exemplars(self, count: int) -> dict[str, Any]:
        scanned, found = self.scanned
        order = np.argsort(-found.values, kind="stable")[:count]
        levels = np.quantile(found.values, [0, 0.25, 0.5, 0.75, 1])
        return {
            "exemplars": [
                {"picture": scanned[at].text, "answer": found.values[at], "box": _box(found.grids[at])} for at in order
            ],
            "all": dict(zip(("lowest", "quarter", "median", "three quarters", "highest"), levels, strict=True)),
            "pictures": len(scanned),
        }  # fmt: skip

    def do_sample(self, which: str, count: int) -> dict[str, Any]:
        scanned, found = self.scanned
        by_lot = np.random.default_rng(int(Seed(self.task.seed).child("sample", which))).permutation(len(scanned))
        order = by_lot if which == "random" else by_lot[np.argsort(found.values[by_lot], kind="stable")]
        return {"pictures": [{"picture": scanned[at].text, "answer": found.values[at]} for at in order[:count]]}

    def do_measure(self, pictures: list[str]) -> dict[str, Any]:
        return {"answers": list(self.answers(self.read(pictures)))}

    def do_names(self, count: int) -> dict[str, Any]:
        return {"names": [{"name": name, "auroc": worth} for name, worth in self._names[:count]],
                "from": "the pictures it answers to, without any experiment"}  # fmt: skip

    def do_experiment(self, pictures: list[str], edits: list[dict[str, str]]) -> dict[str, Any]:
        base = self.read(pictures)
        tried = [self.changed(base, edit) for edit in edits]
        self.afford([one for made, _ in tried for pair in made for one in pair])
        rows = [self._row(at, edit, *found) for at, (edit, found) in enumerate(zip(edits, tried, strict=True), start=1)]
        return {"rows": rows}

    def _row(
        self, number: int, edit: Mapping[str, str], made: Sequence[tuple[Recipe, Recipe]],
        skipped: Sequence[Mapping[str, str]],
    ) -> dict[str, Any]:  # fmt: skip
        if not made:
            return {"row": "", "change": dict(edit), "pictures": [], "skipped": len(skipped),
                    "why": skipped[0]["why"] if skipped else "no pictures"}  # fmt: skip
        before, after = (tuple(side) for side in zip(*made, strict=True))
        first, second = self.answers(before), self.answers(after)
        gain = second - first
        name = self.keep(number, Experiment(before, after, dict(edit)))
        return {
            "row": name, "change": dict(edit), "before": first.mean(), "after": second.mean(), "p": sign_flip_p(gain),
            "pictures": [one.text for one in before], "answers": list(second), "gains": list(gain),
            "skipped": len(skipped),
        }  # fmt: skip

    def do_foretell(self, label: str) -> dict[str, Any]:
        having, lacking = self.made_for(condition_of(label), "foretell")
        values = self.answers([*having, *lacking])
        there = np.arange(len(values)) < len(having)
        return {"label": label, "auroc": auroc(there, values), "p": permutation_p(there, values),
                "with": values[there].mean(), "without": values[~there].mean()}  # fmt: skip

    def do_conclude(self, label: str, description: str, evidence: list[str]) -> dict[str, Any]:
        self.cited(evidence)
        if label and self.task.source == "scene":
            condition_of(label)
            if not evidence:
                raise RequestError("A label rests on logged experiments; name some as evidence.")
        return {"label": label, "description": description, "evidence": evidence}

    # -- what they share ----------------------------------------------------------------------------------------------

    def run(self, pictures: Sequence[Recipe]) -> Answers:
        """The unit's answers, by the model."""
        return answers_of(self.model, self.asked, pictures)

    @cached_property
    def scanned(self) -> tuple[list[Recipe], Answers]:
        """All pictures of the task with the unit's answers, scanned once."""
        pool = self.pool(self.task.pictures)
        self.spend(len(pool))
        found = self.run(pool)
        if self.blind:
            order = np.random.default_rng(self.task.seed).permutation(len(pool))
            found = Answers(found.values[order], found.grids[order])
        self._known |= {one.text: float(value) for one, value in zip(pool, found.values, strict=True)}
        return pool, found

    def afford(self, asked: Sequence[Recipe]) -> None:
        """Raises BudgetSpent where not all of these can be paid for, before anything is spent."""
        wanted = len({one.text for one in asked} - self._known.keys())
        if wanted > self.left:
            self.spend(wanted)

    def answers(self, asked: Sequence[Recipe]) -> np.ndarray:
        """The unit's answers to pictures; each is paid for once."""
        new = list({one.text: one for one in asked if one.text not in self._known}.values())
        if new:
            self.spend(len(new))
            values = self._dealt(new) if self.blind else self.run(new).values
            self._known |= {one.text: float(value) for one, value in zip(new, values, strict=True)}
        return np.array([self._known[one.text] for one in asked])

    def _dealt(self, new: Sequence[Recipe]) -> np.ndarray:
        values = self.scanned[1].values
        return np.array([values[int(Seed(self.task.seed).child("blind", one.text)) % len(values)] for one in new])

    def made_for(self, condition: Condition, name: str) -> tuple[list[Recipe], list[Recipe]]:
        """Fresh scenes made to show what a condition says, and made not to.

        Raises RequestError where it cannot be made in scenes.
        """
        rng = np.random.default_rng(int(Seed(self.task.seed).child(name)))
        having: list[Recipe] = []
        lacking: list[Recipe] = []
        for at in range(4 * TRIAL):
            scene = Recipe("scene", (self.task.seed + (1 if name == "trial" else 2), at), "", (("props", "none"),))
            wanted = having if at % 2 == 0 else lacking
            if len(wanted) < TRIAL and (made := condition.forced(scene, wanted is having, rng)) is not None:
                wanted.append(made)
        if min(len(having), len(lacking)) < TRIAL // 2:
            raise RequestError(f"Too few scenes can be made to show, and not to show, {condition.text!r}.")
        return having, lacking

    @cached_property
    def _names(self) -> list[tuple[str, float]]:
        """Names by CLIP-Dissect's cubed cosine, and the AUROC of each on the pictures that did not find it."""
        from pellucid.language import neurons
        from pellucid.language.pools import Pool, bird_pool

        scanned, found = self.scanned
        given = found.values[:, None]
        if self.task.source == "scene":
            pool, like = bird_pool(), _likeness(tuple(scanned))
        else:
            self.spend(len(scanned))
            pool = Pool.of(self.model.labels.names, source=neurons.OWN_LABELS)
            inputs = self.model.prepare(frames_of(scanned, files=self.task.files))
            like = np.concatenate([self.model.predict(one).double().cpu().numpy() for one in inputs.split(32)])
        (unit,) = neurons.name_units(given, like, pool, controls=False).units
        return [(unit.names[0], unit.reliability.auroc), *((name, float("nan")) for name in unit.names[1:])]

    # -- judging ------------------------------------------------------------------------------------------------------

    def judged(self, label: str, evidence: Sequence[str]) -> tuple[tuple[Claim, ...], dict[str, float]]:
        """The claims of a conclusion, each with its test run, and the controls beside the label's AUROC."""
        rows = self.cited(evidence)
        claims = [response_claim(self.model, self.asked, one.before, one.after, one.words) for one in rows]
        controls: dict[str, float] = {}
        if self.task.source != "scene":
            return tuple(claims), controls
        if label:
            having, lacking = self.made_for(condition_of(label), "trial")
            claims.insert(0, label_claim(self.model, self.asked, label, having, lacking))
            controls["the label"] = float(claims[0].measured["auroc"])
        alone = next((name for name, _ in self._names if name.lower() in terms()), "")
        if alone:
            controls[f"the name without experiments ({alone})"] = self._auroc(alone)
        rng = np.random.default_rng(int(Seed(self.task.seed).child("random labels")))
        names = sorted({term.name for term in terms().values()})
        by_lot = [self._auroc(str(one)) for one in rng.choice(names, RANDOM_LABELS, replace=False)]
        controls["random labels"] = float(np.nanmean(by_lot))
        return tuple(claims), controls

    def _auroc(self, label: str) -> float:
        """Beside the budget: a control is no experiment of the agent's."""
        try:
            having, lacking = self.made_for(condition_of(label), "trial")
        except RequestError:
            return float("nan")
        values = self.run([*having, *lacking]).values
        return auroc(np.arange(len(values)) < len(having), values)


@lru_cache(maxsize=2)
def _likeness(scanned: tuple[Recipe, ...]) -> np.ndarray:
    """How like each scene is to each name: the same for all units that are looked at with these."""
    from pellucid.language.pools import bird_pool, encoder_for, likeness

    pool = bird_pool()
    encoder = encoder_for(pool)
    return likeness(encoder, encoder.prepare(frames_of(scanned)), pool)


def stands(claim: Claim) -> bool:
    """Whether the label of a claim foretells the unit."""
    return believed(float(claim.measured["auroc"]), float(claim.measured["p"]))


def _box(grid: np.ndarray) -> list[float]:
    """Where the unit answers at least half as strongly as at its strongest: left, top, right, bottom from 0 to 1."""
    lowest, highest = float(grid.min()), float(grid.max())
    rows, columns = np.nonzero(grid >= (lowest + highest) / 2)
    height, width = grid.shape
    return [columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height]
