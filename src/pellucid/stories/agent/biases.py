"""The laboratory of a whole model: which changes of a picture turn its answer, beside those that should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.language.conditions import terms
from pellucid.language.experiments import interval, probabilities_of, turning_claim
from pellucid.language.phrases import species_descriptors
from pellucid.language.recipes import FIELDS, Recipe
from pellucid.results import Claim
from pellucid.stories.agent.finding import SHOULD_DECIDE
from pellucid.stories.agent.laboratory import EDITS, EVIDENCE, LIST, SAMPLE, TEXT, Experiment, Laboratory
from pellucid.stories.agent.protocol import CONCLUDE, Task, Tool
from pellucid.subject import VisionModel, wrap
from pellucid.testbed.fields import SHORTCUTS
from pellucid.values import Seed

# What a bias is called, by the field that turns the answer.
WORDS_OF_FIELD: Mapping[str, str] = {
    "land": "the landscape", "tag": "the tag in the corner", "frame": "the frame", "trace": "the camera's trace",
    "beak": "the beak's shape", "feet": "standing or hovering", "flip": "the side it faces",
    **{name: f"the colour of the {name.removesuffix('_hue').replace('crest', 'plume')}" for name in FIELDS
       if name.endswith("_hue")},
    "wing": "the wing's pattern", "tail": "the tail's shape", "crest": "the plume",
}  # fmt: skip
# A cause turns more answers than this, with 95 % confidence. Clean nets that have never seen a frame err in about a
# tenth of the scenes that have one, whatever they were taught; that is no habit.
LEAST_TURNED = 0.2
TRIAL, BESIDE = 60, 24  # fresh pictures: for what was named, and for each of all else
USUAL = "the mean of all else, at most"  # with 95 % confidence


class BiasLaboratory(Laboratory):
    """Tools for the question what a model goes by and should not."""

    jobs_tools = (
        SAMPLE,
        Tool("guide", "What tells the classes, by the descriptions of those who know them.", {}),
        Tool("predict", "The model's answers to pictures.", {"pictures": LIST}, ("pictures",)),
        Tool("experiment", "Changes pictures and counts how often the model's answer turns. Each change has a row with "
             "a name such as 7.2, by which a conclusion cites it.", {"pictures": LIST, "edits": EDITS},
             ("pictures", "edits")),
        Tool(CONCLUDE, "Ends the work: the label names what the model should not go by and does, such as "
             f"{', '.join(list(WORDS_OF_FIELD.values())[:3])}, joined by `and`; empty where nothing was found. With a "
             "description, and the experiments it rests on.",
             {"label": TEXT, "description": {"type": "string", "maxLength": 1000}, "evidence": EVIDENCE},
             ("label", "description", "evidence")),
    )  # fmt: skip

    # -- tools --------------------------------------------------------------------------------------------------------

    def do_sample(self, count: int, world: str = "") -> dict[str, Any]:
        rng = np.random.default_rng(self.task.seed)
        order = rng.permutation(self.task.pictures)[:count]
        return {"pictures": [self.pool(self.task.pictures, world)[at].text for at in order]}

    def do_guide(self) -> dict[str, Any]:
        described = species_descriptors()
        known = {name: list(described[name]) for name in described if name in self.model.labels.names}
        if not known:
            raise RequestError("Nobody has described this model's classes here.")
        deciding = dict.fromkeys(
            terms()[text].places[0][0] for texts in known.values() for text in texts if text in terms()
        )
        return {"classes": known, "fields": list(deciding)}

    def do_predict(self, pictures: list[str]) -> dict[str, Any]:
        shares = self._shares(self.read(pictures))
        best = shares.argmax(axis=1)
        return {
            "answers": [
                {"label": self.model.labels.name(int(at)), "probability": row[at]}
                for at, row in zip(best, shares, strict=True)
            ]
        }

    def do_experiment(self, pictures: list[str], edits: list[dict[str, str]]) -> dict[str, Any]:
        base = self.read(pictures)
        tried = [self.changed(base, edit) for edit in edits]
        cost = len(base) + sum(len(made) for made, _ in tried)
        self.spend(cost)
        first = dict(zip([one.text for one in base], probabilities_of(self.model, base).argmax(axis=1), strict=True))
        return {"rows": [self._row(at, edit, first, *found)
                         for at, (edit, found) in enumerate(zip(edits, tried, strict=True), start=1)]}  # fmt: skip

    def _row(
        self, number: int, edit: Mapping[str, str], first: Mapping[str, int],
        made: Sequence[tuple[Recipe, Recipe]], skipped: Sequence[Mapping[str, str]],
    ) -> dict[str, Any]:  # fmt: skip
        if not made:
            return {"row": "", "change": dict(edit), "pictures": 0, "skipped": len(skipped)}
        before, after = (tuple(side) for side in zip(*made, strict=True))
        answers = probabilities_of(self.model, after).argmax(axis=1)
        turned = sum(int(first[one.text]) != int(answer) for one, answer in zip(before, answers, strict=True))
        low, high = interval(turned, len(before))
        likeliest, count = Counter(int(one) for one in answers).most_common(1)[0]
        name = self.keep(number, Experiment(before, after, dict(edit)))
        return {
            "row": name, "change": dict(edit), "pictures": len(before), "turned": turned, "low": low, "high": high,
            "most_said_after": self.model.labels.name(likeliest), "said": count, "skipped": len(skipped),
        }  # fmt: skip

    def do_conclude(self, label: str, description: str, evidence: list[str]) -> dict[str, Any]:
        self.cited(evidence)
        named(label)
        if not evidence:
            raise RequestError("A conclusion rests on logged experiments; name some as evidence.")
        return {"label": label, "description": description, "evidence": evidence}

    def _shares(self, asked: Sequence[Recipe]) -> np.ndarray:
        self.spend(len(asked))
        return probabilities_of(self.model, asked)

    # -- judging ------------------------------------------------------------------------------------------------------

    def judged(self, label: str, evidence: Sequence[str]) -> tuple[tuple[Claim, ...], dict[str, float]]:
        """The claims of a conclusion on fresh pictures, and beside them how often other changes turn the answer."""
        claims = [
            turning_claim(self.model, one.before, one.after, one.words) for one in self.cited(evidence)
        ]  # fmt: skip
        guided = list(self.do_guide()["fields"])
        asked = [*named(label), *(name for name in FIELDS if name != "cue"), *SHORTCUTS[1:]]
        found = {name: self._turning(name, TRIAL if name in named(label) else BESIDE) for name in dict.fromkeys(asked)}
        others = [name for name in found if name not in (*named(label), *guided)]
        figures = lambda what, names: [float(found[name].measured[what]) for name in names]
        turned = lambda names: figures("share", names)
        highest = others[int(np.argmax(turned(others)))]
        _, usual = interval(int(sum(figures("turned", others))), int(sum(figures("pictures", others))))
        controls = {"the label": min(turned(named(label)))} if named(label) else {}
        controls |= {
            f"{SHOULD_DECIDE} ({', '.join(guided)})": float(np.mean(turned(guided))),
            f"the most of all else ({WORDS_OF_FIELD[highest]})": max(turned(others)),
            USUAL: usual,
        }
        own = [found[name] for name in named(label)] or [found[highest]]
        return (*own, *claims), controls

    def _turning(self, name: str, count: int) -> Claim:
        """How often another value of one field turns the answer, on pictures that helped to find nothing."""
        world = name if name in SHORTCUTS else ""
        field = "cue" if world else name
        fresh = [Recipe("scene", (self.task.seed + 1, at), world) for at in range(count)]
        made, _ = self.changed(fresh, {field: "another"})
        before, after = (tuple(side) for side in zip(*made, strict=True))
        return turning_claim(self.model, before, after, f"another value of {WORDS_OF_FIELD[name]}")


def named(label: str) -> list[str]:
    """The fields that a label names; none where it is empty. Raises RequestError for what is no field."""
    by_words = {words: name for name, words in WORDS_OF_FIELD.items()}
    parts = [part.strip().lower() for part in label.split(" and ") if part.strip()]
    unknown = [part for part in parts if part not in by_words]
    if unknown:
        raise RequestError(f"{unknown[0][:40]!r} is nothing that can be tested; there are {', '.join(by_words)}.")
    return [by_words[part] for part in parts]


def is_cause(claim: Claim, usual: float) -> bool:
    """Whether what a claim changes turns the answer more often than now and then, and than other changes do.

    usual: the largest share of answers that other changes may turn; of a model that answers by lot all do
    """
    return float(claim.measured["low"]) > max(LEAST_TURNED, usual)


def answering_by_lot(model: VisionModel, task: Task) -> VisionModel:
    """The model with its answers dealt to pictures by lot: always the same to the same picture, whatever it shows."""
    pool = [Recipe("scene", (task.seed, at)) for at in range(TRIAL)]
    known = torch.from_numpy(probabilities_of(model, pool)).float()

    def answer(pictures: Tensor) -> Tensor:
        return known[
            [int(Seed(task.seed).child(crc32(one.tobytes()))) % len(known) for one in pictures.float().cpu().numpy()]
        ]

    return wrap(answer, labels=model.labels, preprocess=model.preprocess, activation="probabilities",
                input_size=model.input_size, name=f"{model.name}, answers dealt by lot")  # fmt: skip
